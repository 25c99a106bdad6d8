package sim

import (
	"context"
	"fmt"
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
	backup       // the ledger is copied, and the second time put in the place of the one at hand
	rogue        // a worker reports on a turn that another has claimed
	away         // the broker is killed, and stays away for long
	deaf         // a worker and the broker do not hear each other for long; the queue is there
	stale        // a hello of earlier arrives once more

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
		"repeated receipts", "copied messages", "backup", "rogue worker", "broker away", "deaf worker", "stale hello",
		"fail", "reject", "busy", "down", "wrong password", "late write", "lost answer",
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
	case workerKill, drain, wipe, freeze, deaf:
		return len(w.alive()) > 0
	case stale:
		return w.broker != nil && len(w.hellos) > 0
	case brokerKill, powerCut, away:
		return w.broker != nil
	case bothKill:
		return w.broker != nil && len(w.alive()) > 0
	case purge, copies:
		return w.mem.Len(queue.MessagesOf(route)) > 0
	case loseReceipts, repeat:
		return w.mem.Len(queue.AllReceipts()) > 0
	case expire:
		return w.mem.Len(queue.MessagesOf(route))+w.mem.Len(queue.AllReceipts()) > 0
	case backup:
		return w.broker != nil && (w.backupAt != "" || w.allAccepted())
	case rogue:
		return w.claimedByOther() != nil
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
		if w.cfg.outlives {
			d *= 1 + time.Duration(w.draw(4))
		}
		w.tellf("W%d stands still for %s", i+1, d)
		w.workers[i].freeze(time.Now().Add(d))
	case away:
		d := w.long()
		w.tellf("the broker is killed, and is away for %s", d)
		w.killBroker()
		w.away = time.Now().Add(d)
	case deaf:
		i := w.alive()[w.draw(len(w.alive()))]
		d := w.long()
		w.tellf("W%d and the broker do not hear each other for %s", i+1, d)
		w.workers[i].deafen(time.Now().Add(d))
	case stale:
		w.helloOnceMore()
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
	case backup:
		w.backupOrRestore()
	case rogue:
		w.tellWrongly(w.claimedByOther())
	default:
		w.operate(f)
	}
}

// backupOrRestore copies the ledger, and the next time goes on from the copy. What
// the world knew of the messages is forgotten with it.
func (w *world) backupOrRestore() {
	if w.backupAt == "" {
		w.tellf("the ledger is copied")
		w.backupAt = w.snapshot(w.ledgerAt, "ledger.db", broker.ConfirmKeyFile)
		return
	}
	w.tellf("the ledger is lost, and its copy takes its place")
	w.killBroker()
	w.ledgerAt, w.backupAt = w.backupAt, ""
	w.ledgerFile++
	w.rebound = true
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.msgs {
		m.seen, m.heard, m.asked = ferry.Envelope{}, false, map[fault]int{}
		m.moved = true // it may be back that was discarded
	}
	w.holders = map[string]holder{}
}

// long is a time that is long against a word of the broker, or longer than one.
func (w *world) long() time.Duration {
	return time.Duration(10+w.draw(290)) * time.Second
}

const hellosKept = 5

// keepHello keeps what a worker said, for one that arrives late.
func (w *world) keepHello(l *life, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := append(w.hellos[l.name], data)
	w.hellos[l.name] = list[max(len(list)-hellosKept, 0):]
}

// helloOnceMore has the broker hear a hello of before once more: it lay in the
// queue. Nobody waits for the answer any more.
func (w *world) helloOnceMore() {
	i := w.draw(w.cfg.workers)
	w.mu.Lock()
	list := w.hellos[fmt.Sprintf("W%d", i+1)]
	w.mu.Unlock()
	if len(list) == 0 {
		return
	}
	n := w.draw(len(list))
	w.tellf("a hello of W%d arrives once more, the last but %d", i+1, len(list)-1-n)
	data := list[n]
	w.stale.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn := w.mem.Worker(workerName(i), route)
		_, _ = conn.Request(ctx, data)
		_ = conn.Close(ctx)
	})
}

func (w *world) allAccepted() bool {
	for _, m := range w.msgs {
		if !m.accepted {
			return false
		}
	}
	return true
}

// holder is who was granted a turn last.
type holder struct {
	of   *life
	id   ferry.ID
	turn uint64
}

// claimedByOther is a turn that somebody holds who is not the only worker.
func (w *world) claimedByOther() *holder {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.msgs {
		if h, ok := w.holders[m.letter]; ok && len(w.workers) > 1 && m.seen.State == ferry.StateQueued {
			return &h
		}
	}
	return nil
}

// tellWrongly has a worker that holds nothing report that a turn failed.
func (w *world) tellWrongly(h *holder) {
	i := 0
	for h.of.name == fmt.Sprintf("W%d", i+1) {
		i++
	}
	w.tellf("W%d says that %s.%d failed, which %s has claimed", i+1, w.letterOf(h.id.String()), h.turn, h.of.name)
	r := ferry.Receipt{
		ID: h.id, Route: route, Turn: h.turn, Revision: 1, Generation: 1, Worker: workerName(i), Inbox: "another",
		Verdict: ferry.Failed, Effect: ferry.EffectNone, Next: ferry.Next{Do: ferry.DoRetry, Spends: 1},
	}
	conn := w.mem.Worker(workerName(i), route)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err := conn.Publish(context.Background(), queue.AllReceipts(), []queue.Packet{{ID: r.QueueID() + ".wrong." + fmt.Sprint(w.left[rogue]), Data: queue.EncodeReceipt(&r)}})
	if err != nil {
		w.tellf("it does not get through: %v", err)
	}
}

// killWorkerNow kills a worker; a call that is on its way may be written all the same.
func (w *world) killWorkerNow(i int) {
	w.tellf("W%d is killed", i+1)
	var under []doc
	if w.left[lates] > 0 && w.draw(2) == 1 {
		w.erp.mu.Lock()
		for _, c := range w.erp.calls {
			if c.by == w.workers[i].life && c.end == "" && !c.reached {
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
