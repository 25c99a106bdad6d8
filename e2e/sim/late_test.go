package sim

import (
	"context"
	"fmt"
	"time"

	"ferry"
	"ferry/adapters"
)

// What the destination writes after its call has ended: late, or because it
// answers later.

// writeLate begins a document that is there later.
func (w *world) writeLate(d doc) {
	w.erp.add(lateWrite{doc: d, until: w.writtenBy()})
}

// writtenBy is when a document that is begun now is there; zero: nobody knows.
func (w *world) writtenBy() time.Time {
	switch {
	case w.cfg.lateForever:
		return time.Time{}
	case w.cfg.later:
		return time.Now().Add(confirmTime - time.Second)
	default:
		return time.Now().Add(settleTime - 100*time.Millisecond)
	}
}

func (e *erp) add(l lateWrite) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.late = append(e.late, l)
}

// nextLate is which document must be there next, and when.
func (w *world) nextLate() (n int, until time.Time) {
	w.erp.mu.Lock()
	defer w.erp.mu.Unlock()
	for i, l := range w.erp.late {
		if !l.until.IsZero() && (until.IsZero() || l.until.Before(until)) {
			n, until = i, l.until
		}
	}
	return n, until
}

// finishLate writes the nth document that is still being written.
func (w *world) finishLate(n int) {
	w.erp.mu.Lock()
	l := w.erp.late[n]
	w.erp.late = append(w.erp.late[:n:n], w.erp.late[n+1:]...)
	w.erp.mu.Unlock()
	words := fmt.Sprintf("the ERP finishes writing %s r%d late", l.letter, l.revision)
	if l.op != "" {
		words = fmt.Sprintf("the ERP carries out %s: %s r%d", l.op, l.letter, l.revision)
		if w.left[rejects] > 0 && !w.erp.mayHave(l.letter) && w.draw(3) == 0 {
			w.left[rejects]--
			w.erp.became(l.op, "rejected")
			w.tellf("%s: rejected", words)
			return
		}
	}
	known := w.write(l.doc)
	w.erp.became(l.op, "written")
	w.tellf("%s%s", words, map[bool]string{true: ": known already"}[known])
}

func (e *erp) became(op, what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ops == nil {
		e.ops = map[string]string{}
	}
	e.ops[op] = what
}

// taken is the rest of a call to a destination that says later what became of it.
func (a *adapter) taken(ctx context.Context, c *call, words string) ferry.Verdict {
	op := fmt.Sprintf("operation %s.%d.%s", c.letter, c.turn, a.l.name)
	a.w.erp.add(lateWrite{doc: doc{c.letter, c.revision}, until: a.w.writtenBy(), op: op})
	a.w.erp.became(op, "running")
	a.w.erp.reach(c)
	a.w.tellf("%s: taken", words)
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
	a.w.erp.end(c, "later") // what became of it may never be learned
	a.w.tellf("the ERP answers %s about %s.%d: later", a.l.name, c.letter, c.turn)
	v := verdictOf(ferry.InProgress, ferry.EffectMaybe, 202)
	v.StatusURL = op
	return v
}

// Poll asks what became of a message that was taken.
func (a *adapter) Poll(ctx context.Context, in adapters.Call) ferry.Verdict {
	letter := a.w.letterOf(in.ID.String())
	words := fmt.Sprintf("%s asks for %s", a.l.name, in.StatusURL)
	a.w.mu.Lock()
	a.w.message(letter).turns[in.Turn] = in.Revision
	a.w.mu.Unlock()
	unanswered := verdictOf(ferry.Unavailable, ferry.EffectNone, 0)
	p, err := a.w.park(ctx, &gate{of: a.l, kind: "look", words: words, ways: []way{ordinary, refused}})
	if err != nil {
		a.noticed(words+": it is cut", err)
		return unanswered
	}
	if p.way == refused {
		a.w.tellf("%s: no answer", words)
		return unanswered
	}
	a.w.erp.mu.Lock()
	what := a.w.erp.ops[in.StatusURL]
	a.w.erp.mu.Unlock()
	a.w.tellf("%s: %s", words, what)
	p, err = a.w.park(ctx, &gate{of: a.l, kind: "looked", words: "the ERP answers what became of " + in.StatusURL + ", " + a.l.name, ways: []way{ordinary, answerLost}})
	if err != nil {
		a.noticed(words+": the answer is cut", err)
		return unanswered
	}
	if p.way == answerLost {
		a.w.tellf("the answer about %s is lost", in.StatusURL)
		return unanswered
	}
	switch what {
	case "written":
		v := verdictOf(ferry.Delivered, ferry.EffectDone, 200)
		v.Reference = "DOC-" + letter
		return v
	case "rejected":
		return verdictOf(ferry.Rejected, ferry.EffectNone, 200)
	case "running":
		v := verdictOf(ferry.InProgress, ferry.EffectMaybe, 202)
		return v
	}
	v := verdictOf(ferry.Unknown, ferry.EffectMaybe, 404)
	v.Code = adapters.CodeForgotten
	return v
}
