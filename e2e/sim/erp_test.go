package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ferry"
	"ferry/adapters"
)

// erp is the destination: its documents, what it is still writing, and what was
// asked of it.
type erp struct {
	mu    sync.Mutex
	docs  []doc
	late  []lateWrite
	ops   map[string]string // what became of a message that was taken, by where it is asked
	calls []*call
}

// doc is a document: of which message, and of which revision of its body.
type doc struct {
	letter   string
	revision int
}

// lateWrite is a document that is being written after its call has ended.
type lateWrite struct {
	doc
	until time.Time // it is there by then; zero: it may take for ever
	op    string    // where it is asked for; empty: nobody was told of it
}

// call is one call as the destination saw it.
type call struct {
	letter     string
	turn       uint64
	revision   int
	generation int
	by         *life
	end        string // how it ended: "", while it runs
	reached    bool   // the destination has it
}

func (e *erp) has(letter string) (doc, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.docs {
		if d.letter == letter {
			return d, true
		}
	}
	return doc{}, false
}

func (e *erp) hasDoc(want doc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.docs {
		if d == want {
			return true
		}
	}
	return false
}

// mayHave says whether a document is there or on its way.
func (e *erp) mayHave(letter string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.docs {
		if d.letter == letter {
			return true
		}
	}
	for _, l := range e.late {
		if l.letter == letter {
			return true
		}
	}
	return false
}

// end notes how a call ended.
func (e *erp) end(c *call, how string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.end = how
}

func (e *erp) reach(c *call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.reached = true
}

// charges counts the calls of a generation that may cost an attempt: those that
// failed, or whose outcome their worker did not learn.
func (e *erp) charges(letter string, generation int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, c := range e.calls {
		if c.letter == letter && c.generation == generation && c.end != "done" && c.end != "free" {
			n++
		}
	}
	return n
}

func (e *erp) failures(letter string, generation int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, c := range e.calls {
		if c.letter == letter && c.generation == generation && c.end == "failed" {
			n++
		}
	}
	return n
}

// adapter is how one life of a worker reaches the destination; it is the
// adapter and the destination.
type adapter struct {
	w *world
	l *life
}

func (a *adapter) CanLookup() bool { return a.w.cfg.lookup }

func (a *adapter) Preview(context.Context, adapters.Call) (adapters.Preview, error) {
	return adapters.Preview{}, nil
}

func (a *adapter) Route(adapters.RouteConfig) (adapters.Adapter, error) { return a, nil }
func (a *adapter) Check(context.Context) error                          { return nil }
func (a *adapter) Close() error                                         { return nil }

func (a *adapter) Probe(context.Context) error {
	if a.l.isDead() {
		return errDead
	}
	return nil
}

func verdictOf(kind ferry.VerdictKind, effect ferry.Effect, status int) ferry.Verdict {
	return ferry.Verdict{Kind: kind, Effect: effect, Status: status, Text: "the destination says " + string(kind)}
}

// Deliver is one call: a gate before the destination sees it, and one before its
// answer arrives.
func (a *adapter) Deliver(ctx context.Context, in adapters.Call) ferry.Verdict {
	e, letter := &a.w.erp, a.w.letterOf(in.ID.String())
	c := &call{letter: letter, turn: in.Turn, revision: in.Revision, generation: in.Generation, by: a.l}
	words := fmt.Sprintf("%s posts %s.%d r%d", a.l.name, letter, in.Turn, in.Revision)
	a.w.calling(a.l, c, in.Spent)
	p, err := a.w.park(ctx, &gate{
		of: a.l, kind: "post", words: words,
		ways: []way{ordinary, fail, reject, busy, down, auth, late},
	})
	if err != nil {
		return a.cut(c, err)
	}
	switch p.way {
	case fail:
		e.end(c, "failed")
		a.w.tellf("%s: it fails", words)
		return verdictOf(ferry.Failed, ferry.EffectNone, 500)
	case reject:
		if a.w.cfg.idempotent && e.mayHave(letter) {
			break // what it took once it does not reject
		}
		e.end(c, "free")
		a.w.tellf("%s: rejected", words)
		return verdictOf(ferry.Rejected, ferry.EffectNone, 422)
	case busy:
		e.end(c, "free")
		a.w.tellf("%s: too many requests", words)
		v := verdictOf(ferry.Throttled, ferry.EffectNone, 429)
		v.RetryAfter = 3 * time.Second
		return v
	case down:
		e.end(c, "free")
		a.w.tellf("%s: nobody is there", words)
		return verdictOf(ferry.Unavailable, ferry.EffectNone, 0)
	case auth:
		e.end(c, "free")
		a.w.tellf("%s: wrong password", words)
		return verdictOf(ferry.Unauthorized, ferry.EffectNone, 401)
	case late:
		e.end(c, "unknown")
		a.w.tellf("%s: timeout, the ERP is still writing", words)
		a.w.writeLate(doc{letter, in.Revision})
		return verdictOf(ferry.Unknown, ferry.EffectMaybe, 504)
	}
	if a.w.cfg.later {
		return a.taken(ctx, c, words)
	}
	return a.written(ctx, in, c, words)
}

