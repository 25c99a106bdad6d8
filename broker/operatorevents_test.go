package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/queue"
)

// pager is a target of operator events.
type pager struct {
	mu    sync.Mutex
	down  bool
	tries int
	got   []ferry.OperatorEvent
	last  time.Time // of the last event
	sign  int       // secrets of the last
	ids   map[string]int
	free  int64
}

func (p *pager) Tell(_ context.Context, _ ferry.NoticeTarget, ends []ferry.Ending) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := make([]error, len(ends))
	for i, e := range ends {
		p.tries++
		if p.down {
			errs[i] = errors.New("it answers 503")
			continue
		}
		p.got, p.last = append(p.got, *e.Operator), e.Operator.Time
		p.ids[e.EventID()]++
		p.sign = len(e.Secrets)
		if e.URL != "https://hooks.example/on-call?sig=secret" && e.To.Kind == ferry.ReplyOperator || e.Operator.ID != e.EventID() {
			errs[i] = fmt.Errorf("%w: to %s, %s is not %s", ferry.ErrUntellable, e.URL, e.Operator.ID, e.EventID())
		}
	}
	return errs
}

// heard takes what came: type, and route, worker, level or condition.
func (p *pager) heard() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, e := range p.got {
		list = append(list, fmt.Sprintf("%s %s%s%s %s", e.Type, e.Route, e.Level, workerOf(&e), e.Condition))
	}
	p.got = nil
	return list
}

func (p *pager) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *pager) options(o *Options) {
	o.Tellers = map[string]Teller{ferry.ReplyOperator: p, ferry.ReplySubscription: p}
	o.Caller = anywhere{}
	o.Environment = "prod"
	o.Operators = Operators{
		Targets:    []OperatorTarget{{Name: "on-call", Format: ferry.OperatorFormatEvent, URL: func() (string, error) { return "https://hooks.example/on-call?sig=secret", nil }}},
		StoppedFor: time.Minute, DeadLettersAbove: 4, DeadLettersTotalAbove: 6,
		DiskFree: func(string) (int64, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.free, nil
		},
	}
}

// anywhere lets everything be called.
type anywhere struct{}

func (anywhere) MayCall(string) error { return nil }

// paged runs a test before a broker whose operators are told.
func paged(t *testing.T, test func(t *testing.T, w *world, p *pager)) {
	t.Helper()
	p := &pager{ids: map[string]int{}, free: 1 << 40}
	bubble(t, func(t *testing.T, w *world) { test(t, w, p) }, p.options)
}

// lives says hello for a time, with what holds on the routes.
func (h *hand) lives(for_ time.Duration, holds ...ferry.Condition) {
	h.w.t.Helper()
	for until := time.Now().Add(for_); time.Now().Before(until); {
		hello := queue.Hello{Worker: h.name, Inbox: h.inbox, Version: "test", Routes: []queue.RouteHello{{Name: orders, Bound: 90 * time.Second, Conditions: holds}}}
		if _, err := h.q.Hello(h.w.t.Context(), hello); err != nil {
			h.w.t.Fatalf("Hello: %v", err)
		}
		time.Sleep(10 * time.Second)
	}
	synctest.Wait()
}

func wantTold(t *testing.T, p *pager, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.heard()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func down(since time.Time) ferry.Condition {
	return ferry.Condition{Type: ferry.RouteUnavailable, Since: since, Reason: "connection refused"}
}

// TestOperatorsAreToldOfRoutes: once for each change that lasts, and what flaps is
// not told.
func TestOperatorsAreToldOfRoutes(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		h := w.worker("erp", orders)
		h.lives(3 * time.Minute)
		wantTold(t, p)
		for range 6 { // it comes and goes
			h.lives(30*time.Second, down(time.Now()))
			h.lives(30 * time.Second)
		}
		wantTold(t, p)
		h.lives(5*time.Minute, down(time.Now()))
		wantTold(t, p, "routeStopped orders unavailable")
		for range 6 { // it comes back, and does not stay
			h.lives(20 * time.Second)
			h.lives(20*time.Second, down(time.Now()))
		}
		wantTold(t, p)
		h.lives(3*time.Minute, ferry.Condition{Type: ferry.RouteUnauthorized, Since: time.Now(), Reason: "401"})
		wantTold(t, p, "routeStopped orders unauthorized") // somebody has to do something now
		h.lives(3 * time.Minute)
		wantTold(t, p, "routeRecovered orders running")
		h.lives(3*time.Minute, ferry.Condition{Type: ferry.RouteThrottled, Since: time.Now()})
		if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ada"); err != nil {
			t.Fatal(err)
		}
		h.lives(3 * time.Minute)
		wantTold(t, p) // what the ERP or a person asked for is no stop
		if p.sign != 1 {
			t.Errorf("%d secrets sign", p.sign)
		}
	})
}

