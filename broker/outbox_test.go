package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// scribe is a teller that writes down what it is told to tell.
type scribe struct {
	mu    sync.Mutex
	told  []ferry.Ending
	calls map[string]int // per target
	fault func(to string, e ferry.Ending) error
	hold  chan struct{} // a target "slow" answers when it is closed
}

func (s *scribe) Tell(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error {
	if to.Target == "slow" && s.hold != nil {
		select {
		case <-ctx.Done():
		case <-s.hold:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[to.Target]++
	errs := make([]error, len(ends))
	for i, e := range ends {
		if s.fault != nil {
			errs[i] = s.fault(to.Target, e)
		}
		if errs[i] == nil {
			s.told = append(s.told, e)
		}
	}
	return errs
}

func (s *scribe) all() []ferry.Ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

func (s *scribe) set(fault func(string, ferry.Ending) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *scribe) options(o *Options) {
	o.Tellers = map[string]Teller{ferry.ReplyServiceBus: s}
	o.Environment = "test"
}

func asking(queue string) func(*ferry.Message) {
	return func(m *ferry.Message) {
		m.ReplyTo = &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: queue, CorrelationID: "m-1"}
	}
}

// waitingNotices is how many ends wait to be told.
func (w *world) waitingNotices() (n int) {
	for _, count := range w.b.ledger.NoticeTargets() {
		n += count
	}
	return n
}

func TestWhoAskedIsToldTheEnd(t *testing.T) {
	s := &scribe{}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("w1", orders)
		h.hello(orders)
		id := w.send(`{"n":1}`, asking("answers"))
		h.report(h.takeOne(orders), ferry.Rejected, rejected())
		w.send(`{"n":2}`) // nobody asked
		h.report(h.takeOne(orders), ferry.Delivered, done())
		if _, err := w.b.Replay(t.Context(), id, nil, "", "", "ann"); err != nil {
			t.Fatal(err)
		}
		h.report(h.takeOne(orders), ferry.Delivered, done())
		synctest.Wait()
		told := s.all()
		if len(told) != 2 || w.waitingNotices() != 0 {
			t.Fatalf("told %+v, %d wait", told, w.waitingNotices())
		}
		first, second := told[0], told[1]
		if first.ID != id || first.State != ferry.StateDeadLettered || first.Envelope.State != ferry.StateDeadLettered || first.Dead.Reason != ferry.ReasonRejected ||
			first.ReplyTo.CorrelationID != "m-1" || first.Envelope.Environment != "test" {
			t.Errorf("first: %+v", first)
		}
		if second.State != ferry.StateCompleted || second.Generation != 2 || second.Envelope.Reference != "DOC-1" {
			t.Errorf("second: %+v", second)
		}
	}, s.options)
}

// A target that takes nothing, or does not answer, holds up no other, and is
// asked less and less often.
func TestATargetThatFailsHoldsUpNoOther(t *testing.T) {
	s := &scribe{}
	s.set(func(to string, _ ferry.Ending) error {
		if to == "gone" {
			return errors.New("there is no such queue")
		}
		return nil
	})
	bubble(t, func(t *testing.T, w *world) {
		s.hold = make(chan struct{})
		discard := func(queue string) {
			t.Helper()
			id := w.send(`{"for":"`+queue+`"}`, asking(queue), func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
			if _, err := w.b.Discard(t.Context(), id, "no", "ann"); err != nil {
				t.Fatal(err)
			}
		}
		discard("gone")
		discard("slow")
		discard("answers")
		synctest.Wait()
		if told := s.all(); len(told) != 1 || told[0].To.Target != "answers" {
			t.Fatalf("told %+v", told)
		}
		close(s.hold)
		time.Sleep(10 * time.Minute)
		s.mu.Lock()
		calls := s.calls["gone"]
		s.mu.Unlock()
		if calls < 5 || calls > 12 {
			t.Errorf("asked %d times in ten minutes", calls)
		}
		report, err := w.b.Status(t.Context())
		if err != nil || !slices.ContainsFunc(report.Problems, func(p string) bool {
			return strings.HasPrefix(p, "replies to gone on route orders cannot be sent since ") && strings.HasSuffix(p, ", 1 wait: there is no such queue")
		}) {
			t.Errorf("problems %q, %v", report.Problems, err)
		}
		if info, _ := w.b.routeInfo(orders); info.Replies != 1 {
			t.Errorf("%d replies wait", info.Replies)
		}
		s.set(nil)
		time.Sleep(tellLongest)
		if told := s.all(); len(told) != 3 || w.waitingNotices() != 0 {
			t.Errorf("told %+v", told)
		}
		if problems := w.b.outbox.problems(); len(problems) != 0 {
			t.Errorf("problems %q", problems)
		}
	}, s.options)
}

// One end that fails does not keep those behind it, nor those before it, from
// being told; and they are told once.
func TestOneEndThatFailsIsPassedBy(t *testing.T) {
	s := &scribe{}
	bubble(t, func(t *testing.T, w *world) {
		var bad ferry.ID
		s.set(func(_ string, e ferry.Ending) error {
			if e.ID == bad {
				return errors.New("not now")
			}
			return nil
		})
		later := func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) }
		var ids []ferry.ID
		for i := range 2*tellPage + 50 {
			ids = append(ids, w.send(fmt.Sprintf(`{"n":%d}`, i), asking("answers"), later))
		}
		bad = ids[5]
		for _, id := range ids {
			if _, err := w.b.Discard(t.Context(), id, "no", "ann"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if told := s.all(); len(told) != len(ids)-1 || w.waitingNotices() != 1 {
			t.Fatalf("%d told of %d, %d wait", len(told), len(ids), w.waitingNotices())
		}
		s.set(nil)
		time.Sleep(tellLongest)
		seen := map[ferry.ID]int{}
		for _, e := range s.all() {
			seen[e.ID]++
		}
		for _, id := range ids {
			if seen[id] != 1 {
				t.Errorf("message %s was told %d times", id.Short(), seen[id])
			}
		}
	}, s.options)
}

// What waited at a stop is told after the next start.
func TestWhatWaitsIsToldAfterARestart(t *testing.T) {
	s := &scribe{}
	s.set(func(string, ferry.Ending) error { return errors.New("away") })
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`{}`, asking("answers"), func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
		if _, err := w.b.Discard(t.Context(), id, "no", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.restart() // set up for no replies at all
		time.Sleep(10 * time.Second)
		if problems := w.b.outbox.problems(); len(problems) != 1 || !strings.Contains(problems[0], "not set up for replies") {
			t.Errorf("problems %q", problems)
		}
		s.set(nil)
		w.restart(s.options)
		synctest.Wait()
		if told := s.all(); len(told) != 1 || told[0].ID != id || w.waitingNotices() != 0 {
			t.Fatalf("told %+v", told)
		}
	}, s.options)
}

