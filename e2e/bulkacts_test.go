package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/store"
)

// TestThousandDeadLetters: dead letters in three groups. A canary of five stops the
// one that fails as before, the rest goes out at a rate and is cancelled half way,
// further operations take what is left, over a kill -9 of the broker; and the ERP is
// called once for each message that was sent again. FERRY_DEAD_LETTERS says how many,
// 900 unless it is set.
func TestThousandDeadLetters(t *testing.T) {
	t.Parallel()
	n := int(number(t, "FERRY_DEAD_LETTERS", 900, 200_000))
	w := newWorld(t, options{erp: practice.Settings{Required: []string{"number", "total"}}})
	w.start()
	// How the ERP refuses what group A lacks, in its own words.
	sample := w.send(invoices, "sample", `{"number":"A-sample"}`)
	refusal := w.await(sample.ID, ferry.StateDeadLettered, 20*time.Second).DeadLetter
	w.worker.stop(t, 20*time.Second)
	w.broker.stop(t, 20*time.Second)
	began := time.Now()
	sizes := w.seedDeadLetters(n, refusal)
	t.Logf("%d dead letters written in %s", n, time.Since(began).Round(time.Millisecond))
	w.startBroker()
	w.startWorker()
	w.awaitGranted()
	called := w.erp.Calls(practice.OpCreate)
	groups := w.groups()
	if len(groups) != 3 {
		t.Fatalf("%d groups: %+v", len(groups), groups)
	}

	// A canary of five, and then the rest at a rate, until somebody cancels it.
	rate := max(20, (sizes["B"]+sizes["C"])/4)
	began = time.Now()
	id := w.operate("replay", "--all", "--canary", "5", "--rate", fmt.Sprintf("%d/s", rate), "--yes", "--expect", fmt.Sprint(n+1), "--note", "masters mended")
	t.Logf("%d selected in %s", n+1, time.Since(began).Round(time.Millisecond))
	var first ferry.Operation
	eventually(t, time.Minute, func() string {
		first = w.operation(id)
		if first.Done < (sizes["B"]+sizes["C"])/2 {
			return fmt.Sprintf("%+v", first)
		}
		return ""
	})
	w.cli("operations", "cancel", id, "--note", "the night shift takes over")
	first = w.operation(id)
	if first.State != ferry.OperationCancelled || first.Canary.Sent != 5 || first.Canary.Alike == 0 || first.Canary.Completed+first.Canary.Alike != 5 {
		t.Fatalf("cancelled: %+v, %+v", first, first.Canary)
	}
	failed := first.Canary.Alike
	for _, g := range first.Groups {
		if stopped := g.Description == groupA(refusal); stopped != (g.State == ferry.GroupStopped) || stopped && g.Done > 5 {
			t.Errorf("group %+v", g)
		}
	}
	if !strings.Contains(first.Stopped, "failed as before") {
		t.Errorf("it does not say why a group was stopped: %q", first.Stopped)
	}
	if took := time.Since(began); first.Done > int(took.Seconds()*float64(rate))+rate/10+5 {
		t.Errorf("%d were sent again within %s, at most %d a second", first.Done, took, rate)
	}
	w.awaitDrained(time.Minute)

	// The rest of B and C, with a kill in the middle.
	var ids []string
	for _, g := range w.groups() {
		if g.Description != groupA(refusal) {
			ids = append(ids, w.operate("replay", "--group", g.ID, "--rate", fmt.Sprintf("%d/s", max(20, g.Count/2)), "--yes", "--expect", fmt.Sprint(g.Count)))
		}
	}
	if len(ids) != 2 {
		t.Fatalf("%d groups are left", len(ids))
	}
	eventually(t, time.Minute, func() string {
		if o := w.operation(ids[0]); o.Done < o.Total/4 {
			return fmt.Sprintf("%+v", o)
		}
		return ""
	})
	w.broker.kill()
	w.startBroker()
	for _, id := range ids {
		w.awaitOperation(id, 2*time.Minute)
		if o := w.operation(id); o.Done != o.Total || o.Skipped != 0 {
			t.Errorf("after the kill: %+v", o)
		}
	}
	w.awaitDrained(2 * time.Minute)

	// And A, once the ERP is mended.
	w.erp.Set(practice.Settings{Required: []string{"number"}})
	left := w.groups()
	if len(left) != 1 || left[0].Count != sizes["A"]+1 {
		t.Fatalf("left are %+v, not the %d of group A", left, sizes["A"]+1)
	}
	last := w.operate("replay", "--group", left[0].ID, "--canary", "5", "--yes", "--expect", fmt.Sprint(left[0].Count))
	w.awaitOperation(last, time.Minute+time.Duration(n)*20*time.Millisecond)
	w.awaitDrained(2 * time.Minute)
	o := w.operation(last)
	if o.Completed != o.Total || o.FailedAgain != 0 {
		t.Errorf("group A, mended: %+v", o)
	}
	if state := w.erp.State(); len(state.WrittenTwice) > 0 || state.Documents != n+1 {
		t.Errorf("the ERP has %d documents of %d messages, twice %v", state.Documents, n+1, state.WrittenTwice)
	}
	if calls := w.erp.Calls(practice.OpCreate) - called; calls != n+1+failed {
		t.Errorf("the ERP was called %d times, not once for each of %d messages and %d that failed again", calls, n+1, failed)
	}
	want := ferry.Reconciliation{Accepted: int64(n + 1), Completed: int64(n + 1)}
	if got := w.balance(); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
}

