package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"ferry"
)

// byFlow makes a message one of a flow's: run, action and tracking id.
func byFlow(run, operation, tracking string) func(*ferry.Message) {
	return func(m *ferry.Message) {
		m.Sender.Flow = &ferry.Flow{Name: "f-guid", RunID: run, Operation: operation, TrackingID: tracking}
	}
}

func knownBy(d ferry.Duplicates) func(*ferry.Message) {
	return func(m *ferry.Message) { m.Duplicates = d }
}

func onOtherRoute(m *ferry.Message) { m.Route = otherRoute }

func TestRepeatsOfFlows(t *testing.T) {
	type change = func(*ferry.Message)
	first := []change{byFlow("run-1", "Post", "act-1")}
	untracked := []change{byFlow("run-1", "Post", "")}
	for name, tc := range map[string]struct {
		first  []change
		second []change
		body   string // of the second; empty: the first's
		want   string // repeat, possible or new
	}{
		"all agree":                         {first, first, "", "repeat"},
		"another item of one loop":          {first, []change{byFlow("run-1", "Post", "act-2")}, "", "new"},
		"another action":                    {first, []change{byFlow("run-1", "Post_2", "act-1")}, "", "new"},
		"resubmitted: another run":          {first, []change{byFlow("run-2", "Post", "act-1")}, "", "new"},
		"another body":                      {first, first, `{"n":2}`, "new"},
		"another route":                     {first, append([]change{onOtherRoute}, first...), "", "new"},
		"no run":                            {[]change{byFlow("", "Post", "act-1")}, []change{byFlow("", "Post", "act-1")}, "", "new"},
		"no action":                         {[]change{byFlow("run-1", "", "act-1")}, []change{byFlow("run-1", "", "act-1")}, "", "new"},
		"no flow":                           {nil, nil, "", "new"},
		"no tracking id":                    {untracked, untracked, "", "possible"},
		"the second without tracking id":    {first, untracked, "", "possible"},
		"the first without tracking id":     {untracked, first, "", "new"},
		"no tracking id, another body":      {untracked, untracked, `{"n":2}`, "new"},
		"no tracking id, another run":       {untracked, []change{byFlow("run-2", "Post", "")}, "", "new"},
		"run":                               {append([]change{knownBy(ferry.DuplicatesRun)}, untracked...), append([]change{knownBy(ferry.DuplicatesRun)}, untracked...), "", "repeat"},
		"run, another tracking id":          {append([]change{knownBy(ferry.DuplicatesRun)}, first...), []change{knownBy(ferry.DuplicatesRun), byFlow("run-1", "Post", "act-2")}, "", "repeat"},
		"run, another run":                  {append([]change{knownBy(ferry.DuplicatesRun)}, first...), []change{knownBy(ferry.DuplicatesRun), byFlow("run-2", "Post", "act-1")}, "", "new"},
		"off":                               {append([]change{knownBy(ferry.DuplicatesOff)}, first...), append([]change{knownBy(ferry.DuplicatesOff)}, first...), "", "new"},
		"off, no tracking id":               {append([]change{knownBy(ferry.DuplicatesOff)}, untracked...), append([]change{knownBy(ferry.DuplicatesOff)}, untracked...), "", "new"},
		"the second has a key":              {first, append([]change{withKey("k")}, first...), "", "new"},
		"the first had a key":               {append([]change{withKey("k")}, first...), first, "", "new"},
		"parts that make the same text":     {[]change{byFlow("run-1", "Post", "act-1")}, []change{byFlow("run-1P", "ost", "act-1")}, "", "new"},
		"both with other keys of their own": {append([]change{withKey("k1")}, first...), append([]change{withKey("k2")}, first...), "", "new"},
	} {
		for _, between := range []string{"", "reopened", "ended"} {
			t.Run(name+between, func(t *testing.T) {
				l := newLedger(t)
				a := accept(t, l, `{"n":1}`, tc.first...)
				state := ferry.StateAccepted
				switch between {
				case "reopened":
					l = reopen(t, l)
				case "ended":
					report(t, l, a, ferry.Rejected, setAside(ferry.ReasonRejected))
					state = ferry.StateDeadLettered
				}
				body := `{"n":1}`
				if tc.body != "" {
					body = tc.body
				}
				m := message(body, tc.second...)
				got, err := l.Accept(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				want := ferry.Accepted{ID: m.ID, Route: m.Route, State: ferry.StateAccepted}
				switch tc.want {
				case "repeat":
					want = ferry.Accepted{ID: a, Route: testRoute, State: state, Duplicate: true}
				case "possible":
					want.PossibleRepeatOf = a
				}
				if got != want {
					t.Errorf("answered %+v, want %+v", got, want)
				}
				if shown := show(t, l, got.ID); shown.PossibleRepeatOf != want.PossibleRepeatOf {
					t.Errorf("shown as a repeat of %s, want %s", shown.PossibleRepeatOf, want.PossibleRepeatOf)
				}
				must0(t, l.sound())
			})
		}
	}
}

func TestRepeatWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		tracked, alike := byFlow("run-1", "Post", "act-1"), byFlow("run-2", "Post", "")
		first, other := accept(t, l, "x", tracked), accept(t, l, "x", alike)
		time.Sleep(ferry.RepeatWindow - time.Second)
		if id := accept(t, l, "x", tracked); id != first {
			t.Error("forgotten inside the window")
		}
		second := accept(t, l, "x", alike)
		if got := show(t, l, second).PossibleRepeatOf; got != other {
			t.Errorf("inside the window it may repeat %s", got)
		}
		time.Sleep(2 * time.Second)
		if id := accept(t, l, "x", tracked); id == first {
			t.Error("remembered beyond the window")
		}
		// The last one counts, not the first.
		if got := show(t, l, accept(t, l, "x", alike)).PossibleRepeatOf; got != second {
			t.Errorf("it may repeat %s, want %s", got, second)
		}
		time.Sleep(3 * ferry.RepeatWindow)
		if got := show(t, l, accept(t, l, "x", alike)).PossibleRepeatOf; !got.IsZero() {
			t.Errorf("beyond the window it may repeat %s", got)
		}
		if l = reopen(t, l); l.idem.repeats.n != 1 {
			t.Errorf("%d entries after a start, want that of the last message", l.idem.repeats.n)
		}
	})
}

