package store

import (
	"encoding/binary"
	"math"
	"sort"
	"time"

	"ferry"
)

// The encodings of a record's fields that are no plain text.

func encodeProperties(p map[string]string) []byte {
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	sort.Strings(names)
	var b []byte
	for _, name := range names {
		for _, s := range []string{name, p[name]} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	return b
}

func decodeProperties(b []byte) (map[string]string, error) {
	p := map[string]string{}
	next := func() (string, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) {
			return "", false
		}
		s := string(b[n : n+int(v)])
		b = b[n+int(v):]
		return s, true
	}
	for len(b) > 0 {
		name, ok := next()
		value, ok2 := next()
		if !ok || !ok2 {
			return nil, errDamaged
		}
		p[name] = value
	}
	return p, nil
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// nsOf is the stored form of a time: what lies outside 1970 to 2261 is moved to
// the nearer end, since Unix nanoseconds cannot hold it.
func nsOf(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return max(t.UnixNano(), 1)
}

// joinIDs is the stored form of a list of ids: one after the other.
func joinIDs(ids []ferry.ID) string {
	b := make([]byte, 0, 16*len(ids))
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return string(b)
}

func splitIDs(b []byte) ([]ferry.ID, error) {
	if len(b)%16 != 0 {
		return nil, errDamaged
	}
	ids := make([]ferry.ID, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		ids = append(ids, ferry.ID(b[:16]))
	}
	return ids, nil
}