func TestWhatCannotBeToldIsGivenUp(t *testing.T) {
	s := &scribe{}
	s.set(func(to string, _ ferry.Ending) error {
		if to == "never" {
			return fmt.Errorf("it is too large: %w", ferry.ErrUntellable)
		}
		return errors.New("away")
	})
	bubble(t, func(t *testing.T, w *world) {
		for _, queue := range []string{"never", "away"} {
			id := w.send(`{}`, asking(queue), func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
			if _, err := w.b.Discard(t.Context(), id, "no", "ann"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := w.waitingNotices(); n != 1 {
			t.Fatalf("%d wait", n)
		}
		time.Sleep(ferry.NoticeLife - time.Hour)
		if n := w.waitingNotices(); n != 1 {
			t.Fatalf("%d wait a day, less an hour, after the end", n)
		}
		time.Sleep(time.Hour + giveUpEvery)
		if n := w.waitingNotices(); n != 0 {
			t.Fatalf("%d wait after their time", n)
		}
		var acts []string
		audit, err := w.b.Audit(t.Context(), 0, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range audit {
			if e.Act == "give up notices" {
				acts = append(acts, e.Target)
			}
		}
		if !slices.Equal(acts, []string{"replies to never on route orders", "replies to away on route orders"}) {
			t.Errorf("audit: %q", acts)
		}
		answer := httptest.NewRecorder()
		w.b.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		if !strings.Contains(answer.Body.String(), `ferry_notices_total{outcome="givenUp"} 2`) {
			t.Error("the metric does not count two that were given up")
		}
	}, s.options)
}

// What was told while the ledger cannot write is not told again with every try.
func TestWhatWasToldIsNotToldAgainByThisRun(t *testing.T) {
	s := &scribe{}
	bubble(t, func(t *testing.T, w *world) {
		o := w.b.outbox
		n := ferry.Notice{Seq: 7, To: ferry.NoticeTarget{Kind: ferry.ReplyServiceBus, Route: orders, Target: "answers"}}
		n.ID = w.send(`{}`, asking("answers"))
		n.State, n.Generation = ferry.StateCompleted, 1
		ended, cancel := context.WithCancel(t.Context())
		tl := &telling{to: n.To}
		// Told; then the ledger does not take it out.
		teller := func(ctx context.Context) error { return o.page(ctx, tl, tellTimeout, []ferry.Notice{n}) }
		s.set(func(string, ferry.Ending) error {
			cancel()
			return nil
		})
		if err := teller(ended); !errors.Is(err, context.Canceled) || !tl.told[7] {
			t.Fatalf("%v, %v", err, tl.told)
		}
		if err := teller(t.Context()); err != nil || len(s.all()) != 1 || tl.told[7] {
			t.Fatalf("%v, told %d times", err, len(s.all()))
		}
	}, s.options)
}

func TestIntakeIsShown(t *testing.T) {
	since := time.Now().Add(-time.Minute)
	states := map[string]*ferry.IntakeInfo{orders: {Queue: "flow-orders", State: ferry.IntakeAway, Since: since, Reason: "there is no such queue", Taken: 3}}
	bubble(t, func(t *testing.T, w *world) {
		w.b.IntakeDone(orders, "accepted", 3)
		report, err := w.b.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := "route orders takes nothing in from the queue flow-orders since " + since.UTC().Format(time.RFC3339) + ": there is no such queue"
		if !slices.Contains(report.Problems, want) {
			t.Errorf("problems %q, want %q", report.Problems, want)
		}
		if report.Routes[0].Intake.Taken != 3 || report.Routes[1].Intake != nil {
			t.Errorf("routes: %+v", report.Routes)
		}
		answer := httptest.NewRecorder()
		w.b.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{`ferry_intake_messages_total{outcome="accepted",route="orders"} 3`, `ferry_intake_running{route="orders"} 0`, `ferry_notices_waiting{route="notes"} 0`} {
			if !strings.Contains(answer.Body.String(), line) {
				t.Errorf("the metrics do not say %s", line)
			}
		}
	}, func(o *Options) { o.Intake = func(route string) *ferry.IntakeInfo { return states[route] } })
}
