package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry"
	"ferry/broker"
)

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
		_, err := b.BindRoute(ctx, route, name, false, "simulated", "operator")
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
	return e.WaitingFor != nil && e.WaitingFor.Open
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
