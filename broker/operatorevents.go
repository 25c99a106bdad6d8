package broker

import (
	"context"
	"slices"
	"time"

	"ferry"
	"ferry/internal/disk"
	"ferry/store"
)

// Operators says whom to tell what needs the people who run the broker, and when.
type Operators struct {
	Targets []OperatorTarget
	// StoppedFor is how long a route must have stopped, and be well again; WorkerLostAfter
	// how long a worker must be silent. Default a minute, and two.
	StoppedFor, WorkerLostAfter time.Duration
	// Dead letters of a route, and of all, beyond which operators are told; default 100,
	// and 1,000.
	DeadLettersAbove, DeadLettersTotalAbove int64
	// Free bytes of the disk; default 2 GiB, and 512 MiB.
	DiskLowBelow, DiskCriticalBelow int64
	// DiskFree stands in for the system's, in tests.
	DiskFree func(path string) (int64, error)
}

// OperatorTarget is an address that is told.
type OperatorTarget struct {
	Name   string
	Format string                    // see ferry.OperatorFormatEvent
	URL    func() (string, error)    // often a secret: read for each call
	Events []ferry.OperatorEventType // none: all
	Routes []string                  // none: all
}

func (o *Operators) complete() {
	setDefault(&o.StoppedFor, ferry.DefaultStoppedFor)
	setDefault(&o.WorkerLostAfter, ferry.DefaultWorkerLost)
	for _, n := range []struct {
		at        *int64
		otherwise int64
	}{
		{&o.DeadLettersAbove, ferry.DefaultManyDead},
		{&o.DeadLettersTotalAbove, ferry.DefaultManyDeadTotal},
		{&o.DiskLowBelow, ferry.DefaultDiskLow},
		{&o.DiskCriticalBelow, ferry.DefaultDiskCritical},
	} {
		if *n.at == 0 {
			*n.at = n.otherwise
		}
	}
	if o.DiskFree == nil {
		o.DiskFree = disk.Free
	}
}

func (t *OperatorTarget) hears(e *ferry.OperatorEvent) bool {
	return (len(t.Events) == 0 || slices.Contains(t.Events, e.Type)) &&
		(len(t.Routes) == 0 || e.Route == "" || slices.Contains(t.Routes, e.Route))
}

// lookoutEvery is how often conditions are looked at.
const lookoutEvery = 5 * time.Second

// lookout is what was seen of the conditions that operators are told of: nothing is
// told that has not lasted. What was told lies in the ledger.
type lookout struct {
	b    *Broker
	seen map[string]*sight
	told map[string]ferry.ToldCondition
	// saidAt is when the log last said that nothing can be told.
	saidAt time.Time
}

// sight is what one thing is in now, as far as it is known.
type sight struct {
	state string // empty: well
	since time.Time
	round int // when it was last looked at
}

// SetOperators changes whom operators' events are told to, and when, from the next
// look on.
func (b *Broker) SetOperators(o Operators) {
	o.complete()
	b.telling.Store(&o)
}

// operators is as it is configured now. Callers do not change it.
func (b *Broker) operators() *Operators { return b.telling.Load() }

// watchForOperators tells operators what needs them, until ctx ends.
func (b *Broker) watchForOperators(ctx context.Context) {
	l := &lookout{b: b, seen: map[string]*sight{}}
	for round := 1; ctx.Err() == nil; round++ {
		sleep(ctx, lookoutEvery)
		if !b.operatorsListen() {
			continue
		}
		if l.told == nil && !l.recall() {
			continue
		}
		for _, c := range l.conditions(time.Now()) {
			l.look(ctx, c, round)
		}
		l.forgetGone(ctx, round)
	}
}

func (b *Broker) operatorsListen() bool {
	return len(b.operators().Targets) > 0 || b.ledger.OperatorsSubscribe()
}

// recall reads what was told before this run.
func (l *lookout) recall() bool {
	list, err := l.b.ledger.Told()
	if err != nil {
		l.b.log.Warn("what operators were told of could not be read", "error", err)
		return false
	}
	l.told = map[string]ferry.ToldCondition{}
	for _, t := range list {
		l.told[t.What] = t
	}
	return true
}

// observed is what one thing is in now.
type observed struct {
	what  string
	state string // empty: well
	// hold is how long the state must last before it counts.
	hold time.Duration
	// event is what a change to the state tells; nil: nothing.
	event *ferry.OperatorEvent
}

// look takes what was seen, and tells it once it has lasted.
func (l *lookout) look(ctx context.Context, o observed, round int) {
	now := time.Now()
	s := l.seen[o.what]
	if s == nil {
		s = &sight{state: o.state, since: now}
		l.seen[o.what] = s
	}
	s.round = round
	if s.state != o.state {
		s.state, s.since = o.state, now
	}
	if o.state == l.told[o.what].State || now.Sub(s.since) < o.hold {
		return
	}
	l.tell(ctx, o, s, now)
}

