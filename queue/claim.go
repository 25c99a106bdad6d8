package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ferry"
)

// ClaimRequest asks for the right to make the calls of one turn, where several
// workers deliver a route.
type ClaimRequest struct {
	ID     ferry.ID `json:"id"`
	Route  string   `json:"route"`
	Turn   uint64   `json:"turn"`
	Worker string   `json:"worker"` // checked against what the driver authenticated
	Inbox  string   `json:"inbox"`  // identity of the worker's inbox: receipts of the turn come from it
	// Nonce names the delivery that asks: the same one, when the answer was lost,
	// asks again and gets the same grant.
	Nonce string `json:"nonce"`
	// For is how long the worker needs until its last call has ended; Bound is how
	// long after that the destination may still write.
	For   time.Duration `json:"for"`
	Bound time.Duration `json:"bound"`
}

// ClaimState is the answer to a claim in one word.
type ClaimState string

// The answers to a claim.
const (
	// ClaimGranted: the worker may call for ClaimAnswer.For, counted from before it
	// asked, and owes a receipt.
	ClaimGranted ClaimState = "granted"
	// ClaimHeld: another delivery holds the turn. The broker looks after the turn:
	// settle without a word.
	ClaimHeld ClaimState = "held"
	// ClaimRefused: the turn is over, or the route is not claimed any more. Settle
	// without a word.
	ClaimRefused ClaimState = "refused"
)

// ClaimAnswer is the broker's answer to a ClaimRequest, given after its commit.
type ClaimAnswer struct {
	State ClaimState    `json:"state"`
	For   time.Duration `json:"for,omitempty"` // of a grant: what is left of it
}

// Claim asks the broker for a turn. ErrUnauthorized: not for this worker. Any
// other error leaves open whether it was granted: ask again with the same nonce.
// Workers only.
func (q *Queue) Claim(ctx context.Context, r ClaimRequest) (ClaimAnswer, error) {
	var a ClaimAnswer
	answer, err := q.ask(ctx, askClaim, r)
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	if err != nil {
		return ClaimAnswer{}, fmt.Errorf("claim turn %d of message %s: %w", r.Turn, r.ID, err)
	}
	switch a.State {
	case ClaimGranted, ClaimHeld, ClaimRefused:
		return a, nil
	default:
		return ClaimAnswer{}, fmt.Errorf("claim turn %d of message %s: %w: an answer %q", r.Turn, r.ID, errMalformed, a.State)
	}
}

func (q *Queue) answerClaim(ctx context.Context, handler Handler, from string, data []byte) ([]byte, error) {
	var r ClaimRequest
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.ID.IsZero() || r.Turn == 0 || r.Inbox == "" || r.Nonce == "" || len(r.Inbox) > maxName || len(r.Nonce) > maxName {
		return nil, fmt.Errorf("%w: a claim without message, turn, inbox or nonce", errMalformed)
	}
	a, err := handler.Claim(ctx, from, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// maxName bounds the random names that workers give: those of inboxes, runs and
// deliveries, which are kept in the ledger.
const maxName = 128