// The engine sends twice at the same time: both are in one group, and both ask
// before either is on disk.
func TestRepeatsInOneGroup(t *testing.T) {
	for _, mode := range []ferry.Duplicates{ferry.DuplicatesTracking, ferry.DuplicatesRun} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { repeatsInOneGroup(t, mode) })
		})
	}
}

func repeatsInOneGroup(t *testing.T, mode ferry.Duplicates) {
	const senders, items = 40, 4
	hold, armed, most := make(chan struct{}), false, 0
	l := openIn(t, t.TempDir(), Options{
		BeforeCommit: func() {
			if armed {
				<-hold
			}
		},
		OnCommit: func(_ time.Duration, writes int) { most = max(most, writes) },
	})
	armed = true
	answers := make([]ferry.Accepted, senders)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = l.Accept(context.Background(), message("the others gather behind it")) })
	synctest.Wait()
	for i := range senders {
		wg.Go(func() {
			// Equal items of one loop, each sent ten times.
			m := message(`{"equal":true}`, byFlow("run-1", "Post", fmt.Sprint("act-", i%items)), knownBy(mode))
			var err error
			if answers[i], err = l.Accept(context.Background(), m); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Wait()
	close(hold)
	wg.Wait()
	if most < senders {
		t.Fatalf("the largest group had %d writes, fewer than %d", most, senders)
	}
	ids, fresh, byItem := map[ferry.ID]bool{}, 0, map[int]ferry.ID{}
	for i, a := range answers {
		ids[a.ID] = true
		if !a.Duplicate {
			fresh++
		}
		if known, ok := byItem[i%items]; ok && known != a.ID {
			t.Errorf("one item has two ids: %s, %s", known, a.ID)
		}
		byItem[i%items] = a.ID
	}
	want := items
	if mode == ferry.DuplicatesRun {
		want = 1
	}
	if fresh != want || len(ids) != want {
		t.Errorf("%d new messages with %d ids, want %d", fresh, len(ids), want)
	}
	if err := l.sound(); err != nil {
		t.Error(err)
	}
}

// Equal items of one batch are as many documents; the batch sent again makes none.
func TestRepeatedBatch(t *testing.T) {
	for name, flow := range map[string]func(*ferry.Message){
		"tracked": byFlow("run-1", "Post", "act-1"),
		"run":     func(m *ferry.Message) { byFlow("run-1", "Post", "")(m); m.Duplicates = ferry.DuplicatesRun },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			batch := func() []ferry.Message {
				return []ferry.Message{message("a", flow), message("b", flow), message("a", flow), message("c", flow, withKey("k")), message("a", flow)}
			}
			before, errs, err := l.AcceptBatch(t.Context(), batch(), false)
			if err != nil || slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
				t.Fatal(errs, err)
			}
			ids := map[ferry.ID]bool{}
			for i, a := range before {
				ids[a.ID] = true
				if a.Duplicate || !a.PossibleRepeatOf.IsZero() {
					t.Errorf("item %d: %+v", i, a)
				}
			}
			if len(ids) != 5 {
				t.Fatalf("%d messages of 5 items", len(ids))
			}
			for range 2 {
				after, _, err := l.AcceptBatch(t.Context(), batch(), false)
				if err != nil {
					t.Fatal(err)
				}
				for i, a := range after {
					if !a.Duplicate || a.ID != before[i].ID {
						t.Errorf("item %d again: %+v, want %s", i, a, before[i].ID)
					}
				}
				l = reopen(t, l)
			}
		})
	}
}

func TestRepeatOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		flow := byFlow("run-1", "Post", "act-1")
		first := accept(t, l, "x", flow)
		report(t, l, first, ferry.Delivered, ferry.Next{})
		time.Sleep(time.Minute)
		if n, err := purgeBefore(t.Context(), l, time.Now()); n != 1 || err != nil {
			t.Fatalf("purged %d, %v", n, err)
		}
		if again := accept(t, l, "x", flow); again == first {
			t.Error("the answer names a message that is gone")
		}
	})
}

// A repeat that is on disk is answered without a commit, as with a key.
func TestRepeatNeedsNoCommit(t *testing.T) {
	commits := 0
	l := openIn(t, t.TempDir(), Options{OnCommit: func(time.Duration, int) { commits++ }})
	flow := byFlow("run-1", "Post", "act-1")
	first := accept(t, l, "x", flow)
	before := commits
	if accept(t, l, "x", flow) != first || commits != before {
		t.Errorf("%d commits", commits-before)
	}
}

// Flows that send without keys must not make the broker forget keys.
func TestRepeatsLeaveRoomForKeys(t *testing.T) {
	x := newIdemIndex(24*time.Hour, 0) // the least: 1,000 entries
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	key := func(n int) idemKey { return idemKeyOf(1, fmt.Sprint("key ", n)) }
	for i := range 700 {
		x.add(key(i), ferry.NewID(start.Add(time.Duration(i)*time.Second)))
	}
	now := start.Add(time.Hour)
	for i := range 50_000 {
		now = now.Add(20 * time.Millisecond)
		x.addRepeat(idemKeyOf(2, fmt.Sprint("flow ", i/2)), ferry.NewID(now))
		if x.keys.n+x.repeats.n > 1000 {
			t.Fatalf("after %d: %d keys, %d repeats", i, x.keys.n, x.repeats.n)
		}
	}
	if _, ok := x.findRepeat(idemKeyOf(2, "flow 24999"), now); !ok {
		t.Error("the newest repeat is forgotten")
	}
	for i := range 700 {
		if _, ok := x.find(key(i), now); !ok {
			t.Fatalf("key %d is forgotten", i)
		}
	}
	for i := range 5000 {
		now = now.Add(20 * time.Millisecond)
		x.add(key(1000+i), ferry.NewID(now))
	}
	if x.keys.n+x.repeats.n > 1000 {
		t.Errorf("%d keys, %d repeats", x.keys.n, x.repeats.n)
	}
	if _, ok := x.find(key(5999), now); !ok {
		t.Error("the newest key is forgotten")
	}
	// One run that sends the same again and again holds no more than one entry.
	y := newIdemIndex(24*time.Hour, 0)
	for i := range 10_000 {
		y.addRepeat(key(1), ferry.NewID(start.Add(time.Duration(i)*time.Millisecond)))
	}
	if y.repeats.n != 1 {
		t.Errorf("one key has %d places", y.repeats.n)
	}
}

