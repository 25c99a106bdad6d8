package broker

import (
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// dayMessages is how many messages a simulated day has: 10,000, or what FERRY_DAY says.
func dayMessages(t *testing.T) int {
	text := os.Getenv("FERRY_DAY")
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 5_000 || n > 1_000_000 {
		t.Fatalf("FERRY_DAY=%s is no number from 5000 to 1000000", text)
	}
	return n
}

// hour is what a broker took at the end of one.
type hour struct {
	file       int64 // bytes of the ledger
	heap       uint64
	goroutines int
	messages   int64 // in the ledger
	dead       int64
}

// TestADayOfLoad: 24 hours under load, with two outages of the worker, rejects,
// replays and discards, and everything kept for an hour or two. What the broker takes
// grows until the first of it is over, and then no more.
func TestADayOfLoad(t *testing.T) {
	days(t)
	const (
		step    = 4 * time.Minute
		steps   = int(24 * time.Hour / step)
		keptFor = time.Hour
	)
	each := dayMessages(t) / steps
	keep := func(o *Options) {
		o.IdempotencyWindow, o.SilentAfter, o.NoWorkerAfter = 30*time.Minute, 10*time.Minute, 10*time.Minute
		o.Retention = ferry.Retention{Completed: keptFor, Discarded: keptFor, DeadLettered: 2 * keptFor, Bodies: 30 * time.Minute}
		o.Routes = []ferry.Route{{Name: orders, Window: 100_000, TimeToLive: 12 * time.Hour}, {Name: notes}}
	}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		var hours []hour
		sent := 0
		for i := range steps {
			at := i * int(step/time.Minute) // minutes since the beginning
			away := at >= 5*60 && at < 7*60 || at >= 14*60 && at < 16*60
			sent += w.sendSome(i, each)
			if !away {
				h.hello(orders)
				h.workAll(i)
			}
			w.operate(i)
			// Events are kept for 7 days, which is as much too long for a day as a month is.
			if _, err := w.b.ledger.DropEvents(t.Context(), time.Now().Add(-keptFor), ferry.MaxEvents); err != nil {
				t.Fatal(err)
			}
			time.Sleep(step)
			if at := (i + 1) * int(step/time.Minute); at%60 == 0 {
				hours = append(hours, w.hour())
			}
		}
		for i, is := range hours {
			t.Logf("hour %2d: ledger %5d KiB, heap %5d KiB, %d goroutines, %d messages, %d dead letters", i+1, is.file>>10, is.heap>>10, is.goroutines, is.messages, is.dead)
		}
		w.balanced()
		// Retention, the outage before it, and a round of the janitor.
		perHour := int64(each) * int64(time.Hour/step)
		first, second := hours[8:12], hours[17:24] // the second outage is over as the first one was
		for i, is := range second {
			was := most(first)
			switch {
			case is.file > was.file:
				t.Errorf("hour %d: the ledger grew to %d KiB, and had %d", i+18, is.file>>10, was.file>>10)
			case is.heap > was.heap+was.heap/4+(2<<20):
				t.Errorf("hour %d: %d KiB of heap, and had %d", i+18, is.heap>>10, was.heap>>10)
			case is.goroutines > was.goroutines+2:
				t.Errorf("hour %d: %d goroutines, and had %d", i+18, is.goroutines, was.goroutines)
			case is.messages > was.messages+perHour/2 || is.messages > 6*perHour:
				t.Errorf("hour %d: %d messages in the ledger, and had %d; %d come in an hour", i+18, is.messages, was.messages, perHour)
			case is.dead > was.dead+perHour/4:
				t.Errorf("hour %d: %d dead letters, and had %d", i+18, is.dead, was.dead)
			}
		}
		if info := w.route(orders); info.Accepted != int64(sent) {
			t.Errorf("%d accepted, %d were sent", info.Accepted, sent)
		}
	}, keep)
}

func most(hours []hour) (m hour) {
	for _, is := range hours {
		m.file, m.heap, m.goroutines = max(m.file, is.file), max(m.heap, is.heap), max(m.goroutines, is.goroutines)
		m.messages, m.dead = max(m.messages, is.messages), max(m.dead, is.dead)
	}
	return m
}

func (w *world) hour() (is hour) {
	w.t.Helper()
	synctest.Wait()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	is = hour{file: w.b.ledger.Size(), heap: mem.HeapAlloc, goroutines: runtime.NumGoroutine()}
	rows, err := w.b.Reconcile(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rows {
		is.dead += r.DeadLetters
	}
	for _, r := range rows { // removed ones count on in the tallies
		is.messages += r.Accepted
	}
	in, err := w.b.ledger.Route(orders)
	if err != nil {
		w.t.Fatal(err)
	}
	is.messages -= in.Purged
	return is
}

func (w *world) sendSome(i, n int) int {
	w.t.Helper()
	list := make([]ferry.Message, n)
	for j := range list {
		list[j] = ferry.Message{
			Route: orders, ContentType: "application/json", IdempotencyKey: fmt.Sprintf("k-%d-%d", i, j),
			Body: []byte(`{"text":"` + strings.Repeat("x", 300) + `"}`),
		}
	}
	_, errs, err := w.b.AcceptBatch(w.t.Context(), list, false)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return n
}

// workAll delivers what is in the queue: one in ten is rejected.
func (h *hand) workAll(i int) {
	h.w.t.Helper()
	for {
		got := h.take(orders, 1000)
		if len(got) == 0 {
			return
		}
		receipts := make([]ferry.Receipt, len(got))
		for j, d := range got {
			receipts[j] = h.receipt(d, ferry.Delivered, done())
			if (i+j)%10 == 0 {
				receipts[j] = h.receipt(d, ferry.Rejected, rejected())
				receipts[j].Text = fmt.Sprintf("the supplier %d is not known", j)
			}
		}
		if err := h.q.SendReceipts(h.w.t.Context(), receipts, rand.Text()); err != nil {
			h.w.t.Fatal(err)
		}
		for _, d := range got {
			if err := d.Complete(h.w.t.Context()); err != nil {
				h.w.t.Fatal(err)
			}
		}
		synctest.Wait()
	}
}

// operate does what operators do: now and then a dead letter is replayed, or
// discarded.
func (w *world) operate(i int) {
	w.t.Helper()
	if i%8 != 0 {
		return
	}
	page, err := w.b.DeadLetters(w.t.Context(), ferry.DeadLetterFilter{Limit: 4})
	if err != nil {
		w.t.Fatal(err)
	}
	for j, e := range page.Items {
		if j%2 == 0 {
			_, err = w.b.Discard(w.t.Context(), e.ID, "not wanted", "ann")
		} else {
			_, err = w.b.Replay(w.t.Context(), e.ID, nil, "", "again", "ann")
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
