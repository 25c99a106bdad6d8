package broker

import (
	"os"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// TestWhatMessagesWaitFor walks every reason that docs/http.md lists, in lists and
// alone.
func TestWhatMessagesWaitFor(t *testing.T) {
	seen := map[ferry.WaitReason]bool{}
	bubble(t, func(t *testing.T, w *world) {
		waits := func(id ferry.ID, reason ferry.WaitReason) *ferry.WaitingFor {
			t.Helper()
			synctest.Wait()
			alone := w.message(id)
			page, err := w.b.Messages(t.Context(), ferry.MessageFilter{Q: id.String(), Limit: 1})
			if err != nil || len(page.Items) != 1 {
				t.Fatalf("listed: %d, %v", len(page.Items), err)
			}
			if a, b := alone.WaitingFor, page.Items[0].WaitingFor; a == nil || b == nil || a.Reason != reason || b.Reason != reason {
				t.Fatalf("waiting for %+v, in a list %+v, want %s", a, b, reason)
			}
			seen[reason] = true
			return alone.WaitingFor
		}
		first := w.send(`1`)
		if got := waits(first, ferry.WaitsForWorker); got.Detail == "" || got.Since == nil {
			t.Errorf("%+v", got)
		}
		later := w.send(`2`, func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
		if got := waits(later, ferry.WaitsForDueTime); !got.Until.Equal(at(1, 0, 0)) || got.Detail == "" {
			t.Errorf("%+v", got)
		}
		h := w.worker("one", orders)
		h.hello(orders)
		time.Sleep(time.Second)
		h.hello(orders)
		if got := waits(first, ferry.WaitsForDelivery); got.Worker != "one" || got.Since == nil || !got.Since.Equal(at(0, 0, 0)) {
			t.Errorf("%+v", got)
		}
		// Three have room in the queue; what comes then is in line.
		second, third := w.send(`3`), w.send(`4`)
		fourth, fifth := w.send(`5`), w.send(`6`)
		waits(third, ferry.WaitsForDelivery)
		if got := waits(fourth, ferry.WaitsForBacklog); *got.Ahead != 0 {
			t.Errorf("%d ahead of the fourth", *got.Ahead)
		}
		if got := waits(fifth, ferry.WaitsForBacklog); *got.Ahead != 1 {
			t.Errorf("%d ahead of the fifth", *got.Ahead)
		}
		_ = second
		until := time.Now().UTC().Add(time.Minute)
		for _, c := range []ferry.Condition{
			{Type: ferry.RouteUnavailable, Since: time.Now(), Reason: "connection refused"},
			{Type: ferry.RouteThrottled, Since: time.Now(), Until: &until, Reason: "the configured rate"},
			{Type: ferry.RouteUnauthorized, Since: time.Now(), Until: &until, Reason: "the destination refuses the credentials"},
		} {
			h.says(orders, nil, nil, c)
			for _, id := range []ferry.ID{first, fourth} {
				if got := waits(id, ferry.WaitReason(c.Type)); got.Detail != c.Reason || got.Worker != "one" || (got.Until == nil) != (c.Until == nil) {
					t.Errorf("%+v", got)
				}
			}
		}
		h.says(orders, nil, nil)
		if _, err := w.b.Pause(t.Context(), orders, "month end", until, "ann"); err != nil {
			t.Fatal(err)
		}
		for _, id := range []ferry.ID{first, fourth} {
			if got := waits(id, ferry.WaitsForPause); got.Detail != "month end, by ann" || !got.Until.Equal(until) {
				t.Errorf("%+v", got)
			}
		}
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		// The destination takes one, and says later.
		for _, d := range h.take(orders, 3) {
			if d.HandOut.ID == first {
				h.report(d, ferry.InProgress, ferry.Next{Do: ferry.DoRetry, After: time.Hour, Doubt: true, Awaits: true})
				continue
			}
			h.report(d, ferry.Delivered, done())
		}
		if got := waits(first, ferry.WaitsForConfirmation); got.Until == nil {
			t.Errorf("%+v", got)
		}
		// Behind another of its ordering key, which becomes a dead letter.
		keyed := func(m *ferry.Message) { m.OrderingKey, m.Route = "k", notes }
		h.hello(orders)
		head := w.send(`7`, keyed)
		behind := w.send(`8`, keyed)
		if got := waits(behind, ferry.WaitsForOrder); got.Behind == nil || *got.Behind != head || got.Detail != "" {
			t.Errorf("%+v", got)
		}
		n := w.worker("two", notes)
		n.hello(notes)
		n.report(n.takeOne(notes), ferry.Rejected, rejected())
		if got := waits(behind, ferry.WaitsForOrder); got.Detail == "" {
			t.Errorf("%+v", got)
		}
		sleepUntil(at(3, 0, 0))
		waits(fifth, ferry.WaitsForWindow)
		sleepUntil(at(4, 0, 0))
	}, func(o *Options) {
		o.Routes[0].Windows = []ferry.Window{{Name: "night", Cron: "0 3 * * *", For: time.Hour}}
	})
	// What is up, and not in line, is so for a moment only: a receiver has yet to ask.
	bubble(t, func(t *testing.T, w *world) {
		w.receive(0)
		id := w.send(`1`)
		if e := w.message(id); e.WaitingFor.Reason != ferry.WaitsForTurn {
			t.Errorf("%+v", e.WaitingFor)
		}
		seen[ferry.WaitsForTurn] = true
		w.receive(0)
		if e := w.message(id); e.WaitingFor.Reason != ferry.WaitsForDelivery || e.WaitingFor.Worker != "erp" || e.WaitingFor.Until == nil {
			t.Errorf("%+v", e.WaitingFor)
		}
	}, pulling)
	text, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range ferry.WaitReasons() {
		if !seen[reason] {
			t.Errorf("no message waited for %s", reason)
		}
		if !regexp.MustCompile("(?m)^\\| `" + reason + "` \\|").Match(text) {
			t.Errorf("docs/http.md does not list %s", reason)
		}
	}
}