// groupA is how the group of the refusal is shown: it has nothing to mask.
func groupA(refusal *ferry.DeadLetter) string { return refusal.Description }

func (w *world) groups() []ferry.Group {
	w.t.Helper()
	groups, err := w.client.Groups(w.t.Context(), ferry.DeadLetterFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return groups
}

// operate starts a bulk act by the command, and gives its operation.
func (w *world) operate(args ...string) string {
	w.t.Helper()
	var answer ferry.BulkAnswer
	if err := json.Unmarshal([]byte(w.cli(append([]string{"dlq"}, append(args, "-o", "json")...)...)), &answer); err != nil || answer.OperationID == "" {
		w.t.Fatalf("%v: %+v, %v", args, answer, err)
	}
	return answer.OperationID
}

func (w *world) operation(id string) ferry.Operation {
	w.t.Helper()
	o, err := w.client.Operation(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// awaitOperation waits for the end of an operation, which watch then tells.
func (w *world) awaitOperation(id string, within time.Duration) {
	w.t.Helper()
	eventually(w.t, within, func() string {
		if o := w.operation(id); o.State != ferry.OperationDone {
			return fmt.Sprintf("%+v, %+v", o, o.Canary)
		}
		return ""
	})
	if out := w.cli("operations", "watch", id); !strings.Contains(out, "replay done") {
		w.t.Errorf("watch says %q", out)
	}
}

// seedDeadLetters writes dead letters into the ledger of a broker that is stopped: as
// many of group A, which are refused again, as of B and C together.
func (w *world) seedDeadLetters(n int, refusal *ferry.DeadLetter) map[string]int {
	w.t.Helper()
	l, err := store.Open(w.path("data"), store.Options{MinFree: -1})
	if err != nil {
		w.t.Fatal(err)
	}
	sizes := map[string]int{}
	var all sync.WaitGroup
	for from := 0; from < n; from += ferry.MaxBatch {
		messages := make([]ferry.Message, min(ferry.MaxBatch, n-from))
		receipts := make([]ferry.Receipt, len(messages))
		for i := range messages {
			group, body, code, text := deadOf(from+i, refusal)
			sizes[group]++
			now := time.Now().UTC()
			messages[i] = ferry.Message{
				ID: ferry.NewID(now), Route: invoices, ContentType: "application/json", Body: []byte(body), TimeToLive: ferry.DefaultTimeToLive,
				CreatedAt: now, IdempotencyKey: fmt.Sprintf("dead-%06d", from+i), Sender: ferry.Sender{Name: "seed"},
			}
			receipts[i] = ferry.Receipt{
				ID: messages[i].ID, Route: invoices, Turn: 1, Revision: 1, Worker: "erp-worker", Verdict: ferry.Rejected, Effect: ferry.EffectNone,
				Code: code, Text: text, Next: ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected},
				Attempts: []ferry.Attempt{{Turn: 1, Verdict: ferry.Rejected, Status: 400, StartedAt: now}},
			}
		}
		all.Go(func() {
			if _, _, err := l.AcceptBatch(w.t.Context(), messages, false); err != nil {
				w.t.Error(err)
			}
			if _, err := l.ApplyReceipts(w.t.Context(), receipts, func(string) bool { return false }); err != nil {
				w.t.Error(err)
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		w.t.Fatal(err)
	}
	return sizes
}

// deadOf is the i-th dead letter: what was sent, and how it was refused.
func deadOf(i int, refusal *ferry.DeadLetter) (group, body, code, text string) {
	switch i % 6 {
	case 0, 1:
		return "B", fmt.Sprintf(`{"number":"B-%d","total":1}`, i), "BLOCKED", fmt.Sprintf("customer %d is blocked", 4000+i)
	case 2:
		return "C", fmt.Sprintf(`{"number":"C-%d","total":1}`, i), "CLOSED", fmt.Sprintf("period %d/2026 is closed", i%12+1)
	}
	return "A", fmt.Sprintf(`{"number":"A-%d"}`, i), refusal.Code, refusal.Description
}
