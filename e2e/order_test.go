package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// The routes of the order's tests: on one the sender names the ordering key, on
// the other it is found in the body; on the last, what follows a dead letter goes on.
const (
	bySender = "by-sender"
	byBody   = "by-body"
	onward   = "onward"
)

// ordered is a world of three routes whose ERP watches the order.
func ordered(t *testing.T, concurrency int) *world {
	t.Helper()
	w := newWorld(t, options{
		erp:  practice.Settings{OrderBy: "account", Required: []string{"number"}},
		lock: "5s", routes: []string{bySender, byBody, onward},
		broker:      map[string][]string{byBody: {"orderBy: .account"}, onward: {"onDeadLetter: continue"}},
		destination: []string{"timeout: 1s", fmt.Sprintf("concurrency: %d", concurrency)},
		route: []string{
			`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
			"settleTime: 600ms", "retry: {attempts: 20, initialDelay: 50ms, maxDelay: 300ms}",
		},
	})
	w.start()
	return w
}

// orderedBody is the n-th invoice of an account; without a number the ERP
// refuses it.
func orderedBody(account string, n int, number string) string {
	return fmt.Sprintf(`{"account":%q,"n":%d,"number":%q}`, account, n, number)
}

// post sends one of an account's invoices, until it is accepted.
func (w *world) post(route, account string, n int, body string) (ferry.ID, error) {
	m := ferry.Message{Body: []byte(body), ContentType: "application/json", IdempotencyKey: fmt.Sprintf("%s-%05d", account, n)}
	if route != byBody {
		m.OrderingKey = account
	}
	for {
		a, err := w.client.Send(w.t.Context(), route, m)
		if err == nil {
			return a.ID, nil
		}
		if code := ferry.CodeOf(err); code != ferry.CodeInternal && code != ferry.CodeStopping && code != ferry.CodeLedgerUnavailable {
			return ferry.ID{}, err
		}
		select {
		case <-w.t.Context().Done():
			return ferry.ID{}, errors.Join(err, w.t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// written is the numbers n of an account's documents, in the order in which the
// ERP wrote them.
func (w *world) written() map[string][]int {
	w.t.Helper()
	seen := map[string][]int{}
	for _, d := range w.erp.Documents("") {
		var body struct{ N int }
		if err := json.Unmarshal(d.Body, &body); err != nil {
			w.t.Fatalf("document %s: %v", d.ID, err)
		}
		seen[d.OrderingKey] = append(seen[d.OrderingKey], body.N)
		if d.Place != len(seen[d.OrderingKey]) {
			w.t.Errorf("document %s of %s has place %d, not %d", d.ID, d.OrderingKey, d.Place, len(seen[d.OrderingKey]))
		}
	}
	return seen
}

// wantNoOverlap fails when the ERP ever had two of one ordering key in hand.
func (w *world) wantNoOverlap() {
	w.t.Helper()
	if s := w.erp.State(); len(s.Overlapped) > 0 {
		w.t.Errorf("two calls at a time for the ordering keys %v", s.Overlapped)
	}
}

// TestOrder: whatever fails and whatever is killed, the ERP sees the messages of
// each ordering key one after the other, in order, without a gap or a repeat.
func TestOrder(t *testing.T) {
	t.Parallel()
	keys := int(number(t, "FERRY_ORDER_KEYS", 20, 1000))
	each := int(number(t, "FERRY_ORDER_EACH", 30, 1000))
	kills := int(number(t, "FERRY_ORDER_KILLS", 3, 1000))
	rng, seed := chance(t)
	w := ordered(t, 16)
	w.erp.Set(practice.Settings{OrderBy: "account", Seed: seed})
	// Of all calls; a throttle or an outage holds the destination for seconds, so
	// there are some of them in all.
	w.fail(
		practice.Fault{Kind: practice.FaultSlow, Times: -1, Chance: 0.10, Delay: 50 * time.Millisecond},
		practice.Fault{Kind: practice.FaultCutAfter, Times: -1, Chance: 0.02},
		practice.Fault{Kind: practice.FaultCutBefore, Times: -1, Chance: 0.01},
		practice.Fault{Kind: practice.FaultCutWriteLate, Times: -1, Chance: 0.01, Delay: 300 * time.Millisecond},
		practice.Fault{Kind: practice.FaultStatusAfterWrite, Times: -1, Chance: 0.02},
		practice.Fault{Kind: practice.FaultStatus, Times: -1, Chance: 0.0005, Status: http.StatusServiceUnavailable},
		practice.Fault{Kind: practice.FaultStatus, Times: -1, Chance: 0.001, Status: http.StatusTooManyRequests, RetryAfter: "1"},
		practice.Fault{Kind: practice.FaultStatus, Key: "account-001-00003", Status: http.StatusServiceUnavailable},
		practice.Fault{Kind: practice.FaultStatus, Key: "account-002-00010", Status: http.StatusTooManyRequests, RetryAfter: "1"},
	)
	var group sync.WaitGroup
	for k := range keys {
		account, route := fmt.Sprintf("account-%03d", k), [...]string{bySender, byBody}[k%2]
		group.Go(func() {
			for n := 1; n <= each; n++ {
				if _, err := w.post(route, account, n, orderedBody(account, n, strconv.Itoa(n))); err != nil {
					t.Errorf("send %s %d: %v", account, n, err)
					return
				}
			}
		})
	}
	total := keys * each
	for i := range kills {
		w.awaitWritten(total * (i + 1) / (kills + 1) / 2) // while much is still to come
		w.keepRunning(time.Duration(rng.Int64N(int64(500 * time.Millisecond))))
		switch i % 3 {
		case 0:
			w.worker.kill()
		case 1:
			w.broker.kill()
		default:
			w.worker.kill()
			w.broker.kill()
		}
		w.awaitUp()
	}
	group.Wait()
	w.awaitDrained(5 * time.Minute)
	w.wantNoOverlap()
	if most := w.erp.State().MaxConcurrent; most < 2 {
		t.Error("the ERP never had calls of several keys at a time")
	}
	seen := w.written()
	for k := range keys {
		account := fmt.Sprintf("account-%03d", k)
		got := seen[account]
		for i, n := range got {
			if n != i+1 {
				t.Errorf("the ERP saw %s in the order %v", account, got)
				break
			}
		}
		if len(got) != each {
			t.Errorf("the ERP has %d documents of %s, not %d", len(got), account, each)
		}
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: int64(total), Completed: int64(total)}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	t.Logf("%d keys, %d messages, %d kills, %d creates, %d lookups, faults met: %v", keys, total, kills, w.erp.Calls(practice.OpCreate), w.erp.Calls(practice.OpLookup), w.erp.State().Met)
}

// awaitWritten waits until the ERP has so many documents.
func (w *world) awaitWritten(n int) {
	w.t.Helper()
	eventually(w.t, 3*time.Minute, func() string {
		if have := len(w.erp.Documents("")); have < n {
			return fmt.Sprintf("the ERP has %d documents, not %d", have, n)
		}
		return ""
	})
}

// TestOrderBehindADeadLetter: what follows a rejected head waits for it while the
// other keys flow, and follows in order whatever a person does with the head. On
// a route with "continue" it goes on at once.
func TestOrderBehindADeadLetter(t *testing.T) {
	t.Parallel()
	const each, bad = 8, 3
	w := ordered(t, 8)
	// The ERP refuses the third of each account, until it is mended there.
	acts := map[string]struct {
		act   func(id ferry.ID)
		wants []int
	}{
		"edited": {func(id ferry.ID) {
			w.write("edited.json", orderedBody("edited", bad, "mended"))
			w.cli("dlq", "edit", id.String(), "-f", "edited.json", "--yes")
		}, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		"replayed":  {func(id ferry.ID) { w.cli("dlq", "replay", id.String()) }, []int{1, 2, 3, 4, 5, 6, 7, 8}},
		"discarded": {func(id ferry.ID) { w.cli("dlq", "discard", id.String(), "--note", "a test") }, []int{1, 2, 4, 5, 6, 7, 8}},
		"accepted": {func(id ferry.ID) {
			w.cli("dlq", "accept", id.String(), "--reference", "BY-HAND", "--note", "entered by hand")
		}, []int{1, 2, 4, 5, 6, 7, 8}},
	}
	for account := range acts {
		w.fail(practice.Fault{Kind: practice.FaultStatus, Key: fmt.Sprintf("%s-%05d", account, bad), Status: http.StatusUnprocessableEntity, Code: "closed"})
	}
	w.fail(practice.Fault{Kind: practice.FaultStatus, Key: fmt.Sprintf("onward-%05d", bad), Status: http.StatusUnprocessableEntity, Code: "closed"})
	ids := map[string]ferry.ID{}
	for n := 1; n <= each; n++ {
		for _, account := range []string{"edited", "replayed", "discarded", "accepted", "flowing", "onward"} {
			route := bySender
			switch account {
			case "replayed", "accepted":
				route = byBody
			case "onward":
				route = onward
			}
			id, err := w.post(route, account, n, orderedBody(account, n, strconv.Itoa(n)))
			if err != nil {
				t.Fatal(err)
			}
			ids[fmt.Sprintf("%s-%d", account, n)] = id
		}
	}
	// The others flow; with "continue", the same key too.
	w.awaitWritten(len(acts)*(bad-1) + each + each - 1)
	for account := range acts {
		w.await(ids[fmt.Sprintf("%s-%d", account, bad)], ferry.StateDeadLettered, 10*time.Second)
	}
	w.wantWritten("flowing", 1, 2, 3, 4, 5, 6, 7, 8)
	w.wantWritten("onward", 1, 2, 4, 5, 6, 7, 8)
	for account, c := range acts {
		head := ids[fmt.Sprintf("%s-%d", account, bad)]
		w.wantWritten(account, 1, 2)
		last := w.message(ids[fmt.Sprintf("%s-%d", account, each)])
		if f := last.WaitingFor; last.State.Terminal() || f == nil || f.Reason != "orderingKey" || f.Behind == nil || *f.Behind != head {
			t.Errorf("%s: the last one is %s and waits for %+v, not for %s", account, last.State, f, head)
		}
		if show := w.cli("messages", "show", last.ID.String()); !strings.Contains(show, "waits behind another message of its ordering key ("+head.String()+")") {
			t.Errorf("`messages show` does not say behind which it waits:\n%s", show)
		}
		c.act(head)
	}
	for account, c := range acts {
		w.await(ids[fmt.Sprintf("%s-%d", account, each)], ferry.StateCompleted, 20*time.Second)
		w.wantWritten(account, c.wants...)
	}
	w.wantNoOverlap()
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: 6 * each, Completed: 6*each - 2, DeadLetters: 1, Discarded: 1}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
}

// wantWritten holds the numbers of an account's documents, in the order of writing.
func (w *world) wantWritten(account string, want ...int) {
	w.t.Helper()
	if got := w.written()[account]; fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("the ERP saw %s in the order %v, not %v", account, got, want)
	}
}
