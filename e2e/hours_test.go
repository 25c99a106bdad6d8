package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/broker"
	"ferry/httpauth"
	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/retry"
	"ferry/secret"
	"ferry/worker"
)

// Hours and days in moments: a broker, a worker and the practice ERP in a bubble of
// testing/synctest, on a queue and connections in memory, with their files on disk.

const hoursRoute = "supplier-invoices"

// hours is such a world. Its worker and its ERP are there from the start.
type hours struct {
	t   *testing.T
	dir string // of the ledger and the inbox
	b   *broker.Broker
	erp *practice.ERP
	key string // file with the worker's key

	mu    sync.Mutex
	away  bool        // nobody answers at the ERP's address
	calls []time.Time // that came there, or tried to
}

// inHours runs a test in a bubble whose clock stands at start, a moment after 2000.
func inHours(t *testing.T, start time.Time, route ferry.Route, test func(w *hours)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(start))
		w := &hours{t: t, dir: dir, key: filepath.Join(dir, "erp.key"), erp: practice.New("right", practice.Settings{})}
		w.setKey("right")
		stop := w.start(route)
		defer stop()
		test(w)
	})
}

// RoundTrip carries a call to the ERP.
func (w *hours) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.calls = append(w.calls, time.Now())
	away := w.away
	w.mu.Unlock()
	if away {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	rec := httptest.NewRecorder()
	w.erp.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func (w *hours) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *hours) setKey(key string) {
	if err := os.WriteFile(w.key, []byte(key), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

type hoursTransport struct{ q *queue.Queue }

func (h hoursTransport) Queue() *queue.Queue                      { return h.q }
func (h hoursTransport) NewLogin() (public, seed string, _ error) { return "public", "seed", nil }
func (h hoursTransport) SetWorkers([]ferry.WorkerInfo) error      { return nil }
func (h hoursTransport) Close(ctx context.Context) error          { return h.q.Close(ctx) }

func (w *hours) start(route ferry.Route) (stop func()) {
	w.t.Helper()
	fatal := func(err error) {
		if err != nil {
			w.t.Helper()
			w.t.Fatal(err)
		}
	}
	route.Name = hoursRoute
	mem := memqueue.New(memqueue.Options{Lock: 30 * time.Second})
	var err error
	w.b, err = broker.New(w.t.Context(), broker.Options{
		DataDir: filepath.Join(w.dir, "broker"), Version: "test", MinFree: -1, Routes: []ferry.Route{route},
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (broker.Transport, error) {
			return hoursTransport{queue.New(mem.Broker(), queue.Options{})}, nil
		},
	})
	fatal(err)
	fatal(w.b.Start())
	_, err = w.b.AddWorker(w.t.Context(), "erp-worker-1", []string{hoursRoute}, "", "test")
	fatal(err)

	dest, err := erp.New(secret.Resolver{}, w)(adapters.DestinationConfig{
		Name: "erp", Adapter: "erp", Dialect: "rest", URL: "http://erp.example", Timeout: 10 * time.Second,
		Auth:   httpauth.Config{Type: "apiKey", Header: "X-Api-Key", Key: secret.Ref("file:" + filepath.ToSlash(w.key))},
		Health: &adapters.HealthConfig{URL: "/ping"},
	})
	fatal(err)
	adapter, err := dest.Route(adapters.RouteConfig{
		Route: hoursRoute, URL: "/invoices", Reference: ".id",
		Lookup: &adapters.LookupConfig{URL: "/invoices?externalId={externalKey}", Reference: ".items[0].id"},
	})
	fatal(err)
	q := queue.New(mem.Worker("erp-worker-1", hoursRoute), queue.Options{})
	one, err := worker.New(worker.Options{
		Name: "erp-worker-1", Version: "test", Queue: q, InboxDir: filepath.Join(w.dir, "worker"),
		Routes: []worker.Route{{
			Name: hoursRoute, Adapter: adapter, Destination: worker.NewDest(worker.DestOptions{Name: "erp", Destination: dest, Concurrency: 4}),
			Retry: retry.Policy{Attempts: 3, InitialDelay: time.Second, MaxDelay: time.Minute}, Timeout: 10 * time.Second,
		}},
	})
	fatal(err)
	fatal(one.Start(w.t.Context()))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, end := range []func(context.Context) error{one.Stop, q.Close, w.b.Stop} {
			if err := end(ctx); err != nil {
				w.t.Error(err)
			}
		}
		w.erp.Close()
		_ = dest.Close()
	}
}

func (w *hours) send(n int, change ...func(*ferry.Message)) ferry.ID {
	w.t.Helper()
	body := fmt.Sprintf(`{"number":"INV-%d","supplier":"Contoso","currency":"EUR","total":5}`, n)
	m := ferry.Message{Route: hoursRoute, Body: []byte(body), ContentType: "application/json", IdempotencyKey: fmt.Sprintf("INV-%d", n)}
	for _, f := range change {
		f(&m)
	}
	a, err := w.b.Accept(w.t.Context(), m)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.ID
}

func living(d time.Duration) func(*ferry.Message) { return func(m *ferry.Message) { m.TimeToLive = d } }

func (w *hours) message(id ferry.ID) ferry.Envelope {
	w.t.Helper()
	synctest.Wait()
	e, err := w.b.Message(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *hours) route() ferry.RouteInfo {
	w.t.Helper()
	synctest.Wait()
	list, err := w.b.RouteInfos(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return list[0]
}

// since lists the calls that came to the ERP's address from a moment on.
func (w *hours) since(from time.Time) (list []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.calls {
		if !at.Before(from) {
			list = append(list, at)
		}
	}
	return list
}

// once wants every message completed, and one document of each.
func (w *hours) once(ids ...ferry.ID) {
	w.t.Helper()
	for _, id := range ids {
		e := w.message(id)
		if e.State != ferry.StateCompleted || e.Reference == "" {
			w.t.Fatalf("%s is %s: %+v, waiting for %+v", e.IdempotencyKey, e.State, e.DeadLetter, e.WaitingFor)
		}
		if n := len(w.erp.Documents(e.IdempotencyKey)); n != 1 {
			w.t.Errorf("%d documents of %s", n, e.IdempotencyKey)
		}
	}
}

var hoursBegin = time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC) // a Friday

// TestHoursWeekendOutage has the ERP away for a weekend, with messages before and
// all along: none pays for it, it is asked at most every 5 s, and all of them are
// there within seconds of its return.
func TestHoursWeekendOutage(t *testing.T) {
	outage := time.Hour
	if os.Getenv("FERRY_OUTAGE_LONG") != "" {
		outage = 60 * time.Hour
	}
	inHours(t, hoursBegin, ferry.Route{}, func(w *hours) {
		const during = 180
		var ids []ferry.ID
		for i := range 10 {
			ids = append(ids, w.send(i))
			time.Sleep(time.Second)
		}
		w.once(ids...)
		w.setAway(true)
		began := time.Now()
		for i := range during {
			ids = append(ids, w.send(10+i))
			time.Sleep(outage / during)
		}
		if r := w.route(); r.State != ferry.RouteUnavailable || r.DeadLetters != 0 || r.Pending != during {
			w.t.Fatalf("in the outage: %+v", r)
		}
		if e := w.message(ids[20]); e.WaitingFor == nil || e.WaitingFor.Reason != ferry.WaitsForDestination || e.WaitingFor.Worker != "erp-worker-1" {
			w.t.Errorf("waiting for %+v", e.WaitingFor)
		}
		tries := w.since(began)
		if most := int(outage/(5*time.Second)) + 2; len(tries) > most || len(tries) < most/2 {
			w.t.Errorf("%d calls in %s, want one in 5 s", len(tries), outage)
		}
		for i := 2; i < len(tries); i++ {
			if apart := tries[i].Sub(tries[i-1]); apart < 5*time.Second-time.Millisecond {
				w.t.Fatalf("two calls within %s, at %s", apart, tries[i])
			}
		}
		w.setAway(false)
		time.Sleep(10 * time.Second)
		w.once(ids...)
		for _, id := range ids[10:] {
			for _, a := range w.message(id).Attempts {
				if a.Verdict != ferry.Delivered && a.Verdict != ferry.Unavailable {
					w.t.Errorf("%+v", a)
				}
			}
		}
	})
}

// TestHoursMonthEnd has a window begin and end around the days on which clocks are
// set: deliveries stop and go on at the right moments, and clocks stand still.
func TestHoursMonthEnd(t *testing.T) {
	for name, c := range map[string]struct {
		cron, begin, end string
		length           time.Duration
	}{
		"over the begin of summer time": {"30 1 L 3 *", "2024-03-31T00:30:00Z", "2024-03-31T02:00:00Z", 90 * time.Minute},
		"over the end of summer time":   {"30 1 L 10 *", "2027-10-30T23:30:00Z", "2027-10-31T01:30:00Z", 2 * time.Hour},

		"long: the day summer time begins":    {"0 18 L 3 *", "2024-03-31T16:00:00Z", "2024-04-01T06:00:00Z", 14 * time.Hour},
		"long: over the begin of summer time": {"0 18 L-1 3 *", "2024-03-30T17:00:00Z", "2024-03-31T07:00:00Z", 14 * time.Hour},
		"long: over the end of summer time":   {"0 18 L-1 10 *", "2027-10-30T16:00:00Z", "2027-10-31T06:00:00Z", 14 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "long") && os.Getenv("FERRY_OUTAGE_LONG") == "" {
				t.Skip("a whole night: FERRY_OUTAGE_LONG=1")
			}
			begin, _ := time.Parse(time.RFC3339, c.begin)
			end, _ := time.Parse(time.RFC3339, c.end)
			window := ferry.Window{Name: "month-end", Cron: c.cron, For: c.length, Zone: "Europe/Berlin"}
			inHours(t, begin.Add(-30*time.Second), ferry.Route{Windows: []ferry.Window{window}}, func(w *hours) {
				var ids []ferry.ID
				n := 0
				load := func(until time.Time, every time.Duration) {
					for time.Now().Before(until) {
						ids = append(ids, w.send(n, living(time.Hour)))
						n++
						time.Sleep(every)
					}
				}
				load(begin, 100*time.Millisecond)
				load(begin.Add(time.Minute), 10*time.Second)
				load(end, 20*time.Minute)
				if calls := w.since(begin.Add(time.Nanosecond)); len(calls) > 0 && calls[0].Before(end) {
					w.t.Fatalf("%d calls in the window, the first at %s", len(calls), calls[0])
				}
				if before := w.since(begin.Add(-time.Second)); len(before) == 0 {
					w.t.Error("nothing was delivered in the last second before the window")
				}
				time.Sleep(2 * time.Second)
				after := w.since(end)
				if len(after) == 0 || after[0].After(end.Add(time.Second)) {
					w.t.Errorf("deliveries went on at %v, want %s", after[:min(len(after), 1)], end)
				}
				time.Sleep(10 * time.Second)
				w.once(ids...) // also those whose hour passed in the window
			})
		})
	}
}

