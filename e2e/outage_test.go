package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// longOutages is set by scripts/chaos: outages of 20 s, and waiting for a worker
// that was killed to be missed.
const longOutages = "FERRY_OUTAGE_LONG"

// front stands before the practice ERP: it can be down in several ways, and
// counts what reaches it.
type front struct {
	t       *testing.T
	behind  http.Handler
	address string

	mu      sync.Mutex
	server  *http.Server
	mode    string // "": up
	calls   map[string]int
	refused int // answers of 401
}

func newFront(t *testing.T, behind http.Handler) *front {
	t.Helper()
	f := &front{t: t, behind: behind, address: freePort(t), calls: map[string]int{}}
	f.listen()
	t.Cleanup(func() { _ = f.server.Close() })
	return f
}

func (f *front) listen() {
	f.t.Helper()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	server := f.server
	go func() { _ = server.Serve(l) }() // ends with Close
}

// set puts the ERP down in a way, or up again for "".
func (f *front) set(mode string) {
	f.t.Helper()
	f.mu.Lock()
	was := f.mode
	f.mode = mode
	f.mu.Unlock()
	switch {
	case mode == "refused":
		_ = f.server.Close()
	case mode == "" && was == "refused":
		f.listen()
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	mode := f.mode
	if mode != "" {
		f.calls[r.Method+" "+r.URL.Path]++
	}
	f.mu.Unlock()
	switch mode {
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "500": // only creates fail: the health request and lookups are answered well
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprint(w, `{"title":"deadlock victim","code":"SQL_DEADLOCK"}`)
			return
		}
		f.behind.ServeHTTP(w, r)
	case "hang":
		<-r.Context().Done()
	case "cut":
		panic(http.ErrAbortHandler)
	default:
		rec := &statusRecorder{ResponseWriter: w}
		f.behind.ServeHTTP(rec, r)
		if rec.status == http.StatusUnauthorized {
			f.mu.Lock()
			f.refused++
			f.mu.Unlock()
		}
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// whileDown is how many calls of any kind came while it was down.
func (f *front) whileDown() (n int, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		n += c
	}
	return n, fmt.Sprint(f.calls)
}

func (f *front) logonsRefused() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

// outageWorld is a world whose worker reaches the ERP through a front.
func outageWorld(t *testing.T, o options, erp *practice.ERP) (*world, *front) {
	t.Helper()
	if o.routes == nil {
		o.routes = []string{invoices}
	}
	o.lock = "30s"
	w := newWorld(t, o)
	if erp != nil {
		w.erp = erp
	}
	f := newFront(t, w.erp)
	w.erpURL = "http://" + f.address
	w.write("worker.yaml", w.workerYAML("erp-worker", o))
	return w, f
}

// TestOutage: what is accepted while the ERP is down costs nothing, storms nobody,
// is visible, and is through within seconds of its return.
func TestOutage(t *testing.T) {
	t.Parallel()
	outage, messages := 6*time.Second, 150
	if os.Getenv(longOutages) != "" {
		outage, messages = 20*time.Second, 500
	}
	for _, mode := range []string{"503", "500", "refused", "hang", "cut"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w, f := outageWorld(t, options{
				destination: []string{"timeout: 1s", "concurrency: 8"},
				route: []string{
					`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
					"settleTime: 1s",
					// Two spent attempts would be the end of a message.
					"retry: {attempts: 2, initialDelay: 100ms, maxDelay: 1s}",
				},
			}, nil)
			w.start()
			w.await(w.send(invoices, "before", kibibyte("before")).ID, ferry.StateCompleted, 10*time.Second)
			f.set(mode)
			began := time.Now()
			accepted := map[string]ferry.ID{}
			for i := range messages {
				key := fmt.Sprintf("outage-%03d", i)
				accepted[key] = w.send(invoices, key, kibibyte(key)).ID
			}
			w.wantUnavailable(outage + slack())
			time.Sleep(time.Until(began.Add(outage))) // the outage lasts so long
			calls, text := f.whileDown()
			back := time.Now()
			f.set("")
			w.awaitDrained(60 * time.Second)
			drained := time.Since(back)
			t.Logf("%s for %s: %d calls %s; %d messages drained %s after the return", mode, outage, calls, text, messages, drained.Round(10*time.Millisecond))
			if calls > 20 {
				t.Errorf("%d calls reached the ERP that was down", calls)
			}
			if bound := 7*time.Second + slack(); drained > bound {
				t.Errorf("drained %s after the return, %s at the most", drained, bound)
			}
			delete(accepted, "before")
			for key, id := range accepted {
				if docs := w.erp.Documents(key); len(docs) != 1 {
					t.Errorf("%d documents of %s", len(docs), key)
				}
				if e := w.message(id); e.State != ferry.StateCompleted {
					t.Errorf("%s is %s: %+v", key, e.State, e.DeadLetter)
				}
			}
			n := int64(len(accepted) + 1)
			if got, want := w.balance(), (ferry.Reconciliation{Accepted: n, Completed: n}); got != want {
				t.Errorf("reconcile: %+v, not %+v", got, want)
			}
		})
	}
}

// slack is for machines that have more to do than this.
func slack() time.Duration {
	if raceEnabled {
		return 10 * time.Second
	}
	return 2 * time.Second
}

// wantUnavailable: everybody who asks is told that the destination is down, since
// when, why, and when it is probed next.
func (w *world) wantUnavailable(within time.Duration) {
	w.t.Helper()
	eventually(w.t, within, func() string {
		routes, err := w.client.Routes(w.t.Context())
		if err != nil {
			return err.Error()
		}
		r := routes[0]
		if r.State != ferry.RouteUnavailable || len(r.Conditions) != 1 || r.NextProbe == nil || r.Calls == nil || r.Hint == "" {
			return fmt.Sprintf("the route is %+v", r)
		}
		c := r.Conditions[0]
		if c.Worker != "erp-worker" || c.Reason == "" || time.Since(c.Since) > time.Minute {
			return fmt.Sprintf("condition %+v", c)
		}
		page, err := w.client.Messages(w.t.Context(), ferry.MessageFilter{State: ferry.StateQueued, Limit: 1})
		if err != nil || len(page.Items) != 1 {
			return fmt.Sprintf("%d messages are queued: %v", len(page.Items), err)
		}
		if waits := page.Items[0].WaitingFor; waits == nil || waits.Reason != string(ferry.RouteUnavailable) {
			return fmt.Sprintf("a message waits for %+v", waits)
		}
		return ""
	})
	if s := w.try("status"); s.code != 3 || !strings.Contains(s.out, "unavailable for ") || !strings.Contains(s.out, "next probe ") {
		w.t.Errorf("broker status, exit code %d:\n%s", s.code, s.out)
	}
	if list := w.cli("routes", "list"); !strings.Contains(list, "unavailable") || !strings.Contains(list, "hint: ") {
		w.t.Errorf("broker routes list:\n%s", list)
	}
	if m := w.metrics(); !strings.Contains(m, `ferry_route_condition{condition="unavailable",route="`+invoices+`"} 1`) || !strings.Contains(m, `ferry_route_concurrency{route="`+invoices+`"}`) {
		w.t.Errorf("the metrics do not tell:\n%s", m)
	}
}

// metrics are the broker's, about routes.
func (w *world) metrics() string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.api + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var text strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			break
		}
	}
	var lines []string
	for line := range strings.SplitSeq(text.String(), "\n") {
		if strings.HasPrefix(line, "ferry_route_") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// TestWrongPassword: with eight calls at a time and two routes, one logon reaches
// the ERP, also over a restart; the secret is corrected in its file, and
// everything is delivered without another one.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	routes := []string{"orders", invoices}
	w, f := outageWorld(t, options{
		routes:      routes,
		destination: []string{"timeout: 10s", "concurrency: 8", `auth: {type: basic, username: ferry, password: "file:./password"}`},
	}, practice.New("right-password", practice.Settings{}))
	w.write("password", "wrong-password\n")
	w.startBroker()
	accepted := map[string]ferry.ID{}
	for i := range 60 {
		key := fmt.Sprintf("logon-%02d", i)
		accepted[key] = w.send(routes[i%2], key, kibibyte(key)).ID
	}
	w.cli("workers", "add", "erp-worker", "--routes", strings.Join(routes, ","), "--out", "erp-worker.nk")
	w.startWorker()
	unauthorized := func() {
		t.Helper()
		eventually(t, 20*time.Second, func() string {
			list, err := w.client.Routes(t.Context())
			if err != nil {
				return err.Error()
			}
			for _, r := range list {
				if r.State != ferry.RouteUnauthorized || r.Conditions[0].Until == nil {
					return fmt.Sprintf("route %s is %s: %+v", r.Name, r.State, r.Conditions)
				}
			}
			return ""
		})
	}
	unauthorized()
	if code := w.worker.stop(t, 20*time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if text := w.worker.out.String(); strings.Contains(text, "wrong-password") {
		t.Error("the password is in the worker's log")
	}
	w.startWorker()
	unauthorized()
	if n := f.logonsRefused(); n != 1 {
		t.Errorf("%d logons with the wrong password reached the ERP", n)
	}
	if list := w.cli("routes", "list"); !strings.Contains(list, "mend the secret") {
		t.Errorf("broker routes list:\n%s", list)
	}
	w.write("password", "right-password\n")
	// The message that met the refusal comes again after half a minute.
	eventually(t, 20*time.Second, func() string {
		if n := len(w.erp.Documents("")); n < len(accepted)-1 {
			return fmt.Sprintf("%d documents", n)
		}
		return ""
	})
	if n := f.logonsRefused(); n != 1 {
		t.Errorf("%d logons with the wrong password in all", n)
	}
	if os.Getenv(longOutages) != "" {
		w.wantOnce(accepted)
	}
}

// TestWorkerStopped: a worker that stops says so, and its routes show it at once.
func TestWorkerStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start()
	if code := w.worker.stop(t, 20*time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	w.wantNoWorker(2*time.Second, "its worker was stopped")
	w.startWorker()
	w.awaitGranted()
}

// TestWorkerKilled: a worker that is gone without a word is missed after half a
// minute.
func TestWorkerKilled(t *testing.T) {
	if os.Getenv(longOutages) == "" {
		t.Skip("it takes 40 s: set " + longOutages + "=1, or run make chaos")
	}
	t.Parallel()
	w := newWorld(t, options{})
	w.start()
	w.worker.kill()
	w.wantNoWorker(40*time.Second, "its worker is silent")
	w.startWorker()
	w.awaitGranted()
}

func (w *world) wantNoWorker(within time.Duration, reason string) {
	w.t.Helper()
	id := w.send(invoices, "waits", kibibyte("waits")).ID
	began := time.Now()
	eventually(w.t, within, func() string {
		routes, err := w.client.Routes(w.t.Context())
		if err != nil {
			return err.Error()
		}
		c := routes[0].Conditions
		if len(c) != 1 || c[0].Type != ferry.RouteNoWorker || c[0].Reason != reason || c[0].Worker != "erp-worker" || c[0].Since.Before(began.Add(-15*time.Second)) {
			text, _ := json.Marshal(c)
			return "conditions " + string(text)
		}
		if waits := w.message(id).WaitingFor; waits == nil || waits.Reason != "noWorker" {
			return fmt.Sprintf("the message waits for %+v", waits)
		}
		return ""
	})
	w.t.Logf("%s: seen after %s", reason, time.Since(began).Round(100*time.Millisecond))
}
