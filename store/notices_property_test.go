package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"ferry"
)

// noticed is whom a notice was for: of a queue the kind alone, since the last who
// asks takes the place of who asked before.
type noticed struct {
	id     ferry.ID
	kind   string
	target string
}

func noticedOf(n ferry.Notice) noticed {
	k := noticed{id: n.ID, kind: n.To.Kind}
	if k.kind != ferry.ReplyServiceBus {
		k.target = n.To.Target
	}
	return k
}

// modelSub is what must be true of a subscription.
type modelSub struct {
	event ferry.EventType
	route string
	after ferry.ID          // the last event before it
	heard map[ferry.ID]bool // the events that it had a notice of
}

// waiting gives every notice that waits, by target.
func (m *machine) waiting(rt *rapid.T, see func(to ferry.NoticeTarget, list []ferry.Notice)) {
	for to, count := range m.l.NoticeTargets() {
		list, err := m.l.Notices(to, 0, 1<<20)
		if err != nil || len(list) != count {
			rt.Fatalf("Notices of %+v: %d of %d, %v", to, len(list), count, err)
		}
		see(to, list)
	}
}

// out takes notices of the model out, told or given up.
func (m *machine) out(rt *rapid.T, list []ferry.Notice) {
	for _, n := range list {
		if n.Seq > m.told[noticedOf(n)].Seq {
			m.told[noticedOf(n)] = n
		}
		if n.To.Kind != ferry.ReplySubscription {
			continue
		}
		id, err := ferry.ParseID(n.To.Target)
		if err != nil {
			rt.Fatalf("%+v: %v", n, err)
		}
		if s := m.subs[id]; s != nil {
			if s.heard[n.Event] {
				rt.Fatalf("the subscription %s hears of %+v twice", id, n)
			}
			s.heard[n.Event] = true
		}
	}
}

// tell takes some notices of each target out, as one that was told.
func (m *machine) tell(rt *rapid.T) {
	m.waiting(rt, func(to ferry.NoticeTarget, list []ferry.Notice) {
		list = list[:min(len(list), rapid.IntRange(1, 5).Draw(rt, "notices"))]
		for _, n := range list {
			e, ok, err := m.l.Ending(n)
			if mm := m.msgs[n.ID]; err != nil || ok == mm.gone || ok && (e.Envelope.State != n.State || e.Envelope.Generation != n.Generation) || e.ReplyTo.Target != "" && e.ReplyTo.Target != to.Target {
				rt.Fatalf("the ending of %+v: %+v, %v, %v", n, e, ok, err)
			}
		}
		m.out(rt, list)
		if err := m.l.DropNotices(context.Background(), list, nil); err != nil {
			rt.Fatalf("DropNotices: %v", err)
		}
	})
}

func (m *machine) giveUp(rt *rapid.T) {
	before := time.Now().Add(-ferry.NoticeLife)
	old := 0
	m.waiting(rt, func(_ ferry.NoticeTarget, list []ferry.Notice) {
		list = slices.DeleteFunc(list, func(n ferry.Notice) bool { return !n.At.Before(before) })
		m.out(rt, list)
		old += len(list)
	})
	given, err := m.l.GiveUpNotices(context.Background(), before)
	for _, n := range given {
		old -= n
	}
	if err != nil || old != 0 {
		rt.Fatalf("GiveUpNotices: %v, %d too few", err, old)
	}
}

func (m *machine) subscribe(rt *rapid.T) {
	s := &modelSub{
		event: rapid.SampledFrom(ferry.SubscribedEvents()).Draw(rt, "event"),
		route: rapid.SampledFrom([]string{"", testRoute}).Draw(rt, "of route"), after: m.l.lastEvent, heard: map[ferry.ID]bool{},
	}
	row := Subscription{
		ID: ferry.NewID(time.Now()), Event: s.event, Route: s.route, URL: rapid.SampledFrom([]string{"https://h.example/a", "https://h.example/b"}).Draw(rt, "url"),
		KeyID: "jwt:idp/flow", KeyName: "flow", Role: ferry.RoleSender, CreatedAt: time.Now().UTC(),
	}
	is, merged, err := m.l.Subscribe(context.Background(), row)
	if err != nil || merged != (m.subs[is.ID] != nil) {
		rt.Fatalf("Subscribe: %+v, merged %v, %v", is, merged, err)
	}
	if !merged {
		m.subs[is.ID] = s
	}
}

