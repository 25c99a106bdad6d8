package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"ferry"
	"ferry/queue"
)

// Where several workers deliver a route, a claim at the broker takes the place of
// "begun" in the inbox: whoever claims a turn may call until the claim's
// deadline, and owes a receipt.

// How a claim is asked for.
const (
	claimTimeout = 5 * time.Second // of one question
	claimTries   = 5               // under one nonce, before the delivery is given back
	claimAgain   = 250 * time.Millisecond
	maxUnsure    = 10_000 // claims of which it is not known whether they were granted
)

// claim asks the broker for the turn and says whether it is this delivery's. When
// it is not, the delivery was settled or given back. calls is how many calls, each
// of the route's time-out at the most, are to be made one after the other.
func (t *turn) claim(calls int) bool {
	if !t.h.Claims {
		return true
	}
	r := queue.ClaimRequest{
		ID: t.h.ID, Route: t.h.Route, Turn: t.h.Turn, Worker: t.w.opts.Name, Inbox: t.w.inbox.identity,
		Nonce: t.w.unsure.take(t.h.ID, t.h.Turn), For: startGrace + time.Duration(calls)*t.r.Timeout, Bound: t.r.writesFor(),
	}
	if calls == 0 {
		r.For += tellTimeout // for the receipt alone
	}
	answer, asked, err := t.askClaim(r)
	switch {
	case errors.Is(err, queue.ErrUnauthorized):
		t.w.helloNow()
		t.r.hold(pauseRefused)
		t.w.log.Warn("claim.refused", "route", t.r.Name, "message", t.h.ID, "turn", t.h.Turn, "error", err.Error())
		t.giveBack()
		return false
	case err != nil:
		// It may have been granted. No call was made under this nonce: should the
		// delivery come back to this process, it asks with the same.
		t.w.unsure.keep(t.h.ID, t.h.Turn, r.Nonce)
		t.fault("claim.ask", err)
		return false
	case answer.State != queue.ClaimGranted:
		t.w.log.Debug("claim."+string(answer.State), "route", t.r.Name, "message", t.h.ID, "turn", t.h.Turn)
		t.w.complete(t.d)
		return false
	}
	// The broker's time runs from its commit, which came after this.
	t.begunAt, t.deadline = asked, asked.Add(answer.For)
	return true
}

// askClaim asks until somebody answers, a few times; asked is when the question
// was sent that was answered.
func (t *turn) askClaim(r queue.ClaimRequest) (answer queue.ClaimAnswer, asked time.Time, err error) {
	for try := range claimTries {
		if try > 0 {
			wait(t.w.receiveCtx, claimAgain<<try)
			if t.w.draining() || t.d.Context().Err() != nil {
				return answer, asked, err
			}
		}
		asked = time.Now()
		ctx, cancel := context.WithTimeout(t.w.callCtx, claimTimeout)
		answer, err = t.w.queue.Claim(ctx, r)
		cancel()
		if err == nil || errors.Is(err, queue.ErrUnauthorized) || errors.Is(err, queue.ErrClosed) {
			return answer, asked, err
		}
	}
	return answer, asked, err
}

// calls is how many calls a plan may make in a row.
func (p plan) calls() int {
	switch p.action {
	case actPoll:
		return 3 // in time that is over: poll, look up, post
	case actLookup:
		return 2
	default:
		return 1
	}
}

// unsure remembers claims whose answers were lost.
type unsure struct {
	mu   sync.Mutex
	list map[ferry.ID]unsureClaim
}

type unsureClaim struct {
	turn  uint64
	nonce string
}

// take gives the nonce for a claim: a fresh one, unless an answer was lost.
func (u *unsure) take(id ferry.ID, turn uint64) (nonce string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c, ok := u.list[id]
	delete(u.list, id)
	if ok && c.turn == turn {
		return c.nonce
	}
	return rand.Text()
}

// keep remembers a nonce. Of too many any one is forgotten: its turn is taken
// over when the claim is over.
func (u *unsure) keep(id ferry.ID, turn uint64, nonce string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.list == nil {
		u.list = map[ferry.ID]unsureClaim{}
	}
	for other := range u.list {
		if len(u.list) < maxUnsure {
			break
		}
		delete(u.list, other)
	}
	u.list[id] = unsureClaim{turn, nonce}
}
