package servicebus

import (
	"sync"
	"time"
)

// inflight counts what is under way on a link, which is closed when that is over: cut
// off, a settlement would be tried again and find its lock lost.
type inflight struct {
	mu     sync.Mutex
	closed bool
	now    int
	over   chan struct{} // closed when the link is, and nothing is under way
}

func newInflight() *inflight { return &inflight{over: make(chan struct{})} }

// begin says whether something may begin.
func (f *inflight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.now++
	return true
}

// end ends what begin began.
func (f *inflight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now--; f.now == 0 && f.closed {
		close(f.over)
	}
}

// close lets nothing begin any more.
func (f *inflight) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		if f.now == 0 {
			close(f.over)
		}
	}
}

func (f *inflight) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// wait waits until nothing is under way, the link's connection has ended, or the
// limit.
func (f *inflight) wait(gone <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.over:
	case <-gone:
	case <-timer.C:
	}
}
