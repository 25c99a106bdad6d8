package sim

import (
	"context"
	"fmt"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// Bounds of one run.
const (
	chaosSteps  = 350              // in which faults strike
	quietSteps  = 6000             // until every message must have ended
	quietMost   = 3 * time.Hour    // the same, in the world's time
	longestIdle = 10 * time.Second // the world's time that passes at once when nobody can do anything
)

// run lets the world go its way until every message has ended, or a promise is
// broken, and says which.
func (w *world) run() string {
	for range chaosSteps {
		if !w.settle() {
			return w.brokePromise()
		}
		if w.ended() && w.spent() {
			break
		}
		w.chance()
	}
	return w.quiet()
}

// settle lets everybody go on to their next gate, and looks.
func (w *world) settle() bool {
	synctest.Wait()
	w.reap()
	w.observe()
	return w.brokePromise() == ""
}

// reap takes note of who has ended.
func (w *world) reap() {
	for _, m := range w.msgs {
		w.reapSend(m)
	}
	w.reapAct()
	w.reapCall()
	for i, worker := range w.workers {
		if worker == nil || !worker.draining {
			continue
		}
		select {
		case <-worker.drained:
			_ = worker.queue.Close(context.Background())
			worker.kill()
			w.workers[i] = nil
			w.dropHands(worker.life)
			w.tellf("W%d has stopped", i+1)
		default:
		}
	}
}

// step is something that can happen now.
type step struct {
	weight int
	do     func()
}

// chance does one thing of all that can happen.
func (w *world) chance() {
	var steps []step
	add := func(weight int, do func()) { steps = append(steps, step{weight, do}) }
	for _, g := range w.list() {
		add(10, func() { w.open(g, true) })
	}
	for f := range faultsEnd {
		if w.may(f) {
			add(2, func() { w.strike(f) })
		}
	}
	w.addComings(add)
	if w.mayCallBack() {
		add(4, w.callBack)
	}
	for n, l := range w.erp.late {
		weight := 3
		if l.op != "" {
			weight = 1 // it takes its time
		}
		add(weight, func() { w.finishLate(n) })
	}
	idle := 3
	if len(steps) == 0 {
		idle = 1
	}
	add(idle, func() {
		pauses := []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond, 4 * time.Second, 11 * time.Second, 40 * time.Second}
		d := pauses[w.draw(1+w.draw(len(pauses)))]
		if d >= 4*time.Second {
			w.tellf("%s pass", d)
		}
		w.pass(d)
	})
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	n := w.draw(total)
	for _, s := range steps {
		if n -= s.weight; n < 0 {
			s.do()
			break
		}
	}
	w.pass(tick)
}

// addComings adds the starts of what is down, and the next message.
func (w *world) addComings(add func(weight int, do func())) {
	if w.broker == nil && !time.Now().Before(w.away) {
		add(8, func() {
			w.tellf("the broker starts again")
			w.startBroker()
		})
	}
	for i, worker := range w.workers {
		if worker == nil {
			add(5, func() {
				w.tellf("W%d starts again", i+1)
				w.startWorker(i)
			})
		}
	}
	if w.broker != nil && w.acting == nil && w.lost() {
		add(1, func() { w.bindTo(0) })
	}
	if m := w.nextToSend(); m != nil && w.broker != nil {
		add(5, func() { w.send(m) })
	}
}

// nextToSend is the first message that no sender has been told of: one after the
// other, so that their order is that of their letters.
func (w *world) nextToSend() *message {
	for _, m := range w.msgs {
		if m.accepted {
			continue
		}
		if m.sending != nil {
			return nil
		}
		return m
	}
	return nil
}

// open lets one through, by the ordinary way or by a faulty one.
func (w *world) open(g *gate, faulty bool) {
	p := passage{way: ordinary}
	if faulty {
		var others []way
		for _, other := range g.ways[1:] {
			if w.left[behind(g.kind, other)] > 0 {
				others = append(others, other)
			}
		}
		if len(others) > 0 && (w.cfg.eager || w.draw(3) == 0) {
			p.way = others[w.draw(len(others))]
			w.left[behind(g.kind, p.way)]--
		}
		if g.kind == "receive" || g.kind == "hears" {
			p.pick = max(w.draw(6)-2, 0)
		}
	}
	g.open <- p
}

