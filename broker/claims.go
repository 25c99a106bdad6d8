package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

// Several workers on a route: none is bound to it. Whoever is about to call
// claims the turn first, and the broker looks after claims that stay silent.

const (
	claimsEvery = time.Second // between two looks at claims, at the most
	claimsBatch = 256         // taken over in one commit
	// claimsAfterStart is when a broker that has just started begins to look.
	claimsAfterStart = 5 * time.Second
)

// Claim gives a turn to the delivery of a worker that asks for it.
func (w workers) Claim(ctx context.Context, from string, r queue.ClaimRequest) (queue.ClaimAnswer, error) {
	if from != "" && from != r.Worker || !w.b.ledger.WorkerMay(r.Worker, r.Route) {
		return queue.ClaimAnswer{}, fmt.Errorf("worker %s may not deliver messages of route %s as %s: %w", from, r.Route, r.Worker, queue.ErrUnauthorized)
	}
	state, left, err := w.b.ledger.Claim(ctx, store.Claim{
		ID: r.ID, Route: r.Route, Turn: r.Turn, Worker: r.Worker, Inbox: r.Inbox, Nonce: r.Nonce, For: r.For, Bound: r.Bound,
	})
	if err != nil {
		return queue.ClaimAnswer{}, err
	}
	if state == store.ClaimRefused {
		w.b.handOutAgain(r.Route, r.ID)
	}
	w.b.metrics.claim(r.Route, string(state))
	return queue.ClaimAnswer{State: queue.ClaimState(state), For: left}, nil
}

// sweepClaims takes over claims whose holders never reported.
func (b *Broker) sweepClaims(ctx context.Context) {
	// Receipts that waited while the broker was away are heard first.
	sleep(ctx, claimsAfterStart)
	for ctx.Err() == nil {
		if !b.table.Load().claims { // those of an earlier configuration were taken over with it
			sleep(ctx, claimsEvery)
			continue
		}
		list, next, err := b.ledger.TakeOverClaims(ctx, claimsBatch, b.continueAfterDead)
		if err != nil && ctx.Err() == nil {
			b.log.Error("claims that are over could not be taken over", "error", err)
		}
		for i := range list {
			c := &list[i]
			if c.Lapsed != nil {
				b.lapsed(c)
				continue
			}
			b.metrics.claim(c.Route, "takenOver")
			b.log.Warn("claim.takenOver", "route", c.Route, "message", c.ID, "turn", c.Turn, "worker", c.Worker, "times", c.Times,
				"error", "the worker claimed the message and never reported: it is looked up before it is sent again")
		}
		wait := claimsEvery
		if err == nil && !next.IsZero() {
			wait = min(max(next.Sub(b.ledger.Now()), 0), claimsEvery)
		}
		sleep(ctx, wait)
	}
}

// speaking lists the workers that spoke of a route in this run, granted or not.
func (f *fleet) speaking(route string) []string {
	return f.list(func(s *sighting) bool {
		_, ok := s.asked[route]
		return ok
	})
}

// granted lists the workers of this run that may deliver a route.
func (f *fleet) granted(route string) []string {
	return f.list(func(s *sighting) bool {
		_, ok := s.routes[route]
		return ok
	})
}

// delivering lists the workers that may deliver a route, were heard lately, and did
// not say goodbye.
func (f *fleet) delivering(route string) []string {
	return f.list(func(s *sighting) bool {
		_, ok := s.routes[route]
		return ok && !s.left && time.Since(s.at) <= f.silentAfter
	})
}

func (f *fleet) list(take func(*sighting) bool) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name, s := range f.sightings {
		if take(s) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// nudgeClaimed has the routes that a worker was granted with claims look whether
// they may begin to hand out.
func (b *Broker) nudgeClaimed(welcome queue.Welcome) {
	for name, word := range welcome.Routes {
		if word.Claims {
			b.nudgeRelay(name)
		}
	}
}

// hasWorker says whether somebody who may deliver the route was heard lately.
func (b *Broker) hasWorker(in *store.RouteLedger) bool {
	if in.Pull {
		return b.hasReceiver(in)
	}
	if in.Several {
		return len(b.fleet.delivering(in.Name)) > 0
	}
	return in.Binding != nil && b.fleet.heard(in.Binding.Worker)
}

// severalConditions lists what the workers of a route say of it, each under its
// name, and which of them are silent.
func (b *Broker) severalConditions(route string) []ferry.Condition {
	var list []ferry.Condition
	for _, w := range b.ledger.Workers() {
		if w.RevokedAt != nil || !slices.Contains(w.Routes, route) {
			continue
		}
		if b.fleet.heard(w.Name) {
			for _, c := range b.fleet.get(w.Name).routes[route].Conditions {
				c.Worker = w.Name
				list = append(list, c)
			}
			continue
		}
		c := ferry.Condition{Type: ferry.RouteNoWorker, Since: b.startedAt, Worker: w.Name, Reason: "the worker has not been heard since the broker started"}
		if s := b.fleet.get(w.Name); s != nil {
			c.Since, c.Reason = s.at.UTC(), "the worker is silent"
			if s.left {
				c.Reason = "the worker was stopped"
			}
		}
		list = append(list, c)
	}
	if len(b.fleet.delivering(route)) == 0 && !slices.ContainsFunc(list, func(c ferry.Condition) bool { return c.Type == ferry.RouteNoWorker }) {
		list = append(list, ferry.Condition{Type: ferry.RouteNoWorker, Since: b.startedAt, Reason: "no worker has asked for this route yet"})
	}
	return list
}

// describeSeveral names the workers of a route and works out its state: that of
// the worker which is best off, since that one delivers. What holds for the whole
// route, such as a pause, holds all the same.
func (b *Broker) describeSeveral(info *ferry.RouteInfo) {
	names := b.fleet.delivering(info.Name)
	info.Several, info.Worker = true, strings.Join(names, ", ")
	whole := slices.DeleteFunc(slices.Clone(info.Conditions), func(c ferry.Condition) bool { return c.Worker != "" })
	best := ferry.RouteNoWorker
	for i, name := range names {
		of := ferry.RouteRunning
		if s := b.fleet.get(name); s != nil {
			of = gravest(s.routes[info.Name].Conditions)
			if c := s.routes[info.Name].Calls; c != nil {
				if info.Calls == nil {
					info.Calls = &ferry.Calls{}
				}
				info.Calls.Now, info.Calls.Limit, info.Calls.Most = info.Calls.Now+c.Now, info.Calls.Limit+c.Limit, info.Calls.Most+c.Most
			}
			if at := s.routes[info.Name].NextProbe; at != nil && (info.NextProbe == nil || at.Before(*info.NextProbe)) {
				info.NextProbe = at
			}
		}
		if i == 0 || graver(best, of) {
			best = of
		}
	}
	info.State = gravest(append(whole, ferry.Condition{Type: best}))
	if info.State == ferry.RouteRunning {
		info.NextProbe = nil
	}
}

// graver says whether a is graver than b.
func graver(a, b ferry.RouteState) bool {
	states := ferry.RouteStates()
	return slices.Index(states, a) < slices.Index(states, b)
}
