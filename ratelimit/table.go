package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// shards keep those who ask for different names out of each other's way.
const shards = 32

// samples is how many entries are looked at to find one to forget.
const samples = 16

// Table holds buckets by name, at most so many however many names come: beyond
// it one is forgotten that is full, which is no loss, or else one that was not
// asked for the longest.
type Table struct {
	most  int // per shard
	seed  maphash.Seed
	parts [shards]part
}

type part struct {
	mu      sync.RWMutex
	entries map[string]*entry
}

type entry struct {
	bucket Bucket
	seen   atomic.Int64 // when it was asked for last
}

// NewTable makes a table of at most about most buckets.
func NewTable(most int) *Table {
	t := &Table{most: max(most/shards, 1), seed: maphash.MakeSeed()}
	for i := range t.parts {
		t.parts[i].entries = map[string]*entry{}
	}
	return t
}

// Bucket is the bucket of a name, made when there is none. It is good for use at
// once: kept for later it may have been forgotten.
func (t *Table) Bucket(name string, now time.Duration) *Bucket {
	p := &t.parts[maphash.String(t.seed, name)%shards]
	p.mu.RLock()
	e, ok := p.entries[name]
	p.mu.RUnlock()
	if !ok {
		e = p.add(name, now, t.most)
	}
	if e.seen.Load() != int64(now) {
		e.seen.Store(int64(now))
	}
	return &e.bucket
}

// Len is how many buckets there are.
func (t *Table) Len() int {
	n := 0
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.RLock()
		n += len(p.entries)
		p.mu.RUnlock()
	}
	return n
}

func (p *part) add(name string, now time.Duration, most int) *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.entries[name]; ok {
		return e
	}
	if len(p.entries) >= most {
		p.forget(now)
	}
	e := &entry{}
	p.entries[name] = e
	return e
}

// forget makes room for one. A map is walked from a random place.
func (p *part) forget(now time.Duration) {
	victim, oldest, looked := "", int64(1<<63-1), 0
	for name, e := range p.entries {
		if e.bucket.idle(now) {
			victim = name
			break
		}
		if seen := e.seen.Load(); seen < oldest {
			victim, oldest = name, seen
		}
		if looked++; looked == samples {
			break
		}
	}
	delete(p.entries, victim)
}
