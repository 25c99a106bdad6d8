package jwtauth

import (
	"crypto/sha256"
	"testing"
	"time"
)

// However many tokens there are, a bound number is remembered: those used last.
func TestMemoryIsBounded(t *testing.T) {
	m, now := newMemory(3), time.Now()
	sum := func(i int) [sha256.Size]byte { return sha256.Sum256([]byte{byte(i)}) }
	for i := range 100 {
		m.put(sum(i), verdict{serial: uint64(i), until: now.Add(time.Minute)})
		if _, ok := m.get(sum(0), now); !ok {
			t.Fatalf("the one used all the time was forgotten at %d", i)
		}
	}
	if len(m.at) != 3 || m.used.Len() != 3 {
		t.Errorf("%d and %d are remembered", len(m.at), m.used.Len())
	}
	for i, want := range map[int]bool{0: true, 97: false, 98: true, 99: true} {
		if _, ok := m.get(sum(i), now); ok != want {
			t.Errorf("%d is remembered: %v", i, ok)
		}
	}
	if _, ok := m.get(sum(99), now.Add(time.Minute)); ok || len(m.at) != 2 {
		t.Errorf("one that ended is still there: %d", len(m.at))
	}
}
