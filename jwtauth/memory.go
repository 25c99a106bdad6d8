package jwtauth

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"ferry"
)

// maxKnown is how many tokens are remembered as good: some 300 bytes each.
const maxKnown = 10_000

// verdict is what came of judging a token.
type verdict struct {
	who    ferry.Identity
	by     *authority
	serial uint64 // of the keys that it was judged with: others may not have its key
	until  time.Time
}

// memory remembers tokens that were found good, by their hash, so that a flow's
// every message does not cost a signature. The one not used for longest makes room.
type memory struct {
	most int
	mu   sync.Mutex
	at   map[[sha256.Size]byte]*list.Element
	used *list.List // of remembered, the last one first
}

type remembered struct {
	sum [sha256.Size]byte
	verdict
}

func newMemory(most int) *memory {
	return &memory{most: most, at: map[[sha256.Size]byte]*list.Element{}, used: list.New()}
}

func (m *memory) get(sum [sha256.Size]byte, now time.Time) (verdict, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.at[sum]
	if !ok {
		return verdict{}, false
	}
	r := e.Value.(*remembered)
	if !now.Before(r.until) {
		m.used.Remove(e)
		delete(m.at, sum)
		return verdict{}, false
	}
	m.used.MoveToFront(e)
	return r.verdict, true
}

func (m *memory) put(sum [sha256.Size]byte, v verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.at[sum]; ok {
		e.Value.(*remembered).verdict = v
		m.used.MoveToFront(e)
		return
	}
	if m.used.Len() >= m.most {
		last := m.used.Back()
		delete(m.at, last.Value.(*remembered).sum)
		m.used.Remove(last)
	}
	m.at[sum] = m.used.PushFront(&remembered{sum: sum, verdict: v})
}
