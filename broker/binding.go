package broker

import (
	"context"
	"fmt"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

// A route with one worker is bound to that worker's inbox, and the worker begins
// calls only on the broker's word that it is. On a queue that runs on while the
// broker is away the word is good for long, so that the worker works on; then a
// route that gets another worker has to wait for the end of the word, or for the
// old worker to say that it has heard.

// helloBound answers a worker about a route with one worker: granted, when the
// route is bound to its inbox, or to none yet.
func (b *Broker) helloBound(ctx context.Context, r *route, asks store.Binding, run string) queue.RouteWelcome {
	free, err := r.hold(ctx)
	if err != nil {
		return queue.RouteWelcome{Why: "the broker could not answer in time"}
	}
	defer free()
	info, err := b.ledger.Route(r.Name)
	if err != nil {
		return queue.RouteWelcome{Why: err.Error()}
	}
	is := info.Binding
	if is != nil && is.Inbox != asks.Inbox {
		why := "the route is bound to another inbox, that of worker %s; when that one is lost for good: broker workers bind %s %s"
		return queue.RouteWelcome{Binding: info.Bindings, Why: fmt.Sprintf(why, is.Worker, asks.Worker, r.Name)}
	}
	if is == nil || is.Worker != asks.Worker || is.Bound != asks.Bound {
		if err = b.ledger.Bind(ctx, r.Name, asks, false, "first hello", asks.Worker); err == nil {
			info, err = b.ledger.Route(r.Name)
		}
		if err != nil || info.Binding == nil {
			return queue.RouteWelcome{Why: fmt.Sprint(err)}
		}
		r.relay.nudge()
	}
	word := queue.RouteWelcome{
		Granted: true, ResumedAt: info.ResumedAt, Binding: info.Binding.No, Good: b.word(ctx, r, info.Binding, run),
	}
	b.tellHold(&word, &info)
	return word
}

// hold keeps the route's binding as it is until free is called: a word that is
// being given counts from before any that another one gets.
func (r *route) hold(ctx context.Context) (free func(), err error) {
	select {
	case r.words <- struct{}{}:
		return func() { <-r.words }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// word is how long the word that is given now is good; 0: as long as any. The
// ledger knows of it before the worker does. It is told in advance, for a quarter
// more, so that few hellos write.
func (b *Broker) word(ctx context.Context, r *route, is *store.Binding, run string) time.Duration {
	good := r.WorkAway
	if !b.queue.Properties().Outlives || good <= queue.WordGood {
		return 0
	}
	now := b.ledger.Now()
	if is.Until.Sub(now) >= good && is.Run == run {
		return good
	}
	if err := b.ledger.Grant(ctx, r.Name, is.No, run, now.Add(good+good/4)); err != nil {
		b.log.Warn("a worker gets a short word only: it would stop when the broker is away", "route", r.Name, "worker", is.Worker, "error", err)
		return 0
	}
	return good
}

// hearOfBinding takes a worker's word that it has heard of a binding: it begins
// nothing any more that it was handed out under an earlier one.
func (b *Broker) hearOfBinding(ctx context.Context, info *store.RouteLedger, worker, inbox string, no uint64) {
	if no == 0 || len(info.Leaving) == 0 {
		return
	}
	n, err := b.ledger.Heard(ctx, info.Name, worker, inbox, no)
	switch {
	case err != nil:
		b.log.Warn("that a worker has stopped could not be noted: it says so again", "route", info.Name, "error", err)
	case n > 0:
		b.log.Info("the worker that had the route has stopped: what it may have begun waits for its calls only", "route", info.Name, "messages", n)
	}
}

// hearGoodbye takes a worker's word that it stops: nobody has to wait for the end
// of the words that it was given.
func (b *Broker) hearGoodbye(ctx context.Context, h queue.Hello) {
	for _, name := range b.names() {
		if err := b.ledger.Left(ctx, name, h.Inbox, h.Run); err != nil {
			b.log.Warn("that a worker has stopped could not be noted", "route", name, "worker", h.Worker, "error", err)
		}
	}
}

// hearStranger tells a worker that is not let in any more how the routes that it
// had are bound now, and takes its word that it has stopped.
func (b *Broker) hearStranger(ctx context.Context, h queue.Hello, welcome *queue.Welcome) {
	if _, known := b.ledger.Worker(h.Worker); !known || h.Inbox == "" {
		return
	}
	for _, r := range h.Routes {
		if _, ok := b.route(r.Name); !ok {
			continue
		}
		info, err := b.ledger.Route(r.Name)
		if err != nil {
			continue
		}
		b.hearOfBinding(ctx, &info, h.Worker, h.Inbox, r.Heard)
		welcome.Routes[r.Name] = queue.RouteWelcome{Binding: info.Bindings, Why: welcome.Error}
	}
}

// BindRoute hands a route over to the inbox of another worker, or to another
// inbox of the same one, for good. gone: whoever had it before can call no more,
// which a person says who knows; the note is required then.
func (b *Broker) BindRoute(ctx context.Context, name, worker string, gone bool, note, by string) (ferry.RouteInfo, error) {
	if _, err := b.routeInfo(name); err != nil {
		return ferry.RouteInfo{}, err
	}
	if gone && note == "" {
		return ferry.RouteInfo{}, noteRequired("to say that a worker is gone")
	}
	if !b.workerMay(worker, name) {
		return ferry.RouteInfo{}, ferry.Errorf(ferry.CodeConflict, "worker %q may not deliver route %s", worker, name).
			WithHint("broker workers list shows who may")
	}
	s := b.fleet.get(worker)
	if s == nil {
		return ferry.RouteInfo{}, ferry.Errorf(ferry.CodeConflict, "worker %s was not heard since this broker started", worker).
			WithHint("start it first: the route is bound to its inbox, which only the worker knows")
	}
	inbox := s.hello.Inbox
	r, ok := b.route(name)
	if !ok {
		return ferry.RouteInfo{}, noRoute(name)
	}
	if err := b.bind(ctx, r, store.Binding{Worker: worker, Inbox: inbox, Bound: s.asked[name].Bound}, gone, note, by); err != nil {
		return ferry.RouteInfo{}, err
	}
	if gone {
		if err := b.gone(ctx, name, inbox, note, by); err != nil {
			return ferry.RouteInfo{}, err
		}
	}
	r.relay.nudge()
	b.helloAgain(ctx, name)
	return b.routeInfo(name)
}

func (b *Broker) bind(ctx context.Context, r *route, to store.Binding, gone bool, note, by string) error {
	free, err := r.hold(ctx)
	if err != nil {
		return err
	}
	defer free()
	info, err := b.ledger.Route(r.Name)
	if err != nil {
		return err
	}
	if is := info.Binding; gone && is != nil && is.Inbox != to.Inbox && b.fleet.inboxHeard(is.Inbox) {
		return ferry.Errorf(ferry.CodeConflict, "worker %s, which has route %s, was heard a moment ago: it is not gone", is.Worker, r.Name).
			WithHint("without --gone it is told to stop, and says when it has")
	}
	return b.ledger.Bind(ctx, r.Name, to, true, note, by)
}

// gone says of everybody else who had the route that they are gone, except those
// that are heard.
func (b *Broker) gone(ctx context.Context, name, inbox, note, by string) error {
	info, err := b.ledger.Route(name)
	if err != nil || len(info.Leaving) == 0 {
		return err
	}
	n, err := b.ledger.Gone(ctx, name, func(other string) bool { return other == inbox || b.fleet.inboxHeard(other) }, note, by)
	if err == nil {
		b.log.Warn("a person says that who had the route before is gone: what waited for it waits for its last calls only", "route", name, "messages", n, "by", by)
	}
	return err
}

// inboxHeard says whether a worker with the inbox was heard lately, and did not
// say goodbye.
func (f *fleet) inboxHeard(inbox string) bool {
	names := f.list(func(s *sighting) bool { return s.hello.Inbox == inbox && !s.left && time.Since(s.at) <= f.silentAfter })
	return len(names) > 0
}

// leaving lists who lost a route and is still waited for.
func (b *Broker) leaving(in *store.RouteLedger) (list []ferry.Leaving) {
	now := b.ledger.DueAt(b.ledger.Now())
	for i := range in.Leaving {
		e := &in.Leaving[i]
		if calm := e.CalmAt(); calm.After(now) {
			list = append(list, ferry.Leaving{Worker: e.Worker, Until: e.Until, Calm: calm.UTC(), Stopped: !e.Until.After(now), Messages: e.Held})
		}
	}
	return list
}

// leavingProblems are sentences for status: what waits for workers of which
// nobody knows whether they are still at work.
func leavingProblems(r *ferry.RouteInfo) (list []string) {
	for _, e := range r.Leaving {
		if !e.Stopped {
			list = append(list, fmt.Sprintf("%d messages of route %s wait for worker %s, which had them and may begin calls until %s: broker workers bind %s %s --gone --note …, if it is off for good",
				e.Messages, r.Name, e.Worker, e.Until.Format(time.RFC3339), r.Worker, r.Name))
		}
	}
	return list
}
