package entity

import "crypto/rand"

// Token names the lock on one message. Its bytes are in the order of an AMQP uuid:
// amqp.UUID(token) is what $management carries.
type Token [16]byte

// newToken makes a random (version 4) one.
func newToken() Token {
	var t Token
	_, _ = rand.Read(t[:]) // never fails
	t[6] = t[6]&0x0f | 0x40
	t[8] = t[8]&0x3f | 0x80
	return t
}

// Tag is the token as a delivery tag: the byte order of a .NET GUID.
func (t Token) Tag() []byte {
	t.swap()
	return t[:]
}

// TokenOfTag reads a delivery tag; false when it is none of ours.
func TokenOfTag(tag []byte) (Token, bool) {
	var t Token
	if len(tag) != len(t) {
		return t, false
	}
	copy(t[:], tag)
	t.swap()
	return t, true
}

func (t *Token) swap() {
	t[0], t[1], t[2], t[3] = t[3], t[2], t[1], t[0]
	t[4], t[5] = t[5], t[4]
	t[6], t[7] = t[7], t[6]
}
