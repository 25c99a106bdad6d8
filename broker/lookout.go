package broker

import (
	"fmt"
	"time"

	"ferry"
	"ferry/store"
)

// States of what is looked at, beside those of routes.
const (
	stateLost     = "lost"
	stateLeft     = "left" // a worker said goodbye: nobody is told
	stateAbove    = "above"
	stateLow      = "low"
	stateCritical = "critical"
)

// docsOf is the section of the handbook about an event.
func docsOf(t ferry.OperatorEventType) string {
	switch t {
	case ferry.EventRouteStopped, ferry.EventRouteRecovered:
		return "a-route-stopped"
	case ferry.EventWorkerLost:
		return "a-worker-fell-silent"
	case ferry.EventDeadLettersAbove:
		return "dead-letters-pile-up"
	default:
		return "the-disk-fills"
	}
}

// conditions looks at all that operators are told of.
func (l *lookout) conditions(now time.Time) []observed {
	b := l.b
	var list []observed
	var dead int64
	bound := map[string]bool{} // workers that a route waits for
	for _, name := range b.names() {
		in, err := b.ledger.Route(name)
		if err != nil {
			continue
		}
		if r, ok := b.route(name); ok && r.Retired && waitsOrDead(&in) == 0 && l.told["route/"+name].State == "" {
			continue // nobody waits for its worker or its destination
		}
		if in.Binding != nil && !in.Pull && !in.Several {
			bound[in.Binding.Worker] = true
		}
		list = append(list, l.route(&in))
		var n int64
		for _, k := range in.Dead {
			n += k
		}
		dead += n
		list = append(list, l.deadLetters("dead/"+name, name, n, b.operators().DeadLettersAbove))
	}
	list = append(list, l.deadLetters("dead", "", dead, b.operators().DeadLettersTotalAbove))
	for _, w := range b.ledger.Workers() {
		if w.RevokedAt == nil {
			list = append(list, l.worker(w.Name, bound[w.Name], now))
		}
	}
	if free, err := b.operators().DiskFree(b.opts.DataDir); err == nil {
		list = append(list, l.disk(free))
	}
	return list
}

// route says whether a route has stopped: somebody must mend something, or its
// destination is down. A pause, a window and a destination that asks for patience are
// no stops; a missing worker is one while messages wait.
func (l *lookout) route(in *store.RouteLedger) observed {
	b := l.b
	o := observed{what: "route/" + in.Name, hold: b.operators().StoppedFor}
	info := ferry.RouteInfo{Name: in.Name, Conditions: b.conditions(in), Pending: in.Pending, Pull: in.Pull}
	if info.State = gravest(info.Conditions); in.Several {
		b.describeSeveral(&info) // while one of them delivers, the route has not stopped
	}
	state := info.State
	switch {
	case state == ferry.RouteUnauthorized, state == ferry.RouteUnavailable, state == ferry.RouteNoWorker && in.Pending > 0:
		o.state = string(state)
	case state == ferry.RoutePaused, state == ferry.RouteWindow:
		// Whether it is well again is seen afterwards.
		o.state = l.told[o.what].State
		return o
	default:
		if l.told[o.what].State == "" {
			return o
		}
		e := &ferry.OperatorEvent{
			Type: ferry.EventRouteRecovered, Route: in.Name, Condition: state, Pending: in.Pending,
			Text: fmt.Sprintf("route %s is well again, %s", in.Name, waits(in.Pending)),
		}
		o.event = e
		return o
	}
	e := &ferry.OperatorEvent{
		Type: ferry.EventRouteStopped, Route: in.Name, Condition: state, Pending: in.Pending, Reason: reasonOf(&info, state),
	}
	for _, c := range info.Conditions {
		if c.Type == state {
			e.Since, e.Worker = c.Since.UTC(), c.Worker
			break
		}
	}
	info.Worker = e.Worker
	e.Hint = whatToDo(&info)
	e.Text = fmt.Sprintf("route %s has stopped, %s, since %s: %s; %s", in.Name, state, e.Since.Format(time.RFC3339), e.Reason, waits(in.Pending))
	o.event = e
	return o
}

func waits(n int64) string {
	switch n {
	case 0:
		return "no message waits"
	case 1:
		return "1 message waits"
	default:
		return fmt.Sprintf("%d messages wait", n)
	}
}

// deadLetters says whether there are too many. Told once, it is over when there are
// less than four fifths.
func (l *lookout) deadLetters(what, route string, n, most int64) observed {
	o := observed{what: what}
	told := l.told[what].State == stateAbove
	if n <= most && (!told || n*5 < most*4 || n == 0) {
		return o
	}
	o.state = stateAbove
	of := "in all"
	if route != "" {
		of = "on route " + route
	}
	o.event = &ferry.OperatorEvent{
		Type: ferry.EventDeadLettersAbove, Route: route, DeadLetters: n, Threshold: most,
		Text: fmt.Sprintf("%d dead letters wait for a person %s, more than %d", n, of, most),
		Hint: "broker dlq groups shows what they have in common; nothing is lost meanwhile",
	}
	return o
}

// worker says whether a worker is lost: it was heard in this run and fell silent
// without a goodbye, or a route is bound to it and it was not heard since the start.
func (l *lookout) worker(name string, bound bool, now time.Time) observed {
	b := l.b
	o := observed{what: "worker/" + name}
	s := b.fleet.get(name)
	told := l.told[o.what].State
	var since time.Time
	switch {
	case s != nil && s.left:
		o.state = stateLeft
		return o
	case s != nil:
		since = s.at
	case told != "" || !bound: // as it was before the start
		o.state = told
		return o
	default:
		since = b.startedAt
	}
	silent := now.Sub(since)
	if silent < b.operators().WorkerLostAfter {
		o.hold = b.operators().StoppedFor // well: but not if it comes and goes
		if silent > b.opts.NoWorkerAfter {
			o.state = told // neither
		}
		return o
	}
	o.state = stateLost
	o.event = &ferry.OperatorEvent{
		Type: ferry.EventWorkerLost, Worker: name, Since: since.UTC(),
		Text: fmt.Sprintf("worker %s is silent since %s", name, since.UTC().Format(time.RFC3339)),
		Hint: "look at its machine: is the worker running, and can it reach the broker? its messages wait",
	}
	return o
}

// disk says whether room is low or critical. It is over when there is a tenth more.
func (l *lookout) disk(free int64) observed {
	ops := l.b.operators()
	o := observed{what: "disk"}
	told := l.told["disk"].State
	lasts := func(bound int64, state ...string) bool {
		for _, s := range state {
			if told == s {
				return free < bound+bound/10
			}
		}
		return free < bound
	}
	most := ops.DiskLowBelow
	switch {
	case lasts(ops.DiskCriticalBelow, stateCritical):
		o.state, most = stateCritical, ops.DiskCriticalBelow
	case lasts(ops.DiskLowBelow, stateLow, stateCritical):
		if o.state = stateLow; told == stateCritical {
			return o // better than it was: no news
		}
	default:
		return o
	}
	o.event = &ferry.OperatorEvent{
		Type: ferry.EventDiskLow, Level: o.state, FreeBytes: free, Threshold: most,
		Text: fmt.Sprintf("room on the broker's disk is %s: %d MiB are free", o.state, free>>20),
		Hint: "make room before less than 16 MiB are free: then senders are refused until there is some; nothing that was accepted is touched",
	}
	return o
}
