package servicebus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// verb ends a message on the SDK's receiver.
type verb func(context.Context, *azservicebus.Receiver, *azservicebus.ReceivedMessage) error

// maxGiveBack is how many messages are given back at the same time.
const maxGiveBack = 64

// Complete ends a message: it is done. ErrLockLost may also mean that an earlier
// try has completed it, its answer being lost. Like every settling it tries once on
// the link and once more by lock token, each at most 5 s.
func (r *Receiver) Complete(ctx context.Context, m *azservicebus.ReceivedMessage) error {
	return r.settle(ctx, "complete a message of ", m, func(ctx context.Context, sdk *azservicebus.Receiver, m *azservicebus.ReceivedMessage) error {
		return sdk.CompleteMessage(ctx, m, nil)
	})
}

// Abandon gives a message back. The service counts that: its delivery count
// rises by one, and there is no way to give back without.
func (r *Receiver) Abandon(ctx context.Context, m *azservicebus.ReceivedMessage) error {
	return r.settle(ctx, "abandon a message of ", m, abandon)
}

func abandon(ctx context.Context, sdk *azservicebus.Receiver, m *azservicebus.ReceivedMessage) error {
	return sdk.AbandonMessage(ctx, m, nil)
}

// DeadLetter sets a message aside, into the queue's dead-letter sub-queue. props
// are added to its properties; values of types that AMQP does not have are ErrRefused.
func (r *Receiver) DeadLetter(ctx context.Context, m *azservicebus.ReceivedMessage, reason, description string, props map[string]any) error {
	// Found later, it would cost the connection.
	if err := unwritable(&azservicebus.Message{ApplicationProperties: props}); err != nil {
		return r.client.wrap(ctx, "dead-letter a message of "+r.queue, fmt.Errorf("%w: %w", ErrRefused, err))
	}
	options := &azservicebus.DeadLetterOptions{Reason: &reason, ErrorDescription: &description, PropertiesToModify: props}
	return r.settle(ctx, "dead-letter a message of ", m, func(ctx context.Context, sdk *azservicebus.Receiver, m *azservicebus.ReceivedMessage) error {
		return sdk.DeadLetterMessage(ctx, m, options)
	})
}

// settle settles on the link that brought the message, and when that does not
// answer, or is gone, once more by lock token. Left to itself, the SDK tries four
// times on a link that is gone, for 40 s.
func (r *Receiver) settle(ctx context.Context, what string, m *azservicebus.ReceivedMessage, do verb) error {
	c, what := r.client, what+r.queue
	if link, ok := r.links.current(); ok && link.begin(m.LockToken) {
		began := time.Now()
		try, stop := context.WithTimeout(ctx, c.timing.settle)
		// With the connection goes the link: there is no use in waiting.
		free := context.AfterFunc(link.conn.ctx, stop)
		err := do(try, link.sdk, m)
		free()
		stop()
		link.settling.end()
		if err = c.wrap(ctx, what, err); err == nil {
			link.conn.worked()
		} else if passing(err) && link.alive() {
			link.conn.failed(began, err)
		}
		if !passing(err) {
			return err
		}
	}
	return r.settleByToken(ctx, what, m.LockToken, do)
}

func (r *Receiver) settleByToken(ctx context.Context, what string, token [16]byte, do verb) error {
	c := r.client
	began := time.Now()
	try, stop := context.WithTimeout(ctx, c.timing.settle)
	defer stop()
	link, err := r.link(try)
	for passing(err) && try.Err() == nil { // opening settles nothing: it may be repeated
		link, err = r.link(try)
	}
	if err == nil {
		err = do(try, link.sdk, &azservicebus.ReceivedMessage{LockToken: token})
	}
	err = c.wrap(ctx, what, err)
	if err == nil {
		link.conn.worked()
	} else if passing(err) && link != nil {
		r.broken(link, began, err)
	}
	return err
}

// giveBack abandons messages that nobody waits for. What cannot be given back is
// free when its lock ends.
func (r *Receiver) giveBack(msgs []*azservicebus.ReceivedMessage) {
	ctx, stop := context.WithTimeout(r.client.ctx, r.client.timing.settle)
	defer stop()
	var all sync.WaitGroup
	room := make(chan struct{}, maxGiveBack)
	for _, m := range msgs {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			if err := r.settle(ctx, "give back a message of ", m, abandon); err != nil && !errors.Is(err, ErrLockLost) {
				r.client.log.Debug("a message stays locked for a while", "queue", r.queue, "error", err)
			}
		})
	}
	all.Wait()
}

// Renew prolongs a message's lock by the queue's lock duration, and says until
// when it lasts. ErrLockLost: it had ended. The message itself is not changed.
func (r *Receiver) Renew(ctx context.Context, m *azservicebus.ReceivedMessage) (time.Time, error) {
	var until time.Time
	err := r.ask(ctx, "renew a lock of "+r.queue, func(ctx context.Context, link *receiverLink) error {
		own := &azservicebus.ReceivedMessage{LockToken: m.LockToken}
		if err := link.sdk.RenewMessageLock(ctx, own, nil); err != nil {
			return err
		}
		until = *own.LockedUntil
		return nil
	})
	return until, err
}
