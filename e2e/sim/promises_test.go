package sim

import (
	"context"
	"fmt"
	"strings"

	"ferry"
	"ferry/queue"
)

// The promises, as the model names them. A broken one is noted with its name in
// front; only the first counts.

// broke notes a broken promise; w.mu is held.
func (w *world) broke(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
		w.story.add("BROKEN %s", w.broken)
	}
}

func (w *world) brokePromise() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// calling notes a call before the destination sees it: nobody may have been
// charged for more than what failed until then (I8).
func (w *world) calling(l *life, c *call, spent int) {
	if l.isDead() {
		return
	}
	before := w.erp.charges(c.letter, c.generation)
	w.erp.mu.Lock()
	w.erp.calls = append(w.erp.calls, c)
	w.erp.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.message(c.letter).called = true
	w.message(c.letter).turns[c.turn] = c.revision
	if spent > before {
		w.broke("I8: %s.%d has cost %d attempts, and %d calls may have failed", c.letter, c.turn, spent, before)
	}
}

// claims notes that a worker asks for a turn: from then on it may have it.
func (w *world) claims(r *queue.ClaimRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.message(w.letterOf(r.ID.String())).called = true
}

// holds notes who has a turn.
func (w *world) holds(l *life, r *queue.ClaimRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holders[w.letterOf(r.ID.String())] = holder{of: l, id: r.ID, turn: r.Turn}
}

// write is the destination writing a document. known: it had one and refuses
// another.
func (w *world) write(d doc) (known bool) {
	w.erp.mu.Lock()
	defer w.erp.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.message(d.letter)
	behind := ""
	for _, other := range w.erp.docs {
		switch {
		case other.letter == d.letter && w.cfg.idempotent:
			return true
		case other == d:
			w.broke("I2: two documents for one external key, of %s r%d", d.letter, d.revision)
		case other.letter == d.letter:
			w.broke("I3: both bodies of %s were posted, r%d and r%d", d.letter, other.revision, d.revision)
		case other.letter > d.letter && w.cfg.keyed:
			behind = other.letter
		}
	}
	if behind != "" && !m.moved && !m.told && !w.message(behind).moved {
		w.broke("I4: %s is written after %s", d.letter, behind)
	}
	if m.seen.State == ferry.StateDiscarded && !m.told {
		w.broke("I6: %s is written after it was discarded", d.letter)
	}
	w.erp.docs = append(w.erp.docs, d)
	return false
}

// checkClaims holds receipts against the destination: who says that it has a
// revision must be right (I3), who says that it has the message too (I5).
func (w *world) checkClaims(packets []queue.Packet) {
	for _, p := range packets {
		r, err := queue.DecodeReceipt(p.Data)
		if err != nil || !r.Verdict.HasIt() {
			continue
		}
		letter := w.letterOf(r.ID.String())
		there, has := w.erp.has(letter)
		w.mu.Lock()
		m := w.message(letter)
		switch turn, known := m.turns[r.Turn]; {
		case !has:
			w.broke("I5: a receipt says that the ERP has %s, and it has not", letter)
		case r.Revision == 0 && known && there.revision != turn:
			w.broke("I3: a receipt says that the ERP has %s of turn %d, which was r%d, and it has r%d", letter, r.Turn, turn, there.revision)
		case r.Revision != 0 && !w.erp.hasDoc(doc{letter, r.Revision}):
			w.broke("I3: a receipt says that the ERP has r%d of %s, and it has another", r.Revision, letter)
		}
		w.mu.Unlock()
	}
}

// acknowledged notes what the broker has heard: it must not forget it.
func (w *world) acknowledged(p queue.Packet) {
	parts := strings.Split(p.ID, ".")
	if len(parts) > 3 && ferry.VerdictKind(parts[3]).HasIt() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.message(w.letterOf(parts[0])).heard = true
	}
}

// observe looks at the ledger after every step.
func (w *world) observe() {
	if w.broker == nil {
		return
	}
	pending, byState := 0, map[ferry.State]int64{}
	var words []string
	for _, m := range w.msgs {
		e, err := w.broker.b.Message(context.Background(), m.id)
		if err != nil {
			if m.accepted || !m.seen.ID.IsZero() {
				w.mu.Lock()
				w.broke("I7: %s was accepted, and the ledger does not have it: %v", m.letter, err)
				w.mu.Unlock()
			}
			continue
		}
		if e.State.Pending() {
			pending++
		}
		byState[e.State]++
		if said := w.moved(m, &e); said != "" {
			words = append(words, said)
		}
		m.seen = e
	}
	if len(words) > 0 {
		w.tellf("the ledger: %s", strings.Join(words, ", "))
	}
	w.reconcile(int64(pending), byState)
}

