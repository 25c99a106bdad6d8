package store

import (
	"bytes"
	"crypto/sha256"

	"ferry"
)

// formOf is what a record has of versions and forms, as it is kept.
type formOf struct {
	Version    string `json:"version,omitempty"`
	As         string `json:"as,omitempty"`
	ResultNote string `json:"resultNote,omitempty"`
}

// toldVersion is the version that the worker is told.
func (r *record) toldVersion() string {
	if r.As != "" {
		return r.As
	}
	return r.Version
}

// sentHashOf is the SHA-256 of a revision's body as it was sent: what a repeat is
// recognised by, whatever the route has made of it since.
func (r *record) sentHashOf(revision int) []byte {
	if end := revision * sha256.Size; end <= len(r.SentHash) {
		if sent := r.SentHash[end-sha256.Size : end]; !bytes.Equal(sent, make([]byte, sha256.Size)) {
			return sent
		}
	}
	return r.hashOf(revision)
}

// noteSent notes how the latest revision was sent, when its body is another.
func (r *record) noteSent(sent []byte) {
	if len(sent) != sha256.Size {
		return
	}
	if missing := len(r.BodyHash) - sha256.Size - len(r.SentHash); missing > 0 {
		r.SentHash = append(r.SentHash, make([]byte, missing)...)
	}
	r.SentHash = append(r.SentHash, sent...)
}

// knowsBody says whether any revision was sent as this body.
func (r *record) knowsBody(sent []byte) bool {
	for rev := 1; rev*sha256.Size <= len(r.BodyHash); rev++ {
		if bytes.Equal(r.sentHashOf(rev), sent) {
			return true
		}
	}
	return false
}

// Known tells whether a message is a plain repeat of one on disk, whatever its route
// would make of it today: by its key, or by its flow, and by its body or SentHash.
func (l *Ledger) Known(m ferry.Message) (ferry.Accepted, bool) {
	no, ok := l.routeNo(m.Route)
	if !ok {
		return ferry.Accepted{}, false
	}
	m.ReplyTo = nil // who asks again is told nothing new
	p := prepared{msg: m, route: no}
	switch {
	case len(m.SentHash) == sha256.Size:
		copy(p.sent[:], m.SentHash)
	case m.Staged != nil:
		copy(p.sent[:], m.Staged.SHA256)
	default:
		p.sent = sha256.Sum256(m.Body)
	}
	if m.IdempotencyKey != "" {
		p.key, p.keyed = idemKeyOf(no, m.IdempotencyKey), true
	}
	p.asRepeat(0)
	return l.quickRepeat(&p)
}
