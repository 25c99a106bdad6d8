package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry"
	"ferry/broker"
	"ferry/queue"
)

// fault is something that goes wrong, or that an operator does.
type fault int

// The faults: of processes, of the queue, of single steps; and the acts.
const (
	workerKill fault = iota
	brokerKill
	bothKill
	powerCut     // the broker is killed, and the queue is empty
	drain        // a worker stops in an orderly way
	wipe         // a worker loses its inbox
	freeze       // a worker stands still for a while, and does not know
	purge        // the queue loses the messages
	loseReceipts // the queue loses the receipts
	expire       // every lock ends, nobody has noticed
	repeat       // the receipts come again
	copies       // the messages come again

	fails
	rejects
	busies
	downs
	auths
	lates      // the destination writes after its call ended
	losts      // its answer is lost
	unanswered // a lookup is not answered
	publishes  // a publication is refused, or its answer lost
	settles    // a settling is refused, or its answer lost
	talks      // what broker and worker say to each other is lost

	replay
	edit
	discard
	early // discard, while the message is pending
	accept
	restore
	bind
	pause

	faultsEnd
)

// faults says how often each may strike.
type faults [faultsEnd]int

func (f fault) String() string {
	return [...]string{
		"worker kill", "broker kill", "both killed", "power cut", "drain", "wipe", "freeze", "purge", "lost receipts", "expired locks",
		"repeated receipts", "copied messages", "fail", "reject", "busy", "down", "wrong password", "late write", "lost answer",
		"unanswered lookup", "lost publication", "lost settling", "lost talk", "replay", "edit", "discard", "early discard",
		"accept", "restore", "bind", "pause",
	}[f]
}

// struck counts the crashes and losses so far: each may cost one call more.
func (w *world) struck() int {
	n := 0
	for _, f := range []fault{workerKill, brokerKill, bothKill, powerCut, drain, wipe, freeze, purge, loseReceipts, expire, publishes, settles} {
		n += w.cfg.faults[f] - w.left[f]
	}
	return n
}

// behind says which fault is behind a way through a gate of a kind.
func behind(kind string, through way) fault {
	switch kind {
	case "post":
		return map[way]fault{fail: fails, reject: rejects, busy: busies, down: downs, auth: auths, late: lates}[through]
	case "posted":
		return losts
	case "look", "looked":
		return unanswered
	case "publish", "tell":
		return publishes
	case "settle", "acknowledge":
		return settles
	default:
		return talks
	}
}

// may says whether a fault can strike now.
func (w *world) may(f fault) bool {
	if w.left[f] == 0 {
		return false
	}
	switch f {
	case workerKill, drain, wipe, freeze:
		return len(w.alive()) > 0
	case brokerKill, powerCut:
		return w.broker != nil
	case bothKill:
		return w.broker != nil && len(w.alive()) > 0
	case purge, copies:
		return w.mem.Len(queue.MessagesOf(route)) > 0
	case loseReceipts, repeat:
		return w.mem.Len(queue.AllReceipts()) > 0
	case expire:
		return w.mem.Len(queue.MessagesOf(route))+w.mem.Len(queue.AllReceipts()) > 0
	case replay, edit, discard, early, accept, restore:
		return w.broker != nil && w.acting == nil && len(w.targets(f)) > 0
	case bind, pause:
		return w.broker != nil && w.acting == nil
	}
	return false // it strikes at a gate
}

// alive are the workers that run and are not stopping.
func (w *world) alive() []int {
	var list []int
	for i, worker := range w.workers {
		if worker != nil && !worker.draining {
			list = append(list, i)
		}
	}
	return list
}

func (w *world) draw(n int) int {
	if w.cfg.noChance || n <= 1 {
		return 0
	}
	return w.rng.IntN(n)
}

