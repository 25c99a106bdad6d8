package memqueue

import (
	"slices"
	"time"

	"ferry/queue"
)

// failure is what the next Publish comes to.
type failure struct {
	address queue.Address
	err     error
	after   bool
}

// FailPublish makes the next Publish to address return err: before anything was
// taken, or after everything was.
func (b *Broker) FailPublish(address queue.Address, err error, after bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = &failure{address, err, after}
}

// takeFailure is the failure that is due at address, once; b.mu is held.
func (b *Broker) takeFailure(address queue.Address) *failure {
	f := b.fail
	if f == nil || f.address != address {
		return nil
	}
	b.fail = nil
	return f
}

// Purge loses everything in the channel, locked or not, without a trace.
func (b *Broker) Purge(address queue.Address) { b.Drop(address, b.opts.MaxPackets) }

// Drop loses the n oldest packets of the channel, locked or not, and returns how
// many there were to lose.
func (b *Broker) Drop(address queue.Address, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := b.channels[address]
	if ch == nil {
		return 0
	}
	oldest := ch.byPosition()
	oldest = oldest[:min(n, len(oldest))]
	for _, e := range oldest {
		delete(ch.entries, e.position)
	}
	return len(oldest)
}

// Duplicate makes everything in the channel come once more, as a transport may
// that delivers at least once.
func (b *Broker) Duplicate(address queue.Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := b.channels[address]
	if ch == nil {
		return
	}
	for _, e := range ch.byPosition() {
		ch.append(e.packet)
	}
}

func (ch *channel) byPosition() []*entry {
	all := make([]*entry, 0, len(ch.entries))
	for _, e := range ch.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(x, y *entry) int {
		if x.position < y.position {
			return -1
		}
		return 1
	})
	return all
}

// Forget loses every channel, as after a power cut. Until Ensure makes them
// anew, as other incarnations, they are ErrNotFound.
func (b *Broker) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.channels)
	b.wakeAll()
}

// ExpireLocks ends every lock now, so that what is held comes again elsewhere.
func (b *Broker) ExpireLocks() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.channels {
		for _, e := range ch.byPosition() {
			if e.locked {
				e.locked = false
				e.until = time.Time{}
				ch.makeReady(e.position)
			}
		}
	}
}

// Revoke refuses the worker from now on, also where it waits already.
func (b *Broker) Revoke(worker string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revoked[worker] = true
	b.wakeAll()
}

// Len counts what is in the channel, locked or not.
func (b *Broker) Len(address queue.Address) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch := b.channels[address]; ch != nil {
		return len(ch.entries)
	}
	return 0
}

// Ready counts what Receive would hand out now: what is not completed and under no
// lock.
func (b *Broker) Ready(address queue.Address) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	if ch := b.channels[address]; ch != nil {
		ch.expire(time.Now())
		for _, e := range ch.entries {
			if !e.locked {
				n++
			}
		}
	}
	return n
}

// wakeAll lets every receiver look again; b.mu is held.
func (b *Broker) wakeAll() {
	close(b.gone)
	b.gone = make(chan struct{})
}