func (l *lookout) tell(ctx context.Context, o observed, s *sight, now time.Time) {
	b := l.b
	t := store.Telling{What: o.what}
	if o.state != "" {
		t.Told = ferry.ToldCondition{What: o.what, State: o.state, Since: s.since.UTC(), At: now.UTC()}
		if was := l.told[o.what]; o.event == nil && was.Type != "" { // better than what was told last
			t.Told.Type, t.Told.At = was.Type, was.At
		}
	}
	if e := o.event; e != nil {
		e.Time, e.Environment, e.Broker = now.UTC(), b.opts.Environment, b.opts.PublicURL
		if e.Since.IsZero() {
			e.Since = s.since.UTC()
		}
		e.Docs = "docs/operations.md#" + docsOf(e.Type)
		if b.opts.Environment != "" {
			e.Text = b.opts.Environment + ": " + e.Text
		}
		t.Told.Type, t.Event = e.Type, e
		targets := b.operators().Targets
		for i := range targets {
			if target := &targets[i]; target.hears(e) {
				t.Targets = append(t.Targets, ferry.NoticeTarget{Kind: ferry.ReplyOperator, Target: target.Name})
			}
		}
	}
	if err := b.ledger.TellOperators(ctx, t); err != nil {
		if ctx.Err() == nil && now.Sub(l.saidAt) >= time.Minute {
			l.saidAt = now
			b.log.Warn("operators could not be told: it is tried again", "what", o.what, "state", o.state, "error", err)
		}
		return
	}
	if o.state == "" {
		delete(l.told, o.what)
	} else {
		l.told[o.what] = t.Told
	}
	if t.Event != nil {
		b.metrics.toldTotal.WithLabelValues(string(t.Event.Type)).Inc()
		b.log.Info("operators.told", "event", t.Event.Type, "what", o.what, "text", t.Event.Text, "targets", len(t.Targets))
	}
}

// forgetGone forgets what is no longer there to be looked at: a route that was
// removed, a worker that was revoked. Nobody is told.
func (l *lookout) forgetGone(ctx context.Context, round int) {
	for what, s := range l.seen {
		if s.round != round {
			delete(l.seen, what)
		}
	}
	for what := range l.told {
		if l.seen[what] != nil {
			continue
		}
		if err := l.b.ledger.TellOperators(ctx, store.Telling{What: what}); err == nil {
			delete(l.told, what)
		}
	}
}

// addressOperator fills in where an operator event goes and what signs it.
func (b *Broker) addressOperator(e *ferry.Ending) (wanted bool, err error) {
	t := b.operatorTarget(e.To.Target)
	if t == nil || e.Operator == nil {
		return false, nil // it was taken out of the file
	}
	e.URL, err = t.URL()
	e.Format, e.Secrets = t.Format, [][]byte{b.derive(forOperator, t.Name, 1)}
	return true, err
}

func (b *Broker) operatorTarget(name string) *OperatorTarget {
	targets := b.operators().Targets
	for i := range targets {
		if t := &targets[i]; t.Name == name {
			return t
		}
	}
	return nil
}

// shownOperator is what may be shown of a target.
func (b *Broker) shownOperator(name string) string {
	if t := b.operatorTarget(name); t != nil {
		if url, err := t.URL(); err == nil {
			return ferry.MaskURL(url)
		}
	}
	return name
}

// Operating says whom operators' events are told to, and what they were told of and
// holds still.
func (b *Broker) Operating(context.Context) (ferry.Operating, error) {
	told, err := b.ledger.Told()
	told = slices.DeleteFunc(told, func(t ferry.ToldCondition) bool {
		return t.Type == "" || t.State == stateLeft // remembered, but nobody was told
	})
	is := ferry.Operating{Targets: []ferry.OperatorTargetInfo{}, Told: told}
	targets := b.operators().Targets
	for i := range targets {
		t := &targets[i]
		to := ferry.NoticeTarget{Kind: ferry.ReplyOperator, Target: t.Name}
		info := ferry.OperatorTargetInfo{
			Name: t.Name, Callback: b.shownOperator(t.Name), Format: t.Format, Events: t.Events, Routes: t.Routes,
			Waiting: b.ledger.NoticesFor(to), Failing: b.outbox.failing(to),
		}
		if len(info.Events) == 0 {
			info.Events = ferry.OperatorEventTypes()
		}
		is.Targets = append(is.Targets, info)
	}
	return is, err
}

// OperatorSecret is what events are signed with that a target is told.
func (b *Broker) OperatorSecret(_ context.Context, name string) (ferry.CallbackSecret, error) {
	if b.operatorTarget(name) == nil {
		return ferry.CallbackSecret{}, ferry.Errorf(ferry.CodeNotFound, "operators.notify has no target %q", cut(name, 64)).WithHint("GET /v1/operators lists them")
	}
	return ferry.CallbackSecret{Secret: secretText(b.derive(forOperator, name, 1))}, nil
}
