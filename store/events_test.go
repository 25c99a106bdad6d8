package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"ferry"
)

// soundEvents holds the events against the records, as one commit left them: who
// has ended has an event of that end behind all of his others, numbers have no gap,
// and a message that waits has none of its generation but that of a discard which
// was undone.
func (l *Ledger) soundEvents(tx *bbolt.Tx) error {
	gone := tx.Bucket(bMeta).Get(metaEvents)
	last, before := map[ferry.ID]storedEvent{}, uint64(0)
	if err := tx.Bucket(bEvents).ForEach(func(k, v []byte) error {
		e, err := decodeEvent(v)
		if err != nil || len(k) != 16 || before != 0 && e.no != before+1 || bytes.Compare(k, gone) <= 0 || bytes.Compare(k, l.lastEvent[:]) > 0 {
			return fmt.Errorf("event %x behind number %d: %+v, %w; the last is %s", k, before, e, err, l.lastEvent)
		}
		before, last[e.id] = e.no, e
		return nil
	}); err != nil {
		return err
	}
	if n := tx.Bucket(bEvents).Sequence(); before != 0 && before != n {
		return fmt.Errorf("the last event has number %d of %d", before, n)
	}
	return tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
		r, err := decodeRecord(ferry.ID(k), v)
		if err != nil {
			return err
		}
		e, has := last[r.ID]
		switch {
		case r.State.Terminal() && has && (e.state != r.State || e.generation != r.Generation || e.revision != r.Revision || e.route != r.Route),
			r.State.Terminal() && !has && gone == nil,
			r.State.Pending() && has && e.generation >= r.Generation && e.state != ferry.StateDiscarded:
			return fmt.Errorf("message %+v: its last event is %+v", r, e)
		}
		return nil
	})
}

// end is what an event says in few words.
type end struct {
	id         ferry.ID
	state      ferry.State
	generation int
	revision   int
}

func endOf(e *ferry.Event) end {
	return end{e.Message.ID, e.Message.State, e.Message.Generation, e.Message.Revision}
}

// readEvents reads all events behind one, in pages of a few.
func (m *machine) readEvents(rt *rapid.T, after ferry.ID) (list []ferry.Event) {
	for limit := rapid.IntRange(1, 9).Draw(rt, "page"); ; {
		page, err := m.l.Events(ferry.EventFilter{After: after, Limit: limit})
		if err != nil || len(page.Items) > limit {
			rt.Fatalf("Events: %d, %v", len(page.Items), err)
		}
		if (page.GapUntil != nil) != (!after.IsZero() && bytes.Compare(after[:], m.eventsTo[:]) < 0) {
			rt.Fatalf("behind %s, where those up to %s were dropped, the gap is %v", after, m.eventsTo, page.GapUntil)
		}
		list = append(list, page.Items...)
		if len(page.Items) < limit {
			return list
		}
		after, _ = ferry.ParseID(page.NextAfter)
	}
}

// checkEvents wants of what was done since the last check one event for each end,
// and nothing else.
func (m *machine) checkEvents(rt *rapid.T) {
	want := map[end]bool{}
	for id, mm := range m.msgs {
		is := end{id, mm.state, mm.generation, len(mm.hashes)}
		switch {
		case mm.state == ferry.StateAccepted:
			delete(m.ended, id)
		case m.ended[id] != is:
			m.ended[id] = is
			want[is] = true
		}
	}
	after := m.eventsTo
	if n := len(m.events); n > 0 {
		after = m.events[n-1].ID
	}
	for _, e := range m.readEvents(rt, after) {
		if !want[endOf(&e)] || e.Type != ferry.EventType(e.Message.State) || bytes.Compare(e.ID[:], after[:]) <= 0 || e.Time != e.ID.Time() ||
			(e.Message.DeadLetter != nil) != (e.Type == ferry.EventDeadLettered) && e.Type != ferry.EventDiscarded ||
			(e.Message.Discarded != nil) != (e.Type == ferry.EventDiscarded) || (e.Message.Reference != "") && e.Type != ferry.EventCompleted {
			rt.Fatalf("event %+v; wanted are %v", e, want)
		}
		delete(want, endOf(&e))
		m.events, after = append(m.events, e), e.ID
	}
	if len(want) > 0 {
		rt.Fatalf("no events of the ends %v", want)
	}
}

