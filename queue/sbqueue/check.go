package sbqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/internal/servicebus"
	"ferry/queue"
)

// What queues are made with, and what is asked of those that are there.
const (
	// shortestLock: shorter ones are lost in any hiccup of the network.
	shortestLock = 30 * time.Second
	// duplicateWindow is what queues are made with, shortestWindow what they must
	// have where they detect duplicates at all.
	duplicateWindow = 10 * time.Minute
	shortestWindow  = time.Minute
	// deliveries is when Service Bus sets a message aside by itself. Every release
	// counts there, so that it is only a guard against what nobody foresaw.
	deliveries    = 2000
	fewDeliveries = 10
	shortestLife  = 24 * time.Hour
	inspectAtOnce = 16
	lookPause     = time.Minute // after a look that nobody answered
	probeTimeout  = 20 * time.Second
	// What Microsoft's emulator takes at the most.
	deliveriesAtMost = 10
	windowAtMost     = 5 * time.Minute
)

// need is a queue with the rights on it that somebody needs.
type need struct {
	name         string
	listen, send bool
	lasting      bool // messages lie there under locks, and for long
}

// What the broker needs.
func (n names) brokers(a queue.Address) need {
	return need{name: n.of(a), listen: true, send: a.Kind == queue.Messages, lasting: true}
}
func (n names) brokersQuestions() need { return need{name: n.questions(), listen: true} }
func (n names) brokersWorker(worker string) need {
	return need{name: n.worker(worker), send: true}
}

// What a worker needs.
func (n names) workers(worker string, routes []string) []need {
	list := []need{
		{name: n.receipts(), send: true},
		{name: n.questions(), send: true},
		{name: n.worker(worker), listen: true},
	}
	for _, route := range routes {
		list = append(list, need{name: n.messages(route), listen: true, lasting: true})
	}
	return list
}

// Finding is what a look at a queue brought up.
type Finding struct {
	Queue string
	Text  string
	Hint  string
	Err   error // a *ferry.Error: the queue cannot be used so. nil: it is a warning
}

func (c *conn) faulty(e need, err *ferry.Error) Finding {
	return Finding{Queue: e.name, Text: err.Message, Hint: err.Hint, Err: err}
}

// look is what is known of one queue.
type look struct {
	findings []Finding
	size     int64         // bytes of its largest message; 0: not known
	window   time.Duration // in which duplicates are detected
	missing  bool
}

// inspect looks at every queue that the broker needs: at the settings where it may,
// else only whether the rights are there. It notes how large packets may be.
func (b *Broker) inspect(ctx context.Context, routes, workers []string) []Finding {
	return b.inspectAll(ctx, b.names.broker(routes, workers), b.lookAt)
}

func (w *Worker) inspect(ctx context.Context, routes []string) []Finding {
	return w.inspectAll(ctx, w.names.workers(w.signer.worker, routes), w.probe)
}

// inspectAll looks at the first queue alone: where the namespace cannot be reached
// that is said once.
func (c *conn) inspectAll(ctx context.Context, list []need, at func(context.Context, need) look) []Finding {
	looks := make([]look, len(list))
	looks[0] = at(ctx, list[0])
	if slices.ContainsFunc(looks[0].findings, func(f Finding) bool { return ferry.CodeOf(f.Err) == ferry.CodeQueueUnreachable }) {
		return looks[0].findings
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, inspectAtOnce)
	for i := range list[1:] {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			looks[i+1] = at(ctx, list[i+1])
		})
	}
	group.Wait()
	var findings []Finding
	size, window := int64(0), duplicateWindow
	for i, l := range looks {
		findings = append(findings, l.findings...)
		if l.size > 0 && (size == 0 || l.size < size) {
			size = l.size
		}
		if list[i].lasting && !l.missing {
			window = min(window, l.window)
		}
	}
	if size > 0 {
		c.props.MaxData = dataWithin(size)
	}
	c.props.DuplicateWindow = window
	return findings
}

// lookAt asks the namespace for a queue's settings, where the broker may.
func (b *Broker) lookAt(ctx context.Context, e need) look {
	info, err := b.settings(ctx, e.name)
	switch {
	case err == nil:
		size := int64(standardSize)
		if info.MaxMessageKiB > 0 {
			size = info.MaxMessageKiB << 10
		}
		return look{findings: b.judge(e, info), size: size, window: info.DuplicateWindow}
	case errors.Is(err, servicebus.ErrNotFound):
		return look{findings: []Finding{b.faulty(e, b.explain(e, "", err))}, missing: true}
	default:
		return b.probe(ctx, e)
	}
}