// TestRepeatsHold sends what flows may send in any order, over hours and starts,
// beside a list that is looked through from its end.
func TestRepeatsHold(t *testing.T) {
	root, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		var failed any
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }()
			repeatHistory(rt, t, dir)
		})
		_ = os.RemoveAll(dir)
		if failed != nil {
			panic(failed)
		}
	})
}

type sentByFlow struct {
	route string
	flow  ferry.Flow
	hash  [32]byte
	id    ferry.ID
}

func repeatHistory(rt *rapid.T, t *testing.T, dir string) {
	l := openIn(t, dir, Options{})
	var sent []sentByFlow
	draw := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(rt, what) }
	mode := map[string]ferry.Duplicates{
		testRoute:  ferry.Duplicates(draw("mode", "tracking", "", "run", "off")),
		otherRoute: ferry.Duplicates(draw("other mode", "tracking", "run", "off")),
	}
	// What a message repeats: the newest within the window that agrees.
	known := func(m *ferry.Message, tracked bool) ferry.ID {
		for i := len(sent) - 1; i >= 0; i-- {
			s := &sent[i]
			if s.route == m.Route && s.hash == sha256.Sum256(m.Body) && s.flow.RunID == m.Sender.Flow.RunID && s.flow.Operation == m.Sender.Flow.Operation &&
				(!tracked || s.flow.TrackingID == m.Sender.Flow.TrackingID) && time.Since(s.id.Time()) <= ferry.RepeatWindow {
				return s.id
			}
		}
		return ferry.ID{}
	}
	for range rapid.IntRange(1, 40).Draw(rt, "steps") {
		switch draw("step", "send", "send", "send", "send", "send", "pass", "reopen") {
		case "pass":
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Minute, 30 * time.Minute, 90 * time.Minute}).Draw(rt, "passes"))
			continue
		case "reopen":
			l = reopen(t, l)
			continue
		}
		time.Sleep(time.Millisecond) // so that ids sort as they were sent
		m := message(draw("body", "a", "b"), byFlow(draw("run", "r1", "r2", ""), draw("action", "Post", "Post_2"), draw("tracking", "t1", "t2", "")))
		m.Route = drawRoute(rt)
		m.Duplicates = mode[m.Route]
		want := ferry.Accepted{ID: m.ID, Route: m.Route, State: ferry.StateAccepted}
		f, off := m.Sender.Flow, m.Duplicates == ferry.DuplicatesOff
		certain := m.Duplicates == ferry.DuplicatesRun || f.TrackingID != ""
		if f.RunID != "" && !off {
			switch id := known(&m, m.Duplicates != ferry.DuplicatesRun && f.TrackingID != ""); {
			case id.IsZero():
			case certain:
				want.ID, want.Duplicate = id, true
			default:
				want.PossibleRepeatOf = id
			}
		}
		got, err := l.Accept(context.Background(), m)
		if err != nil || got != want {
			rt.Fatalf("%+v of %+v, %s: %+v, %v; want %+v", m.Sender.Flow, m.ID, m.Duplicates, got, err, want)
		}
		if !got.Duplicate && f.RunID != "" {
			sent = append(sent, sentByFlow{m.Route, *f, sha256.Sum256(m.Body), m.ID})
		}
	}
}
