package servicebus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

const maxReceive = 5000 // the SDK's

// ReceiverOptions say what a receiver reads, and how.
type ReceiverOptions struct {
	DeadLetter bool // the dead-letter sub-queue in the place of the queue
	Delete     bool // messages are gone from the queue as they are received: no lock, no settling
}

// Receiver takes messages from one queue under locks. Receives of one Receiver
// take turns; everything else goes on at the same time.
//
// A link that was asked for more messages than there are takes those that come
// later, and the SDK would give them back and take them again, over and over. So a
// link is asked for as many as are likely to be there. The rest of what was asked for
// stays asked for while Receives follow each other; when none comes for 0.25 s, or
// when one ends without messages, the link is closed and what it took meanwhile is
// given back, which the service counts as a delivery. Opening a link takes about
// twelve round trips: wait in long Receives, and not in many short ones.
type Receiver struct {
	client *Client
	queue  string
	opts   ReceiverOptions
	links  *slot[*receiverLink]

	appetite appetite

	turn chan struct{}                   // who has it drives the link, and owns the fields below
	call *call                           // what the link was asked for
	rest []*azservicebus.ReceivedMessage // of earlier calls

	mu    sync.Mutex
	quit  chan struct{} // closed by Close: a Receive that is under way ends
	pause *time.Timer   // ends the link when nobody comes back
}

// Receiver is a handle for receiving from a queue; nothing is called before it
// is used. Each has a link of its own, until it is closed.
func (c *Client) Receiver(queue string, o ReceiverOptions) *Receiver {
	r := &Receiver{client: c, queue: queue, opts: o, turn: make(chan struct{}, 1), quit: make(chan struct{})}
	r.links = newSlot(c.timing, (*receiverLink).alive, r.open, c.background)
	return r
}

// Receive waits for at least one message and gives at most `most` (1 to 5,000),
// oldest first. When ctx ends first, its error is returned, after the link was
// closed or 2 s, and nothing stays locked: what arrived in that moment is abandoned,
// which the service counts. A connection that breaks is made anew meanwhile; an
// error is what three attempts in a row found. With Delete, what arrived too late is
// kept for the next Receive.
func (r *Receiver) Receive(ctx context.Context, most int) ([]*azservicebus.ReceivedMessage, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	most = min(max(most, 1), maxReceive)
	quit := r.begin()
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-quit:
		return nil, ErrClosed
	}
	r.stopPause()
	w := &wait{r: r, ctx: ctx, quit: quit, most: most}
	msgs, err := w.forMessages()
	if !w.passedOn {
		r.yield()
	}
	return msgs, err
}

// begin gives what tells of the next Close.
func (r *Receiver) begin() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.quit
}

// yield ends a turn. A link that still takes messages is ended soon if no turn
// follows.
func (r *Receiver) yield() {
	busy := len(r.rest) > 0 && !r.opts.Delete
	if r.call != nil {
		open, left, err := r.call.state()
		if !open && left == 0 && err == nil {
			r.call = nil
		}
		busy = busy || r.call != nil
	}
	if busy {
		r.mu.Lock()
		r.pause = time.AfterFunc(r.client.timing.linger, r.abandoned)
		r.mu.Unlock()
	}
	<-r.turn
}

func (r *Receiver) stopPause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pause != nil {
		r.pause.Stop()
		r.pause = nil
	}
}

// abandoned ends the link, since nobody came back.
func (r *Receiver) abandoned() {
	_ = r.client.background(func(context.Context) {
		select {
		case r.turn <- struct{}{}:
		default:
			return // somebody did
		}
		r.stop()
		<-r.turn
	})
}

// stop ends the link if it still takes messages, and gives back what nobody has
// taken. It needs the turn.
func (r *Receiver) stop() {
	if r.call != nil {
		if open, _, err := r.call.state(); open || err != nil {
			r.endCall()
		} else {
			r.rest = append(r.rest, r.call.takeAll()...)
			r.call = nil
		}
	}
	if !r.opts.Delete {
		r.giveBack(r.rest)
		r.rest = nil
	}
}

// Close closes the link: nothing is received any more. What was received stays
// locked until it is settled or its lock ends. A Receive that is under way ends
// with ErrClosed; a later call opens the link anew.
func (r *Receiver) Close(ctx context.Context) error {
	r.mu.Lock()
	close(r.quit)
	r.quit = make(chan struct{})
	r.mu.Unlock()
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.stopPause()
	done := make(chan struct{})
	err := r.client.background(func(context.Context) {
		defer close(done)
		r.stop()
		if link, ok := r.links.current(); ok && r.links.drop(link) {
			link.close()
		}
		r.client.mu.Lock()
		delete(r.client.receivers, r)
		r.client.mu.Unlock()
		<-r.turn
	})
	if err != nil {
		<-r.turn
		return nil // with the client
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Peek reads up to `most` messages from a sequence number on, without locks,
// whatever their state. It may give fewer, and none at the end.
func (r *Receiver) Peek(ctx context.Context, from int64, most int) ([]*azservicebus.ReceivedMessage, error) {
	var got []*azservicebus.ReceivedMessage
	err := r.ask(ctx, "peek into "+r.queue, func(ctx context.Context, link *receiverLink) (err error) {
		got, err = guarded(func() ([]*azservicebus.ReceivedMessage, error) {
			return link.sdk.PeekMessages(ctx, most, &azservicebus.PeekMessagesOptions{FromSequenceNumber: &from})
		})
		return err
	})
	return got, err
}

// ask asks the service for something that may be asked twice: once more on a new
// link when the first try found the way broken.
func (r *Receiver) ask(ctx context.Context, what string, fn func(context.Context, *receiverLink) error) error {
	c := r.client
	within, stop := context.WithTimeout(ctx, 2*c.timing.ask)
	defer stop()
	var err error
	for range 2 {
		began := time.Now()
		var link *receiverLink
		if link, err = r.link(within); err == nil {
			try, stop := context.WithTimeout(within, c.timing.ask)
			err = fn(try, link)
			stop()
		}
		if err = c.wrap(ctx, what, err); err == nil {
			link.conn.worked()
			return nil
		}
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		r.broken(link, began, err)
	}
	return err
}
