package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// asking is a broker that also takes reports.
type asking struct {
	*world
	pages []queue.ReportPage
	fails int // answers that are lost
	stop  bool
}

func (a *asking) Report(_ context.Context, _ string, p queue.ReportPage) (queue.ReportAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pages = append(a.pages, p)
	if a.fails > 0 {
		a.fails--
		return queue.ReportAnswer{}, errors.New("the answer is lost")
	}
	return queue.ReportAnswer{Stop: a.stop}, nil
}

// inAskingWorld is inWorld with a broker that takes reports.
func inAskingWorld(t *testing.T, test func(a *asking)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.stop[0]() // the world's own answers, which know no reports
		a := &asking{world: w}
		stop, err := w.broker.Serve(w.t.Context(), a)
		if err != nil {
			w.t.Fatal(err)
		}
		w.stop[0] = stop
		test(a)
	})
}

func (a *asking) ask(call queue.ReportCall) []queue.ReportPage {
	a.t.Helper()
	again := a.fails > 0
	a.say(func(*world) { a.pages = nil })
	a.signal(queue.Signal{Report: &call})
	if again {
		a.signal(queue.Signal{Report: &call}) // while the first answer is on its way
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pages
}

func TestAWorkerTellsWhatItsInboxKnows(t *testing.T) {
	inAskingWorld(t, func(a *asking) {
		t, w := a.t, a.world
		w.run()
		h := w.handOut()
		w.publish(h)
		w.only()
		old := ferry.NewID(time.Now().Add(-48 * time.Hour))
		for i := range queue.ReportPageMost {
			id := ferry.NewID(time.Now().Add(time.Duration(i+1) * time.Second))
			if i == 0 {
				id = old
			}
			if err := w.worker.inbox.put(t.Context(), id, &record{state: begun, turn: 7}); err != nil {
				t.Fatal(err)
			}
		}
		a.fails = 1
		pages := a.ask(queue.ReportCall{Nonce: "n1"})
		if len(pages) != 3 || pages[0].Page != 0 || pages[1].Page != 0 || pages[2].Page != 1 || pages[1].Last || !pages[2].Last {
			t.Fatalf("%d pages: %+v", len(pages), pages)
		}
		all := append(pages[1].Records, pages[2].Records...)
		if len(all) != queue.ReportPageMost+1 || all[0].ID != old || !all[0].Begun || all[0].Turn != 7 || all[0].Route != "" {
			t.Errorf("%d records, the first %+v", len(all), all[0])
		}
		if r := all[1]; r.ID != h.ID || !r.HasIt || r.Open || r.Reference != "INV-1" || r.Route != testRoute || r.Begun {
			t.Errorf("the delivered one: %+v", r)
		}
		if p := pages[1]; p.Nonce != "n1" || p.Worker != "erp-worker-1" || p.Inbox != w.worker.Inbox() {
			t.Errorf("who says so: %q %q %q", p.Nonce, p.Worker, p.Inbox)
		}
		if pages := a.ask(queue.ReportCall{Nonce: "n2", Since: time.Now().Add(-time.Hour)}); pages[0].Records[0].ID != h.ID {
			t.Errorf("since an hour ago: %+v", pages[0].Records[0])
		}
		a.stop = true
		if pages := a.ask(queue.ReportCall{Nonce: "n3"}); len(pages) != 1 {
			t.Errorf("%d pages after the broker said that it wants no more", len(pages))
		}
	})
}

// What the broker has not confirmed is told so: its receipt may be on the way.
func TestUnconfirmedResultsAreOpen(t *testing.T) {
	inAskingWorld(t, func(a *asking) {
		a.say(func(w *world) { w.mute = true })
		a.run()
		a.publish(a.handOut())
		a.only()
		pages := a.ask(queue.ReportCall{Nonce: "n"})
		if len(pages) != 1 || len(pages[0].Records) != 1 || !pages[0].Records[0].Open || !pages[0].Records[0].HasIt {
			a.t.Errorf("%+v", pages)
		}
	})
}
