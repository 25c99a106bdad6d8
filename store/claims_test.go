package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ferry"
)

// held says whether a worker may be about to call: handed out, or where turns are
// claimed, claimed.
func (m *machine) held(mm *modelMsg) bool {
	if m.several[mm.route] {
		return mm.holder != nil
	}
	return mm.handed == mm.turn
}

// heard says whether a receipt of the current turn counts.
func (m *machine) heard(mm *modelMsg, rc *ferry.Receipt) bool {
	switch {
	case !m.several[mm.route]:
		return true
	case rc.Inbox == "":
		return mm.holder == nil
	default:
		return mm.holder != nil && mm.holder.Inbox == rc.Inbox
	}
}

func (m *machine) claim(rt *rapid.T) {
	id, mm := m.pick(rt)
	c := Claim{
		ID: id, Route: mm.route, Turn: mm.turn, Worker: "w1",
		Inbox: rapid.SampledFrom([]string{"i1", "i2"}).Draw(rt, "inbox"), Nonce: rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "nonce"),
		For:   rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second, time.Minute, 1<<63 - 1}).Draw(rt, "for"),
		Bound: rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second, time.Hour, 1<<63 - 1}).Draw(rt, "bound"),
	}
	c.Turn -= min(c.Turn-1, uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "turns ago")))
	state, left, err := m.l.Claim(context.Background(), c)
	if err != nil {
		rt.Fatalf("Claim: %v", err)
	}
	c.For, c.Bound = min(max(c.For, 0), maxClaim), min(max(c.Bound, 0), maxClaimBound)
	want, wantLeft := ClaimRefused, time.Duration(0)
	switch {
	case mm.gone || mm.state != ferry.StateAccepted || !m.several[mm.route] || m.pull[mm.route] || c.Turn != mm.turn || m.record(rt, id).Parked:
	case mm.holder == nil:
		want, wantLeft = ClaimGranted, c.For
		mm.holder, mm.until = &c, time.Now().Add(c.For)
	case mm.holder.Inbox == c.Inbox && mm.holder.Nonce == c.Nonce:
		want, wantLeft = ClaimGranted, max(time.Until(mm.until), 0)
	default:
		want = ClaimHeld
	}
	if state != want || left != wantLeft {
		rt.Fatalf("claim %+v: %s, %s left, want %s and %s; the model has %+v", c, state, left, want, wantLeft, mm)
	}
}

func (m *machine) takeOverClaims(rt *rapid.T) {
	list, next, err := m.l.TakeOverClaims(context.Background(), 1000, onwards)
	if err != nil || !next.IsZero() && !next.After(time.Now()) {
		rt.Fatalf("TakeOverClaims: next %s, %v", next, err)
	}
	over := map[ferry.ID]uint64{}
	for _, t := range list {
		over[t.ID] = t.Turn
	}
	for id, mm := range m.msgs {
		due := mm.holder != nil && !mm.until.Add(mm.holder.Bound).After(time.Now())
		if turn, taken := over[id]; taken != due || taken && turn != mm.turn {
			rt.Fatalf("message %s taken over %v at turn %d, the model has %+v", id, taken, turn, mm)
		}
		switch {
		case !due:
		case m.pull[mm.route]:
			m.lapsed(rt, id, mm)
		default:
			mm.over++
			m.takenOver(rt, id, mm)
		}
	}
}

// takenOver is what a claim that nobody reported on becomes.
func (m *machine) takenOver(rt *rapid.T, id ferry.ID, mm *modelMsg) {
	calm := mm.until.Add(mm.holder.Bound)
	mm.turn++
	mm.holder = nil
	r := m.record(rt, id)
	if !r.Doubt || !r.Elsewhere || r.Risk || timeOf(r.NotBefore).Before(calm) || timeOf(r.Due).Before(calm) {
		rt.Fatalf("taken over before %s: %+v", calm, r)
	}
}

// switchMode starts the ledger again, with another number of workers on a route, or
// receivers in their place.
func (m *machine) switchMode(rt *rapid.T) {
	m.reopen(rt)
	route := drawRoute(rt)
	no, _ := m.l.routeNo(route)
	bound := m.l.routes[no].Binding != nil
	several, pull := m.several[route], m.pull[route]
	to := rapid.SampledFrom([]string{"one", "several", "pull"}).Draw(rt, "workers")
	var err error
	if m.several[route], m.pull[route] = to != "one", to == "pull"; to == "pull" {
		err = m.l.SetPull(context.Background(), route)
	} else {
		err = m.l.SetSeveral(context.Background(), route, to == "several")
	}
	if err != nil {
		rt.Fatalf("switch to %s: %v", to, err)
	}
	if several == m.several[route] && pull == m.pull[route] {
		return
	}
	for id, mm := range m.msgs {
		switch {
		case mm.route != route || mm.gone || mm.state != ferry.StateAccepted:
			continue
		case several && mm.holder != nil:
			m.takenOver(rt, id, mm)
		case !several && bound && mm.handed == mm.turn:
			mm.turn++
			if r := m.record(rt, id); !r.Elsewhere || !r.Doubt || timeOf(r.NotBefore).Before(time.Now().Add(time.Minute)) {
				rt.Fatalf("after the route is no longer one worker's: %+v", r)
			}
		}
		if to == "pull" {
			mm.handed = 0 // no worker can hold it any more
		}
	}
}