// dropEvents lets time or number take the oldest, and reads all that are left: what
// was told is told again alike, whatever became of the messages since.
func (m *machine) dropEvents(rt *rapid.T) {
	m.checkEvents(rt)
	most := rapid.IntRange(1, 30).Draw(rt, "most")
	before := time.Now().Add(-ferry.EventLife)
	if _, err := m.l.DropEvents(context.Background(), before, uint64(most)); err != nil {
		rt.Fatalf("DropEvents: %v", err)
	}
	first := ferry.FirstID(before)
	for len(m.events) > most || len(m.events) > 0 && bytes.Compare(m.events[0].ID[:], first[:]) < 0 {
		m.eventsTo, m.events = m.events[0].ID, m.events[1:]
	}
	now := m.readEvents(rt, m.eventsTo)
	if len(now) != len(m.events) {
		rt.Fatalf("%d events are left, want %d", len(now), len(m.events))
	}
	for i, e := range now {
		if e.ID != m.events[i].ID || e.Type != m.events[i].Type || endOf(&e) != endOf(&m.events[i]) || !cmp.Equal(e.Message.DeadLetter, m.events[i].Message.DeadLetter) {
			rt.Fatalf("told again: %+v, was %+v", e, m.events[i])
		}
	}
}

// An event says why the message was set aside then, also when the destination has said
// since that it does not take it.
func TestAnEventIsToldAgainAlike(t *testing.T) {
	l := newLedger(t)
	id := takenBy(t, l, "")
	report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
	if out, err := confirm(t, l, id, 1, no); err != nil || out.Reason != ferry.ReasonRejected {
		t.Fatalf("%+v, %v", out, err)
	}
	page := eventsOf(t, l, ferry.EventFilter{})
	if len(page.Items) != 1 || page.Items[0].Message.DeadLetter == nil || page.Items[0].Message.DeadLetter.Reason != ferry.ReasonOutcomeUnknown {
		t.Errorf("events: %+v", page.Items)
	}
	if e := show(t, l, id); e.DeadLetter.Reason != ferry.ReasonRejected {
		t.Errorf("the message: %+v", e.DeadLetter)
	}
}

func eventsOf(t testing.TB, l *Ledger, f ferry.EventFilter) ferry.EventPage {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 100
	}
	page, err := l.Events(f)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// line is a page in few words: the ends of the bodies "a", "b"…, in its order.
