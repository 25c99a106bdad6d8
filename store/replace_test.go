package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

// What may be replaced, and what the sender is told of the rest.
func TestReplaceByState(t *testing.T) {
	for name, tc := range map[string]struct {
		come  func(t *testing.T, l *Ledger, id ferry.ID)
		state ferry.State // told with the refusal; empty: it is replaced
	}{
		"accepted": {func(*testing.T, *Ledger, ferry.ID) {}, ferry.StateAccepted},
		"in delivery": {func(t *testing.T, l *Ledger, _ ferry.ID) {
			if len(handOut(t, l, testRoute, 10)) != 1 {
				t.Fatal("it was not handed out")
			}
		}, ferry.StateQueued},
		"retrying": {func(t *testing.T, l *Ledger, id ferry.ID) { report(t, l, id, ferry.Failed, retryIn(time.Hour)) }, ferry.StateRetrying},
		"completed": {func(t *testing.T, l *Ledger, id ferry.ID) {
			report(t, l, id, ferry.Delivered, ferry.Next{})
		}, ferry.StateCompleted},
		"accepted by a person": {func(t *testing.T, l *Ledger, id ferry.ID) {
			report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected))
			must0(t, l.AcceptDead(t.Context(), id, "INV-9", "seen", "ann"))
		}, ferry.StateCompleted},
		"dead-lettered": {func(t *testing.T, l *Ledger, id ferry.ID) {
			report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected))
		}, ""},
		"outcome unknown": {func(t *testing.T, l *Ledger, id ferry.ID) {
			report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
		}, ""},
		"discarded": {func(t *testing.T, l *Ledger, id ferry.ID) { must0(t, l.Discard(t.Context(), id, "", "ann")) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			id := accept(t, l, `{"n":1}`, withKey("k"))
			tc.come(t, l, id)
			m := message(`{"n":2}`, withKey("k"), replacing)
			answer, err := l.Accept(t.Context(), m)
			// The same in a batch, which is either whole or partial.
			other := message(`{"n":3}`, withKey("k"), replacing)
			_, errs, batchErr := l.AcceptBatch(t.Context(), []ferry.Message{other}, true)
			if batchErr != nil {
				t.Fatal(batchErr)
			}
			if tc.state == "" {
				if want := (ferry.Accepted{ID: id, Route: testRoute, State: ferry.StateAccepted, Revision: 2}); err != nil || answer != want {
					t.Fatalf("answered %+v, %v; want %+v", answer, err, want)
				}
				err, tc.state = errs[0], ferry.StateAccepted // now it waits
			} else if diff := cmp.Diff(err.Error(), errs[0].Error()); diff != "" {
				t.Errorf("alone and in a batch (-alone +batch):\n%s", diff)
			}
			var e *ferry.Error
			if !errors.As(err, &e) || e.Code != ferry.CodeKeyReused || e.Existing == nil || e.Existing.ID != id || e.Existing.State != tc.state {
				t.Errorf("refused with %#v", err)
			}
			must0(t, l.sound())
		})
	}
}

// What was sent in a message's place tells where it comes from, and who did it is
// on record.
func TestReplaceTellsWhoDidIt(t *testing.T) {
	l := newLedger(t)
	reply := &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "replies"}
	id := accept(t, l, `{"n":1}`, withKey("k"), byFlow("run-1", "Post", "act-1"), func(m *ferry.Message) {
		m.CorrelationID, m.SearchTerms, m.Properties = "case-1", []string{"one"}, map[string]string{"a": "1"}
	})
	report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected))
	before := show(t, l, id)
	m := message(`{"n":2}`, withKey("k"), replacing, byFlow("run-2", "Post", "act-9"), func(m *ferry.Message) {
		m.Sender.Name, m.SearchTerms, m.CallbackURL, m.ReplyTo = "mender", []string{"two"}, "https://flow.example/cb", reply
		m.DeliverAt = m.CreatedAt.Add(time.Hour)
		m.TimeToLive = 2 * time.Hour
	})
	if _, err := l.Accept(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	after := show(t, l, id)
	if f := after.Sender.Flow; after.Sender.Name != "mender" || f == nil || f.RunID != "run-2" || f.TrackingID != "act-9" {
		t.Errorf("sent by %+v, %+v", after.Sender, f)
	}
	if after.CorrelationID != "case-1" || after.Properties != nil || after.Revision != 2 || after.Generation != 2 || after.DeadLetter != nil ||
		!after.CreatedAt.Equal(before.CreatedAt) || !after.ExpiresAt.Equal(m.CreatedAt.Add(2*time.Hour)) ||
		after.WaitingFor == nil || after.WaitingFor.Reason != "dueTime" || !after.WaitingFor.Until.Equal(m.DeliverAt) {
		t.Errorf("shown as %+v", after)
	}
	r := rec(t, l, id)
	if len(r.Callbacks) != 1 || r.Callbacks[0].URL != m.CallbackURL || r.ReplyTo == nil || *r.ReplyTo != *reply {
		t.Errorf("nobody is told its end: %+v", r)
	}
	for q, want := range map[string]int{"run-2": 1, "two": 1, "act-9": 1, "one": 0, "run-1": 0} {
		if page, err := l.Messages(ferry.MessageFilter{Q: q, Limit: 5}); err != nil || len(page.Items) != want {
			t.Errorf("%q finds %d, %v; want %d", q, len(page.Items), err, want)
		}
	}
	note := "sent again under the same key with another body; before, it came from flow, run run-1"
	if len(after.Acts) != 1 || after.Acts[0].Act != "replace" || after.Acts[0].By != "mender" || after.Acts[0].Note != note {
		t.Errorf("acts: %+v", after.Acts)
	}
	audit, err := l.Audit(0, time.Time{}, 10)
	if err != nil || len(audit) != 1 || audit[0].Act != "replace" || audit[0].By != "mender" || !strings.Contains(audit[0].Target, id.String()) || audit[0].Note != note {
		t.Errorf("audit: %+v, %v", audit, err)
	}
	// The corrected body comes twice, as any may.
	again, err := l.Accept(t.Context(), message(`{"n":2}`, withKey("k"), replacing))
	if err != nil || !again.Duplicate || again.ID != id || again.Revision != 0 {
		t.Errorf("the replacement again: %+v, %v", again, err)
	}
	must0(t, l.sound())
}

func TestReplaceOfWhatExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		id := accept(t, l, "1", withKey("k"), func(m *ferry.Message) { m.TimeToLive = time.Hour })
		time.Sleep(2 * time.Hour)
		if list, err := l.Expire(t.Context(), []ferry.ID{id}, park); len(list) != 1 || err != nil {
			t.Fatalf("expired %d, %v", len(list), err)
		}
		if _, err := l.Accept(t.Context(), message("2", withKey("k"), replacing, func(m *ferry.Message) { m.TimeToLive = time.Hour })); err != nil {
			t.Fatal(err)
		}
		if e := show(t, l, id); e.ExpiresAt == nil || !e.ExpiresAt.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("it lives until %v", e.ExpiresAt)
		}
	})
}

// A dead letter holds up those behind it; corrected to another ordering key it
// holds them up no longer, and takes its place among the others.
func TestReplaceWithAnotherOrderingKey(t *testing.T) {
	l := newLedger(t)
	head, follower := accept(t, l, "1", withKey("k"), withOrder("wrong")), accept(t, l, "2", withOrder("wrong"))
	other := accept(t, l, "3", withOrder("right"))
	report(t, l, head, ferry.Rejected, setAside(ferry.ReasonRejected))
	if _, err := l.Accept(t.Context(), message("1b", withKey("k"), withOrder("right"), replacing)); err != nil {
		t.Fatal(err)
	}
	if e := show(t, l, follower); e.WaitingFor.Reason != "turn" {
		t.Errorf("what followed waits for %+v", e.WaitingFor)
	}
	if e := show(t, l, head); e.OrderingKey != "right" || e.WaitingFor.Reason != "orderingKey" || *e.WaitingFor.Behind != other {
		t.Errorf("it waits for %+v, with the key %s", e.WaitingFor, e.OrderingKey)
	}
	must0(t, l.sound())
}

// Two corrections at the same time: one is it.
func TestReplaceTwiceInOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, armed := make(chan struct{}), false
		l := openIn(t, t.TempDir(), Options{BeforeCommit: func() {
			if armed {
				<-hold
			}
		}})
		id := deadLetter(t, l, "1", withKey("k"))
		armed = true
		bodies := []string{"2", "2", "3", "3"}
		answers, errs := make([]ferry.Accepted, len(bodies)), make([]error, len(bodies))
		var wg sync.WaitGroup
		for i, body := range bodies {
			wg.Go(func() {
				answers[i], errs[i] = l.Accept(context.Background(), message(body, withKey("k"), replacing))
			})
		}
		synctest.Wait()
		close(hold)
		wg.Wait()
		replaced, repeats, refused := 0, 0, 0
		for i := range bodies {
			switch {
			case ferry.CodeOf(errs[i]) == ferry.CodeKeyReused:
				refused++
			case errs[i] != nil || answers[i].ID != id:
				t.Errorf("%+v, %v", answers[i], errs[i])
			case answers[i].Duplicate:
				repeats++
			default:
				replaced++
			}
		}
		if e := show(t, l, id); replaced != 1 || repeats != 1 || refused != 2 || e.Revision != 2 {
			t.Errorf("%d replaced it, %d were repeats, %d refused; revision %d", replaced, repeats, refused, e.Revision)
		}
	})
}
