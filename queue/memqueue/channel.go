package memqueue

import (
	"container/heap"
	"time"

	"ferry/queue"
)

// channel is one durable channel; the Broker's mutex guards it.
type channel struct {
	incarnation int
	last        uint64
	entries     map[uint64]*entry // by position: everything not completed
	ready       positions         // may name entries that are gone or locked
	open        positions         // the same, for settled
	locks       expiries          // may name locks that are over
	recent      map[string]uint64 // id -> position, within the window
	recentOrder []remembered
	window      time.Duration
	more        chan struct{} // closed and made anew when something becomes ready

	dead   *channel         // what it set aside; nil in that one
	asides map[uint64]aside // why, by position: only in that one
}

type entry struct {
	packet   queue.Packet
	position uint64
	locked   bool
	until    time.Time
	holder   uint64 // rises with each delivery: the fence of Settle and Extend
}

type remembered struct {
	id string
	at time.Time
}

func newChannel(incarnation int, window time.Duration) *channel {
	ch := emptyChannel(incarnation, window)
	ch.dead = emptyChannel(incarnation, 0)
	ch.dead.asides = make(map[uint64]aside)
	return ch
}

func emptyChannel(incarnation int, window time.Duration) *channel {
	return &channel{
		incarnation: incarnation,
		entries:     make(map[uint64]*entry),
		recent:      make(map[string]uint64),
		window:      window,
		more:        make(chan struct{}),
	}
}

func (ch *channel) publish(p queue.Packet, from string, now time.Time) uint64 {
	for len(ch.recentOrder) > 0 && now.Sub(ch.recentOrder[0].at) >= ch.window {
		delete(ch.recent, ch.recentOrder[0].id)
		ch.recentOrder = ch.recentOrder[1:]
	}
	if position, known := ch.recent[p.ID]; known {
		return position
	}
	p.From = from
	position := ch.append(p)
	if ch.window > 0 {
		ch.recent[p.ID] = position
		ch.recentOrder = append(ch.recentOrder, remembered{p.ID, now})
	}
	return position
}

func (ch *channel) append(p queue.Packet) uint64 {
	ch.last++
	ch.entries[ch.last] = &entry{packet: p, position: ch.last}
	heap.Push(&ch.open, ch.last)
	ch.makeReady(ch.last)
	return ch.last
}

func (ch *channel) makeReady(position uint64) {
	heap.Push(&ch.ready, position)
	close(ch.more)
	ch.more = make(chan struct{})
}

// expire makes ready whatever is locked until now or earlier.
func (ch *channel) expire(now time.Time) {
	for len(ch.locks) > 0 && !ch.locks[0].until.After(now) {
		x := heap.Pop(&ch.locks).(expiry)
		if e := ch.entries[x.position]; e != nil && e.locked && e.holder == x.holder && !e.until.After(now) {
			e.locked = false
			ch.makeReady(e.position)
		}
	}
}

func (ch *channel) receive(most int, now, until time.Time) []queue.Item {
	ch.expire(now)
	var items []queue.Item
	for len(ch.ready) > 0 && len(items) < most {
		e := ch.entries[heap.Pop(&ch.ready).(uint64)]
		if e == nil || e.locked {
			continue
		}
		e.locked, e.until = true, until
		e.holder++
		heap.Push(&ch.locks, expiry{e.position, e.holder, until})
		items = append(items, queue.Item{Packet: e.packet, Position: e.position, LockedUntil: until, Token: e.holder})
	}
	return items
}

// held is the entry that item holds the lock of, or nil.
func (ch *channel) held(item queue.Item, now time.Time) *entry {
	ch.expire(now)
	e := ch.entries[item.Position]
	if e == nil || !e.locked || e.holder != item.Token {
		return nil
	}
	return e
}

func (ch *channel) settle(item queue.Item, verb queue.Verb, now time.Time) error {
	e := ch.held(item, now)
	if e == nil {
		return queue.ErrLockLost
	}
	if verb == queue.Complete {
		delete(ch.entries, e.position)
		return nil
	}
	e.locked = false
	ch.makeReady(e.position)
	return nil
}

func (ch *channel) extend(item queue.Item, now, until time.Time) (time.Time, error) {
	e := ch.held(item, now)
	if e == nil {
		return time.Time{}, queue.ErrLockLost
	}
	e.until = until
	heap.Push(&ch.locks, expiry{e.position, e.holder, until})
	return until, nil
}

func (ch *channel) firstExpiry() time.Time {
	for len(ch.locks) > 0 {
		x := ch.locks[0]
		if e := ch.entries[x.position]; e != nil && e.locked && e.holder == x.holder {
			return x.until
		}
		heap.Pop(&ch.locks)
	}
	return time.Time{}
}

// settled is the position up to which nothing is open.
func (ch *channel) settled() uint64 {
	for len(ch.open) > 0 {
		if ch.entries[ch.open[0]] != nil {
			return ch.open[0] - 1
		}
		heap.Pop(&ch.open)
	}
	return ch.last
}

// positions is a heap with the oldest position in front.
type positions []uint64

func (p positions) Len() int           { return len(p) }
func (p positions) Less(i, j int) bool { return p[i] < p[j] }
func (p positions) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *positions) Push(x any)        { *p = append(*p, x.(uint64)) }

func (p *positions) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// expiry is the end of one lock, unless it was extended since.
type expiry struct {
	position, holder uint64
	until            time.Time
}

// expiries is a heap with the earliest end in front.
type expiries []expiry

func (x expiries) Len() int           { return len(x) }
func (x expiries) Less(i, j int) bool { return x[i].until.Before(x[j].until) }
func (x expiries) Swap(i, j int)      { x[i], x[j] = x[j], x[i] }
func (x *expiries) Push(v any)        { *x = append(*x, v.(expiry)) }

func (x *expiries) Pop() any {
	last := (*x)[len(*x)-1]
	*x = (*x)[:len(*x)-1]
	return last
}
