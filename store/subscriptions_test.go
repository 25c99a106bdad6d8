package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

const flowURL = "https://flow.example/workflows/1?sig=SECRET"

func calling(url string) func(*ferry.Message) {
	return func(m *ferry.Message) {
		m.CallbackURL, m.Sender = url, ferry.Sender{Name: "flow", KeyID: "k1"}
	}
}

func callbackTo(url string) ferry.NoticeTarget {
	return ferry.NoticeTarget{Kind: ferry.ReplyCallback, Route: testRoute, Target: ferry.MaskURL(url)}
}

func waiting(t *testing.T, l *Ledger, to ferry.NoticeTarget) []ferry.Notice {
	t.Helper()
	list, err := l.Notices(to, 0, 1000)
	must0(t, err)
	return list
}

// again sends a message once more: with the same key and body.
func again(t *testing.T, l *Ledger, id ferry.ID, change ...func(*ferry.Message)) {
	t.Helper()
	m := message("x")
	m.IdempotencyKey = rec(t, l, id).Key
	for _, f := range change {
		f(&m)
	}
	a, err := l.Accept(t.Context(), m)
	must0(t, err)
	if !a.Duplicate || a.ID != id {
		t.Fatalf("sent again: %+v", a)
	}
}

func keyed(key string) func(*ferry.Message) { return func(m *ferry.Message) { m.IdempotencyKey = key } }

// The same address is told an end once, however often it is asked for; another one
// is told as well, at once when the message has ended.
func TestCallbacksOfRepeatsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		other := "https://flow.example/workflows/2?sig=OTHER"
		id := accept(t, l, "x", keyed("k"), calling(flowURL), replyTo("answers"))
		again(t, l, id, calling(flowURL))
		again(t, l, id, calling(other))
		again(t, l, id)
		report(t, l, id, ferry.Delivered, ferry.Next{})
		again(t, l, id, calling(flowURL))
		if a, b, c := waiting(t, l, callbackTo(flowURL)), waiting(t, l, callbackTo(other)), notices(t, l, "answers"); len(a) != 1 || len(b) != 1 || len(c) != 1 || a[0].URL != flowURL || a[0].Event != b[0].Event || a[0].Event != c[0].Event {
			t.Fatalf("%+v\n%+v\n%+v", a, b, c)
		}
		// Told: who asks once more is not told twice.
		must0(t, l.DropNotices(t.Context(), waiting(t, l, callbackTo(flowURL)), nil))
		again(t, l, id, calling(flowURL))
		if list := waiting(t, l, callbackTo(flowURL)); len(list) != 0 {
			t.Fatalf("told twice: %+v", list)
		}
		// Somebody else asks after the end.
		third := "https://flow.example/workflows/3"
		again(t, l, id, calling(third))
		if list := waiting(t, l, callbackTo(third)); len(list) != 1 || list[0].State != ferry.StateCompleted {
			t.Fatalf("asked after the end: %+v", list)
		}
		// Given up: who asks once more is told once more.
		time.Sleep(ferry.NoticeLife + time.Hour)
		_, err := l.GiveUpNotices(t.Context(), time.Now().Add(-ferry.NoticeLife))
		must0(t, err)
		again(t, l, id, calling(third))
		again(t, l, id, calling(third))
		if list := waiting(t, l, callbackTo(third)); len(list) != 1 {
			t.Fatalf("asked after it was given up: %+v", list)
		}
		must0(t, l.sound())
	})
}

// Only so many addresses wait for one message; the latest ones do.
func TestCallbacksOfAMessageAreBounded(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x", keyed("k"))
	for i := range ferry.MaxCallbacksPerMessage + 3 {
		again(t, l, id, calling(fmt.Sprintf("https://h.example/%d", i)))
	}
	list := rec(t, l, id).Callbacks
	if len(list) != ferry.MaxCallbacksPerMessage || list[0].URL != "https://h.example/3" {
		t.Fatalf("%+v", list)
	}
}

// Each end of a dead letter's life is told: dead-lettered, sent again, completed.
func TestACallbackAfterAReplay(t *testing.T) {
	l := newLedger(t)
	id := deadLetter(t, l, "x", calling(flowURL))
	must0(t, l.Replay(t.Context(), id, nil, "", "", "ann"))
	report(t, l, id, ferry.Delivered, ferry.Next{})
	list := waiting(t, l, callbackTo(flowURL))
	if len(list) != 2 || list[0].State != ferry.StateDeadLettered || list[0].Dead == nil || list[1].State != ferry.StateCompleted || list[0].EventID() == list[1].EventID() {
		t.Fatalf("%+v", list)
	}
}

// A correction that takes a dead letter's place brings its own address along.
func TestAReplacementIsCalledBackToo(t *testing.T) {
	l := newLedger(t)
	id := deadLetter(t, l, "x", keyed("k"), calling(flowURL))
	m := message("y")
	m.IdempotencyKey, m.OnConflict = "k", ferry.OnConflictReplace
	calling("https://flow.example/second")(&m)
	if a, err := l.Accept(t.Context(), m); err != nil || a.ID != id || a.Revision != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	report(t, l, id, ferry.Delivered, ferry.Next{})
	if a, b := waiting(t, l, callbackTo(flowURL)), waiting(t, l, callbackTo("https://flow.example/second")); len(a) != 2 || len(b) != 1 {
		t.Fatalf("%+v\n%+v", a, b)
	}
}

func newKey(t *testing.T, l *Ledger, name string, routes ...string) ferry.NewKey {
	t.Helper()
	k, err := l.CreateKey(t.Context(), ferry.KeySpec{Name: name, Role: ferry.RoleSender, Routes: routes}, "ann")
	must0(t, err)
	return k
}

func subscribe(t *testing.T, l *Ledger, key ferry.NewKey, event ferry.EventType, route, url string) (Subscription, bool) {
	t.Helper()
	s, merged, err := l.Subscribe(t.Context(), Subscription{
		ID: ferry.NewID(time.Now()), Event: event, Route: route, URL: url, KeyID: key.ID, KeyName: key.Name, Role: key.Role, Routes: key.Routes, CreatedAt: time.Now().UTC(),
	})
	must0(t, err)
	return s, merged
}

func TestSubscriptionsHearWhatTheirKeyMaySee(t *testing.T) {
	l := newLedger(t)
	must0(t, l.EnsureRoute(t.Context(), otherRoute))
	all, one := newKey(t, l, "all"), newKey(t, l, "one", otherRoute)
	everything, _ := subscribe(t, l, all, ferry.EventCompleted, "", flowURL)
	narrow, _ := subscribe(t, l, one, ferry.EventCompleted, "", flowURL)
	asked, _ := subscribe(t, l, all, ferry.EventCompleted, testRoute, flowURL)
	dead, _ := subscribe(t, l, all, ferry.EventDeadLettered, "", flowURL)
	if again, merged := subscribe(t, l, all, ferry.EventCompleted, testRoute, flowURL); !merged || again.ID != asked.ID {
		t.Errorf("the same again is %+v", again)
	}
	for range 2 {
		report(t, l, accept(t, l, "x"), ferry.Delivered, ferry.Next{})
	}
	report(t, l, accept(t, l, "x", func(m *ferry.Message) { m.Route = otherRoute }), ferry.Delivered, ferry.Next{})
	deadLetter(t, l, "x")
	discarded := accept(t, l, "z")
	must0(t, l.Discard(t.Context(), discarded, "no", "ann")) // told to no subscription
	got := map[ferry.ID]int{}
	for _, s := range []Subscription{everything, narrow, asked, dead} {
		got[s.ID] = len(waiting(t, l, s.target()))
	}
	if diff := cmp.Diff(map[ferry.ID]int{everything.ID: 3, narrow.ID: 1, asked.ID: 2, dead.ID: 1}, got); diff != "" {
		t.Error(diff)
	}
	if n := l.NoticesOf(testRoute); n != 5 {
		t.Errorf("%d ends of the route wait", n)
	}
	l = reopen(t, l)
	must0(t, l.sound())
	list := l.Subscriptions("")
	if len(list) != 4 || list[0].Waiting != 3 || strings.Contains(fmt.Sprint(list), "SECRET") || list[0].Callback != ferry.MaskURL(flowURL) {
		t.Errorf("%+v", list)
	}
	if mine := l.Subscriptions(one.ID); len(mine) != 1 || mine[0].ID != narrow.ID {
		t.Errorf("%+v", mine)
	}
}

// A revoked key's subscriptions end in the same commit; an expired key's are
// silent.
func TestARevokedKeyHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		revoked, stays := newKey(t, l, "revoked"), newKey(t, l, "stays")
		expiring, err := l.CreateKey(t.Context(), ferry.KeySpec{Name: "expiring", Role: ferry.RoleSender, Expires: time.Now().Add(time.Hour)}, "ann")
		must0(t, err)
		a, _ := subscribe(t, l, revoked, ferry.EventCompleted, "", flowURL)
		b, _ := subscribe(t, l, stays, ferry.EventCompleted, "", flowURL)
		c, _ := subscribe(t, l, expiring, ferry.EventCompleted, "", flowURL)
		report(t, l, accept(t, l, "x"), ferry.Delivered, ferry.Next{})
		_, err = l.RevokeKey(t.Context(), revoked.ID, "ann", "")
		must0(t, err)
		time.Sleep(2 * time.Hour)
		report(t, l, accept(t, l, "x"), ferry.Delivered, ferry.Next{})
		if x, y, z := len(waiting(t, l, a.target())), len(waiting(t, l, b.target())), len(waiting(t, l, c.target())); x != 1 || y != 2 || z != 1 {
			t.Fatalf("%d, %d, %d notices", x, y, z)
		}
		sub, state := l.Subscription(a.ID)
		if state != ferry.SubscriptionDropped || sub.DroppedWhy != "its key was revoked" || l.Hears(sub, testRoute) {
			t.Errorf("%s: %+v", state, sub)
		}
		if _, state := l.Subscription(c.ID); state != ferry.SubscriptionKeyExpired {
			t.Errorf("the expired key's is %s", state)
		}
		// It is listed for a time, and then no more.
		must0(t, l.ForgetSubscriptions(t.Context(), time.Now().Add(-ferry.SubscriptionShown)))
		if n := len(l.Subscriptions("")); n != 3 {
			t.Errorf("%d are listed", n)
		}
		time.Sleep(ferry.SubscriptionShown)
		must0(t, l.ForgetSubscriptions(t.Context(), time.Now().Add(-ferry.SubscriptionShown)))
		l = reopen(t, l)
		if n := len(l.Subscriptions("")); n != 2 {
			t.Errorf("%d are listed after their time", n)
		}
		audit, err := l.Audit(0, time.Time{}, 100)
		must0(t, err)
		if !slices.ContainsFunc(audit, func(e ferry.AuditEntry) bool {
			return e.Act == "subscriptions drop" && strings.Contains(e.Target, a.ID.String()) && e.Note == "its key was revoked"
		}) || strings.Contains(fmt.Sprint(audit), "SECRET") {
			t.Errorf("audit: %+v", audit)
		}
	})
}

// Many who subscribe at once, the same and others: each is there once, and no more
// than there may be.
func TestSubscriptionsAreBounded(t *testing.T) {
	l := newLedger(t)
	k := newKey(t, l, "flow")
	var group sync.WaitGroup
	ids := make([]ferry.ID, 64)
	for i := range ids {
		group.Go(func() {
			s, _, err := l.Subscribe(t.Context(), Subscription{ID: ferry.NewID(time.Now()), Event: ferry.EventCompleted, URL: flowURL, KeyID: k.ID, KeyName: k.Name, CreatedAt: time.Now()})
			if err != nil {
				t.Error(err)
			}
			ids[i] = s.ID
		})
	}
	group.Wait()
	if slices.Sort(texts(ids)); len(slices.Compact(texts(ids))) != 1 {
		t.Fatalf("the same subscription was made more than once: %v", ids)
	}
	errs := make([]error, ferry.MaxSubscriptions+20)
	for i := range errs {
		group.Go(func() {
			_, _, errs[i] = l.Subscribe(t.Context(), Subscription{ID: ferry.NewID(time.Now()), Event: ferry.EventCompleted, URL: fmt.Sprintf("%s&n=%d", flowURL, i), KeyID: k.ID, KeyName: k.Name, CreatedAt: time.Now()})
		})
	}
	group.Wait()
	refused := 0
	for _, err := range errs {
		if err != nil {
			wantCode(t, err, ferry.CodeLimitReached)
			refused++
		}
	}
	if n := len(l.Subscriptions("")); n != ferry.MaxSubscriptions || refused != 21 {
		t.Errorf("%d subscriptions, %d refused", n, refused)
	}
	// The same one again is no other one.
	if _, merged := subscribe(t, l, k, ferry.EventCompleted, "", flowURL); !merged {
		t.Error("the same one again is refused")
	}
}

