package sim

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// crashPoint is a moment between two durable steps of the protocol, in the words
// of the model.
type crashPoint struct {
	name string
	at   func(w *world) bool          // it is reached
	hold func(w *world, g *gate) bool // who may not go on before it is; nil: nobody
	ways map[string]way               // by kind of gate: other than the ordinary way, once
	only func(cfg config) bool        // in which worlds it exists; nil: in all
}

// waits says whether somebody waits at a gate of the kind whose words have a part.
func (w *world) waits(kind, part string) bool {
	for _, g := range w.list() {
		if g.kind == kind && strings.Contains(g.words, part) {
			return true
		}
	}
	return false
}

func (w *world) isIn(state ferry.State) bool { return w.msgs[0].seen.State == state }

func (w *world) stageOf() stage {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.hands["W1"]["A"]; h != nil {
		return h.stage
	}
	return -1
}

func (w *world) receipts() int { return w.mem.Len(queue.AllReceipts()) }
func (w *world) messages() int { return w.mem.Len(queue.MessagesOf(route)) }

func kinds(list ...string) func(w *world, g *gate) bool {
	return func(_ *world, g *gate) bool {
		for _, kind := range list {
			if g.kind == kind {
				return true
			}
		}
		return false
	}
}

func crashPoints() []crashPoint {
	const begins, onDisk = "begins", "on disk"
	claims := func(cfg config) bool { return cfg.several }
	bound := func(cfg config) bool { return !cfg.several }
	failing := map[string]way{"post": fail}
	return []crashPoint{
		{name: "posted by the sender, not committed", at: func(w *world) bool { return w.msgs[0].sending != nil && w.waits("commit", begins) }},
		{name: "accepted on disk, the sender not told", at: func(w *world) bool { return w.msgs[0].sending != nil && w.isIn(ferry.StateAccepted) }},
		{name: "accepted", at: func(w *world) bool { return w.msgs[0].accepted }},
		{name: "about to be handed out, on disk", at: func(w *world) bool { return w.isIn(ferry.StateQueued) && w.waits("commit", onDisk) }},
		{name: "not yet published", at: func(w *world) bool { return w.waits("publish", "A.1") }},
		{name: "published", at: func(w *world) bool { return w.messages() == 1 && w.waits("receive", "W1") }},
		{name: "received", at: func(w *world) bool { return w.stageOf() == received }},
		{name: "begun not on disk", at: func(w *world) bool { return w.stageOf() == received && w.waits("commit", "W1 begins") }, only: bound},
		{name: "begun on disk", at: func(w *world) bool { return w.stageOf() == calling && w.waits("commit", "W1 has") }, only: bound},
		{name: "claim asked", at: func(w *world) bool { return w.waits("ask", "W1 claims") }, only: claims},
		{name: "claim not committed", at: func(w *world) bool { return w.claimOnItsWay() && w.waits("commit", "B begins") }, only: claims},
		{name: "claim committed", at: func(w *world) bool { return w.claimOnItsWay() && w.waits("commit", "B has") }, only: claims},
		{name: "claim answered, not heard", at: func(w *world) bool { return w.waits("answer", "granted") }, only: claims},
		{name: "ERP called, not written", at: func(w *world) bool { return w.waits("post", "W1") }},
		{name: "ERP wrote, no answer", at: func(w *world) bool { return w.waits("posted", "W1") }},
		{name: "answered, nothing noted", at: func(w *world) bool { return w.stageOf() == ended && w.waits("tell", "A.1") }, hold: kinds("tell")},
		{
			name: "result on disk, receipt not sent", hold: kinds("tell"),
			at: func(w *world) bool { return w.stageOf() == recorded && !w.waits("commit", "W1") },
		},
		{
			name: "receipt sent, result not on disk", hold: func(w *world, g *gate) bool {
				return g.kind == "hears" || g.kind == "commit" && g.of.name == "W1" && w.stageOf() == ended
			},
			at: func(w *world) bool { return w.receipts() == 1 && w.stageOf() == ended },
		},
		{name: "receipt sent", at: func(w *world) bool { return w.receipts() == 1 && w.stageOf() == recorded }, hold: kinds("hears")},
		{name: "receipt received, not committed", at: func(w *world) bool {
			return w.waits("commit", "B begins") && w.receipts() == 1 && w.stageOf() == recorded
		}},
		{name: "receipt committed", at: func(w *world) bool { return w.isIn(ferry.StateCompleted) && w.waits("commit", "B has") }},
		{name: "receipt not completed in the queue", at: func(w *world) bool { return w.isIn(ferry.StateCompleted) && w.waits("acknowledge", "B") }},
		{name: "receipt completed, not confirmed", at: func(w *world) bool { return w.waits("confirm", "W1") }},
		{name: "confirmed, not written down", at: func(w *world) bool {
			return w.isIn(ferry.StateCompleted) && w.waits("commit", "W1 begins") && w.receipts() == 0
		}},
		{name: "delivery not settled", at: func(w *world) bool { return w.waits("settle", "W1") }},
		{name: "delivery settled", at: func(w *world) bool { return w.isIn(ferry.StateCompleted) && w.messages() == 0 }},
		{name: "failed, receipt committed", at: func(w *world) bool { return w.isIn(ferry.StateRetrying) && w.waits("commit", "B has") }, ways: failing},
		{name: "retry waits for its time", at: func(w *world) bool { return w.isIn(ferry.StateRetrying) && w.messages() == 0 && w.receipts() == 0 }, ways: failing},
		{name: "retry published", at: func(w *world) bool { return w.messages() == 1 && w.waits("receive", "W1") && w.tried() }, ways: failing},
		{name: "retry begun", at: func(w *world) bool { return w.waits("post", "A.2") }, ways: failing},
		{name: "answer lost, receipt sent", at: func(w *world) bool { return w.receipts() == 1 && w.stageOf() >= ended }, ways: map[string]way{"posted": answerLost}, hold: kinds("hears")},
		{name: "waited out, about to be looked up", at: func(w *world) bool { return w.waits("look", "W1") }, ways: map[string]way{"posted": answerLost}, only: func(cfg config) bool { return cfg.lookup && !cfg.idempotent }},
		{name: "looked up, no answer", at: func(w *world) bool { return w.waits("looked", "W1") }, ways: map[string]way{"posted": answerLost}, only: func(cfg config) bool { return cfg.lookup && !cfg.idempotent }},
		{name: "taken, about to be asked what became of it", at: func(w *world) bool { return w.waits("look", "asks for") }, only: func(cfg config) bool { return cfg.later }},
		{name: "said what became of it, nobody heard", at: func(w *world) bool { return w.waits("looked", "what became of") }, only: func(cfg config) bool { return cfg.later }},
	}
}

