package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/sbemu/entity"
)

// bill is what happened in the queues of a world.
type bill struct{ messages, receipts, questions, worker entity.Totals }

func (w *world) bill() bill {
	w.t.Helper()
	of := func(name string) entity.Totals {
		queue, err := w.double.Namespace().Queue("ferry." + name)
		if err != nil {
			w.t.Fatal(err)
		}
		return queue.Main().Totals()
	}
	return bill{of("messages." + invoices), of("receipts"), of("questions"), of("worker.erp-worker")}
}

// settledBill waits until nothing is on its way.
func (w *world) settledBill() bill {
	w.t.Helper()
	var b bill
	eventually(w.t, 30*time.Second, func() string {
		b = w.bill()
		for _, q := range []entity.Totals{b.messages, b.receipts, b.questions, b.worker} {
			if q.Sent != q.Delivered-q.Released {
				return fmt.Sprintf("something is on its way: %+v", b)
			}
		}
		if b.messages.Completed != b.messages.Sent || b.receipts.Completed != b.receipts.Sent {
			return fmt.Sprintf("something is not completed yet: %+v", b)
		}
		return ""
	})
	return b
}

func since(now, before entity.Totals) entity.Totals {
	return entity.Totals{
		Sent: now.Sent - before.Sent, Delivered: now.Delivered - before.Delivered, Completed: now.Completed - before.Completed,
		Abandoned: now.Abandoned - before.Abandoned, Released: now.Released - before.Released, Peeks: now.Peeks - before.Peeks,
	}
}

// TestCostsAreTold: the tables of docs/service-bus.md count the operations that
// Service Bus is paid for. Here they are counted as it sees them.
func TestCostsAreTold(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/service-bus.md")
	if err != nil {
		t.Fatal(err)
	}
	told := func(row string) {
		t.Helper()
		if !strings.Contains(string(text), "\n"+row) {
			t.Errorf("docs/service-bus.md lacks the row %s", row)
		}
	}
	o := busOptions()
	o.lock = "1m"
	w := newWorld(t, o)
	w.start()

	const senders, each = 8, 40
	const n = senders * each
	before := w.settledBill()
	began := time.Now()
	var group sync.WaitGroup
	for s := range senders {
		group.Go(func() {
			for i := range each {
				key := fmt.Sprintf("cost-%d-%03d", s, i)
				if _, err := w.sendUntil(t.Context(), invoices, key, []byte(kibibyte(key))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	w.awaitDrained(time.Minute)
	busy, took := w.settledBill(), time.Since(began)
	thrownBack := int64(0)
	for name, q := range map[string]entity.Totals{
		"a message, to its worker":   since(busy.messages, before.messages),
		"its receipt, to the broker": since(busy.receipts, before.receipts),
	} {
		// What came when nobody asked for it any more goes back, and is delivered again.
		if q.Released > n/2 {
			t.Errorf("%s: of %d messages %d were thrown back", name, n, q.Released)
		}
		thrownBack += q.Released
		once := q.Delivered - q.Released
		if q.Sent%n != 0 || once%n != 0 || q.Completed%n != 0 || q.Abandoned > 0 {
			t.Errorf("%s: %d messages cost %+v", name, n, q)
		}
		told(fmt.Sprintf("| %s | %d | %d | %d | %d |", name, q.Sent/n, once/n, q.Completed/n, (q.Sent+once+q.Completed)/n))
	}
	confirmations := since(busy.worker, before.worker)
	if c := confirmations; c.Sent > n+hellosWithin(took) || c.Completed > 0 {
		t.Errorf("%d messages were confirmed by %+v", n, c)
	}
	told("| its confirmation, to the worker | up to 1 | up to 1 | 0 | up to 2 |")
	t.Logf("%d messages in %s: confirmed by %d signals, hellos included; %d were delivered once more; %d looks at the head of the route's queue",
		n, took.Round(time.Millisecond), confirmations.Sent, thrownBack, busy.messages.Peeks-before.messages.Peeks)

	// A row for what goes on when there is nothing to deliver.
	before = w.settledBill()
	began = time.Now()
	time.Sleep(21 * time.Second)
	idle := w.settledBill()
	took = time.Since(began)
	questions, answers := since(idle.questions, before.questions), since(idle.worker, before.worker)
	receipts, messages := since(idle.receipts, before.receipts), since(idle.messages, before.messages)
	if questions.Sent < 1 || questions.Sent > hellosWithin(took) || answers.Sent > questions.Sent+1 || questions.Completed+answers.Completed > 0 {
		t.Errorf("in %s there were the questions %+v and answers %+v", took, questions, answers)
	}
	told("| a worker's hello and its answer | each worker, every 10 s | 4 | 1,440 |")
	if looks := int64(took/(5*time.Second)) + 2; receipts.Peeks < 1 || receipts.Peeks > looks || receipts.Sent > 0 || messages.Sent > 0 {
		t.Errorf("in %s there were %+v of receipts and %+v of messages", took, receipts, messages)
	}
	told("| a look for receipts | the broker, every 5 s | 1 | 720 |")
	if messages.Peeks > 2 {
		t.Errorf("an empty route was looked at: %+v", messages)
	}
	told("| a look at a route's queue | each route with something in its queue, every 5 s | 1 | 720 |")
}

// hellosWithin is how many hellos a worker says at the most.
func hellosWithin(d time.Duration) int64 { return int64(d/(10*time.Second)) + 2 }
