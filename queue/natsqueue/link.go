package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ferry/queue"
)

// How a lost connection is made again, and how long an operation waits for that.
const (
	reconnectFirst = 100 * time.Millisecond
	reconnectMost  = 5 * time.Second
	waitForLink    = 2 * time.Second
	answerTimeout  = 10 * time.Second // of the server, for operations without a deadline of their own
	closeTimeout   = 2 * time.Second
)

// link is one connection and what is known of it: whether it is up, whether the
// server refuses it, and what it was denied.
type link struct {
	nc     *nats.Conn
	name   string // of this end, for people
	log    *slog.Logger
	closed chan struct{}
	web    *webDialer // that makes the connection; nil: the library itself does
	once   sync.Once

	mu      sync.Mutex
	up      bool
	refused bool
	told    string        // why it is down, as it was logged last
	changed chan struct{} // closed and made anew whenever up or refused changes
	watches map[string]map[*watch]struct{}
}

// watch is told when the server denies a subject.
type watch struct{ denied func(subject string) }

// anySubject watches for every denial.
const anySubject = ""

// dial connects, and keeps the connection up from then on.
func dial(url string, log *slog.Logger, opts ...nats.Option) (*link, error) {
	l := &link{
		log: log, up: true, closed: make(chan struct{}), changed: make(chan struct{}),
		watches: make(map[string]map[*watch]struct{}),
	}
	opts = append(opts,
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what cannot be sent now is an error now
		nats.NoCallbacksAfterClientClose(),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { l.onError(sub, err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.onState(false, err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.onState(false, err) }),
		nats.ReconnectHandler(func(*nats.Conn) { l.onState(true, nil) }),
	)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, connectError(err)
	}
	l.nc = nc
	return l, nil
}

// reconnectDelay doubles, and scatters the workers that lost the same broker.
func reconnectDelay(attempts int) time.Duration {
	d := reconnectFirst << min(max(attempts-1, 0), 10)
	d = min(d, reconnectMost)
	return d/2 + rand.N(d/2)
}

func connectError(err error) error {
	if isRefusal(err) || errors.Is(err, nats.ErrNkeysNotSupported) { // the server has no login by nkey at all
		return fmt.Errorf("%w: %w", queue.ErrUnauthorized, err)
	}
	return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
}

func isRefusal(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

func (l *link) onState(up bool, err error) {
	l.mu.Lock()
	refused := !up && (isRefusal(err) || l.refused)
	differs := up != l.up || refused != l.refused
	l.up, l.refused = up, refused
	if differs {
		close(l.changed)
		l.changed = make(chan struct{})
	}
	// Why it cannot be made again is logged once for each reason.
	var known *ReachError
	why := ""
	if !up && !refused && errors.As(err, &known) {
		why = known.Error()
	}
	tell := why != "" && why != l.told
	if differs || tell {
		l.told = why
	}
	l.mu.Unlock()
	switch {
	case tell:
		l.log.Warn("queue.unreachable", "error", why, "hint", known.fault.Hint, "next", "tried again until it is there")
	case !differs:
	case up:
		l.log.Info("queue.connected")
	case refused:
		l.log.Error("queue.refused", "error", "the queue refuses this login: it was revoked, or rotated and this is the one before",
			"hint", "for a worker, broker workers rotate NAME --out FILE makes a new one, which its next start takes", "next", "tried again until it is taken")
	default:
		l.log.Warn("queue.disconnected", "error", errorText(err))
	}
}

func errorText(err error) string {
	if err == nil {
		return "the connection ended"
	}
	return err.Error()
}

// onError takes the server's complaints: a denial is told to whoever waits for
// an answer that will never come.
func (l *link) onError(sub *nats.Subscription, err error) {
	if isRefusal(err) {
		l.onState(false, err)
		return
	}
	if !errors.Is(err, nats.ErrPermissionViolation) {
		l.log.Warn("queue.connection", "error", err.Error())
		return
	}
	subject := deniedSubject(err.Error())
	if subject == "" && sub != nil {
		subject = sub.Subject
	}
	l.log.Error("queue.denied", "subject", subject)
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.watches[anySubject] { // these tell more: they come first
		w.denied(subject)
	}
	for w := range l.watches[subject] {
		w.denied(subject)
	}
}

// deniedSubject finds the quoted subject in a denial.
func deniedSubject(text string) string {
	_, rest, ok := strings.Cut(text, `"`)
	if !ok {
		return ""
	}
	subject, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return ""
	}
	return subject
}

// watchFor calls denied when the server denies the subject, until stop. denied
// must not block.
func (l *link) watchFor(subject string, denied func(subject string)) (stop func()) {
	w := &watch{denied}
	l.mu.Lock()
	defer l.mu.Unlock()
	set := l.watches[subject]
	if set == nil {
		set = make(map[*watch]struct{})
		l.watches[subject] = set
	}
	set[w] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(set, w)
		if len(set) == 0 {
			delete(l.watches, subject)
		}
	}
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// DeniedError says which subject a login may not use. It is queue.ErrUnauthorized.
type DeniedError struct{ Subject string }

func (e *DeniedError) Error() string {
	return fmt.Sprintf("the server denies this login %s: %s", e.Subject, queue.ErrUnauthorized)
}

// Is makes it queue.ErrUnauthorized.
func (e *DeniedError) Is(target error) bool { return target == queue.ErrUnauthorized }

// deniable is ctx that also ends, with a *DeniedError as its cause, when the
// server denies what managing the streams needs: the client library would wait
// for an answer that never comes.
func (l *link) deniable(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := l.watchFor(anySubject, func(subject string) {
		if strings.HasPrefix(subject, "$JS.API.") || strings.HasPrefix(subject, inboxOf) {
			cancel(&DeniedError{subject})
		}
	})
	return ctx, func() { stop(); cancel(nil) }
}

// ready waits a little for a connection that is being made again. down is closed
// when the connection's state changes next.
func (l *link) ready(ctx context.Context) (down <-chan struct{}, err error) {
	var timeout <-chan time.Time
	for {
		l.mu.Lock()
		up, refused, changed := l.up, l.refused, l.changed
		l.mu.Unlock()
		select {
		case <-l.closed:
			return nil, queue.ErrClosed
		default:
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case refused:
			return nil, queue.ErrUnauthorized
		case up:
			return changed, nil
		}
		if timeout == nil {
			timer := time.NewTimer(waitForLink)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-l.closed:
		case <-timeout:
			return nil, queue.ErrUnavailable
		}
	}
}

// wrap names the fault of an operation on the connection.
func (l *link) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrConnectionClosed):
		return queue.ErrClosed
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("nobody answers: %w: %w", queue.ErrUnavailable, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", queue.ErrTooLarge, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
}

// close sends what is still buffered, such as settlements, and ends the connection.
func (l *link) close(ctx context.Context) {
	l.once.Do(func() {
		close(l.closed)
		if l.web != nil {
			l.web.abort() // the library waits for an attempt under way
		}
		bounded, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		if l.nc.IsConnected() {
			if err := l.nc.FlushWithContext(bounded); err != nil {
				l.log.Debug("queue.close", "error", err.Error())
			}
		}
		l.nc.Close()
		if l.web != nil {
			l.web.drop()
		}
	})
}