func (m *machine) unsubscribe(rt *rapid.T) {
	ids := slices.SortedFunc(maps.Keys(m.subs), func(a, b ferry.ID) int { return slices.Compare(a[:], b[:]) })
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(rt, "ends")
	if was, err := m.l.Unsubscribe(context.Background(), id, "ann"); err != nil || !was {
		rt.Fatalf("Unsubscribe: %v, %v", was, err)
	}
	if was, err := m.l.Unsubscribe(context.Background(), id, "ann"); err != nil || was {
		rt.Fatalf("Unsubscribe once more: %v, %v", was, err)
	}
	delete(m.subs, id)
}

// lastNotices are the last notices of every message, told or not.
func (m *machine) lastNotices(rt *rapid.T) map[noticed]ferry.Notice {
	last := maps.Clone(m.told)
	m.waiting(rt, func(_ ferry.NoticeTarget, list []ferry.Notice) {
		for _, n := range list {
			if n.Seq > last[noticedOf(n)].Seq {
				last[noticedOf(n)] = n
			}
		}
	})
	return last
}

// checkNotices wants the last notice of each who asked to be of the message's end,
// and none of others.
func (m *machine) checkNotices(rt *rapid.T, r *record, last map[noticed]ferry.Notice) {
	right := func(n ferry.Notice) bool { return n.State == r.State && n.Generation == r.Generation }
	if n := last[noticed{id: r.ID, kind: ferry.ReplyServiceBus}]; r.ReplyTo != nil && r.State.Terminal() && !right(n) || r.ReplyTo == nil && n.State != "" {
		rt.Fatalf("the last reply of %+v is %+v", r, n)
	}
	urls := map[string]bool{}
	for _, c := range r.Callbacks {
		if urls[c.URL] {
			rt.Fatalf("%+v calls an address back twice", r)
		}
		urls[c.URL] = true
		if n := last[noticed{r.ID, ferry.ReplyCallback, ferry.MaskURL(c.URL)}]; r.State.Terminal() && (!right(n) || n.URL != c.URL || n.Asker != "k1") {
			rt.Fatalf("the last callback of %+v is %+v", r, n)
		}
	}
	for key, n := range last {
		if key.id == r.ID && key.kind == ferry.ReplyCallback && !urls[n.URL] {
			rt.Fatalf("%+v was told at %s", r, n.URL)
		}
	}
}

// checkSubscriptions wants every end since a subscription to have had a notice for
// it, once, and nothing else.
func (m *machine) checkSubscriptions(rt *rapid.T) {
	heard := map[ferry.ID]map[ferry.ID]bool{}
	for id, s := range m.subs {
		heard[id] = maps.Clone(s.heard)
	}
	m.waiting(rt, func(to ferry.NoticeTarget, list []ferry.Notice) {
		if to.Kind != ferry.ReplySubscription {
			return
		}
		id, _ := ferry.ParseID(to.Target)
		for _, n := range list {
			if known := heard[id]; known != nil {
				if known[n.Event] {
					rt.Fatalf("the subscription %s hears of %+v twice", id, n)
				}
				known[n.Event] = true
			}
		}
	})
	err := m.l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bEvents).ForEach(func(k, v []byte) error {
			if len(k) != len(ferry.ID{}) {
				return nil
			}
			e, err := decodeEvent(v)
			if err != nil {
				return err
			}
			event, route := ferry.ID(k), m.l.nameOf(e.route)
			for id, s := range m.subs {
				wants := s.event == ferry.EventType(e.state) && (s.route == "" || s.route == route) && slices.Compare(event[:], s.after[:]) > 0
				if wants != heard[id][event] {
					rt.Fatalf("the subscription %s of %s on %q: event %s of %s on %s: heard %v", id, s.event, s.route, event, e.state, route, !wants)
				}
				delete(heard[id], event)
			}
			return nil
		})
	})
	if err != nil {
		rt.Fatal(err)
	}
	for id, left := range heard {
		maps.DeleteFunc(left, func(event ferry.ID, _ bool) bool { return slices.Compare(event[:], m.eventsTo[:]) <= 0 }) // no longer kept
		if len(left) > 0 {
			rt.Fatalf("the subscription %s heard of what is no event: %v", id, left)
		}
	}
}