func TestClaim(t *testing.T) {
	l := newLedger(t)
	must0(t, l.SetSeveral(t.Context(), testRoute, true))
	ask := func(id ferry.ID, change func(*Claim)) (ClaimState, time.Duration) {
		t.Helper()
		c := Claim{ID: id, Route: testRoute, Turn: 1, Worker: "one", Inbox: "i1", Nonce: "n1", For: time.Minute, Bound: time.Second}
		if change != nil {
			change(&c)
		}
		state, left, err := l.Claim(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return state, left
	}
	for name, c := range map[string]struct {
		before func(id ferry.ID)
		change func(*Claim)
		want   ClaimState
	}{
		"free":            {nil, nil, ClaimGranted},
		"again":           {func(id ferry.ID) { ask(id, nil) }, nil, ClaimGranted},
		"another nonce":   {func(id ferry.ID) { ask(id, nil) }, func(c *Claim) { c.Nonce = "n2" }, ClaimHeld},
		"another inbox":   {func(id ferry.ID) { ask(id, nil) }, func(c *Claim) { c.Inbox = "i2" }, ClaimHeld},
		"another worker":  {func(id ferry.ID) { ask(id, nil) }, func(c *Claim) { c.Worker = "two" }, ClaimHeld},
		"a later turn":    {nil, func(c *Claim) { c.Turn = 2 }, ClaimRefused},
		"an earlier turn": {func(id ferry.ID) { ask(id, nil); report(t, l, id, ferry.Failed, retryIn(0), from("one", "i1")) }, nil, ClaimRefused},
		"another route":   {nil, func(c *Claim) { c.Route = otherRoute }, ClaimRefused},
		"no such message": {nil, func(c *Claim) { c.ID = ferry.NewID(time.Now()) }, ClaimRefused},
		"discarded":       {func(id ferry.ID) { must0(t, l.Discard(t.Context(), id, "", "ann")) }, nil, ClaimRefused},
		"completed":       {func(id ferry.ID) { report(t, l, id, ferry.Delivered, ferry.Next{}) }, nil, ClaimRefused},
		"behind its head": {nil, func(c *Claim) { c.ID = accept(t, l, "b", withOrder("busy")) }, ClaimRefused},
		"set aside before": {func(id ferry.ID) {
			ask(id, nil)
			report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected), from("one", "i1"))
		}, nil, ClaimRefused},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "behind its head" {
				accept(t, l, "a", withOrder("busy"))
			}
			id := accept(t, l, "x")
			if c.before != nil {
				c.before(id)
			}
			if state, _ := ask(id, c.change); state != c.want {
				t.Errorf("%s, want %s", state, c.want)
			}
			must0(t, l.sound())
		})
	}
	one := accept(t, l, "one worker", func(m *ferry.Message) { m.Route = otherRoute })
	if state, _ := ask(one, func(c *Claim) { c.Route = otherRoute }); state != ClaimRefused {
		t.Errorf("on a route with one worker: %s", state)
	}
	if _, left := ask(accept(t, l, "x"), func(c *Claim) { c.For = 1000 * time.Hour }); left != maxClaim {
		t.Errorf("a claim without end: %s", left)
	}
}

// A claim is on disk before its answer, and outlives the broker.
func TestClaimsOutliveARestart(t *testing.T) {
	l := newLedger(t)
	must0(t, l.SetSeveral(t.Context(), testRoute, true))
	id := accept(t, l, "x")
	c := Claim{ID: id, Route: testRoute, Turn: 1, Worker: "one", Inbox: "i1", Nonce: "n1", For: time.Minute}
	for i, want := range []ClaimState{ClaimGranted, ClaimGranted, ClaimHeld} {
		if i == 2 {
			c.Nonce = "n2"
		}
		if state, _, err := l.Claim(t.Context(), c); err != nil || state != want {
			t.Fatalf("%s, %v, want %s", state, err, want)
		}
		l = reopen(t, l)
	}
	wantCode(t, l.Discard(t.Context(), id, "", "ann"), ferry.CodeInDelivery)
	if got := handOut(t, l, testRoute, 10); len(got) != 0 {
		t.Errorf("what is claimed was handed out: %+v", got)
	}
}

func from(worker, inbox string) func(*ferry.Receipt) {
	return func(rc *ferry.Receipt) { rc.Worker, rc.Inbox = worker, inbox }
}

// A risk that a person took was for one turn: taken over, it is not taken again.
func TestARiskIsTakenOnce(t *testing.T) {
	l := newLedger(t)
	must0(t, l.SetSeveral(t.Context(), testRoute, true))
	id := accept(t, l, "x")
	turn := func() uint64 { return rec(t, l, id).Turn }
	claim := func() {
		t.Helper()
		c := Claim{ID: id, Route: testRoute, Turn: turn(), Worker: "one", Inbox: "i1", Nonce: fmt.Sprint("n", turn())}
		if state, _, err := l.Claim(t.Context(), c); err != nil || state != ClaimGranted {
			t.Fatalf("%s, %v", state, err)
		}
	}
	claim()
	report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, from("one", "i1"))
	must0(t, l.Replay(t.Context(), id, nil, "", "go", "ann"))
	if r := rec(t, l, id); !r.Risk {
		t.Fatalf("%+v", r)
	}
	claim()
	list, _, err := l.TakeOverClaims(t.Context(), 10, park)
	if r := rec(t, l, id); err != nil || len(list) != 1 || r.Risk || !r.Doubt || r.TakenOver != 1 {
		t.Errorf("%+v, %v: %+v", list, err, r)
	}
	report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected), from("two", "i2")) // it holds nothing
	claim()
	report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected), from("one", "i1"))
	must0(t, l.Replay(t.Context(), id, nil, "", "", "ann"))
	if r := rec(t, l, id); r.TakenOver != 0 {
		t.Errorf("taken over %d times in a new generation", r.TakenOver)
	}
	must0(t, l.sound())
}
