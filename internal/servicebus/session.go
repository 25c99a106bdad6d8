package servicebus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// ErrNoSession: no session has messages that nobody holds.
var ErrNoSession = errors.New("no session waits")

// AboutSessions says whether the service refused something because the queue has
// sessions, or has none.
func AboutSessions(err error) bool {
	return errors.Is(err, ErrRefused) && strings.Contains(strings.ToLower(err.Error()), "session")
}

// Session is a session of a queue in one pair of hands: nobody else receives its
// messages meanwhile, and they come in their order. Its lock is renewed until Close.
// One Receive at a time, everything else concurrently.
//
// Unlike with a Receiver, nothing is tried again on another link: with the link goes
// the session's lock, and what was not settled comes again, first to whoever takes
// the session next.
type Session struct {
	ID string

	client *Client
	conn   *connection
	sdk    *azservicebus.SessionReceiver
	queue  string
	stop   context.CancelFunc // of the renewal
	ended  chan struct{}      // closed when the renewal is over

	mu    sync.Mutex // around the SDK's own field of the lock's end
	until time.Time
	err   error // why the lock is lost
}

// NextSession waits for a session with messages that nobody holds, and takes it.
// ErrNoSession: there was none in time. The wait is the service's: it lasts at most
// about a minute there.
func (c *Client) NextSession(ctx context.Context, queue string, wait time.Duration) (*Session, error) {
	what := "take a session of " + queue
	conn, err := c.conns.get(ctx)
	if err != nil {
		return nil, c.wrap(ctx, what, err)
	}
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, wait+c.timing.grace)
	defer cancel()
	free := context.AfterFunc(conn.ctx, cancel)
	defer free()
	sdk, err := conn.sdk.AcceptNextSessionForQueue(patient{within, began.Add(wait), began.Add(wait / 2)}, queue, nil)
	if err != nil {
		timedOut, ok := errors.AsType[*azservicebus.Error](err)
		switch {
		case ok && timedOut.Code == azservicebus.CodeTimeout:
			conn.worked()
			return nil, ErrNoSession
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		if err = c.wrap(context.Background(), what, err); passing(err) {
			conn.failed(began, err)
		} else {
			conn.worked()
		}
		return nil, err
	}
	conn.worked()
	renewing, stop := context.WithCancel(conn.ctx)
	s := &Session{ID: sdk.SessionID(), client: c, conn: conn, sdk: sdk, queue: queue, stop: stop, ended: make(chan struct{}), until: sdk.LockedUntil()}
	if err := c.background(func(context.Context) { s.renew(renewing) }); err != nil {
		stop()
		c.closeSession(sdk)
		return nil, err
	}
	return s, nil
}

// patient has the service give up before the caller does: cut off while it attaches,
// a link would stay there, and its session with it.
type patient struct {
	context.Context
	until, half time.Time
}

// Deadline is first what the SDK tells the service, and later the context's own:
// the AMQP library writes nothing after it, and would take the connection for dead.
func (p patient) Deadline() (time.Time, bool) {
	if time.Now().Before(p.half) {
		return p.until, true
	}
	return p.Context.Deadline()
}

func (c *Client) closeSession(sdk *azservicebus.SessionReceiver) {
	c.lastly(func() {
		ctx, stop := context.WithTimeout(context.Background(), c.timing.close)
		defer stop()
		_ = sdk.Close(ctx)
	})
}

// renew renews the session's lock at half of its time.
func (s *Session) renew(ctx context.Context) {
	defer close(s.ended)
	for {
		s.mu.Lock()
		half := max(time.Until(s.until)/2, time.Second/2)
		s.mu.Unlock()
		if sleep(ctx, half) != nil {
			return
		}
		try, stop := context.WithTimeout(ctx, s.client.timing.ask)
		err := s.sdk.RenewSessionLock(try, nil)
		stop()
		err = s.client.wrap(ctx, "renew the lock of a session of "+s.queue, err)
		s.mu.Lock()
		if err == nil {
			s.until = s.sdk.LockedUntil()
		} else if errors.Is(err, ErrLockLost) || time.Now().After(s.until) {
			s.err = fmt.Errorf("the session %q: %w", s.ID, ErrLockLost)
		}
		lost := s.err != nil
		s.mu.Unlock()
		if lost {
			return
		}
	}
}

// LockedUntil is when the session's lock ends, unless it is renewed. The error is
// why it was lost.
func (s *Session) LockedUntil() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until, s.err
}

// Receive waits for the session's next message. It is one at a time: what the SDK
// was asked for and has no taker it gives back, and the messages behind would come
// before it.
func (s *Session) Receive(ctx context.Context) (*azservicebus.ReceivedMessage, error) {
	what := "receive from a session of " + s.queue
	if _, err := s.LockedUntil(); err != nil {
		return nil, err
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	free := context.AfterFunc(s.conn.ctx, cancel)
	defer free()
	got, err := guarded(func() ([]*azservicebus.ReceivedMessage, error) { return s.sdk.ReceiveMessages(within, 1, nil) })
	switch {
	case len(got) > 0:
		s.conn.worked()
		return got[0], nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil, !s.conn.alive():
		err = errEnded // the link broke
	}
	return nil, s.client.wrap(context.Background(), what, err)
}

// Complete ends a message: it is done.
func (s *Session) Complete(ctx context.Context, m *azservicebus.ReceivedMessage) error {
	return s.settle(ctx, "complete a message of ", func(ctx context.Context) error { return s.sdk.CompleteMessage(ctx, m, nil) })
}

// Abandon gives a message back, which the service counts.
func (s *Session) Abandon(ctx context.Context, m *azservicebus.ReceivedMessage) error {
	return s.settle(ctx, "abandon a message of ", func(ctx context.Context) error { return s.sdk.AbandonMessage(ctx, m, nil) })
}

// DeadLetter sets a message aside. props are added to its properties.
func (s *Session) DeadLetter(ctx context.Context, m *azservicebus.ReceivedMessage, reason, description string, props map[string]any) error {
	options := &azservicebus.DeadLetterOptions{Reason: &reason, ErrorDescription: &description, PropertiesToModify: props}
	return s.settle(ctx, "dead-letter a message of ", func(ctx context.Context) error { return s.sdk.DeadLetterMessage(ctx, m, options) })
}

func (s *Session) settle(ctx context.Context, what string, do func(context.Context) error) error {
	try, stop := context.WithTimeout(ctx, s.client.timing.settle)
	defer stop()
	free := context.AfterFunc(s.conn.ctx, stop)
	defer free()
	err := s.client.wrap(ctx, what+s.queue, do(try))
	if err == nil {
		s.conn.worked()
	}
	return err
}

// Close gives the session back: who comes next may have it.
func (s *Session) Close(ctx context.Context) error {
	s.stop()
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(ctx, s.client.timing.close)
	defer cancel()
	return s.client.wrap(ctx, "close a session of "+s.queue, s.sdk.Close(closing))
}