func texts(ids []ferry.ID) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = id.String()
	}
	return list
}

func TestRotatedSecretsHaveGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		k := newKey(t, l, "flow")
		s, _ := subscribe(t, l, k, ferry.EventCompleted, "", flowURL)
		made, err := l.RotateSubscription(t.Context(), s.ID, time.Hour, "c", "ann")
		if err != nil || made.Signer.Generation != 2 || !made.Signer.OldUntil.Equal(time.Now().Add(time.Hour)) || l.OtherKey("c") != 0 || l.OtherKey("d") != 1 {
			t.Fatalf("%+v, %v", made, err)
		}
		if same, merged := subscribe(t, l, k, ferry.EventCompleted, "", flowURL); !merged || same.Signer != made.Signer {
			t.Errorf("the same again: %+v", same)
		}
		if g := l.Signer(k.ID); g.Generation != 1 {
			t.Errorf("%+v", g)
		}
		_, err = l.RotateSigner(t.Context(), k.ID, 0, "flow")
		must0(t, err)
		l = reopen(t, l)
		if g := l.Signer(k.ID); g.Generation != 2 || !g.OldUntil.IsZero() {
			t.Errorf("after a restart: %+v", g)
		}
		_, err = l.RotateSubscription(t.Context(), ferry.NewID(time.Now()), 0, "c", "ann")
		wantCode(t, err, ferry.CodeNotFound)
	})
}

// One who takes nothing may not take the room of the others: not one address, nor
// one key with an address for each message.
func TestNobodyTakesTheRoomOfOthers(t *testing.T) {
	l := newLedger(t)
	dead := newKey(t, l, "dead")
	s, _ := subscribe(t, l, dead, ferry.EventCompleted, "", flowURL)
	// As if the key's callbacks took half of all room.
	share := shareOf(&ferry.Notice{To: callbackTo(flowURL), Asker: "k1"})
	l.outbox.shares[share], l.outbox.total = ferry.MaxNotices/2, ferry.MaxNotices/2
	report(t, l, accept(t, l, "x", calling("https://h.example/another/run")), ferry.Delivered, ferry.Next{})
	if list := waiting(t, l, callbackTo("https://h.example/another/run")); len(list) != 0 {
		t.Fatalf("one more of the same key waits: %+v", list)
	}
	if list := waiting(t, l, s.target()); len(list) != 1 {
		t.Fatalf("another has no room: %+v", list)
	}
	if r := rec(t, l, accept(t, l, "x")); r.Untold {
		t.Errorf("%+v", r)
	}
	audit, err := l.Audit(0, time.Time{}, 100)
	must0(t, err)
	last := audit[len(audit)-1]
	if last.Act != "lose notices" || last.Target != "callbacks that key k1 asked for" {
		t.Errorf("audit: %+v", last)
	}
}

func TestTellAgain(t *testing.T) {
	l := newLedger(t)
	k := newKey(t, l, "flow")
	s, _ := subscribe(t, l, k, ferry.EventCompleted, "", flowURL)
	id := accept(t, l, "x", calling("https://h.example/run"))
	_, err := l.TellAgain(t.Context(), id, "ann")
	wantCode(t, err, ferry.CodeConflict)
	report(t, l, id, ferry.Delivered, ferry.Next{})
	if told, err := l.TellAgain(t.Context(), id, "ann"); told != 2 || err != nil {
		t.Fatal(told, err)
	}
	if a, b := waiting(t, l, s.target()), waiting(t, l, callbackTo("https://h.example/run")); len(a) != 2 || len(b) != 2 {
		t.Fatalf("%+v\n%+v", a, b)
	}
	must0(t, l.sound())
}