func line(page ferry.EventPage, names map[ferry.ID]string) string {
	var b bytes.Buffer
	for _, e := range page.Items {
		fmt.Fprintf(&b, "%s %s/%d ", names[e.Message.ID], e.Type, e.Message.Generation)
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		if page := eventsOf(t, l, ferry.EventFilter{}); page.NextAfter != "" || page.Items == nil || page.GapUntil != nil {
			t.Errorf("nothing ended: %+v", page)
		}
		names := map[ferry.ID]string{}
		tick := func() { time.Sleep(time.Second) }
		a := accept(t, l, `{"n":1}`, withKey("a"), byFlow("run-1", "Post", "act-1"))
		names[a] = "a"
		report(t, l, a, ferry.Rejected, setAside(ferry.ReasonRejected), func(rc *ferry.Receipt) {
			rc.Code, rc.Attempts[0].Generation = "E1", 1
		})
		tick()
		b := accept(t, l, "b", onOtherRoute)
		names[b] = "b"
		report(t, l, b, ferry.Delivered, ferry.Next{})
		tick()
		middle := time.Now()
		must0(t, l.Replay(t.Context(), a, nil, "", "", "ann"))
		report(t, l, a, ferry.Delivered, ferry.Next{}, func(rc *ferry.Receipt) { rc.Attempts[0].Generation = 2 })
		tick()
		c := accept(t, l, "c")
		names[c] = "c"
		must0(t, l.Discard(t.Context(), c, "no", "ann"))
		must0(t, l.Restore(t.Context(), c, "", "ann"))

		all := eventsOf(t, l, ferry.EventFilter{})
		if got, want := line(all, names), "a deadLettered/1 b completed/1 a completed/2 c discarded/1"; got != want {
			t.Fatalf("events %s, want %s", got, want)
		}
		first, last := all.Items[0], all.Items[3]
		if all.NextAfter != last.ID.String() {
			t.Errorf("next after %s, want %s", all.NextAfter, last.ID)
		}
		// As it ended, although it was delivered since.
		if m := first.Message; m.State != ferry.StateDeadLettered || m.Generation != 1 || m.DeadLetter == nil || m.DeadLetter.Code != "E1" ||
			m.Reference != "" || len(m.Attempts) != 1 || m.AttemptsTotal != 1 || m.IdempotencyKey != "a" || m.Sender.Flow.RunID != "run-1" {
			t.Errorf("the dead letter as it was: %+v", m)
		}
		if m := all.Items[2].Message; m.Reference != "INV-1" || len(m.Attempts) != 2 {
			t.Errorf("completed: %+v", m)
		}
		if m := last.Message; m.State != ferry.StateDiscarded || m.Discarded == nil || m.Discarded.Note != "no" || m.WaitingFor != nil {
			t.Errorf("discarded, and restored since: %+v", m)
		}

		for name, tc := range map[string]struct {
			filter ferry.EventFilter
			want   string
		}{
			"behind one":                 {ferry.EventFilter{After: first.ID}, "b completed/1 a completed/2 c discarded/1"},
			"behind the last":            {ferry.EventFilter{After: last.ID}, ""},
			"behind a time":              {ferry.EventFilter{After: ferry.LastID(middle.Add(-time.Millisecond))}, "a completed/2 c discarded/1"},
			"at most two":                {ferry.EventFilter{Limit: 2}, "a deadLettered/1 b completed/1"},
			"of a route":                 {ferry.EventFilter{Route: otherRoute}, "b completed/1"},
			"of a key's routes":          {ferry.EventFilter{Routes: []string{testRoute}}, "a deadLettered/1 a completed/2 c discarded/1"},
			"of a route not the key's":   {ferry.EventFilter{Route: otherRoute, Routes: []string{testRoute}}, ""},
			"of no route":                {ferry.EventFilter{Routes: []string{}}, ""},
			"of an unknown route":        {ferry.EventFilter{Routes: []string{"unknown"}}, ""},
			"of a type":                  {ferry.EventFilter{Type: ferry.EventCompleted}, "b completed/1 a completed/2"},
			"newest":                     {ferry.EventFilter{Newest: true}, "c discarded/1 a completed/2 b completed/1 a deadLettered/1"},
			"the newest two":             {ferry.EventFilter{Newest: true, Limit: 2}, "c discarded/1 a completed/2"},
			"the next two, newest first": {ferry.EventFilter{Newest: true, Limit: 2, After: first.ID}, "a completed/2 b completed/1"},
		} {
			if got := line(eventsOf(t, l, tc.filter), names); got != tc.want {
				t.Errorf("%s: %q, want %q", name, got, tc.want)
			}
		}
		// A page that passes over others' events goes on behind them.
		page := eventsOf(t, l, ferry.EventFilter{Routes: []string{otherRoute}, After: all.Items[1].ID})
		if len(page.Items) != 0 || page.NextAfter != last.ID.String() {
			t.Errorf("nothing of that route: %+v", page)
		}
		if got := eventsOf(t, reopen(t, l), ferry.EventFilter{}); cmp.Diff(all.Items, got.Items) != "" {
			t.Errorf("after a start (-before +after):\n%s", cmp.Diff(all.Items, got.Items))
		}
	})
}

// Somebody who polls with the id of the newest event that he has seen, newest first
// and a few at a time, misses none.
func TestEventsNewestFirstMissesNone(t *testing.T) {
	l := newLedger(t)
	var want []ferry.ID
	after, seen := ferry.ID{}, []ferry.ID{}
	for round := range 20 {
		for range round % 7 {
			id := accept(t, l, "x")
			report(t, l, id, ferry.Delivered, ferry.Next{})
			want = append(want, id)
		}
		for {
			page := eventsOf(t, l, ferry.EventFilter{After: after, Newest: true, Limit: 3})
			if len(page.Items) == 0 {
				break
			}
			slices.Reverse(page.Items)
			for _, e := range page.Items {
				seen = append(seen, e.Message.ID)
				after = e.ID
			}
			if page.NextAfter != after.String() {
				t.Fatalf("next after %s, the newest is %s", page.NextAfter, after)
			}
			if after == (ferry.ID{}) {
				t.Fatal("no place")
			}
		}
	}
	if !slices.Equal(seen, want) {
		t.Errorf("%d events were seen of %d", len(seen), len(want))
	}
}

func TestEventsOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		id := accept(t, l, "x", withKey("k"))
		report(t, l, id, ferry.Delivered, ferry.Next{})
		time.Sleep(time.Hour)
		if n, err := purgeBefore(t.Context(), l, time.Now()); n != 1 || err != nil {
			t.Fatalf("purged %d, %v", n, err)
		}
		page := eventsOf(t, l, ferry.EventFilter{})
		if len(page.Items) != 1 {
			t.Fatalf("%+v", page)
		}
		e := page.Items[0]
		want := ferry.Envelope{
			ID: id, Route: testRoute, State: ferry.StateCompleted, Revision: 1, Generation: 1,
			CreatedAt: id.Time(), UpdatedAt: e.Time, Attempts: []ferry.Attempt{},
		}
		if diff := cmp.Diff(want, e.Message); diff != "" || e.Type != ferry.EventCompleted {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var old ferry.ID
		for i := range 10 {
			report(t, l, accept(t, l, "x"), ferry.Delivered, ferry.Next{})
			if i == 3 {
				old = l.lastEvent
			}
			time.Sleep(24 * time.Hour)
		}
		drop := func(most uint64) int {
			n, err := l.DropEvents(t.Context(), time.Now().Add(-ferry.EventLife), most)
			must0(t, err)
			return n
		}
		// Ten days: three are over.
		if n := drop(100); n != 3 {
			t.Errorf("%d were dropped, want 3", n)
		}
		if page := eventsOf(t, l, ferry.EventFilter{After: old}); len(page.Items) != 6 || page.GapUntil != nil {
			t.Errorf("behind one that is kept: %d, gap until %v", len(page.Items), page.GapUntil)
		}
		if n := drop(2); n != 5 {
			t.Errorf("%d were dropped, want 5", n)
		}
		l = reopen(t, l)
		page := eventsOf(t, l, ferry.EventFilter{After: old})
		if len(page.Items) != 2 || page.GapUntil == nil || !page.GapUntil.Before(page.Items[0].Time) || !page.GapUntil.After(old.Time()) {
			t.Errorf("behind one that is gone: %d, gap until %v", len(page.Items), page.GapUntil)
		}
		if page := eventsOf(t, l, ferry.EventFilter{}); len(page.Items) != 2 || page.GapUntil != nil {
			t.Errorf("from the start: %d, gap until %v", len(page.Items), page.GapUntil)
		}
		if n := drop(2); n != 0 {
			t.Errorf("%d were dropped again", n)
		}
		must0(t, l.sound())
	})
}

// Ids rise with each commit, whatever the clock does.
func TestEventIDs(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	last := ferry.ID{}
	for i, at := range []time.Time{now, now, now, now.Add(-time.Hour), now.Add(-time.Hour), now.Add(time.Millisecond), now.Add(-24 * time.Hour)} {
		id := eventID(at, last)
		if bytes.Compare(id[:], last[:]) <= 0 {
			t.Errorf("%d: %s is not behind %s", i, id, last)
		}
		last = id
	}
	full := ferry.ID(bytes.Repeat([]byte{0xff}, 16))
	full[5] = 0
	if next := eventID(now, full); next[5] != 1 || next[15] != 0 {
		t.Errorf("behind %s comes %s", full, next)
	}
}

// A ledger from before there were events says from when on there are some.
func TestEventsBeginWithTheLedgersUpgrade(t *testing.T) {
	l := newLedger(t)
	report(t, l, accept(t, l, "x"), ferry.Delivered, ferry.Next{})
	must0(t, l.setUp(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bEvents); err != nil {
			return err
		}
		return tx.Bucket(bMeta).Put(metaSchema, u64(5))
	}))
	before := ferry.NewID(time.Now().Add(-time.Minute))
	l = reopen(t, l)
	report(t, l, accept(t, l, "y"), ferry.Delivered, ferry.Next{})
	page := eventsOf(t, l, ferry.EventFilter{After: before})
	if len(page.Items) != 1 || page.GapUntil == nil || page.GapUntil.After(page.Items[0].Time) {
		t.Errorf("%d events, gap until %v", len(page.Items), page.GapUntil)
	}
	if fresh := eventsOf(t, newLedger(t), ferry.EventFilter{After: before}); fresh.GapUntil != nil {
		t.Errorf("a new ledger has a gap until %v", fresh.GapUntil)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	e := storedEvent{no: 300, route: 2, generation: 3, revision: 4, state: ferry.StateDeadLettered, id: ferry.NewID(time.Now()), dead: []byte(`{"reason":"Rejected"}`)}
	f.Add(e.encode())
	f.Add([]byte{})
	f.Add(binary.AppendUvarint(nil, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEvent(b)
		if err != nil {
			return
		}
		again, err := decodeEvent(e.encode())
		if err != nil || !cmp.Equal(e, again, cmp.AllowUnexported(storedEvent{})) {
			t.Errorf("%+v, encoded and read again %+v, %v", e, again, err)
		}
	})
}
