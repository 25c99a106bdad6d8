package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ferry"
	"ferry/internal/disk"
	"ferry/store"
)

// lowDisk is when status warns: well before the ledger stops accepting.
const lowDisk = 1 << 30

// RouteInfos lists the routes as configured, with their state and counts.
func (b *Broker) RouteInfos(context.Context) ([]ferry.RouteInfo, error) {
	list := make([]ferry.RouteInfo, 0, len(b.names()))
	for _, name := range b.names() {
		info, err := b.routeInfo(name)
		if err != nil {
			return nil, err
		}
		if info.Retired && info.Pending+info.DeadLetters == 0 {
			continue // nothing is left to tell of it
		}
		list = append(list, info)
	}
	return list, nil
}

func (b *Broker) routeInfo(name string) (ferry.RouteInfo, error) {
	r, ok := b.route(name)
	if !ok {
		return ferry.RouteInfo{}, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", name).WithHint("broker routes list shows them")
	}
	in, err := b.ledger.Route(name)
	if err != nil {
		return ferry.RouteInfo{}, err
	}
	info := ferry.RouteInfo{
		Name: name, Title: r.Heading(), Description: r.Description, Conditions: b.conditions(&in),
		Pending: in.Pending, Parked: in.Parked, Awaiting: in.Awaiting, InQueue: r.relay.inQueue(), Accepted: in.Accepted,
		Completed: in.Completed, Discarded: in.Discarded, ByReason: in.Dead, Owner: r.Owner,
		Retired: r.Retired, Intake: b.table.Load().Intake(name), Replies: b.outbox.waiting(name),
	}
	for _, n := range in.Dead {
		info.DeadLetters += n
	}
	info.State, info.Leaving = gravest(info.Conditions), b.leaving(&in)
	info.Stopping, info.NextWindow = b.comesToRest(&in), b.nextWindow(name)
	switch {
	case in.Pull:
		info.Pull, info.InQueue = true, int(in.Locked)
		info.Worker, _ = b.lastReceiver(&in)
	case in.Several:
		b.describeSeveral(&info)
	case in.Binding != nil:
		info.Worker = in.Binding.Worker
		if s := b.fleet.get(info.Worker); s != nil && b.fleet.heard(info.Worker) {
			info.NextProbe, info.Calls = s.routes[name].NextProbe, s.routes[name].Calls
		}
	}
	oldest, err := b.ledger.OldestPending(name)
	if err != nil {
		return info, err
	}
	if !oldest.IsZero() {
		info.OldestPending = &oldest
	}
	info.Hint = whatToDo(&info)
	return info, nil
}

// conditions gathers what holds on a route: from the ledger, and from what its
// worker last said.
func (b *Broker) conditions(in *store.RouteLedger) []ferry.Condition {
	list := []ferry.Condition{}
	now := time.Now()
	if c := pauseOf(in, now); c != nil {
		list = append(list, *c)
	}
	if c := b.windowOf(in.Name, now); c != nil {
		list = append(list, *c)
	}
	switch {
	case in.Pull:
		list = append(list, b.pullConditions(in)...)
	case in.Several:
		list = append(list, b.severalConditions(in.Name)...)
	case in.Binding == nil:
		list = append(list, ferry.Condition{Type: ferry.RouteNoWorker, Since: b.startedAt, Reason: "no worker has asked for this route yet"})
	case !b.fleet.heard(in.Binding.Worker):
		c := ferry.Condition{Type: ferry.RouteNoWorker, Since: b.startedAt, Worker: in.Binding.Worker, Reason: "its worker has not been heard since the broker started"}
		if s := b.fleet.get(in.Binding.Worker); s != nil {
			c.Since, c.Reason = s.at.UTC(), "its worker is silent"
			if s.left {
				c.Reason = "its worker was stopped"
			}
		}
		list = append(list, c)
	default:
		list = append(list, b.boundConditions(in)...)
	}
	return list
}

// boundConditions lists what the bound worker, which was heard lately, says of a
// route; or that it does not deliver it.
func (b *Broker) boundConditions(in *store.RouteLedger) []ferry.Condition {
	s := b.fleet.get(in.Binding.Worker)
	if s == nil {
		return nil // revoked meanwhile
	}
	none := ferry.Condition{Type: ferry.RouteNoWorker, Since: s.at.UTC(), Worker: in.Binding.Worker}
	if _, asked := s.asked[in.Name]; !asked {
		none.Reason = "its worker does not deliver this route any more"
		return []ferry.Condition{none}
	}
	if s.hello.Inbox != in.Binding.Inbox {
		none.Reason = "its worker came with another inbox: broker workers bind hands the route to it"
		return []ferry.Condition{none}
	}
	var list []ferry.Condition
	for _, c := range s.routes[in.Name].Conditions {
		c.Worker = in.Binding.Worker
		list = append(list, c)
	}
	return list
}

