package broker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ferry"
)

const (
	tellProblems = 5 // sentences in status
	// A callback that one message asked for is its sender's; only what is down for a
	// while is for operators.
	callbackTries = 8
)

// hostDown is what cannot be told at one host.
type hostDown struct {
	targets, waiting int
	since            time.Time
	why              string
}

// problems are sentences for status: which targets cannot be told, and why.
func (o *outbox) problems() (list []string) {
	hosts := map[string]*hostDown{}
	o.mu.Lock()
	defer o.mu.Unlock()
	for to, t := range o.targets {
		waiting := 0
		if t.fails >= 2 { // once may be a passing fault
			waiting = o.b.ledger.NoticesFor(to)
		}
		switch {
		case waiting == 0:
		case to.Kind == ferry.ReplyCallback:
			if t.fails < callbackTries || t.gone > 0 {
				continue
			}
			h := hosts[hostOf(to.Target)]
			if h == nil {
				h = &hostDown{since: t.since}
				hosts[hostOf(to.Target)] = h
			}
			h.targets++
			h.waiting += waiting
			if !t.since.After(h.since) {
				h.since, h.why = t.since, t.why
			}
		case to.Kind == ferry.ReplyOperator:
			list = append(list, fmt.Sprintf("operators cannot be told at %s since %s, %d events wait: %s",
				to.Target, t.since.UTC().Format(time.RFC3339), waiting, t.why))
		case to.Kind == ferry.ReplySubscription:
			list = append(list, fmt.Sprintf("subscription %s to %s cannot be told since %s, %d wait: %s",
				to.Target, o.b.shownTarget(to), t.since.UTC().Format(time.RFC3339), waiting, t.why))
		default:
			list = append(list, fmt.Sprintf("replies to %s on route %s cannot be sent since %s, %d wait: %s",
				to.Target, to.Route, t.since.UTC().Format(time.RFC3339), waiting, t.why))
		}
	}
	for host, h := range hosts {
		list = append(list, fmt.Sprintf("callbacks to %d addresses of %s cannot be told since %s, %d wait: %s",
			h.targets, host, h.since.UTC().Format(time.RFC3339), h.waiting, h.why))
	}
	slices.Sort(list)
	if more := len(list) - tellProblems; more > 0 {
		list = append(list[:tellProblems], fmt.Sprintf("replies and callbacks to %d more targets cannot be sent", more))
	}
	return list
}

// failing is how a target stands that could not be told, nil when it could.
func (o *outbox) failing(to ferry.NoticeTarget) *ferry.Failing {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.targets[to]
	if t == nil || t.fails == 0 {
		return nil
	}
	return &ferry.Failing{Since: t.since.UTC(), Tries: t.fails, Next: t.next.UTC(), Why: t.why}
}

// callbacks lists the targets of callbacks that something waits for, those that
// fail first.
func (o *outbox) callbacks() []ferry.CallbackTarget {
	list := []ferry.CallbackTarget{}
	for to, waiting := range o.b.ledger.NoticeTargets() {
		if to.Kind == ferry.ReplyServiceBus {
			continue
		}
		c := ferry.CallbackTarget{Kind: to.Kind, Callback: o.b.shownTarget(to), Route: to.Route, Waiting: waiting, Failing: o.failing(to)}
		if to.Kind == ferry.ReplySubscription {
			c.Subscription, _ = ferry.ParseID(to.Target)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b ferry.CallbackTarget) int {
		return cmp.Or(tries(b)-tries(a), b.Waiting-a.Waiting, cmp.Compare(a.Callback, b.Callback))
	})
	return list[:min(len(list), ferry.MaxListLimit)]
}

func tries(c ferry.CallbackTarget) int {
	if c.Failing == nil {
		return 0
	}
	return c.Failing.Tries
}

// waiting is how many ends of a route wait to be told.
func (o *outbox) waiting(route string) int { return o.b.ledger.NoticesOf(route) }
