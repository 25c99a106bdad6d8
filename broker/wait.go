package broker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"ferry"
)

// ResultKeyFile holds the key that makes the tokens of results, beside the ledger.
// When it is lost, the addresses that were given out answer 404, and the flows
// that wait there fail; sending the same message again gives them a new one.
const ResultKeyFile = "result.key"

func resultTokenKey() tokenKey {
	return tokenKey{ResultKeyFile, "key for results", "flows that wait for the end of a message are told that there is none"}
}

// A token of a result is 66 characters of base64url: what is waited for, one byte;
// the message's id, sixteen; and a MAC of both. The same message has the same token
// as long as the key is kept: a repeat is told the same address without anything
// being stored.
const resultTokenBytes = 1 + 16 + sha256.Size

// What is waited for, as it stands in a token. Their numbers never change.
const (
	tokenEnded     = 1
	tokenCompleted = 2
)

// ResultToken is the capability to read how a message ended.
func (b *Broker) ResultToken(id ferry.ID, until ferry.WaitFor) string {
	token := make([]byte, 0, resultTokenBytes)
	kind := byte(tokenEnded)
	if until == ferry.WaitCompleted {
		kind = tokenCompleted
	}
	token = append(append(token, kind), id[:]...)
	return base64.RawURLEncoding.EncodeToString(append(token, b.resultMAC(token)...))
}

// ResultOf says which message a token is for, and what is waited for; ok is false
// for anything that ResultToken did not make.
func (b *Broker) ResultOf(token string) (id ferry.ID, until ferry.WaitFor, ok bool) {
	// Longer ones are not decoded: whoever guesses is to cost nothing.
	if len(token) != base64.RawURLEncoding.EncodedLen(resultTokenBytes) {
		return ferry.ID{}, "", false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != resultTokenBytes || !hmac.Equal(raw[17:], b.resultMAC(raw[:17])) {
		return ferry.ID{}, "", false
	}
	switch raw[0] {
	case tokenEnded:
		until = ferry.WaitEnded
	case tokenCompleted:
		until = ferry.WaitCompleted
	default:
		return ferry.ID{}, "", false
	}
	return ferry.ID(raw[1:17]), until, true
}

func (b *Broker) resultMAC(what []byte) []byte {
	mac := hmac.New(sha256.New, b.resultKey)
	mac.Write([]byte("result\x00"))
	mac.Write(what)
	return mac.Sum(nil)
}

// MessageHead is Message without the attempts, for those who ask again and again.
func (b *Broker) MessageHead(_ context.Context, id ferry.ID) (ferry.Envelope, error) {
	e, err := b.ledger.MessageHead(id)
	if err == nil {
		b.decorate(&e)
	}
	return e, err
}