func (w *world) tried() bool { return len(w.msgs[0].seen.Attempts) > 0 }

// claimOnItsWay says whether W1 has asked and not been answered.
func (w *world) claimOnItsWay() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.hands["W1"]["A"]
	_, held := w.holders["A"]
	return h != nil && h.stage == received && w.msgs[0].called && !held
}

// reach leads the world to the point by the ordinary way.
func (w *world) reach(p crashPoint) bool {
	ways := map[string]way{}
	for kind, other := range p.ways {
		ways[kind] = other
	}
	idle := 50 * time.Millisecond
	for range 3000 {
		synctest.Wait()
		w.reap()
		w.observe()
		if w.brokePromise() != "" {
			return false
		}
		if p.at(w) {
			return true
		}
		if m := w.nextToSend(); m != nil && m.sending == nil {
			w.send(m)
			continue
		}
		moved := false
		for _, g := range w.list() {
			if p.hold != nil && p.hold(w, g) {
				continue
			}
			through := passage{way: ordinary}
			if other, ok := ways[g.kind]; ok {
				through.way = other
				delete(ways, g.kind)
			}
			g.open <- through
			moved = true
			break
		}
		if moved {
			w.pass(tick)
		} else {
			w.pass(idle)
			idle = min(idle*5/4, time.Second)
		}
	}
	return false
}

// TestCrashPoints ends broker, worker or both, with and without the queue, at
// every moment between two durable steps, once, by the script.
func TestCrashPoints(t *testing.T) {
	worlds := []struct {
		name string
		cfg  config
	}{
		{"lookup", oneWorker()},
		{"blind", oneWorker().blind()},
		{"honours the key", oneWorker().honouring()},
		{"two workers, lookup", twoWorkers()},
		{"two workers, blind", twoWorkers().blind()},
		{"two workers, honours the key", twoWorkers().honouring()},
		{"answers later", oneWorker().answersLater()},
		{"two workers, answers later", twoWorkers().answersLater()},
	}
	ends := []fault{workerKill, brokerKill, bothKill, powerCut}
	for _, p := range crashPoints() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for _, world := range worlds {
				if p.only != nil && !p.only(world.cfg) {
					continue
				}
				for _, end := range ends {
					crash(t, world.name, world.cfg, p, end)
				}
			}
		})
	}
}

func crash(t *testing.T, name string, cfg config, p crashPoint, end fault) {
	t.Helper()
	cfg.noChance, cfg.budget = true, 3 // a kill in a call may cost an attempt
	dir := workspace(t)
	defer func() { _ = os.RemoveAll(dir) }()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, cfg, 1)
		defer w.end()
		if !w.reach(p) {
			t.Errorf("%s: it never comes to that: %s\n%s", name, w.brokePromise(), w.story.String())
			return
		}
		w.left[end]++
		w.strike(end)
		if broken := w.quiet(); broken != "" {
			t.Errorf("%s, %s: %s\n%s", name, end, broken, w.story.String())
			return
		}
		w.endedWell(t, name, end)
	})
}

// endedWell: the document is there once, or a person is told that it may be.
func (w *world) endedWell(t *testing.T, name string, end fault) {
	t.Helper()
	m := w.msgs[0]
	dead := m.seen.DeadLetter != nil && m.seen.DeadLetter.Reason == ferry.ReasonOutcomeUnknown
	switch {
	case m.seen.State == ferry.StateCompleted && len(w.erp.docs) == 1:
	case !w.cfg.lookup && !w.cfg.idempotent && dead && len(w.erp.docs) <= 1:
	default:
		t.Errorf("%s, %s: %s, with %d documents\n%s", name, end, m.seen.State, len(w.erp.docs), w.story.String())
	}
}