// TestARestartRepeatsNothing: what was told is on disk with its notice.
func TestARestartRepeatsNothing(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		h := w.worker("erp", orders)
		h.lives(time.Minute)
		p.set(func() { p.down = true })
		h.lives(2*time.Minute, down(time.Now()))
		h.lives(0)
		p.set(func() {
			if p.tries == 0 {
				t.Error("nothing was tried")
			}
		})
		w.restart(p.options) // told already, and not heard yet
		h = w.worker("erp", orders)
		p.set(func() { p.down = false })
		h.lives(3*time.Minute, down(time.Now()))
		wantTold(t, p, "routeStopped orders unavailable")
		w.restart(p.options) // well while nobody looked
		h = w.worker("erp", orders)
		h.lives(3 * time.Minute)
		wantTold(t, p, "routeRecovered orders running")
		w.restart(p.options)
		h = w.worker("erp", orders)
		h.lives(3 * time.Minute)
		wantTold(t, p)
		for id, n := range p.ids {
			if n != 1 {
				t.Errorf("%s was told %d times", id, n)
			}
		}
		if is, err := w.b.Operating(t.Context()); err != nil || len(is.Told) != 0 || len(is.Targets) != 1 || is.Targets[0].Callback == "https://hooks.example/on-call?sig=secret" {
			t.Errorf("%+v, %v", is, err)
		}
	})
}

// TestOperatorsAreToldOfLostWorkers: of one that fell silent, not of one that was
// stopped, and once.
func TestOperatorsAreToldOfLostWorkers(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		h := w.worker("erp", orders)
		h.lives(time.Minute)
		time.Sleep(90 * time.Second)
		wantTold(t, p)
		time.Sleep(5 * time.Minute)
		wantTold(t, p, "workerLost erp ")
		h.lives(20 * time.Second)
		time.Sleep(10 * time.Minute) // back for a moment only
		wantTold(t, p)
		h.lives(3 * time.Minute)
		if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: "erp", Inbox: h.inbox, Leaving: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		w.restart(p.options)
		time.Sleep(10 * time.Minute)
		wantTold(t, p) // it said goodbye
		h = w.worker("erp", orders)
		h.lives(3 * time.Minute)
		w.send(`{}`)
		w.restart(p.options)
		time.Sleep(10 * time.Minute) // killed while the broker was away
		got := p.heard()
		if len(got) != 2 || !contains(got, "workerLost erp ") || !contains(got, "routeStopped orders noWorker") {
			t.Errorf("told: %q", got)
		}
		if _, err := w.b.RevokeWorker(t.Context(), "erp", "gone", "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if told, err := w.b.ledger.Told(); err != nil || len(told) != 1 || told[0].What != "route/"+orders {
			t.Errorf("of a worker that was revoked nothing is remembered: %+v, %v", told, err)
		}
	})
}

// TestOperatorsAreToldOfRoutesOfSeveral: one that is well delivers for all, so that
// another which was stopped, is silent or in trouble is no stop of the route.
func TestOperatorsAreToldOfRoutesOfSeveral(t *testing.T) {
	p := &pager{ids: map[string]int{}, free: 1 << 40}
	bubble(t, func(t *testing.T, w *world) {
		one, two := two(w)
		both := func(for_ time.Duration, holds ...ferry.Condition) {
			for until := time.Now().Add(for_); time.Now().Before(until); {
				one.lives(time.Second)
				two.lives(time.Second, holds...)
			}
		}
		w.send(`{}`)
		both(2 * time.Minute)
		both(3*time.Minute, down(time.Now()))
		wantTold(t, p)
		if _, err := two.q.Hello(t.Context(), queue.Hello{Worker: "two", Inbox: two.inbox, Leaving: true}); err != nil {
			t.Fatal(err)
		}
		one.lives(5 * time.Minute)
		wantTold(t, p) // stopped in order
		one.lives(3*time.Minute, down(time.Now()))
		wantTold(t, p, "routeStopped orders unavailable")
		both(3 * time.Minute)
		wantTold(t, p, "routeRecovered orders running")
		for _, h := range []*hand{one, two} {
			if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: h.name, Inbox: h.inbox, Leaving: true}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		wantTold(t, p, "routeStopped orders noWorker")
	}, p.options, several)
}

func contains(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}

// TestOperatorsAreToldOfDeadLetters: once above the bound, and again only after
// there were clearly less; a target hears its own routes.
func TestOperatorsAreToldOfDeadLetters(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		h := w.worker("erp", orders)
		var ids []ferry.ID
		die := func(n int) {
			for range n {
				ids = append(ids, w.send(`{}`))
				h.hello(orders)
				d := h.takeOne(orders)
				h.report(d, ferry.Rejected, rejected())
			}
			h.lives(30 * time.Second)
		}
		discard := func(n int) {
			for range n {
				if _, err := w.b.Discard(t.Context(), ids[0], "gone", "ada"); err != nil {
					t.Fatal(err)
				}
				ids = ids[1:]
			}
			h.lives(30 * time.Second)
		}
		h.hello(orders)
		die(4)
		wantTold(t, p)
		die(1)
		wantTold(t, p, "deadLettersAbove orders ")
		discard(1)
		die(1) // around the bound
		wantTold(t, p)
		die(2)
		wantTold(t, p, "deadLettersAbove  ") // of all
		discard(4)
		die(2)
		wantTold(t, p, "deadLettersAbove orders ")
	})
}