func gravest(conditions []ferry.Condition) ferry.RouteState {
	for _, state := range ferry.RouteStates() {
		if slices.ContainsFunc(conditions, func(c ferry.Condition) bool { return c.Type == state }) {
			return state
		}
	}
	return ferry.RouteRunning
}

// whatToDo says what helps against the gravest condition of a route, if
// anything.
func whatToDo(r *ferry.RouteInfo) string {
	switch r.State {
	case ferry.RouteUnauthorized:
		return "mend the secret, and it is tried at once; broker routes resume " + r.Name + " tries the old one again"
	case ferry.RoutePaused:
		return "broker routes resume " + r.Name
	case ferry.RouteWindow:
		return "nothing to do; it goes on by itself at the end of the window"
	case ferry.RouteUnavailable:
		return "nothing is lost or spent; it goes on by itself when the destination is back"
	case ferry.RouteThrottled:
		return "nothing to do; fewer calls in worker.yaml (rate, concurrency) if it comes often"
	case ferry.RouteNoWorker:
		if r.Pull {
			return "start the receiver: it asks by POST /" + r.Name + "/messages/head, with a key of the role receiver or a SAS token with the right listen"
		}
		if r.Worker == "" {
			return "start a worker that has the route, or broker workers add NAME --routes " + r.Name
		}
		return "look at the machine of " + r.Worker + ": is its worker running, and can it reach the broker?"
	}
	return ""
}

// Pause stops the hand-outs of a route; what workers hold they finish.
func (b *Broker) Pause(ctx context.Context, name, note string, until time.Time, by string) (ferry.RouteInfo, error) {
	if note == "" {
		return ferry.RouteInfo{}, noteRequired("pause")
	}
	if !until.IsZero() && until.Before(time.Now()) {
		return ferry.RouteInfo{}, ferry.Errorf(ferry.CodeBadTime, "until lies in the past")
	}
	if _, err := b.routeInfo(name); err != nil {
		return ferry.RouteInfo{}, err
	}
	if err := b.ledger.Pause(ctx, name, note, until, by); err != nil {
		return ferry.RouteInfo{}, err
	}
	b.helloAgain(ctx, name)
	return b.routeInfo(name)
}

// Resume ends a pause, and lifts a worker's stop for refused credentials.
func (b *Broker) Resume(ctx context.Context, name, note, by string) (ferry.RouteInfo, error) {
	if _, err := b.routeInfo(name); err != nil {
		return ferry.RouteInfo{}, err
	}
	if err := b.ledger.Resume(ctx, name, note, by); err != nil {
		return ferry.RouteInfo{}, err
	}
	b.nudge(name)
	b.helloAgain(ctx, name)
	return b.routeInfo(name)
}

// nudge has whoever hands out a route's messages look again.
func (b *Broker) nudge(name string) {
	if r, ok := b.route(name); ok {
		r.relay.nudge()
		r.receivers.nudgeAll()
	}
}

// Status is what an operator asks for first.
func (b *Broker) Status(ctx context.Context) (ferry.StatusReport, error) {
	routes, unread := b.RouteInfos(ctx)
	if unread != nil {
		routes = []ferry.RouteInfo{} // a status that tells of the rest is worth more than none
	}
	workers, err := b.Workers(ctx)
	if err != nil {
		return ferry.StatusReport{}, err
	}
	s := ferry.StatusReport{
		Environment: b.opts.Environment, Version: b.opts.Version, Routes: routes, Workers: workers,
		DeadLetters: map[ferry.Reason]int64{}, LedgerBytes: b.ledger.Size(), StartedAt: b.startedAt,
	}
	if unread != nil {
		s.Problems = append(s.Problems, "the ledger cannot be read: "+unread.Error())
	}
	switch err := b.Ready(ctx); {
	case err != nil:
		s.Problems = append(s.Problems, err.Error()+": look at the disk and start the broker again, it copies the ledger into a new, checked file first")
	case b.ledger.Full():
		s.Ready = true
		s.Problems = append(s.Problems, "the disk of "+b.opts.DataDir+" is full: senders are told noSpace until there is room")
	default:
		s.Ready = true
	}
	if free, err := disk.Free(b.opts.DataDir); err == nil {
		s.DiskFreeBytes = free
		if free < lowDisk {
			s.Problems = append(s.Problems, fmt.Sprintf("only %d MiB are free on the disk of %s", free>>20, b.opts.DataDir))
		}
	}
	s.Certificate = b.certificate()
	s.Problems = append(s.Problems, certificateProblems(s.Certificate)...)
	if problem := b.away.problem(); problem != "" {
		s.Problems = append(s.Problems, problem)
	}
	var dead int64
	for i := range routes {
		r := &routes[i]
		s.Waiting += r.Pending
		if r.OldestPending != nil && (s.OldestPending == nil || r.OldestPending.Before(*s.OldestPending)) {
			s.OldestPending = r.OldestPending
		}
		for reason, n := range r.ByReason {
			if n > 0 {
				s.DeadLetters[reason] += n
				dead += n
			}
		}
		if state := troubleOf(r); state != ferry.RouteRunning && (state != ferry.RouteNoWorker || r.Pending > 0) {
			hint := r.Hint
			if state != r.State {
				hint = ""
			}
			s.Problems = append(s.Problems, withHelp(fmt.Sprintf("route %s is %s: %s", r.Name, state, reasonOf(r, state)), hint))
		}
		s.CallbacksWaiting += r.Replies
		s.Problems = append(s.Problems, leavingProblems(r)...)
		s.Problems = append(s.Problems, retiredProblems(r)...)
		if in := r.Intake; in != nil && (in.State == ferry.IntakeAway || in.State == ferry.IntakePaused) {
			s.Problems = append(s.Problems, fmt.Sprintf("route %s takes nothing in from the queue %s since %s: %s", r.Name, in.Queue, in.Since.UTC().Format(time.RFC3339), in.Reason))
		}
	}
	s.Problems = append(s.Problems, b.outbox.problems()...)
	s.Operations = b.liveOperations()
	s.Problems = append(s.Problems, stoppedOperations(s.Operations)...)
	if problem := b.keyProblem(); problem != "" {
		s.Problems = append(s.Problems, problem)
	}
	s.Problems = append(s.Problems, b.opts.Problems()...)
	switch {
	case dead == 1:
		s.Problems = append(s.Problems, "1 dead letter waits for a person: broker dlq list")
	case dead > 1:
		s.Problems = append(s.Problems, fmt.Sprintf("%d dead letters wait for a person: broker dlq groups", dead))
	}
	return s, nil
}

// withHelp is a problem and what helps.
func withHelp(problem, hint string) string {
	if hint == "" {
		return problem
	}
	return problem + ": " + hint
}

// troubleOf is the state of a route as far as somebody should know of it: a window
// and a configured rate are as they were meant, and what is amiss meanwhile is told.
func troubleOf(r *ferry.RouteInfo) ferry.RouteState {
	meant := func(c ferry.Condition) bool { return c.Type == ferry.RouteWindow || c.Rate }
	if !slices.ContainsFunc(r.Conditions, func(c ferry.Condition) bool { return meant(c) && c.Type == r.State }) {
		return r.State
	}
	return gravest(slices.DeleteFunc(slices.Clone(r.Conditions), func(c ferry.Condition) bool {
		return meant(c) || r.Several && c.Worker != "" && len(r.Worker) > 0
	}))
}

func reasonOf(r *ferry.RouteInfo, state ferry.RouteState) string {
	for _, c := range r.Conditions {
		if c.Type != state || c.Reason == "" {
			continue
		}
		reason := c.Reason
		if c.By != "" {
			reason += ", by " + c.By
		}
		if c.Until != nil && state == ferry.RoutePaused {
			reason += ", until " + c.Until.UTC().Format(time.RFC3339)
		}
		return reason
	}
	return "no reason was given"
}

// Reconcile recounts the ledger: accepted = pending + completed + dead-lettered
// + discarded, per route and day.
func (b *Broker) Reconcile(context.Context) ([]ferry.Reconciliation, error) {
	return b.ledger.Reconcile()
}

// Audit lists what operators did, oldest first.
func (b *Broker) Audit(_ context.Context, after uint64, since time.Time, limit int) ([]ferry.AuditEntry, error) {
	return b.ledger.Audit(after, since, listLimit(limit))
}