// moved holds a message's move in the ledger against the promises, and says it
// in words.
func (w *world) moved(m *message, e *ferry.Envelope) string {
	before, was := m.seen, m.seen.State
	if before.ID.IsZero() || was == e.State && before.Generation == e.Generation && before.Conflict == e.Conflict {
		if before.ID.IsZero() {
			return m.letter + " is " + string(e.State)
		}
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, has := w.erp.has(m.letter)
	now := e.State
	switch {
	case was == now:
	case was == ferry.StateCompleted:
		w.broke("I5: %s was completed, and is %s", m.letter, now)
	case was == ferry.StateDiscarded:
		if !m.explains(restore) {
			w.broke("I5: %s was discarded, and is %s", m.letter, now)
		}
		m.moved = true
	case now == ferry.StateCompleted && !has && !m.explains(accept):
		w.broke("I5: %s is completed, and the ERP does not have it", m.letter)
	case now == ferry.StateDiscarded && !m.explains(discard) && !m.explains(early):
		w.broke("I5: %s is discarded, and nobody asked for it", m.letter)
	case was == ferry.StateDeadLettered && now.Pending() && !m.explains(replay) && !m.explains(edit):
		w.broke("I5: %s was a dead letter, and is %s", m.letter, now)
	}
	said := m.letter + " is " + string(now)
	if now == ferry.StateDeadLettered && e.DeadLetter != nil {
		said += " (" + string(e.DeadLetter.Reason) + ")"
		w.checkDead(m, e)
	}
	if e.Conflict != "" {
		said += ", a conflict"
	}
	if now == ferry.StateDiscarded && (e.Conflict != "" || mayExist(e)) {
		m.told = true // whoever discarded it sees it in the answer
	}
	return said
}

// checkDead holds a fresh dead letter's reason against what really happened.
func (w *world) checkDead(m *message, e *ferry.Envelope) {
	switch e.DeadLetter.Reason {
	case ferry.ReasonOutcomeUnknown, ferry.ReasonAlreadyExists:
		if !m.called && !w.rebound {
			w.broke("I9: %s may already exist, and nobody ever began it", m.letter)
		}
		if e.DeadLetter.Reason == ferry.ReasonOutcomeUnknown && w.cfg.lookup && !w.cfg.later {
			w.broke("I9: %s may already exist, and nobody asked the ERP, which can be asked", m.letter)
		}
	case ferry.ReasonAttemptsExhausted:
		if n := w.erp.charges(m.letter, e.Generation); n < w.cfg.budget {
			w.broke("I8: %s is exhausted after %d calls of %d", m.letter, n, w.cfg.budget)
		}
	}
	if e.DeadLetter.Reason != ferry.ReasonOutcomeUnknown && e.DeadLetter.Reason != ferry.ReasonAlreadyExists && !w.cfg.lateForever && w.erp.mayHave(m.letter) {
		w.broke("I9: %s is given up as %s, and the ERP has it or is writing it", m.letter, e.DeadLetter.Reason)
	}
	if n := w.erp.failures(m.letter, e.Generation); n > w.cfg.budget+w.struck() {
		w.broke("I8: %s failed %d times with a budget of %d", m.letter, n, w.cfg.budget)
	}
}

// explains says whether somebody asked for the act, once per asking.
func (m *message) explains(f fault) bool {
	if m.asked[f] == 0 {
		return false
	}
	m.asked[f]--
	return true
}

// reconcile: accepted = pending + completed + dead-lettered + discarded (I7). The proof
// walks the whole ledger: with the race detector not at every look.
func (w *world) reconcile(pending int64, byState map[ferry.State]int64) {
	if w.looks++; w.looks%reconcileEvery != 0 {
		return
	}
	rows, err := w.broker.b.Reconcile(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.broke("I7: the ledger cannot be reconciled: %v", err)
	}
	for _, r := range rows {
		if !r.Balanced || r.Pending != pending || r.Completed != byState[ferry.StateCompleted] ||
			r.DeadLetters != byState[ferry.StateDeadLettered] || r.Discarded != byState[ferry.StateDiscarded] {
			w.broke("I7: the counts do not add up: %+v", r)
		}
	}
}
