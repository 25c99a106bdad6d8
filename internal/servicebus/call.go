package servicebus

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// call is a number of messages that a link was asked for, and which come over
// time. It goes on until all have come or the link ends, whoever waits for them:
// calls of the SDK follow each other without a pause, because between them it gives
// back what comes.
type call struct {
	link *receiverLink
	news chan struct{} // something has come
	done chan struct{} // closed at the end

	mu   sync.Mutex
	msgs []*azservicebus.ReceivedMessage // that have come
	open int                             // asked for, and not come
	last time.Time                       // when something came, or the beginning
	err  error
	// Of the SDK's call that is under way:
	stage  stage
	moved  chan struct{}      // closed when the stage changes
	cancel context.CancelFunc // ends it
	freed  bool               // the link is about to be closed: gathering is not ended
	ended  bool               // no further calls
}

// stage is how far a call of the SDK is.
type stage int

const (
	between   stage = iota // the SDK gives back what comes
	waiting                // what comes is ours
	gathering              // something has come, and more may
	leaving                // the gathering is ended
)

func (l *receiverLink) start(most int, appetite *appetite) *call {
	c := &call{
		link: l, open: most, last: time.Now(), cancel: func() {},
		news: make(chan struct{}, 1), done: make(chan struct{}), moved: make(chan struct{}),
	}
	l.conn.client.lastly(func() {
		defer close(c.done)
		for open := most; open > 0; {
			began := time.Now()
			got, err := guarded(func() ([]*azservicebus.ReceivedMessage, error) { return c.receive(open) })
			if errors.Is(err, errUnreadable) {
				appetite.afraid()
			}
			l.hold(got)
			appetite.learn(most, len(got), time.Since(began))
			open = c.came(got, err)
		}
	})
	return c
}

// receive is one call of the SDK. Its time to gather is ours to end, so that it does
// not end while the link is being closed: the SDK would take what still comes for
// itself, and fail to give it back.
func (c *call) receive(most int) ([]*azservicebus.ReceivedMessage, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	if c.ended {
		cancel()
	}
	c.mu.Unlock()
	defer c.move(between)
	return c.link.sdk.ReceiveMessages(seen{ctx, c}, most, &azservicebus.ReceiveMessagesOptions{TimeAfterFirstMessage: time.Hour})
}

// seen tells how far a call of the SDK is by what it asks of its context.
type seen struct {
	context.Context
	call *call
}

// Done is asked when the SDK waits for messages, and is done with what it did in
// between.
func (s seen) Done() <-chan struct{} {
	s.call.move(waiting)
	return s.Context.Done()
}

// Value is asked when it makes a context of this one, after the first message.
func (s seen) Value(key any) any {
	if s.call.move(gathering) {
		time.AfterFunc(gather, func() { s.call.gathered(s.Context) })
	}
	return s.Context.Value(key)
}

// move notes that the SDK's call came further; it says whether it did.
func (c *call) move(to stage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == to || to != between && c.stage > to {
		return false
	}
	c.stage = to
	close(c.moved)
	c.moved = make(chan struct{})
	return true
}

// gathered ends the gathering of the SDK's call that was given a context.
func (c *call) gathered(of context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if of.Err() == nil && c.stage == gathering && !c.freed {
		c.stage = leaving
		c.cancel()
	}
}

// free waits until what comes is ours, and keeps it so until the link is closed. It
// says whether it came to that.
func (c *call) free(most time.Duration) bool {
	limit := time.NewTimer(most)
	defer limit.Stop()
	for {
		c.mu.Lock()
		if c.stage == waiting || c.stage == gathering {
			c.freed = true
			c.mu.Unlock()
			return true
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-c.done:
			return true
		case <-c.link.conn.ctx.Done():
			return false
		case <-limit.C:
			return false
		}
	}
}

// stop ends the SDK's call, and lets none follow.
func (c *call) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.cancel()
}

// came keeps what the SDK brought, and says how many are still to come.
func (c *call) came(got []*azservicebus.ReceivedMessage, err error) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.msgs = append(c.msgs, got...)
	c.last = time.Now()
	c.open -= len(got)
	switch {
	case err != nil:
		c.open, c.err = 0, err
	case len(got) == 0:
		c.open, c.err = 0, errEnded // neither messages nor an error: the link broke
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
	return c.open
}

// take gives what has come, at most so many.
func (c *call) take(most int) []*azservicebus.ReceivedMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(most, len(c.msgs))
	got := c.msgs[:n:n]
	if c.msgs = c.msgs[n:]; len(c.msgs) == 0 {
		c.msgs = nil
	}
	return got
}

func (c *call) takeAll() []*azservicebus.ReceivedMessage { return c.take(math.MaxInt) }

// state says whether the link still takes messages for this call, how many have
// come and were not taken, and what ended it.
func (c *call) state() (open bool, left int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open > 0, len(c.msgs), c.err
}

// since is when something came last.
func (c *call) since() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// wait waits for the end, and says whether it came.
func (c *call) wait(most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

const (
	// gather is how long the SDK waits for more after the first message of several.
	gather = 20 * time.Millisecond
	// atOnce: messages that come within it were waiting already.
	atOnce  = 250 * time.Millisecond
	quicker = 4
)

// appetite is how many messages a link is asked for at once: as many as are likely
// to be there. What was asked for and did not come stays asked for, is bounced by
// the SDK between its calls, and must be got rid of when nobody waits any more; so an
// idle queue is asked for one message, and a full one for ever more.
type appetite struct {
	now     atomic.Int64
	careful atomic.Int64 // unix nanoseconds: one at a time until then
}

// of says how many to ask for when there is room for so many.
func (a *appetite) of(most int) int {
	if time.Now().UnixNano() < a.careful.Load() {
		return 1
	}
	return min(most, max(1, int(a.now.Load())))
}

// learn is told what came of the number asked for, and how fast.
func (a *appetite) learn(asked, got int, took time.Duration) {
	switch {
	case got < asked:
		a.now.Store(int64(got / 2))
	case took < atOnce:
		a.now.Store(min(int64(asked)*quicker, maxReceive))
	}
}