// TestHoursSecretRotation has the ERP refuse the key: the route stops at once, and
// goes on at once when the secret changes.
func TestHoursSecretRotation(t *testing.T) {
	inHours(t, hoursBegin, ferry.Route{}, func(w *hours) {
		w.once(w.send(0))
		w.setKey("wrong") // the ERP's new one is not in the worker's file yet
		time.Sleep(time.Minute)
		began := time.Now()
		var ids []ferry.ID
		for i := range 20 {
			ids = append(ids, w.send(1+i))
			time.Sleep(time.Minute)
		}
		if r := w.route(); r.State != ferry.RouteUnauthorized || r.DeadLetters != 0 {
			w.t.Fatalf("with a wrong key: %+v", r)
		}
		if e := w.message(ids[5]); e.WaitingFor.Reason != ferry.WaitsForCredentials || e.WaitingFor.Until == nil {
			w.t.Errorf("waiting for %+v", e.WaitingFor)
		}
		if calls := len(w.since(began)); calls > 1 {
			w.t.Errorf("%d logons with the wrong key in 20 minutes", calls)
		}
		w.setKey("right")
		time.Sleep(20 * time.Second)
		w.once(ids...)
	})
}

// TestHoursExpiry has messages outlive their time while the ERP is away: they
// expire, unless the route was paused meanwhile.
func TestHoursExpiry(t *testing.T) {
	inHours(t, hoursBegin, ferry.Route{}, func(w *hours) {
		w.setAway(true)
		gone := w.send(0, living(time.Hour))
		time.Sleep(time.Hour + 30*time.Second)
		if e := w.message(gone); e.State != ferry.StateDeadLettered || e.DeadLetter.Reason != ferry.ReasonExpired {
			w.t.Fatalf("after its time to live: %s, %+v", e.State, e.DeadLetter)
		}
		kept := w.send(1, living(time.Hour))
		time.Sleep(30 * time.Minute)
		if _, err := w.b.Pause(w.t.Context(), hoursRoute, "the ERP is upgraded", time.Time{}, "ann"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if s := w.route().Stopping; s == nil || !s.Done {
			w.t.Errorf("the worker has stopped, and says so: %+v", s)
		}
		w.setAway(false)
		time.Sleep(2 * time.Hour)
		if len(w.erp.Documents("")) != 0 {
			w.t.Fatal("delivered in a pause")
		}
		if _, err := w.b.Resume(w.t.Context(), hoursRoute, "", "ann"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.once(kept)
	})
}