// settings asks for a queue's settings. That it may not is remembered, and for a
// while that nobody answers: the administration has an address of its own, which a
// firewall may keep from the broker, and nothing may wait for it again and again.
func (b *Broker) settings(ctx context.Context, queueName string) (servicebus.QueueInfo, error) {
	if !b.manages.Load() {
		return servicebus.QueueInfo{}, servicebus.ErrUnauthorized
	}
	if time.Now().UnixNano() < b.lookAgain.Load() {
		return servicebus.QueueInfo{}, servicebus.ErrUnavailable
	}
	bounded, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	info, err := b.admin.Queue(bounded, queueName)
	switch {
	case err == nil:
		b.noteBirth(queueName, info)
	case errors.Is(err, servicebus.ErrUnauthorized):
		if b.manages.Swap(false) {
			b.log.Debug("queue.look", "error", "without the right Manage settings are not looked at: "+err.Error())
		}
	case !errors.Is(err, servicebus.ErrNotFound) && ctx.Err() == nil:
		b.lookAgain.Store(time.Now().Add(lookPause).UnixNano())
		b.log.Debug("queue.look", "queue", queueName, "error", err.Error(), "again", lookPause)
	}
	return info, err
}

// judge says what is amiss with a queue's settings.
func (b *Broker) judge(e need, info servicebus.QueueInfo) []Finding {
	var list []Finding
	unsuitable := func(hint, format string, args ...any) {
		list = append(list, b.faulty(e, ferry.Errorf(ferry.CodeQueueUnsuitable, "the queue %s "+format, append([]any{e.name}, args...)...).WithHint("%s", hint)))
	}
	warn := func(hint, format string, args ...any) {
		list = append(list, Finding{Queue: e.name, Hint: hint, Text: fmt.Sprintf("the queue %s "+format, append([]any{e.name}, args...)...)})
	}
	const anew = "that cannot be changed: delete the queue, and make it anew with `broker servicebus provision`"
	if info.RequiresSession {
		unsuitable(anew, "requires sessions, and Ferry's messages have none")
	}
	if info.Partitioned {
		unsuitable(anew, "is partitioned, and its messages would not stay in order")
	}
	if w := info.DuplicateWindow; w > 0 && w < shortestWindow {
		unsuitable("set its duplicate detection window to 10 minutes", "detects duplicates for %s only, at least %s are needed", w, shortestWindow)
	}
	if !e.lasting {
		return list
	}
	switch {
	case info.Lock < min(shortestLock, b.lock):
		unsuitable("set its lock duration to 1 minute", "locks messages for %s only, at least %s are needed", info.Lock, min(shortestLock, b.lock))
	case info.Lock < b.lock:
		warn("set its lock duration, or queue.servicebus.lock at broker and workers", "locks messages for %s, and the configuration says %s", info.Lock, b.lock)
	}
	if info.MaxDeliveries < fewDeliveries {
		warn("set its maximum delivery count to 100 or more", "sets a message aside after %d deliveries, and each that a worker gives back counts", info.MaxDeliveries)
	}
	if info.TimeToLive > 0 && info.TimeToLive < shortestLife {
		warn("set its default time to live to several days", "drops messages after %s: what waits for longer is handed out again and again", info.TimeToLive)
	}
	return list
}

// probe finds out whether the rights are there, as far as that changes nothing.
func (c *conn) probe(ctx context.Context, e need) (l look) {
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	right, err := "Listen", error(nil)
	if e.listen {
		r := c.client.Receiver(e.name, servicebus.ReceiverOptions{})
		_, err = r.Peek(bounded, 0, 1)
		closeReader(c, r)
	}
	if err == nil && e.send {
		right = "Send"
		l.size, err = c.client.Sender(e.name).MaxBytes(bounded)
	}
	if err != nil {
		l.missing = errors.Is(err, servicebus.ErrNotFound)
		l.findings = []Finding{c.faulty(e, c.explain(e, right, err))}
	}
	return l
}

// explain is an error for who starts a program.
func (c *conn) explain(e need, right string, err error) *ferry.Error {
	host := c.client.Host()
	quiet := silent{fault{kindOf(err), err}}
	switch {
	case errors.Is(err, servicebus.ErrNotFound):
		return ferry.Errorf(ferry.CodeQueueUnsuitable, "the namespace %s has no queue %s%w", host, e.name, quiet).
			WithHint("`broker servicebus provision` makes the queues that are missing; it needs the right Manage")
	case errors.Is(err, servicebus.ErrUnauthorized):
		role := "Azure Service Bus Data Receiver"
		if right == "Send" {
			role = "Azure Service Bus Data Sender"
		}
		return ferry.Errorf(ferry.CodeQueueRefused, "the namespace %s refuses the right %s on the queue %s%w", host, right, e.name, quiet).
			WithHint("give the policy of the connection string the right %s on that queue, or the identity the role %s; and is the key the current one?", right, role)
	default:
		return ferry.Errorf(ferry.CodeQueueUnreachable, "the namespace %s cannot be reached: %s%w", host, reason(err), quiet).
			WithHint("is its name right, and may this machine connect to port 5671 there? with webSockets: true it needs port 443 only")
	}
}

// reason is what was in the way, without what was asked for.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	text := err.Error()
	if _, rest, found := strings.Cut(text, servicebus.ErrUnavailable.Error()+": "); found {
		return rest
	}
	return text
}

// silent wraps a cause for logs and errors.Is, and adds nothing to the sentence.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }
