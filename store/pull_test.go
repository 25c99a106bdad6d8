package store

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/internal/disk"
)

const lockFor = time.Minute

// pullLedger is a ledger whose first route is read by receivers.
func pullLedger(t testing.TB, dir string) *Ledger {
	t.Helper()
	l := openIn(t, dir, Options{})
	must0(t, l.SetPull(context.Background(), testRoute))
	return l
}

func lockRequest() LockRequest {
	return LockRequest{Route: testRoute, Token: ferry.NewID(time.Now()), By: "erp", For: lockFor, Most: 3, Window: 100}
}

// receive locks one message, or fails.
func receive(t testing.TB, l *Ledger, change ...func(*LockRequest)) *ferry.Received {
	t.Helper()
	got := tryReceive(t, l, change...)
	if got == nil {
		t.Fatal("there is no message to receive")
	}
	return got
}

func tryReceive(t testing.TB, l *Ledger, change ...func(*LockRequest)) *ferry.Received {
	t.Helper()
	q := lockRequest()
	for _, f := range change {
		f(&q)
	}
	out, err := l.Lock(context.Background(), q, park)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	return out.Got
}

func settleAs(got *ferry.Received, do ferry.LockAct) ferry.LockSettle {
	return ferry.LockSettle{Route: got.Route, Message: got.ID.String(), Lock: got.Lock, Do: do, By: "erp"}
}

func settle(t testing.TB, l *Ledger, s ferry.LockSettle, want ferry.Code) Settled {
	t.Helper()
	out, err := l.Settle(context.Background(), s, lockFor, park)
	wantCode(t, err, want)
	if err := l.sound(); err != nil {
		t.Fatalf("the ledger is not sound: %v", err)
	}
	return out
}

// lapseAll ends the locks whose time is over.
func lapseAll(t testing.TB, l *Ledger) []TakenOver {
	t.Helper()
	list, _, err := l.TakeOverClaims(context.Background(), 1000, park)
	if err != nil {
		t.Fatalf("TakeOverClaims: %v", err)
	}
	if err := l.sound(); err != nil {
		t.Fatalf("the ledger is not sound: %v", err)
	}
	return list
}

func TestReceiveAndComplete(t *testing.T) {
	l := pullLedger(t, t.TempDir())
	first := accept(t, l, "a", withKey("INV-1"))
	second := accept(t, l, "b")
	got := receive(t, l)
	if got.ID != first || got.Sequence != 1 || got.Deliveries != 1 || got.Doubt || got.IdempotencyKey != "INV-1" || got.Lock.IsZero() || got.LockedUntil.IsZero() {
		t.Fatalf("received %+v", got)
	}
	if e := show(t, l, first); e.State != ferry.StateQueued || e.WaitingFor.Reason != "delivery" || !e.WaitingFor.Until.Equal(got.LockedUntil) {
		t.Errorf("while it is locked: %s, %+v", e.State, e.WaitingFor)
	}
	wantCode(t, l.Discard(t.Context(), first, "", "ann"), ferry.CodeInDelivery)
	if other := receive(t, l); other.ID != second {
		t.Fatalf("the second receive gives %s", other.ID.Short())
	}
	if more := tryReceive(t, l); more != nil {
		t.Fatalf("what is locked was given again: %+v", more)
	}
	s := settleAs(got, ferry.LockComplete)
	s.Reference, s.Result = "DOC-7", []byte(`{"n":7}`)
	out := settle(t, l, s, "")
	if !out.Outcome.Applied || out.Receipt.Attempts[0].Reference != "DOC-7" {
		t.Errorf("%+v", out)
	}
	e := show(t, l, first)
	if e.State != ferry.StateCompleted || e.Reference != "DOC-7" || string(e.Result) != `{"n":7}` || len(e.Attempts) != 1 ||
		e.Attempts[0].Worker != "erp" || e.Attempts[0].Verdict != ferry.Delivered || e.Attempts[0].Effect != ferry.EffectDone {
		t.Errorf("completed: %+v", e)
	}
	if out := settle(t, l, s, ""); !out.Repeated || out.Receipt != nil {
		t.Errorf("said again: %+v", out)
	}
	for _, do := range []ferry.LockAct{ferry.LockUnlock, ferry.LockRenew, ferry.LockReject} {
		settle(t, l, settleAs(got, do), ferry.CodeLockLost)
	}
	if e := show(t, l, first); len(e.Attempts) != 1 || e.State != ferry.StateCompleted {
		t.Errorf("after all that: %+v", e)
	}
}

