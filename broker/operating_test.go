package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/queue"
)

// TestWhatHoldsStillWasTold: what is only remembered is not listed as told, and what got
// better without news was told when it was.
func TestWhatHoldsStillWasTold(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		holds := func(want ...string) {
			t.Helper()
			is, err := w.b.Operating(t.Context())
			if err != nil || is.Told == nil {
				t.Fatalf("%+v, %v", is, err)
			}
			var list []string
			for _, c := range is.Told {
				list = append(list, fmt.Sprintf("%s %s %s %s", c.What, c.Type, c.State, c.At.Format(time.TimeOnly)))
			}
			if diff := cmp.Diff(want, list); diff != "" {
				t.Errorf("holds (-want +got):\n%s", diff)
			}
		}
		h := w.worker("erp", orders)
		h.lives(3 * time.Minute)
		if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: "erp", Inbox: h.inbox, Leaving: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		holds()
		p.set(func() { p.free = 500 << 20 })
		time.Sleep(10 * time.Second)
		wantTold(t, p, "diskLow critical ")
		at := p.last.Format(time.TimeOnly)
		holds("disk diskLow critical " + at)
		p.set(func() { p.free = 1000 << 20 })
		time.Sleep(time.Minute)
		holds("disk diskLow low " + at)
		w.restart(p.options)
		time.Sleep(time.Minute)
		holds("disk diskLow low " + at)
		wantTold(t, p)
		h = w.worker("erp", orders)
		h.lives(3 * time.Minute)
		time.Sleep(5 * time.Minute)
		wantTold(t, p, "workerLost erp ")
		if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: "erp", Inbox: h.inbox, Leaving: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		holds("disk diskLow low " + at)
	})
}
