package ferry

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// ID names a message for ever: a UUID of version 7 (RFC 9562), so that ids made
// later sort later, to the millisecond. Time-ordered ids keep the ledger's
// writes at the right edge of its trees.
type ID [16]byte

// NewID makes an ID for the moment now, with 74 random bits.
func NewID(now time.Time) ID {
	var id ID
	_, _ = rand.Read(id[6:]) // crypto/rand.Read never fails: it ends the process first
	stampID(&id, now)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// FirstID is the smallest ID that NewID can make at now; it bounds scans by time.
func FirstID(now time.Time) ID {
	var id ID
	stampID(&id, now)
	return id
}

// LastID is the largest ID of the moment now, to the millisecond.
func LastID(now time.Time) ID {
	id := ID{6: 0xff, 7: 0xff, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}
	stampID(&id, now)
	return id
}

func stampID(id *ID, now time.Time) {
	ms := uint64(max(now.UnixMilli(), 0))
	binary.BigEndian.PutUint16(id[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
}

// Time is the moment that the ID was made for, to the millisecond, in UTC.
func (id ID) Time() time.Time {
	ms := uint64(binary.BigEndian.Uint16(id[0:]))<<32 | uint64(binary.BigEndian.Uint32(id[2:]))
	return time.UnixMilli(int64(ms)).UTC()
}

// IsZero says whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String is the canonical form: 36 characters, lower case, with dashes.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:], id[10:16])
	return string(b[:])
}

// Short is the last eight characters: enough to name a message in a list, since
// commands take any unique suffix of six or more.
func (id ID) Short() string { return id.String()[28:] }

// MarshalText makes IDs strings in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the form of String.
func (id *ID) UnmarshalText(text []byte) error {
	v, err := ParseID(string(text))
	if err == nil {
		*id = v
	}
	return err
}

// ParseID reads the canonical form; upper case is accepted.
func ParseID(s string) (ID, error) {
	var id ID
	bad := Errorf(CodeBadID, "%q is not a message id", clip(s, 64)).
		WithHint("an id looks like 01936d2e-7c1a-7f3b-9e4d-5a6b7c8d9e0f")
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, bad
	}
	if _, err := hex.Decode(id[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil {
		return ID{}, bad
	}
	return id, nil
}

// IsIDSuffix says whether s may name a message by the end of its id: 6 to 36
// characters of an id's alphabet.
func IsIDSuffix(s string) bool {
	if len(s) < 6 || len(s) > 36 {
		return false
	}
	return strings.Trim(strings.ToLower(s), "0123456789abcdef-") == ""
}

// QueueID is the id under which one publication of a turn travels: the queue's
// duplicate window must never take a later turn, or a later publication of the
// same turn, for a repeat.
func QueueID(id ID, turn uint64, suffix string) string {
	return fmt.Sprintf("%s.%d.%s", id, turn, suffix)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