// TestOperatorsAreToldOfTheDisk: low, critical, and nothing while it moves about a
// bound.
func TestOperatorsAreToldOfTheDisk(t *testing.T) {
	paged(t, func(t *testing.T, _ *world, p *pager) {
		free := func(mib int64) {
			p.set(func() { p.free = mib << 20 })
			time.Sleep(20 * time.Second)
		}
		free(3000)
		wantTold(t, p)
		free(2000)
		wantTold(t, p, "diskLow low ")
		for range 5 {
			free(2100)
			free(2000)
		}
		wantTold(t, p)
		free(500)
		wantTold(t, p, "diskLow critical ")
		free(530)
		free(500)
		free(1000)
		wantTold(t, p)
		free(10_000)
		free(2000)
		wantTold(t, p, "diskLow low ")
	})
}

// TestWhoSubscribedHearsOperators: with an operator's key, and no longer than that.
func TestWhoSubscribedHearsOperators(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		w.restart(p.options, func(o *Options) { o.Operators.Targets = nil })
		sub, err := w.b.Subscribe(t.Context(), ferry.SubscriptionSpec{Event: ferry.EventOperator, CallbackURL: "https://hooks.example/mine"}, ferry.Identity{Name: "ada", KeyID: "jwt:ada", Role: ferry.RoleOperator})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.b.Subscribe(t.Context(), ferry.SubscriptionSpec{Event: ferry.EventOperator, CallbackURL: "https://hooks.example/other"}, ferry.Identity{Name: "eve", KeyID: "jwt:eve", Role: ferry.RoleSender, Routes: []string{orders}}); err != nil {
			t.Fatal(err) // who may is the surface's to say; what is told is the ledger's
		}
		p.set(func() { p.free = 1 << 20 })
		time.Sleep(time.Minute)
		wantTold(t, p, "diskLow critical ")
		if err := w.b.Unsubscribe(t.Context(), sub.ID.String(), ferry.Identity{Role: ferry.RoleAdmin}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAnAddressThatCannotBeRead: while the secret of an operators' target is waited
// for, senders are answered, and so is who asks how the broker is.
func TestAnAddressThatCannotBeRead(t *testing.T) {
	for hangs := 1; hangs <= 3; hangs++ { // the first time that it is asked for, or a later one
		t.Run(strconv.Itoa(hangs), func(t *testing.T) {
			paged(t, func(t *testing.T, w *world, p *pager) {
				read, asked := make(chan struct{}), 0
				w.restart(p.options, func(o *Options) {
					o.Operators.Targets[0].URL = func() (string, error) {
						p.mu.Lock()
						asked++
						wait := asked >= hangs
						p.mu.Unlock()
						if wait {
							<-read
						}
						return "https://hooks.example/on-call?sig=secret", nil
					}
				})
				p.set(func() { p.down, p.free = true, 1<<20 })
				time.Sleep(time.Minute)
				retried, well := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(retried)
					_, _ = w.b.RetryCallbacks(t.Context(), ferry.RetryRequest{Callback: "https://elsewhere.example/"}, "ada")
				}()
				synctest.Wait()
				go func() {
					defer close(well)
					w.b.outbox.noted([]ferry.NoticeTarget{{Kind: ferry.ReplyCallback, Target: "https://sender.example/"}}, 0)
					w.send(`{}`)
					if _, err := w.b.Status(t.Context()); err != nil {
						t.Error(err)
					}
				}()
				time.Sleep(time.Second)
				synctest.Wait()
				select {
				case <-well:
				default:
					t.Error("senders wait for the address of operators")
				}
				p.set(func() {
					if asked < hangs {
						t.Errorf("asked for %d times", asked)
					}
					p.down = false
				})
				close(read)
				<-retried
				<-well
				time.Sleep(time.Minute)
				wantTold(t, p, "diskLow critical ")
			})
		})
	}
}

// TestATargetThatWasTakenOut: what waits for it is dropped, and nobody else waits.
func TestATargetThatWasTakenOut(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		p.set(func() { p.down, p.free = true, 1<<20 })
		time.Sleep(time.Minute)
		w.restart(p.options, func(o *Options) { o.Operators.Targets[0].Name = "other" })
		p.set(func() { p.down = false })
		time.Sleep(time.Minute)
		if n := len(w.b.ledger.NoticeTargets()); n != 0 {
			t.Errorf("%d targets wait", n)
		}
		wantTold(t, p)
	})
}

func workerOf(e *ferry.OperatorEvent) string {
	if e.Type == ferry.EventWorkerLost {
		return e.Worker
	}
	return ""
}
