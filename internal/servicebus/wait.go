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

// oneCall waits for one call of the SDK, and starts it if there is none. What it
// brought lies in r.rest.
func (w *wait) oneCall() error {
	r, t := w.r, w.r.client.timing
	if r.call == nil {
		link, err := w.link()
		if err != nil {
			return err
		}
		r.call = link.start(w.most)
	}
	call := r.call
	limit := time.NewTimer(time.Until(call.began.Add(t.receive)))
	defer limit.Stop()
	dead := call.link.conn.ctx.Done()
	for {
		select {
		case <-call.done:
			return r.finish()
		default:
		}
		select {
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
	return got
}

// finish takes what a call brought. What is still asked for stays asked for, by
// the next call.
func (r *Receiver) finish() error {
	call := r.call
	r.call = nil
	got, err := call.result()
	if len(got) == 0 {
		err = r.client.wrap(context.Background(), "receive from "+r.queue, err)
		r.broken(call.link, err)
		return err
	}
	r.rest = append(r.rest, got...)
	r.links.worked()
	call.link.conn.worked()
	if open := call.asked - len(got); open > 0 && call.link.alive() {
		r.call = call.link.start(open)
	}
	return nil
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
		call.cancel()
		call.wait(c.timing.grace)
		call.link.close()
		r.rest = append(r.rest, call.got()...)
		r.rest = append(r.rest, call.link.leftOver()...)
		return
	}
	call.link.close()
	if !call.wait(c.timing.grace) {
		call.cancel()
		call.link.conn.end(fmt.Errorf("receive from %s: %w", r.queue, errHung))
		return
	}
	r.rest = append(r.rest, call.got()...)
}