// strike does it.
func (w *world) strike(f fault) {
	w.left[f]--
	switch f {
	case workerKill, wipe:
		i := w.alive()[w.draw(len(w.alive()))]
		w.killWorkerNow(i)
		if f == wipe {
			w.tellf("W%d has lost its inbox", i+1)
			w.inboxAt[i] = w.folder()
		}
	case brokerKill:
		w.tellf("the broker is killed")
		w.killBroker()
	case bothKill:
		w.tellf("broker and workers are killed")
		w.killBroker()
		for _, i := range w.alive() {
			w.killWorker(i)
		}
		w.mem.ExpireLocks()
	case powerCut:
		w.tellf("power cut: the broker is killed, the queue is empty")
		w.killBroker()
		w.mem.Forget()
	case drain:
		i := w.alive()[w.draw(len(w.alive()))]
		w.tellf("W%d is asked to stop", i+1)
		w.drain(i)
	case freeze:
		i := w.alive()[w.draw(len(w.alive()))]
		d := time.Duration(5+w.draw(40)) * time.Second
		w.tellf("W%d stands still for %s", i+1, d)
		w.workers[i].freeze(time.Now().Add(d))
	case purge:
		w.tellf("the queue loses the messages")
		w.mem.Purge(queue.MessagesOf(route))
	case loseReceipts:
		w.tellf("the queue loses the receipts")
		w.mem.Purge(queue.AllReceipts())
	case expire:
		w.tellf("every lock expires, nobody has noticed")
		w.mem.ExpireLocks()
	case repeat:
		w.tellf("the receipts will come again")
		w.mem.Duplicate(queue.AllReceipts())
	case copies:
		w.tellf("the messages will come again")
		w.mem.Duplicate(queue.MessagesOf(route))
	default:
		w.operate(f)
	}
}

// killWorkerNow kills a worker; a call that is on its way may be written all the same.
func (w *world) killWorkerNow(i int) {
	w.tellf("W%d is killed", i+1)
	var under []doc
	if w.left[lates] > 0 && w.draw(2) == 1 {
		w.erp.mu.Lock()
		for _, c := range w.erp.calls {
			if c.by == w.workers[i].life && c.end == "" && !w.answering(c) {
				under = append(under, doc{c.letter, c.revision})
			}
		}
		w.erp.mu.Unlock()
	}
	w.killWorker(i)
	for _, d := range under {
		if w.left[lates] > 0 {
			w.left[lates]--
			w.tellf("its call of %s r%d is on its way", d.letter, d.revision)
			w.writeLate(d)
		}
	}
}

// answering says whether the call has reached the destination.
func (w *world) answering(c *call) bool {
	for _, g := range w.list() {
		if g.of == c.by && g.kind == "posted" && strings.HasSuffix(g.words, fmt.Sprintf("%s.%d", c.letter, c.turn)) {
			return true
		}
	}
	return false
}

// act is what an operator asks for, until it is answered.
type act struct {
	words   string
	b       *brokerLife
	done    chan error
	refused func() // nothing was done: it explains nothing
}

// targets are the messages that an act makes sense for.
func (w *world) targets(f fault) []*message {
	var list []*message
	for _, m := range w.msgs {
		e := &m.seen
		dead := e.State == ferry.StateDeadLettered && e.DeadLetter != nil
		ok := false
		switch f {
		case replay, edit:
			// Who replays an unknown outcome where nobody can be asked accepts a second
			// document: that is not drawn.
			ok = dead && (e.DeadLetter.Reason != ferry.ReasonOutcomeUnknown || w.cfg.lookup || w.cfg.idempotent)
		case discard:
			ok = dead
		case accept:
			_, has := w.erp.has(m.letter)
			ok = dead && has
		case early:
			ok = e.State.Pending() && !e.ID.IsZero()
		case restore:
			ok = e.State == ferry.StateDiscarded
		}
		if ok {
			list = append(list, m)
		}
	}
	return list
}