// written is the rest of a call that reached the destination.
func (a *adapter) written(ctx context.Context, in adapters.Call, c *call, words string) ferry.Verdict {
	a.w.erp.reach(c)
	known := a.w.write(doc{c.letter, c.revision})
	a.w.tellf("%s: %s", words, map[bool]string{false: "written", true: "known already"}[known])
	p, err := a.w.park(ctx, &gate{
		of: a.l, kind: "posted", words: fmt.Sprintf("the ERP answers %s about %s.%d", a.l.name, c.letter, c.turn),
		ways: []way{ordinary, answerLost},
	})
	if err != nil {
		return a.cut(c, err)
	}
	if p.way == answerLost {
		a.w.erp.end(c, "unknown")
		a.w.tellf("the ERP's answer to %s about %s.%d is lost", a.l.name, c.letter, c.turn)
		return verdictOf(ferry.Unknown, ferry.EffectMaybe, 0)
	}
	a.w.erp.end(c, "done")
	a.w.tellf("the ERP answers %s about %s.%d", a.l.name, c.letter, c.turn)
	v := verdictOf(ferry.Delivered, ferry.EffectDone, 201)
	if known {
		v.Kind = ferry.Duplicate
	}
	v.Reference = "DOC-" + c.letter
	return v
}

// cut is a call that ended before its answer: at its deadline, or with its worker.
// Calls of one deadline notice it one after the other.
func (a *adapter) cut(c *call, err error) ferry.Verdict {
	a.w.erp.end(c, "unknown")
	a.noticed(fmt.Sprintf("%s's call of %s.%d is cut", a.l.name, c.letter, c.turn), err)
	return verdictOf(ferry.Unknown, ferry.EffectMaybe, 0)
}

func (a *adapter) noticed(words string, err error) {
	if errors.Is(err, errDead) {
		return
	}
	if _, err := a.w.park(context.Background(), &gate{of: a.l, kind: "cut", words: words, ways: []way{ordinary}}); err == nil {
		a.w.tellf("%s", words)
	}
}

// Lookup is truthful: it finds what is written when the destination sees it.
func (a *adapter) Lookup(ctx context.Context, in adapters.Call) adapters.LookupResult {
	letter := a.w.letterOf(in.ID.String())
	words := fmt.Sprintf("%s looks %s up", a.l.name, letter)
	unanswered := adapters.LookupResult{Verdict: verdictOf(ferry.Unavailable, ferry.EffectNone, 0)}
	cut := func(err error) adapters.LookupResult {
		a.noticed(fmt.Sprintf("%s's lookup of %s is cut", a.l.name, letter), err)
		return unanswered
	}
	p, err := a.w.park(ctx, &gate{of: a.l, kind: "look", words: words, ways: []way{ordinary, refused}})
	if err != nil {
		return cut(err)
	}
	if p.way == refused {
		a.w.tellf("%s: no answer", words)
		return unanswered
	}
	a.w.mu.Lock()
	a.w.message(letter).turns[in.Turn] = in.Revision
	a.w.mu.Unlock()
	found, ok := a.w.erp.has(letter)
	a.w.tellf("%s: %s", words, map[bool]string{false: "absent", true: "found"}[ok])
	p, err = a.w.park(ctx, &gate{of: a.l, kind: "looked", words: fmt.Sprintf("the ERP answers %s's lookup of %s", a.l.name, letter), ways: []way{ordinary, answerLost}})
	if err != nil {
		return cut(err)
	}
	if p.way == answerLost {
		a.w.tellf("the ERP's answer to %s's lookup of %s is lost", a.l.name, letter)
		return unanswered
	}
	if !ok {
		return adapters.LookupResult{State: adapters.Absent}
	}
	return adapters.LookupResult{State: adapters.Found, Reference: "DOC-" + found.letter}
}
