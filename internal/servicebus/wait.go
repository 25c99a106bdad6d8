package servicebus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// wait is one Receive, which has the turn.
type wait struct {
	r        *Receiver
	ctx      context.Context
	quit     chan struct{}
	most     int
	failures int  // in a row
	passedOn bool // the turn belongs to who ends the link
}

func (w *wait) forMessages() ([]*azservicebus.ReceivedMessage, error) {
	r := w.r
	for {
		if got := r.take(w.most); len(got) > 0 {
			return got, nil
		}
		err := w.oneCall()
		switch {
		case err == nil:
			continue
		case w.ctx.Err() != nil:
			w.leave()
			return nil, w.ctx.Err()
		case errors.Is(err, ErrClosed):
			w.leave()
			return nil, ErrClosed
		}
		w.failures++
		if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrThrottled) || w.failures == tooManyFailures {
			return nil, err
		}
		pause := r.client.timing.paceFirst
		if errors.Is(err, ErrThrottled) {
			pause = r.client.timing.busy
		}
		if err := w.pause(pause); err != nil {
			return nil, err
		}
	}
}

// oneCall waits until something comes, and asks for it if nobody has.
func (w *wait) oneCall() error {
	r, t := w.r, w.r.client.timing
	if r.call == nil {
		link, err := w.link()
		if err != nil {
			return err
		}
		r.call = link.start(r.appetite.of(w.most), &r.appetite)
	}
	call := r.call
	limit := time.NewTimer(time.Until(call.since().Add(t.receive)))
	defer limit.Stop()
	dead := call.link.conn.ctx.Done()
	for {
		select {
		case <-call.news:
			return nil
		default:
		}
		select {
		case <-call.news:
			return nil
		case <-call.done:
			return r.finish()
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-w.quit:
			return ErrClosed
		case <-r.client.ctx.Done():
			return ErrClosed
		case <-dead:
			// The SDK's call comes back by itself; if not, it is left behind.
			dead = nil
			limit.Reset(t.grace)
		case <-limit.C:
			// Receivers that waited long have been seen to hear nothing any more.
			r.endCall()
			return nil
		}
	}
}

// link gives the link; Close ends the waiting for it.
func (w *wait) link() (*receiverLink, error) {
	if link, ok := w.r.links.current(); ok {
		return link, nil
	}
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	go func() {
		select {
		case <-w.quit:
			stop()
		case <-ctx.Done():
		}
	}()
	link, err := w.r.link(ctx)
	if err != nil && ctx.Err() != nil && w.ctx.Err() == nil {
		return nil, ErrClosed
	}
	return link, err
}

func (w *wait) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-w.quit:
		return ErrClosed
	}
}

// leave ends the link, and does not wait for long.
func (w *wait) leave() {
	r := w.r
	if r.call == nil && len(r.rest) == 0 {
		return
	}
	done := make(chan struct{})
	err := r.client.background(func(context.Context) {
		defer close(done)
		r.stop()
		<-r.turn
	})
	if err != nil {
		return // the client closes, and its links with it
	}
	w.passedOn = true
	select {
	case <-done:
	case <-time.After(r.client.timing.leave):
	}
}

// take gives what has been received and not handed out.
func (r *Receiver) take(most int) []*azservicebus.ReceivedMessage {
	n := min(most, len(r.rest))
	got := r.rest[:n:n]
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		r.rest = nil
	}
	if r.call != nil && n < most {
		got = append(got, r.call.take(most-n)...)
	}
	if len(got) > 0 && r.call != nil {
		r.links.worked()
		r.call.link.conn.worked()
	}
	return got
}

// finish ends a call that is over, and says what ended it.
func (r *Receiver) finish() error {
	call := r.call
	r.call = nil
	_, _, err := call.state()
	r.rest = append(r.rest, call.takeAll()...)
	if err == nil {
		return nil
	}
	if errors.Is(err, errUnreadable) {
		r.client.log.Warn("a message cannot be read: it stays in its queue until that sets it aside, and until then messages are received one at a time", "queue", r.queue, "error", err)
	}
	err = r.client.wrap(context.Background(), "receive from "+r.queue, err)
	r.broken(call.link, call.since(), err)
	if len(r.rest) > 0 {
		return nil
	}
	return err
}

// endCall ends the call under way by closing its link: the SDK then brings what
// had arrived, and asks for nothing more. Ending the call alone would leave the link
// asking, with the SDK giving back what comes.
func (r *Receiver) endCall() {
	call, c := r.call, r.client
	r.call = nil
	r.links.drop(call.link)
	if r.opts.Delete {
		// There is nothing to give back here, and the SDK keeps what it has for
		// calls after closing.
		call.stop()
		call.wait(c.timing.grace)
		call.link.close()
		r.rest = append(r.rest, call.takeAll()...)
		r.rest = append(r.rest, call.link.leftOver()...)
		return
	}
	call.free(c.timing.grace)
	call.link.close()
	if !call.wait(c.timing.grace) {
		call.stop()
		call.link.conn.end(fmt.Errorf("receive from %s: %w", r.queue, errHung))
	}
	r.rest = append(r.rest, call.takeAll()...)
}
