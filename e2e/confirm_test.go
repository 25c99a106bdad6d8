package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

const lookupLine = `lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`

// TestTakenIsPolledOverAKill: the worker is killed between the 202 and the end.
// The next one asks where the first was told to ask, and posts nothing.
func TestTakenIsPolledOverAKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{
		erp:   practice.Settings{Later: practice.Later{How: practice.LaterPoll, Never: true}},
		route: []string{"confirm: poll", "poll: {interval: 200ms}", "settleTime: 1s", lookupLine},
	})
	w.start()
	a := w.send(invoices, "later-1", `{"number":"1"}`)
	eventually(t, 20*time.Second, func() string {
		if n := w.erp.Calls(practice.OpPoll); n < 2 {
			return fmt.Sprintf("%d polls", n)
		}
		return ""
	})
	w.worker.kill()
	e := w.message(a.ID)
	if e.Awaiting == nil || !strings.HasPrefix(e.Awaiting.StatusURL, w.erpURL+"/operations/") || len(e.Attempts) != 1 || e.Attempts[0].Verdict != ferry.InProgress {
		t.Fatalf("while it is awaited: %+v, attempts %+v", e.Awaiting, e.Attempts)
	}
	w.wantMetrics(fmt.Sprintf(`ferry_messages_awaiting{route=%q} 1`, invoices))
	w.erp.Set(practice.Settings{Later: practice.Later{How: practice.LaterPoll}})
	w.startWorker()
	e = w.await(a.ID, ferry.StateCompleted, 60*time.Second)
	if d := w.document("later-1"); e.Reference != d.ID || len(e.Attempts) != 1 || e.Awaiting != nil {
		t.Errorf("completed with %q of %s, attempts %+v", e.Reference, d.ID, e.Attempts)
	}
	if n := w.erp.Calls(practice.OpCreate); n != 1 {
		t.Errorf("%d posts", n)
	}
	w.balance()
}

// TestDestinationCallsBack: it says delivered, or rejected, once or twice, after
// its answer, before it, and although its answer is lost.
func TestDestinationCallsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{route: []string{"confirm: callback", "settleTime: 1s"}})
	w.start()
	for i, c := range []struct {
		name  string
		later practice.Later
		fault practice.FaultKind
		state ferry.State
		calls []int
	}{
		{"delivered", practice.Later{Delay: 300 * time.Millisecond, Twice: true}, "", ferry.StateCompleted, []int{200, 200}},
		{"rejected", practice.Later{Delay: 300 * time.Millisecond, Reject: true, Twice: true}, "", ferry.StateDeadLettered, []int{200, 200}},
		{"delivered before the answer", practice.Later{Before: true}, "", ferry.StateCompleted, []int{200}},
		{"rejected before the answer", practice.Later{Before: true, Reject: true}, "", ferry.StateDeadLettered, []int{200}},
		{"delivered, answer lost", practice.Later{Delay: 300 * time.Millisecond}, practice.FaultCutAfter, ferry.StateCompleted, []int{200}},
	} {
		before := len(w.erp.Callbacks())
		c.later.How = practice.LaterCallback
		w.erp.Set(practice.Settings{Later: c.later})
		if c.fault != "" {
			if err := w.erp.Fail(practice.Fault{Kind: c.fault}); err != nil {
				t.Fatal(err)
			}
		}
		key := fmt.Sprintf("callback-%d", i)
		a := w.send(invoices, key, `{"number":"1"}`)
		e := w.await(a.ID, c.state, 30*time.Second)
		eventually(t, 10*time.Second, func() string {
			if got := w.erp.Callbacks()[before:]; fmt.Sprint(got) != fmt.Sprint(c.calls) {
				return fmt.Sprintf("%s: calls back were answered %v, want %v", c.name, got, c.calls)
			}
			return ""
		})
		switch {
		case c.state == ferry.StateCompleted && e.Reference != w.document(key).ID:
			t.Errorf("%s: reference %q", c.name, e.Reference)
		case c.state == ferry.StateDeadLettered && (e.DeadLetter.Reason != ferry.ReasonRejected || e.DeadLetter.Code != "credit" || len(w.erp.Documents(key)) != 0):
			t.Errorf("%s: %+v", c.name, e.DeadLetter)
		}
		if e.Acts == nil {
			t.Errorf("%s: nothing says who confirmed it", c.name)
		}
	}
	if n := w.erp.Calls(practice.OpCreate); n != 5 {
		t.Errorf("%d posts of 5 messages", n)
	}
	for _, p := range []*process{w.broker, w.worker} {
		if strings.Contains(p.out.String(), "token=") {
			t.Errorf("the log of %s shows a token", p.name)
		}
	}
	w.balance()
}