// The receiver names the message as it got it: by the id of the Location, by the
// number or by the sender's key; another message's name does not do.
func TestALockIsOfItsMessage(t *testing.T) {
	l := pullLedger(t, t.TempDir())
	accept(t, l, "a", withKey("INV-1"))
	accept(t, l, "b", withKey("INV-2"))
	got := receive(t, l)
	for name, message := range map[string]string{
		"another's key": "INV-2", "another's number": "2", "nothing": "", "another id": ferry.NewID(time.Now()).String(),
	} {
		s := settleAs(got, ferry.LockComplete)
		s.Message = message
		if _, err := l.Settle(t.Context(), s, lockFor, park); ferry.CodeOf(err) != ferry.CodeLockLost {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := settleAs(got, ferry.LockComplete)
	s.Route = otherRoute
	settle(t, l, s, ferry.CodeLockLost)
	s = settleAs(got, ferry.LockComplete)
	s.Lock = ferry.NewID(time.Now())
	settle(t, l, s, ferry.CodeLockLost)
	for _, message := range []string{"INV-1", "1", got.ID.String()} {
		s := settleAs(got, ferry.LockRenew)
		s.Message = message
		settle(t, l, s, "")
	}
	wantState(t, l, got.ID, ferry.StateQueued)
}

func TestUnlockCostsNothing(t *testing.T) {
	l := pullLedger(t, t.TempDir())
	id := accept(t, l, "a")
	for i := range 20 {
		got := receive(t, l)
		if got.Deliveries != i+1 || got.Doubt || got.Turn != uint64(i+1) {
			t.Fatalf("time %d: %+v", i, got)
		}
		settle(t, l, settleAs(got, ferry.LockUnlock), "")
		settle(t, l, settleAs(got, ferry.LockUnlock), ferry.CodeLockLost)
		settle(t, l, settleAs(got, ferry.LockComplete), ferry.CodeLockLost) // it said that nothing was done
	}
	if r := rec(t, l, id); r.Spent != 0 || r.TakenOver != 0 || r.Doubt || len(r.Locks) != 0 || r.State != ferry.StateRetrying {
		t.Errorf("%+v", r)
	}
	if e := show(t, l, id); len(e.Attempts) != 0 || e.WaitingFor.Text != "erp gave it back" {
		t.Errorf("%+v, %+v", e.WaitingFor, e.Attempts)
	}
}

func TestRejectedByAReceiver(t *testing.T) {
	l := pullLedger(t, t.TempDir())
	head := accept(t, l, "a", withOrder("o"))
	accept(t, l, "b", withOrder("o"))
	got := receive(t, l)
	s := settleAs(got, ferry.LockReject)
	s.Code, s.Text = "E42", "no such supplier"
	settle(t, l, s, "")
	e := show(t, l, head)
	if d := e.DeadLetter; e.State != ferry.StateDeadLettered || d.Reason != ferry.ReasonRejected || d.Code != "E42" || d.Description != "no such supplier" || d.Open ||
		len(e.Attempts) != 1 || e.Attempts[0].Verdict != ferry.Rejected || e.Attempts[0].Worker != "erp" {
		t.Fatalf("%+v, %+v", e.DeadLetter, e.Attempts)
	}
	if out := settle(t, l, s, ""); !out.Repeated {
		t.Errorf("said again: %+v", out)
	}
	if more := tryReceive(t, l); more != nil {
		t.Errorf("what waits behind a dead letter was given: %+v", more)
	}
	must0(t, l.Replay(t.Context(), head, nil, "", "", "ann"))
	if settle(t, l, s, ferry.CodeLockLost); rec(t, l, head).State != ferry.StateAccepted {
		t.Error("an old word ended the next generation")
	}
	if got := receive(t, l); got.ID != head || got.Deliveries != 1 {
		t.Errorf("replayed: %+v", got)
	}
}

// A lock that ends without a word: the receiver may have done it.
func TestALockThatLapses(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := pullLedger(t, dir)
		defer func() { must0(t, l.Close()) }()
		id := accept(t, l, "a")
		for i := range 3 {
			got := receive(t, l)
			if got.Deliveries != i+1 || got.Doubt != (i > 0) {
				t.Fatalf("time %d: %+v", i, got)
			}
			time.Sleep(lockFor / 2)
			s := settle(t, l, settleAs(got, ferry.LockRenew), "")
			if want := time.Now().Add(lockFor); !s.Until.Equal(want) {
				t.Fatalf("renewed until %s, want %s", s.Until, want)
			}
			time.Sleep(lockFor - time.Millisecond)
			if list := lapseAll(t, l); len(list) != 0 {
				t.Fatalf("before its time: %+v", list)
			}
			time.Sleep(time.Millisecond)
			list := lapseAll(t, l)
			if len(list) != 1 || list[0].Lapsed == nil || list[0].Times != i+1 || list[0].Worker != "erp" {
				t.Fatalf("%+v", list)
			}
			for _, do := range []ferry.LockAct{ferry.LockUnlock, ferry.LockRenew, ferry.LockReject} {
				settle(t, l, settleAs(got, do), ferry.CodeLockLost)
			}
		}
		e := show(t, l, id)
		if d := e.DeadLetter; e.State != ferry.StateDeadLettered || d.Reason != ferry.ReasonUndeliverable || !d.Open || !d.MayExist() || len(e.Attempts) != 3 {
			t.Fatalf("%s: %+v, %d attempts", e.State, d, len(e.Attempts))
		}
		if a := e.Attempts[0]; a.Verdict != ferry.Unknown || a.Effect != ferry.EffectMaybe || a.Worker != "erp" || a.DurationMS != (lockFor/2+lockFor).Milliseconds() {
			t.Errorf("%+v", a)
		}
	})
}

// What a receiver did it did, however late it says so.
func TestALateCompleteIsAFact(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := pullLedger(t, dir)
		defer func() { must0(t, l.Close()) }()
		lapse := func() *ferry.Received {
			got := receive(t, l)
			time.Sleep(lockFor)
			lapseAll(t, l)
			return got
		}
		// Nobody received it since.
		id := accept(t, l, "a", withOrder("o"))
		behind := accept(t, l, "b", withOrder("o"))
		got := lapse()
		settle(t, l, settleAs(got, ferry.LockComplete), "")
		wantState(t, l, id, ferry.StateCompleted)
		if next := receive(t, l); next.ID != behind {
			t.Fatalf("behind it: %+v", next)
		} else {
			settle(t, l, settleAs(next, ferry.LockComplete), "")
		}
		// Another has it in hand: that one is told that it lost its lock.
		id = accept(t, l, "c")
		first := lapse()
		second := receive(t, l)
		settle(t, l, settleAs(first, ferry.LockComplete), "")
		settle(t, l, settleAs(second, ferry.LockRenew), ferry.CodeLockLost)
		settle(t, l, settleAs(second, ferry.LockComplete), ferry.CodeLockLost)
		if e := show(t, l, id); e.State != ferry.StateCompleted || len(e.Attempts) != 2 {
			t.Errorf("done twice: %s, %+v", e.State, e.Attempts)
		}
		// A dead letter, and a discarded message.
		for range 2 {
			id = accept(t, l, "d")
			for range 3 {
				got = lapse()
			}
			wantState(t, l, id, ferry.StateDeadLettered)
			if n := show(t, l, id); n.DeadLetter.Reason != ferry.ReasonUndeliverable {
				t.Fatalf("%+v", n.DeadLetter)
			}
			if l.routes[1].Discarded == 0 && l.routes[1].Completed == 3 {
				must0(t, l.Discard(t.Context(), id, "", "ann"))
				settle(t, l, settleAs(got, ferry.LockComplete), ferry.CodeConflict)
				if e := show(t, l, id); e.State != ferry.StateDiscarded || e.Conflict == "" {
					t.Errorf("%s: %q", e.State, e.Conflict)
				}
				continue
			}
			settle(t, l, settleAs(got, ferry.LockComplete), "")
			wantState(t, l, id, ferry.StateCompleted)
		}
	})
}

// Locks are in the ledger: they outlive it, and end by their time.
func TestLocksOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := pullLedger(t, dir)
		defer func() { must0(t, l.Close()) }()
		kept, done := accept(t, l, "a"), accept(t, l, "b")
		one, two := receive(t, l), receive(t, l)
		again := func() {
			must0(t, l.Close())
			l = pullLedger(t, dir)
		}
		again()
		if got := tryReceive(t, l); got != nil {
			t.Fatalf("what is locked was given again: %+v", got)
		}
		settle(t, l, settleAs(two, ferry.LockComplete), "")
		wantState(t, l, done, ferry.StateCompleted)
		time.Sleep(lockFor)
		again()
		if list := lapseAll(t, l); len(list) != 1 || list[0].ID != kept {
			t.Fatalf("%+v", list)
		}
		if got := receive(t, l); got.ID != kept || got.Deliveries != 2 || !got.Doubt {
			t.Errorf("%+v", got)
		}
		settle(t, l, settleAs(one, ferry.LockComplete), "") // late, and still a fact
		wantState(t, l, kept, ferry.StateCompleted)
	})
}

func TestPauseWindowAndTimes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := pullLedger(t, dir)
		defer func() { must0(t, l.Close()) }()
		next := func() time.Time {
			t.Helper()
			out, err := l.Lock(t.Context(), lockRequest(), park)
			if err != nil || out.Got != nil {
				t.Fatalf("%+v, %v", out, err)
			}
			return out.Next
		}
		at := time.Now().Add(time.Hour)
		accept(t, l, "later", func(m *ferry.Message) { m.DeliverAt = at })
		if n := next(); !n.Equal(at) {
			t.Errorf("looks again at %s, want %s", n, at)
		}
		a := accept(t, l, "a")
		until := time.Now().Add(time.Minute)
		must0(t, l.Pause(t.Context(), testRoute, "why", until, "ann"))
		if n := next(); !n.Equal(until) {
			t.Errorf("paused: looks again at %s, want %s", n, until)
		}
		must0(t, l.Pause(t.Context(), testRoute, "why", time.Time{}, "ann"))
		if n := next(); !n.IsZero() {
			t.Errorf("paused: looks again at %s", n)
		}
		must0(t, l.Resume(t.Context(), testRoute, "", "ann"))
		accept(t, l, "b")
		narrow := func(q *LockRequest) { q.Window = 1 }
		got := receive(t, l, narrow)
		if got.ID != a {
			t.Errorf("%+v", got)
		}
		if more := tryReceive(t, l, narrow); more != nil {
			t.Errorf("beyond the window: %+v", more)
		}
		settle(t, l, settleAs(got, ferry.LockComplete), "")
		receive(t, l, narrow)
		if row := l.routes[1]; row.Locked != 1 || row.Received.By != "erp" {
			t.Errorf("%+v", row)
		}
	})
}

func TestExpiredIsNotReceived(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := pullLedger(t, dir)
		defer func() { must0(t, l.Close()) }()
		short := func(m *ferry.Message) { m.TimeToLive = 90 * time.Second }
		var gone []ferry.ID
		for range expireStep + 5 {
			gone = append(gone, accept(t, l, "x", short))
		}
		got := receive(t, l)
		time.Sleep(100 * time.Second)
		lapseAll(t, l) // in doubt from now on
		good := accept(t, l, "good")
		expired := 0
		for {
			out, err := l.Lock(t.Context(), lockRequest(), park)
			must0(t, err)
			if expired += len(out.Expired); out.Got != nil {
				if out.Got.ID != good {
					t.Fatalf("%+v", out.Got)
				}
				break
			}
			if len(out.Expired) == 0 {
				t.Fatalf("nothing came: %+v", out)
			}
		}
		ids, _, _, err := l.Overdue(testRoute, nil, time.Now(), 1000)
		must0(t, err)
		rest, err := l.Expire(t.Context(), ids, park)
		must0(t, err)
		if expired+len(rest) != len(gone) {
			t.Errorf("%d and %d expired, of %d", expired, len(rest), len(gone))
		}
		for _, id := range gone {
			if e := show(t, l, id); e.DeadLetter == nil || e.DeadLetter.Reason != ferry.ReasonExpired || e.DeadLetter.Open != (id == got.ID) {
				t.Errorf("%s: %s %+v", id.Short(), e.State, e.DeadLetter)
			}
		}
		must0(t, l.sound())
	})
}

// From workers to receivers and back, nothing is in two hands.
func TestFromWorkersToReceivers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openIn(t, dir, Options{})
		defer func() { must0(t, l.Close()) }()
		must0(t, l.Bind(t.Context(), testRoute, Binding{Worker: "w1", Inbox: "i1", Bound: time.Minute}, false, "", "ann"))
		held, fresh := accept(t, l, "a"), accept(t, l, "b")
		if got := handOut(t, l, testRoute, 1); len(got) != 1 || got[0].ID != held {
			t.Fatalf("%+v", got)
		}
		if _, err := l.Lock(t.Context(), lockRequest(), park); ferry.CodeOf(err) != ferry.CodeConflict {
			t.Fatalf("a receive from a route of workers: %v", err)
		}
		must0(t, l.SetPull(t.Context(), testRoute))
		must0(t, l.sound())
		wantCode(t, l.Bind(t.Context(), testRoute, Binding{Worker: "w1", Inbox: "i1"}, true, "", "ann"), ferry.CodeConflict)
		other := receive(t, l)
		if other.ID != fresh || other.Doubt {
			t.Fatalf("%+v", other)
		}
		settle(t, l, settleAs(other, ferry.LockComplete), "")
		if got := tryReceive(t, l); got != nil {
			t.Fatalf("while the worker may still write: %+v", got)
		}
		// A receipt of the worker's old turn is heard only where it is a fact.
		report(t, l, held, ferry.Rejected, setAside(ferry.ReasonRejected), func(rc *ferry.Receipt) { rc.Turn = 1 })
		wantState(t, l, held, ferry.StateAccepted)
		time.Sleep(time.Minute)
		lapseAll(t, l)
		got := receive(t, l)
		if got.ID != held || !got.Doubt {
			t.Fatalf("%+v", got)
		}
		if state, _, err := l.Claim(t.Context(), Claim{ID: held, Route: testRoute, Turn: got.Turn, Worker: "w1", Inbox: "i1", Nonce: "n"}); err != nil || state != ClaimRefused {
			t.Errorf("a worker claims: %s, %v", state, err)
		}
		must0(t, l.SetSeveral(t.Context(), testRoute, false))
		must0(t, l.sound())
		if r := rec(t, l, held); r.Holder != nil || !r.Doubt || !r.Elsewhere || timeOf(r.NotBefore).Before(got.LockedUntil) {
			t.Errorf("%+v", r)
		}
		settle(t, l, settleAs(got, ferry.LockComplete), "") // a fact, whoever delivers now
		wantState(t, l, held, ferry.StateCompleted)
	})
}

// The tokens of a message go with it, and there are never too many.
func TestLocksGoWithTheirMessages(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := pullLedger(t, dir)
		defer func() { must0(t, l.Close()) }()
		accept(t, l, "a")
		var all []*ferry.Received
		for range maxLocks + 3 {
			all = append(all, receive(t, l, func(q *LockRequest) { q.Most = 1000 }))
			time.Sleep(lockFor)
			lapseAll(t, l)
		}
		settle(t, l, settleAs(all[2], ferry.LockComplete), ferry.CodeLockLost) // forgotten
		settle(t, l, settleAs(all[3], ferry.LockComplete), "")
		time.Sleep(time.Hour)
		if n, err := purgeBefore(t.Context(), l, time.Now()); n != 1 || err != nil {
			t.Fatalf("purged %d, %v", n, err)
		}
		must0(t, l.sound())
		settle(t, l, settleAs(all[3], ferry.LockComplete), ferry.CodeLockLost)
	})
}

// Only the head of an ordering key is received, and what follows comes after its end.
func TestOrderAmongReceivers(t *testing.T) {
	l := pullLedger(t, t.TempDir())
	want := map[string][]ferry.ID{}
	for i := range 30 {
		key := "o" + strconv.Itoa(i%3)
		want[key] = append(want[key], accept(t, l, fmt.Sprint(i), withOrder(key)))
	}
	var held []*ferry.Received
	got := map[string][]ferry.ID{}
	for n := 0; n < 30; {
		for {
			r := tryReceive(t, l)
			if r == nil {
				break
			}
			held = append(held, r)
		}
		if len(held) > 3 || len(held) == 0 {
			t.Fatalf("%d locked of 3 ordering keys", len(held))
		}
		one := held[0]
		held = held[1:]
		if n%4 == 3 {
			settle(t, l, settleAs(one, ferry.LockUnlock), "")
			n++
			continue
		}
		settle(t, l, settleAs(one, ferry.LockComplete), "")
		got[one.OrderingKey] = append(got[one.OrderingKey], one.ID)
		n++
	}
	for key, list := range got {
		for i, id := range list {
			if id != want[key][i] {
				t.Fatalf("%s: %d is %s, want %s", key, i, id.Short(), want[key][i].Short())
			}
		}
	}
}

// A ledger that goes on from a backup does not know what receivers did since.
func TestARestoredLedgerAndItsLocks(t *testing.T) {
	if file, err := disk.FileID(t.TempDir()); err != nil || file == 0 {
		t.Skip("this system does not number its files: a copy cannot be told from its original")
	}
	l := pullLedger(t, t.TempDir())
	locked, waiting := accept(t, l, "locked"), accept(t, l, "waiting")
	got := receive(t, l)
	r := openIn(t, backup(t, l), Options{})
	must0(t, r.sound())
	for _, id := range []ferry.ID{locked, waiting} {
		if is := rec(t, r, id); is.Holder != nil || !is.Doubt || !is.Elsewhere || is.Turn < 1<<20 {
			t.Errorf("%s: %+v", id.Short(), is)
		}
	}
	if row := r.routes[1]; row.Locked != 0 || !row.Pull {
		t.Errorf("%+v", row)
	}
	settle(t, r, settleAs(got, ferry.LockUnlock), ferry.CodeLockLost)
	settle(t, r, settleAs(got, ferry.LockComplete), "") // what was done was done
	wantState(t, r, locked, ferry.StateCompleted)
}

// A worker that works on while the broker is away is waited for, until it has
// heard that receivers have its route.
func TestReceiversWaitForALongWord(t *testing.T) {
	for name, heard := range map[string]bool{"heard": true, "not heard": false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			l := openIn(t, dir, Options{})
			defer func() { must0(t, l.Close()) }()
			must0(t, l.Bind(t.Context(), testRoute, Binding{Worker: "w1", Inbox: "i1", Bound: time.Minute}, false, "", "ann"))
			must0(t, l.Grant(t.Context(), testRoute, 1, "run", time.Now().Add(time.Hour)))
			id := accept(t, l, "a")
			handOut(t, l, testRoute, 1)
			must0(t, l.SetPull(t.Context(), testRoute))
			wait := time.Hour + time.Minute
			if heard {
				wait = time.Minute
				if n, err := l.Heard(t.Context(), testRoute, "w1", "i1", 2); n != 1 || err != nil {
					t.Fatalf("%s: %d, %v", name, n, err)
				}
			}
			time.Sleep(wait - time.Second)
			if got := tryReceive(t, l); got != nil {
				t.Fatalf("%s: while the worker may still write: %+v", name, got)
			}
			time.Sleep(time.Second)
			if got := receive(t, l); got.ID != id || !got.Doubt {
				t.Errorf("%s: %+v", name, got)
			}
			must0(t, l.sound())
		})
	}
}
