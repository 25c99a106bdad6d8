package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"ferry/internal/rules"
	"ferry/queue"
)

// The pace of talking to the broker.
const (
	helloEvery     = 10 * time.Second
	helloTimeout   = 5 * time.Second
	helloRetry     = time.Second
	goodbyeTimeout = time.Second
	helloApart     = time.Second // at least, between two that a change asked for
	resendEvery    = 5 * time.Second
	confirmEvery   = time.Second
	pruneEvery     = time.Minute
)

// helloLoop keeps the broker told and takes its word on what may be received.
func (w *Worker) helloLoop(ctx context.Context) {
	for ctx.Err() == nil {
		asked := time.Now()
		next := helloEvery
		if !w.hello(ctx) {
			next = helloRetry
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.helloSoon:
			wait(ctx, helloApart-time.Since(asked))
		}
		timer.Stop()
	}
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// hello says whether the broker answered.
func (w *Worker) hello(ctx context.Context) bool {
	bounded, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	asked := time.Now()
	welcome, err := w.queue.Hello(bounded, w.greeting())
	if ctx.Err() != nil {
		return false
	}
	trouble := welcome.Error
	if err != nil {
		trouble = err.Error()
	}
	w.mu.Lock()
	changed := w.helloWas != trouble
	w.helloWas = trouble
	fresh := err == nil && welcome.Error == "" && w.brokerStart != welcome.Start
	kept := fresh && welcome.Outlives && w.brokerStart != "" && !sameRun(w.brokerStart, welcome.Start)
	if fresh {
		w.brokerStart = welcome.Start
		w.resendAll = time.Now()
	}
	if err == nil {
		w.answered = time.Now()
	}
	w.mu.Unlock()
	if kept {
		w.inbox.tellLater(time.Now()) // the queue has what it took while the broker was away
	}
	switch {
	case trouble != "" && changed:
		w.log.Warn("broker.hello", "error", trouble, "next", w.without(err))
	case changed:
		w.log.Info("broker.hello", "start", welcome.Start)
	}
	if errors.Is(err, queue.ErrUnauthorized) {
		// Somebody was there, and says that this worker has nothing to say any more.
		w.greet(queue.Welcome{Error: err.Error(), Now: asked}, asked)
		return false
	}
	if err != nil {
		for _, r := range w.routes {
			r.poke() // its word may have ended
		}
		return false // what was granted stays, as long as it is good
	}
	w.greet(welcome, asked)
	if fresh {
		poke(w.resendSoon)
	}
	return true
}

// sameRun says whether two starts are of one run of the broker, which lost
// receipts between them.
func sameRun(a, b string) bool {
	a, _, _ = strings.Cut(a, ".")
	b, _, _ = strings.Cut(b, ".")
	return a == b
}

// without says what the worker does while the broker does not answer.
func (w *Worker) without(err error) string {
	var until time.Time
	for _, r := range w.routes {
		if word := r.last(); err != nil && word.Granted && !word.Claims && word.Good > 0 {
			until = later(until, word.asked.wall.Add(word.good()))
		}
	}
	if until.IsZero() {
		return "nothing is delivered until it answers"
	}
	return "what the queue holds is delivered until " + until.UTC().Format(time.RFC3339)
}

// goodbye lets the broker know at once that nothing is delivered any more. When
// it is not heard, the silence says the same somewhat later.
func (w *Worker) goodbye() {
	ctx, cancel := context.WithTimeout(w.ioCtx, goodbyeTimeout)
	defer cancel()
	_, err := w.queue.Hello(ctx, queue.Hello{Worker: w.opts.Name, Inbox: w.inbox.identity, Run: w.run, Version: w.opts.Version, Leaving: true})
	if err != nil {
		w.log.Debug("broker.goodbye", "error", err.Error())
	}
}

func (w *Worker) greeting() queue.Hello {
	h := queue.Hello{Worker: w.opts.Name, Inbox: w.inbox.identity, Run: w.run, Version: w.opts.Version, Now: time.Now().UTC()}
	for _, r := range w.routes {
		// The word first: what goes by an earlier one is in hand from before it was heard.
		word := r.last()
		var stopped time.Time
		if held, _ := word.held(atMoment(time.Now())); held {
			stopped = word.PausedAt
		}
		conditions, nextProbe := r.Destination.conditions()
		calls := r.Destination.calls()
		conditions = append(w.inbox.conditions(), conditions...)
		for i := range conditions {
			conditions[i].Worker = w.opts.Name
		}
		h.Routes = append(h.Routes, queue.RouteHello{
			Name: r.Name, Bound: queue.WordGood + startGrace + r.Timeout + r.writesFor(), Heard: word.Binding, Stopped: stopped,
			CanLookup: r.OnUnknown == OnUnknownLookup, HonoursKey: r.OnUnknown == OnUnknownRepost,
			WantsConfirm: r.Confirm == ConfirmCallback, InFlight: len(r.hands), Conditions: conditions, NextProbe: nextProbe, Calls: &calls,
		})
	}
	return h
}

func (w *Worker) greet(welcome queue.Welcome, asked time.Time) {
	for _, r := range w.routes {
		word, named := welcome.Routes[r.Name]
		if welcome.Error != "" {
			word, named = queue.RouteWelcome{Why: welcome.Error, Binding: word.Binding}, false
		}
		if r.last().Binding < word.Binding {
			w.helloNow() // who has the route now waits to be told that this one has heard
		}
		if r.last().PausedAt.Before(word.PausedAt) {
			w.helloNow() // who paused it waits to be told what still runs
		}
		if !r.take(word, named, asked, welcome.Now) {
			continue
		}
		switch {
		case !word.Granted:
			w.log.Warn("route.refused", "route", r.Name, "error", word.Why)
		case word.Paused:
			w.log.Info("route.paused", "route", r.Name)
		default:
			w.log.Info("route.granted", "route", r.Name)
		}
	}
}

// hear takes a signal of the broker.
func (w *Worker) hear(s queue.Signal) {
	w.inbox.confirm(s.Confirmed)
	if s.HelloAgain {
		w.helloNow()
	}
	if s.Report != nil {
		w.report(*s.Report)
	}
}

// helloNow has the broker told about a change.
func (w *Worker) helloNow() { poke(w.helloSoon) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// resendLoop sends results again that nobody confirmed.
func (w *Worker) resendLoop(ctx context.Context) {
	ticker := time.NewTicker(resendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.resendSoon:
		}
		w.resend(ctx)
	}
}

func (w *Worker) resend(ctx context.Context) {
	w.mu.Lock()
	// While the broker is away nobody confirms, and what the queue took stays there.
	there := w.brokerStart != "" && time.Since(w.answered) < heardLately && rules.On(rules.Resend)
	all := w.resendAll
	w.mu.Unlock()
	for there && ctx.Err() == nil {
		ids := w.inbox.due(time.Now(), all)
		if len(ids) == 0 {
			return
		}
		receipts, err := w.inbox.receipts(ids)
		if err == nil {
			err = w.teller.send(ctx, receipts)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("receipt.resend", "receipts", len(ids), "error", err.Error())
			return
		}
		w.log.Debug("receipt.resend", "receipts", len(ids))
	}
}

// keepLoop keeps the inbox: it writes down what was confirmed, and prunes.
func (w *Worker) keepLoop(ctx context.Context) {
	ticker := time.NewTicker(confirmEvery)
	defer ticker.Stop()
	pruned, more := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := w.inbox.writeConfirmed(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("inbox.confirm", "error", err.Error())
		}
		if now := time.Now(); more || now.Sub(pruned) >= pruneEvery {
			pruned = now
			var err error
			if _, more, err = w.inbox.prune(ctx, now, keepMost); err != nil && ctx.Err() == nil {
				w.log.Warn("inbox.prune", "error", err.Error())
			}
		}
	}
}