// operate begins an act; the ledger's commits come in their own time.
func (w *world) operate(f fault) {
	switch f {
	case bind:
		w.bindTo(w.draw(w.cfg.workers))
		return
	case pause:
		if w.paused() {
			w.resume()
			return
		}
		w.left[pause]++ // it is counted when it ends
		w.begin("pauses the route", func(ctx context.Context, b *broker.Broker) error {
			_, err := b.Pause(ctx, route, "simulated", time.Time{}, "operator")
			return err
		})
		return
	}
	targets := w.targets(f)
	m := targets[w.draw(len(targets))]
	w.actOn(f, m)
}

// bindTo hands the route over. What may have been handed out before may have been
// begun, as far as anybody knows.
func (w *world) bindTo(i int) {
	w.rebound = true
	name := workerName(i)
	w.begin("binds the route to "+name, func(ctx context.Context, b *broker.Broker) error {
		_, err := b.BindRoute(ctx, route, name, "simulated", "operator")
		return err
	})
}

func (w *world) paused() bool {
	infos, err := w.broker.b.RouteInfos(context.Background())
	return err == nil && len(infos) == 1 && infos[0].State == ferry.RoutePaused
}

func (w *world) resume() {
	w.begin("resumes the route", func(ctx context.Context, b *broker.Broker) error {
		_, err := b.Resume(ctx, route, "simulated", "operator")
		return err
	})
}

func (w *world) actOn(f fault, m *message) {
	m.asked[f]++
	e, told := m.seen, m.told
	defer func() {
		w.acting.refused = func() { m.asked[f]--; m.told = told }
	}()
	switch f {
	case replay, edit:
		var body []byte
		words := "replays " + m.letter
		if f == edit {
			body = fmt.Appendf(nil, `{"letter":%q,"revision":%d}`, m.letter, e.Revision+1)
			words = fmt.Sprintf("edits %s: r%d", m.letter, e.Revision+1)
		}
		w.begin(words, func(ctx context.Context, b *broker.Broker) error {
			_, err := b.Replay(ctx, m.id, body, "application/json", "simulated", "operator")
			return err
		})
	case accept:
		w.begin("accepts "+m.letter, func(ctx context.Context, b *broker.Broker) error {
			_, err := b.AcceptDeadLetter(ctx, m.id, "DOC-"+m.letter, "simulated", "operator")
			return err
		})
	case restore:
		w.begin("restores "+m.letter, func(ctx context.Context, b *broker.Broker) error {
			_, err := b.Restore(ctx, m.id, "simulated", "operator")
			return err
		})
	default:
		m.told = m.told || mayExist(&e)
		w.begin("discards "+m.letter, func(ctx context.Context, b *broker.Broker) error {
			_, err := b.Discard(ctx, m.id, "simulated", "operator")
			return err
		})
	}
}

// mayExist says whether whoever looks at the message sees that it may be written.
func mayExist(e *ferry.Envelope) bool {
	if e.DeadLetter != nil {
		return e.DeadLetter.Reason == ferry.ReasonOutcomeUnknown || e.DeadLetter.Reason == ferry.ReasonAlreadyExists
	}
	n := len(e.Attempts)
	return n > 0 && e.Attempts[n-1].Effect == ferry.EffectMaybe
}

func (w *world) begin(words string, do func(ctx context.Context, b *broker.Broker) error) {
	w.tellf("the operator %s", words)
	a := &act{words: words, b: w.broker, done: make(chan error, 1)}
	w.acting = a
	go func() { a.done <- do(context.Background(), a.b.b) }()
}

// reapAct takes the answer to an operator who waits.
func (w *world) reapAct() {
	if w.acting == nil {
		return
	}
	select {
	case err := <-w.acting.done:
		a := w.acting
		w.acting = nil
		var known *ferry.Error
		switch {
		case a.b.isDead():
			w.tellf("the operator who %s gets no answer", a.words)
		case err != nil:
			if a.refused != nil {
				a.refused()
			}
			if errors.As(err, &known) {
				err = errors.New(string(known.Code))
			}
			w.tellf("the operator is refused: %v", err)
		default:
			w.tellf("the operator who %s is done", a.words)
		}
	default:
	}
}
