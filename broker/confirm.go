package broker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ferry"
)

// ConfirmKeyFile holds the key that makes the tokens of confirmations. It lies
// beside the ledger, not in it. When it is lost, tokens that were given out are
// refused, and their messages wait their time out and are looked up.
const ConfirmKeyFile = "confirm.key"

func confirmTokenKey() tokenKey {
	return tokenKey{ConfirmKeyFile, "key for confirmations", "destinations that were told to call back are refused"}
}

// confirmToken is what a destination shows to say what became of a message. It
// is good for the message alone, and rejects nothing but the call that it was
// given with.
func (b *Broker) confirmToken(id ferry.ID, call ferry.CallOf) string {
	return fmt.Sprintf("%d.%d.%s", call.Generation, call.Turn, base64.RawURLEncoding.EncodeToString(b.confirmMAC(id, call)))
}

func (b *Broker) confirmMAC(id ferry.ID, call ferry.CallOf) []byte {
	mac := hmac.New(sha256.New, b.confirmKey)
	text := binary.BigEndian.AppendUint64(append([]byte("confirm\x00"), id[:]...), uint64(call.Generation))
	mac.Write(binary.BigEndian.AppendUint64(text, call.Turn))
	return mac.Sum(nil)
}

// confirmURL is where the destination of a hand-out may say what became of it.
func (b *Broker) confirmURL(h *ferry.HandOut) string {
	return b.opts.PublicURL + "/v1/messages/" + h.ID.String() + "/confirm?token=" + b.confirmToken(h.ID, ferry.CallOf{Generation: h.Generation, Turn: h.Turn})
}

// ConfirmToken says for which call of the message a token was made; else
// unauthenticated, whether or not there is such a message.
func (b *Broker) ConfirmToken(id ferry.ID, token string) (call ferry.CallOf, err error) {
	generation, rest, _ := strings.Cut(token, ".")
	turn, text, _ := strings.Cut(rest, ".")
	var generationErr, turnErr error
	call.Generation, generationErr = strconv.Atoi(generation)
	call.Turn, turnErr = strconv.ParseUint(turn, 10, 64)
	mac, textErr := base64.RawURLEncoding.Strict().DecodeString(text)
	// Compared in any case, in a time that tells nothing.
	good := hmac.Equal(mac, b.confirmMAC(id, call))
	if errors.Join(generationErr, turnErr, textErr) != nil || call.Generation < 1 || call.Turn < 1 || !good {
		return ferry.CallOf{}, ferry.Errorf(ferry.CodeUnauthenticated, "the token is not one of this message").
			WithHint("call the address as it was given, to its last character")
	}
	return call, nil
}

// Confirm commits what a destination says of a message that it took. call is the
// token's, zero for somebody with a key. audited: it is an operator's act.
// kept: it takes effect with the receipt of the turn that a worker may hold.
func (b *Broker) Confirm(ctx context.Context, id ferry.ID, call ferry.CallOf, c ferry.Confirmation, by string, audited bool) (state ferry.State, kept bool, err error) {
	c.Text, c.Code = cut(c.Text, ferry.MaxAttemptText), cut(c.Code, ferry.MaxReferenceLength)
	if len(c.Reference) > ferry.MaxReferenceLength {
		return "", false, ferry.Errorf(ferry.CodeReferenceTooLong, "the reference has %d bytes", len(c.Reference)).
			WithHint("at most %d", ferry.MaxReferenceLength)
	}
	b.hideConfirmed(id, &c)
	out, err := b.ledger.Confirm(ctx, id, call, c, by, audited, b.continueAfterDead)
	if err != nil {
		return "", false, err
	}
	receipt := ferry.Receipt{ID: id, Route: out.Route, Reference: c.Reference, Code: c.Code, Text: c.Text}
	b.metrics.receipt(&receipt, &out.Outcome)
	b.logOutcome(&receipt, &out.Outcome)
	b.log.Debug("message.confirmed", "route", out.Route, "message", id, "delivered", c.Delivered, "by", by, "state", out.State, "kept", out.Kept)
	if c.Delivered && out.State == ferry.StateDiscarded {
		return "", false, ferry.Errorf(ferry.CodeConflict, "message %s was discarded: that the destination has it is kept, for a person to see", id).
			WithHint("GET /v1/messages/%s shows the conflict", id)
	}
	return out.State, out.Kept, nil
}

// wantsConfirm says whether the hand-outs of a route need the address that the
// destination calls back: yes, until its worker has said that they do not.
func (f *fleet) wantsConfirm(route string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard := false
	for _, s := range f.sightings {
		if r, ok := s.routes[route]; ok {
			if r.WantsConfirm {
				return true
			}
			heard = true
		}
	}
	return !heard
}

// addressConfirm gives hand-outs the address that their destination calls back.
func (b *Broker) addressConfirm(route string, handOuts []ferry.HandOut) {
	if b.opts.PublicURL == "" || !b.fleet.wantsConfirm(route) {
		return
	}
	for i := range handOuts {
		handOuts[i].ConfirmURL = b.confirmURL(&handOuts[i])
	}
}
