package store

import (
	"context"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"ferry"
)

// token is a lock as the model knows it.
type token struct {
	lock ferry.ID
	id   ferry.ID // the message
	turn uint64
}

const (
	modelMost   = 3 // locks without a word
	modelWindow = 3
)

// receiveOne has a receiver ask for a message.
func (m *machine) receiveOne(rt *rapid.T) {
	route := drawRoute(rt)
	q := LockRequest{
		Route: route, Token: ferry.NewID(time.Now()), By: "erp", Most: modelMost, Window: modelWindow,
		For: rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(rt, "for"),
	}
	might, locked := m.receivable(rt, route)
	out, err := m.l.Lock(context.Background(), q, onwards)
	if !m.pull[route] {
		if ferry.CodeOf(err) != ferry.CodeConflict {
			rt.Fatalf("a receive from a route of workers: %+v, %v", out, err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("Lock: %v", err)
	}
	m.setAsideByLock(rt, route, len(out.Expired))
	if out.Got == nil {
		if locked < modelWindow && len(might) > 0 && len(out.Expired) == 0 {
			rt.Fatalf("nothing was received of %d messages", len(might))
		}
		return
	}
	got := out.Got
	mm := m.msgs[got.ID]
	if locked >= modelWindow || !slices.Contains(might, got.ID) || got.Turn != mm.turn || got.Revision != len(mm.hashes) ||
		got.Deliveries != mm.deliveries+1 || got.Doubt != m.record(rt, got.ID).Doubt || !got.LockedUntil.Equal(time.Now().Add(q.For)) {
		rt.Fatalf("received %+v, %d are locked, the model has %+v", got, locked, mm)
	}
	mm.deliveries++
	mm.holder, mm.until = &Claim{Inbox: q.Token.String()}, got.LockedUntil
	m.tokens = append(m.tokens, token{q.Token, got.ID, got.Turn})
}

// receivable are the messages of a route that a receiver may be given, and how many
// are locked.
func (m *machine) receivable(rt *rapid.T, route string) (ids []ferry.ID, locked int) {
	row, err := m.l.published(route)
	if err != nil {
		rt.Fatalf("route: %v", err)
	}
	limit := max(time.Now().UnixNano(), row.handedOut()+1, row.LastDue)
	for _, id := range m.ids {
		mm := m.msgs[id]
		if mm.route != route || mm.gone || mm.state != ferry.StateAccepted {
			continue
		}
		r := m.record(rt, id)
		switch {
		case mm.holder != nil:
			locked++
		case !r.Parked && r.Due <= limit && (r.ExpiresAt == 0 || r.ExpiresAt > time.Now().UnixNano()):
			ids = append(ids, id)
		}
	}
	return ids, locked
}

// setAsideByLock notes what a receive found past its time to live.
func (m *machine) setAsideByLock(rt *rapid.T, route string, n int) {
	for id, mm := range m.msgs {
		if mm.gone || mm.route != route || mm.state != ferry.StateAccepted || m.record(rt, id).State != ferry.StateDeadLettered {
			continue
		}
		r := m.record(rt, id)
		if mm.holder != nil || mm.expires.IsZero() || mm.expires.After(time.Now()) || r.Dead.Reason != ferry.ReasonExpired || r.Dead.Open != r.Doubt {
			rt.Fatalf("expired: %+v, the model has %+v", r, mm)
		}
		mm.state = ferry.StateDeadLettered
		n--
	}
	if n != 0 {
		rt.Fatalf("%d more are said to have expired", n)
	}
}

// settle has a receiver say something under a lock of now or of long ago.
func (m *machine) settle(rt *rapid.T) {
	if len(m.tokens) == 0 {
		rt.Skip("nothing was received yet")
	}
	i := len(m.tokens) - 1 - rapid.IntRange(0, len(m.tokens)-1).Draw(rt, "lock")
	k := m.tokens[i]
	mm := m.msgs[k.id]
	s := ferry.LockSettle{
		Route: mm.route, Message: k.id.String(), Lock: k.lock, By: "erp", Reference: "DOC-" + strconv.Itoa(i),
		Do: rapid.SampledFrom([]ferry.LockAct{ferry.LockComplete, ferry.LockComplete, ferry.LockReject, ferry.LockUnlock, ferry.LockRenew}).Draw(rt, "do"),
	}
	early := !mm.gone && mm.state == ferry.StateAccepted && m.record(rt, k.id).rejection() != nil
	out, err := m.l.Settle(context.Background(), s, time.Minute, onwards)
	want := m.expectSettled(rt, i, &s, &out, early)
	if ferry.CodeOf(err) != want {
		rt.Fatalf("%s under %+v: %+v, %v, want code %q; the model has %+v", s.Do, k, out, err, want, mm)
	}
}

// expectSettled is what a receiver's word counts for.
func (m *machine) expectSettled(rt *rapid.T, i int, s *ferry.LockSettle, out *Settled, early bool) ferry.Code {
	k := m.tokens[i]
	mm := m.msgs[k.id]
	held := !mm.gone && mm.holder != nil && mm.holder.Inbox == k.lock.String()
	switch {
	case mm.gone:
		return ferry.CodeLockLost
	case mm.endedBy == k.lock && (s.Do == ferry.LockComplete && mm.state == ferry.StateCompleted || s.Do == ferry.LockReject && mm.state == ferry.StateDeadLettered):
		if !out.Repeated {
			rt.Fatalf("a repeat: %+v", out)
		}
	case s.Do == ferry.LockComplete:
		mm.attempts[k.turn] = true
		switch mm.state {
		case ferry.StateCompleted:
			return ferry.CodeLockLost
		case ferry.StateDiscarded:
			return ferry.CodeConflict
		}
		mm.state, mm.reference, mm.holder, mm.endedBy = ferry.StateCompleted, s.Reference, nil, k.lock
	case !held:
		return ferry.CodeLockLost
	case s.Do == ferry.LockRenew:
		if mm.until = out.Until; !mm.until.Equal(time.Now().Add(time.Minute)) {
			rt.Fatalf("renewed until %s", mm.until)
		}
	case s.Do == ferry.LockReject:
		mm.attempts[k.turn] = true
		mm.state, mm.holder, mm.endedBy = ferry.StateDeadLettered, nil, k.lock
	default: // unlock
		mm.holder = nil
		if early {
			mm.state = ferry.StateDeadLettered
		} else {
			mm.turn++
		}
		m.tokens = slices.Delete(m.tokens, i, i+1)
	}
	return ""
}

// lapsed is what a lock that ended without a word becomes.
func (m *machine) lapsed(rt *rapid.T, id ferry.ID, mm *modelMsg) {
	mm.over++
	mm.attempts[mm.turn] = true
	mm.holder = nil
	r := m.record(rt, id)
	if mm.over >= modelMost || r.State == ferry.StateDeadLettered && r.Dead.Reason == ferry.ReasonRejected {
		mm.state = ferry.StateDeadLettered
		if !r.Dead.Open && r.Dead.Reason != ferry.ReasonRejected { // that was the destination's own word
			rt.Fatalf("a dead letter that may exist: %+v", r.Dead)
		}
		return
	}
	mm.turn++
	if !r.Doubt || !r.Elsewhere || r.TakenOver != mm.over {
		rt.Fatalf("lapsed: %+v, the model has %+v", r, mm)
	}
}