// quiet: nothing strikes any more. Every message must reach its end by itself.
func (w *world) quiet() string {
	w.left, w.away = faults{}, time.Time{}
	for _, worker := range w.workers {
		if worker != nil {
			worker.freeze(time.Time{})
			worker.deafen(time.Time{})
		}
	}
	w.tellf("from here on nothing goes wrong")
	begun, idle := time.Now(), 100*time.Millisecond
	for range quietSteps {
		if !w.settle() {
			return w.brokePromise()
		}
		if w.ended() {
			w.checkEnd()
			return w.brokePromise()
		}
		if time.Since(begun) > quietMost {
			break
		}
		if w.calm() {
			idle = 100 * time.Millisecond
			w.pass(tick)
			continue
		}
		w.pass(idle)
		most := longestIdle
		if w.cfg.slow {
			most = callTimeout / 3 // a call that begins by the clock must not end by it, unseen
		}
		idle = min(idle*5/4, most)
	}
	w.mu.Lock()
	w.broke("I1: it does not come to an end: %s", w.unended())
	w.mu.Unlock()
	return w.brokePromise()
}

// calm does the next thing that happens by itself, and says whether there was one.
func (w *world) calm() bool {
	if list := w.list(); len(list) > 0 {
		w.open(list[w.draw(len(list))], false)
		return true
	}
	var first func()
	w.addComings(func(_ int, do func()) {
		if first == nil {
			first = do
		}
	})
	if first == nil && w.mayCallBack() {
		first = w.callBack
	}
	if first == nil && w.broker != nil && w.acting == nil {
		if w.paused() {
			first = w.resume
		}
	}
	if first == nil && len(w.erp.late) > 0 && w.unended() == stillWriting {
		first = func() { w.finishLate(0) }
	}
	if first != nil {
		first()
	}
	return first != nil
}

// lost says whether the route is bound to an inbox that is gone: a person must
// bind it to another.
func (w *world) lost() bool {
	for _, worker := range w.workers {
		if worker == nil || worker.grant.Load() != grantRefused || worker.isFrozen() || worker.isDeaf() {
			return false
		}
	}
	return true
}

// ended says whether every message has reached an end, and everybody knows.
func (w *world) ended() bool { return w.unended() == "" }

const stillWriting = "the ERP is still writing"

func (w *world) unended() string {
	if w.broker == nil {
		return "the broker is down"
	}
	for _, m := range w.msgs {
		switch {
		case !m.accepted:
			return m.letter + " is not accepted"
		case m.seen.State.Pending() && !w.behindDead(m):
			return m.letter + " is " + string(m.seen.State)
		}
	}
	for i, worker := range w.workers {
		if worker == nil || worker.draining {
			return fmt.Sprintf("W%d is down", i+1)
		}
		if n := worker.worker.Unconfirmed(); n > 0 {
			return fmt.Sprintf("W%d has %d results that nobody confirms", i+1, n)
		}
	}
	if n := w.mem.Len(queue.MessagesOf(route)) + w.mem.Len(queue.AllReceipts()); n > 0 {
		return fmt.Sprintf("%d packets are left in the queue", n)
	}
	if len(w.erp.late) > 0 {
		return stillWriting
	}
	if w.acting != nil || w.telling != nil || len(w.erp.backs) > 0 {
		return "an operator or the ERP waits"
	}
	return ""
}

// behindDead says whether a message waits behind a dead letter of its key, as it is to.
func (w *world) behindDead(m *message) bool {
	if !w.cfg.keyed || m.seen.WaitingFor == nil || m.seen.WaitingFor.Behind == nil {
		return false
	}
	for _, head := range w.msgs {
		if head.id == *m.seen.WaitingFor.Behind {
			return head.seen.State == ferry.StateDeadLettered
		}
	}
	return false
}

// spent says whether nothing can strike any more.
func (w *world) spent() bool {
	for f := range faultsEnd {
		if w.may(f) {
			return false
		}
	}
	return true
}

// checkEnd looks once more when all is over.
func (w *world) checkEnd() {
	for _, m := range w.msgs {
		_, has := w.erp.has(m.letter)
		accepted := false
		for _, a := range m.seen.Acts {
			accepted = accepted || a.Act == "accept"
		}
		if m.heard && !m.moved && m.seen.State != ferry.StateCompleted && m.seen.State != ferry.StateDiscarded {
			w.mu.Lock()
			w.broke("I1: a worker has told that the ERP has %s, and the ledger says %s", m.letter, m.seen.State)
			w.mu.Unlock()
		}
		if m.seen.State == ferry.StateCompleted && !has && !accepted {
			w.mu.Lock()
			w.broke("I5: %s is completed, and the ERP does not have it", m.letter)
			w.mu.Unlock()
		}
	}
}
