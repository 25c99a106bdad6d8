package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
	"ferry/internal/logicapps"
	"ferry/notify"
)

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// subscribers is where flows are called back, over the Notifier that the broker
// really has.
type subscribers struct {
	*logicapps.Callbacks
	notifier *notify.Notifier
	log      *lockedBuffer
}

// calledBack runs a test before a broker that calls flows back.
func calledBack(t *testing.T, test func(t *testing.T, f *flows, s *subscribers)) {
	t.Helper()
	s := &subscribers{log: &lockedBuffer{}}
	bubble(t, func(t *testing.T, w *world) {
		s.Callbacks = logicapps.NewCallbacks()
		s.Base = "http://localhost:9000"
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{Handler: s.Callbacks, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		go func() { _ = srv.Serve(p) }()
		n, err := notify.New(notify.Options{
			Allow: []string{"localhost"}, Timeout: 10 * time.Second, Encode: func(e ferry.Envelope) []byte { return api.EnvelopeJSON(e, flowsAt) },
			Resolve: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}, Dial: p.dial,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.notifier = n
		w.restart(s.options)
		defer func() {
			_ = srv.Close()
			n.Close()
			synctest.Wait()
		}()
		f := newFlows(t, w)
		test(t, f, s)
		if strings.Contains(s.log.String()+f.log.String(), "sig=") {
			t.Error("an address stands in the log")
		}
		audit, err := w.b.ledger.Audit(0, time.Time{}, 1000)
		if err != nil || strings.Contains(fmt.Sprint(audit), "sig=") {
			t.Errorf("an address stands in the audit log, or %v", err)
		}
	}, func(o *Options) { o.MinFree = -1 })
}

func (s *subscribers) options(o *Options) {
	o.Caller = s.notifier
	o.Tellers = map[string]Teller{ferry.ReplyCallback: s.notifier, ferry.ReplySubscription: s.notifier}
	o.Log = slog.New(slog.NewTextHandler(s.log, nil))
	o.PublicURL = flowsAt
}

func (f *flows) trigger(event string) logicapps.Trigger {
	return logicapps.Trigger{
		Name: "When_a_message_is_" + event, URI: flowsAt + "/v1/subscriptions/" + event, Authentication: "Bearer " + f.key,
		Body: func(url string) []byte { return fmt.Appendf(nil, `{"callbackUrl":%q,"route":"orders"}`, url) },
	}
}

func (f *flows) subscribed(s *subscribers, flow *logicapps.Flow, event, again string) (*logicapps.Subscription, ferry.NewSubscription) {
	f.t.Helper()
	trigger := f.trigger(event)
	trigger.CallbackURL = again
	sub, err := flow.Subscribe(f.t.Context(), trigger, s.Callbacks)
	if err != nil {
		f.t.Fatal(err)
	}
	var made ferry.NewSubscription
	if err := json.Unmarshal(sub.Answer.Body, &made); err != nil || sub.Answer.Status != http.StatusCreated || strings.Contains(string(sub.Answer.Body), "sig=") {
		f.t.Fatalf("subscribed: %d %s, %v", sub.Answer.Status, sub.Answer.Body, err)
	}
	return sub, made
}

// completes sends a message and has it delivered.
func (f *flows) completes(body string) ferry.ID {
	f.t.Helper()
	id := f.send(body)
	f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
	synctest.Wait()
	return id
}

func signedWith(t *testing.T, c logicapps.Callback, secret string) bool {
	t.Helper()
	key, err := notify.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return notify.Verify(key, c.Header, c.Body, time.Now())
}

// A flow is turned on, edited, turned off: it is told each end once, signed, and
// nothing more after it was turned off, which needs no key and may be repeated.
func TestAFlowSubscribes(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		flow := f.Flow("watch")
		sub, made := f.subscribed(s, flow, "completed", "")
		edited, same := f.subscribed(s, flow, "completed", sub.CallbackURL)
		if same.ID != made.ID || same.Secret != made.Secret || !same.Merged || made.Merged || edited.Location != sub.Location {
			t.Errorf("an edit makes another subscription: %+v, %+v", made, same)
		}
		dead, _ := f.subscribed(s, flow, "dead-lettered", "")
		id := f.completes(`{"n":1}`)
		calls := s.Calls(sub.CallbackURL)
		if len(calls) != 1 || len(s.Calls(dead.CallbackURL)) != 0 {
			t.Fatalf("%d calls, and %d of a dead letter", len(calls), len(s.Calls(dead.CallbackURL)))
		}
		var e ferry.Envelope
		if err := json.Unmarshal(calls[0].Body, &e); err != nil || e.ID != id || e.State != ferry.StateCompleted || e.Reference != "DOC-1" || e.StatusURL != flowsAt+"/v1/messages/"+id.String() {
			t.Errorf("told %s, %v", calls[0].Body, err)
		}
		if !signedWith(t, calls[0], made.Secret) || calls[0].Header.Get("Ferry-Event") != "completed" || calls[0].Method != http.MethodPost {
			t.Errorf("headers: %v", calls[0].Header)
		}
		f.send(`{"n":2}`)
		f.worker.report(f.worker.takeOne(orders), ferry.Rejected, rejected())
		synctest.Wait()
		if calls := s.Calls(dead.CallbackURL); len(calls) != 1 || calls[0].Header.Get("Ferry-Event") != "deadLettered" {
			t.Fatalf("of a dead letter: %+v", calls)
		}
		for range 3 {
			if x, err := sub.Unsubscribe(t.Context()); err != nil || x.Status != http.StatusNoContent {
				t.Fatalf("unsubscribed: %d %s, %v", x.Status, x.Body, err)
			}
		}
		f.completes(`{"n":3}`)
		if n := len(s.Calls(sub.CallbackURL)); n != 1 {
			t.Errorf("%d calls after it was turned off", n)
		}
		// Whoever guesses ends nothing, and is told nothing.
		guess := dead.Location[:len(dead.Location)-2] + "AA"
		r := httptest.NewRecorder()
		api.New(f.b, api.Options{}).ServeHTTP(r, httptest.NewRequest(http.MethodDelete, guess, nil))
		list, err := f.b.Subscriptions(t.Context(), ferry.Identity{Role: ferry.RoleAdmin})
		if r.Code != http.StatusNoContent || err != nil || len(list) != 1 {
			t.Errorf("%d, %+v, %v", r.Code, list, err)
		}
	})
}

// A flow sends with an address and pauses until it is called. Its engine posts
// twice: one message, one call.
func TestAFlowIsCalledBack(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		run := f.Flow("send").Run()
		var url string
		got := make(chan logicapps.Callback, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			c, err := run.Webhook(ctx, logicapps.WebhookAction{Subscribe: func(callbackURL string) logicapps.Action {
				url = callbackURL
				return logicapps.Action{
					Name: "Send", Method: http.MethodPost, URI: flowsAt + "/v1/routes/orders/messages", Authentication: "Bearer " + f.key,
					Headers: map[string]string{"Idempotency-Key": "INV-1", "Ferry-Callback-Url": callbackURL, "Content-Type": "application/json"},
					Body:    []byte(`{"n":1}`), Again: logicapps.Again{Twice: true, Together: true},
				}
			}}, s.Callbacks)
			if err != nil {
				t.Error(err)
			}
			got <- c
		}()
		synctest.Wait()
		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		var c logicapps.Callback
		select {
		case c = <-got:
		case <-time.After(time.Minute):
			t.Fatalf("it is not called: %s\n%s", s.log, f.log)
		}
		synctest.Wait()
		who, err := f.b.Authenticate(t.Context(), f.key)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := f.b.CallbackSecret(t.Context(), who)
		if err != nil || !signedWith(t, c, secret.Secret) || c.Header.Get("Ferry-Event") != "completed" {
			t.Errorf("%v: %v", err, c.Header)
		}
		if n := len(s.Calls(url)); n != 1 {
			t.Errorf("called %d times", n)
		}
		if n := len(f.worker.take(orders, 5)); n != 0 {
			t.Errorf("%d more are delivered", n)
		}
	})
}

// The broker is killed between the commit of an end and the callback, the
// subscriber fails meanwhile: it is told after the restart, every try under the
// same id.
func TestCallbacksOutliveARestart(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		sub, made := f.subscribed(s, f.Flow("watch"), "completed", "")
		s.Answer(func(string, int) int { return http.StatusInternalServerError })
		f.restart(func(o *Options) { s.options(o); o.Tellers = nil }) // commits, and tells nobody
		f.serve()
		f.worker.hello(orders)
		f.completes(`{"n":1}`)
		f.restart(s.options)
		time.Sleep(10 * time.Second) // tries, and is answered 500
		f.restart(s.options)
		s.Answer(func(string, int) int { return http.StatusAccepted })
		time.Sleep(time.Second)
		synctest.Wait()
		calls := s.Calls(sub.CallbackURL)
		if len(calls) < 3 || f.waitingNotices() != 0 {
			t.Fatalf("%d calls, %d wait", len(calls), f.waitingNotices())
		}
		last := calls[len(calls)-1]
		if last.Answer != http.StatusAccepted || !signedWith(t, last, made.Secret) {
			t.Errorf("the last: %+v", last)
		}
		for _, c := range calls {
			if id := c.Header.Get("webhook-id"); id != last.Header.Get("webhook-id") || string(c.Body) != string(last.Body) {
				t.Errorf("another try is %s: %s", id, c.Body)
			}
		}
		if calls[0].Header.Get("webhook-timestamp") == last.Header.Get("webhook-timestamp") {
			t.Error("a try hours later would be refused as old")
		}
	})
}

// Subscribers that hang cost the others nothing, whether they are at the same host
// or at others.
func TestDeadSubscribersDelayNoOther(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		hang := make(chan struct{})
		var alive string
		dead := map[string]bool{}
		s.Answer(func(url string, _ int) int {
			if dead[url] {
				return 0
			}
			return http.StatusAccepted
		})
		slow := tellerFunc(func(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error {
			if strings.Contains(ends[0].URL, "/dead/") {
				select {
				case <-hang:
				case <-time.After(10 * time.Second): // its time-out
				}
				errs := make([]error, len(ends))
				for i := range errs {
					errs[i] = errors.New("there was no whole answer")
				}
				return errs
			}
			return s.notifier.Tell(ctx, to, ends)
		})
		f.restart(func(o *Options) {
			s.options(o)
			o.Tellers = map[string]Teller{ferry.ReplyCallback: slow, ferry.ReplySubscription: slow}
		})
		f.serve()
		f.worker.hello(orders)
		who, err := f.b.Authenticate(t.Context(), f.key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			host := "localhost:9000"
			if i%2 == 0 {
				host = fmt.Sprintf("h%d.example", i)
			}
			scheme := map[bool]string{true: "https", false: "http"}[i%2 == 0]
			url := fmt.Sprintf("%s://%s/dead/%d", scheme, host, i)
			dead[url] = true
			if _, err := f.b.Subscribe(t.Context(), ferry.SubscriptionSpec{Event: ferry.EventCompleted, CallbackURL: url}, who); err != nil {
				t.Fatal(err)
			}
		}
		sub, _ := f.subscribed(s, f.Flow("watch"), "completed", "")
		alive = sub.CallbackURL
		f.completes(`{"n":0}`)
		time.Sleep(5 * time.Minute) // all of them have failed once or more
		for i := range 20 {
			f.completes(fmt.Sprintf(`{"n":%d}`, i+1))
			time.Sleep(30 * time.Second)
			if n := len(s.Calls(alive)); n != i+2 {
				t.Fatalf("half a minute after the end of message %d the healthy one heard of %d", i+2, n)
			}
		}
		close(hang)
	})
}

type tellerFunc func(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error

func (f tellerFunc) Tell(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error {
	return f(ctx, to, ends)
}

// A subscription whose address is gone is dropped with a trace, and so is a
// callback of one message; one that only fails is tried for a day.
func TestWhatIsGoneIsDropped(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		gone, made := f.subscribed(s, f.Flow("gone"), "completed", "")
		back, kept := f.subscribed(s, f.Flow("back"), "completed", "")
		fails, failing := f.subscribed(s, f.Flow("fails"), "completed", "")
		s.Answer(func(url string, n int) int {
			switch {
			case url == gone.CallbackURL && n%2 == 0:
				return http.StatusNotFound
			case url == gone.CallbackURL:
				return http.StatusGone
			case url == back.CallbackURL && n < ferry.GoneTries-1:
				return http.StatusNotFound
			case url == fails.CallbackURL:
				return http.StatusBadGateway
			default:
				return http.StatusAccepted
			}
		})
		f.completes(`{"n":1}`)
		run := s.URL(f.Flow("send")) + "&gone=1" // not one that the engine gave out: 404
		f.send(`{"n":2}`, func(m *ferry.Message) { m.CallbackURL = run })
		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		time.Sleep(time.Hour)
		if n := len(s.Calls(gone.CallbackURL)); n != ferry.GoneTries {
			t.Errorf("tried %d times", n)
		}
		if n := len(s.Calls(back.CallbackURL)); n != ferry.GoneTries+1 { // once more, for the second message
			t.Errorf("the one that came back heard %d times", n)
		}
		list, err := f.b.Subscriptions(t.Context(), ferry.Identity{Role: ferry.RoleOperator})
		if err != nil || len(list) != 3 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, is := range list {
			switch is.ID {
			case made.ID:
				if is.State != ferry.SubscriptionDropped || is.DroppedAt == nil || !strings.Contains(is.DroppedWhy, "10 times in a row") || is.Waiting != 0 {
					t.Errorf("gone: %+v", is)
				}
			case kept.ID:
				if is.State != ferry.SubscriptionActive || is.Failing != nil || is.Waiting != 0 {
					t.Errorf("back: %+v", is)
				}
			case failing.ID:
				if is.State != ferry.SubscriptionActive || is.Failing == nil || is.Failing.Why != "it answers 502" || is.Waiting != 2 {
					t.Errorf("fails: %+v", is)
				}
			}
		}
		report, err := f.b.Status(t.Context())
		if err != nil || !slices.ContainsFunc(report.Problems, func(p string) bool {
			return strings.HasPrefix(p, "subscription "+failing.ID.String()+" to localhost:9000/…") && strings.HasSuffix(p, "2 wait: it answers 502")
		}) {
			t.Errorf("problems %q, %v", report.Problems, err)
		}
		f.completes(`{"n":3}`)
		time.Sleep(ferry.NoticeLife + time.Hour)
		if n := len(s.Calls(gone.CallbackURL)); n != ferry.GoneTries {
			t.Errorf("a dropped one was called again: %d", n)
		}
		if n := f.waitingNotices(); n != 0 {
			t.Errorf("%d wait after a day", n)
		}
		audit, err := f.b.ledger.Audit(0, time.Time{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for act, target := range map[string]string{"subscriptions drop": made.ID.String(), "give up notices": "callbacks to localhost:9000/…"} {
			if !slices.ContainsFunc(audit, func(e ferry.AuditEntry) bool { return e.Act == act && strings.Contains(e.Target, target) }) {
				t.Errorf("the audit log has no %s of %s: %+v", act, target, audit)
			}
		}
		for _, text := range []string{"a subscription is dropped", "callbacks are given up", "ends of messages are given up"} {
			if !strings.Contains(s.log.String(), text) {
				t.Errorf("the log does not say: %s", text)
			}
		}
		answer := httptest.NewRecorder()
		f.b.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{`ferry_callbacks_total{outcome="dropped"} 1`, `ferry_callbacks_total{outcome="told"} 3`, `ferry_callbacks_total{outcome="givenUp"} `, `ferry_callbacks_total{outcome="failed"} `} {
			if !strings.Contains(answer.Body.String(), line) {
				t.Errorf("the metrics do not say %s", line)
			}
		}
	})
}

// What waits for a subscription whose key is revoked, or may no longer see the
// route, is told to nobody.
func TestARevokedKeyIsToldNothing(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		sub, _ := f.subscribed(s, f.Flow("watch"), "completed", "")
		s.Answer(func(string, int) int { return http.StatusServiceUnavailable })
		f.completes(`{"n":1}`)
		before := len(s.Calls(sub.CallbackURL))
		if before != 1 || f.waitingNotices() != 1 {
			t.Fatalf("%d calls, %d wait", before, f.waitingNotices())
		}
		if _, err := f.b.RevokeKey(t.Context(), "flow", "no more", "ann"); err != nil {
			t.Fatal(err)
		}
		s.Answer(func(string, int) int { return http.StatusAccepted })
		f.completes(`{"n":2}`)
		time.Sleep(time.Hour)
		if n := len(s.Calls(sub.CallbackURL)); n != before || f.waitingNotices() != 0 {
			t.Errorf("called %d times, %d wait", n, f.waitingNotices())
		}
	})
}

// While a secret is rotated both sign; afterwards the new one alone does.
func TestSecretsAreRotated(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		sub, made := f.subscribed(s, f.Flow("watch"), "completed", "")
		who, err := f.b.Authenticate(t.Context(), f.key)
		if err != nil {
			t.Fatal(err)
		}
		mine, err := f.b.CallbackSecret(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		run := s.URL(f.Flow("send"))
		tellBoth := func(n int) (a, b logicapps.Callback) {
			t.Helper()
			f.send(fmt.Sprintf(`{"n":%d}`, n), func(m *ferry.Message) { m.CallbackURL, m.Sender = run, ferry.Sender{Name: who.Name, KeyID: who.KeyID} })
			f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
			synctest.Wait()
			return s.Calls(sub.CallbackURL)[n-1], s.Calls(run)[n-1]
		}
		rotated, err := f.b.RotateSubscription(t.Context(), made.ID.String()[24:], time.Hour, who)
		if err != nil || rotated.Secret == made.Secret || rotated.OldSecretUntil == nil {
			t.Fatalf("%+v, %v", rotated, err)
		}
		next, err := f.b.RotateCallbackSecret(t.Context(), time.Hour, who)
		if err != nil || next.Secret == mine.Secret || next.OldUntil == nil {
			t.Fatalf("%+v, %v", next, err)
		}
		a, b := tellBoth(1)
		if !signedWith(t, a, made.Secret) || !signedWith(t, a, rotated.Secret) || !signedWith(t, b, mine.Secret) || !signedWith(t, b, next.Secret) {
			t.Error("one of the two secrets does not sign")
		}
		if signedWith(t, a, next.Secret) || signedWith(t, b, rotated.Secret) {
			t.Error("one secret is good for both")
		}
		time.Sleep(time.Hour)
		a, b = tellBoth(2)
		if signedWith(t, a, made.Secret) || !signedWith(t, a, rotated.Secret) || signedWith(t, b, mine.Secret) || !signedWith(t, b, next.Secret) {
			t.Error("an hour later the old one still signs, or the new one does not")
		}
		// Nothing of them lies in the ledger; another key makes others, which is told.
		f.stop()
		ledger, err := os.ReadFile(filepath.Join(f.dir, "ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{made.Secret, rotated.Secret, mine.Secret, next.Secret, sub.Location[strings.LastIndex(sub.Location, ".")+1:]} {
			if strings.Contains(string(ledger), strings.TrimPrefix(secret, "whsec_")) {
				t.Error("a secret lies in the ledger")
			}
		}
		if err := os.Remove(filepath.Join(f.dir, CallbackKeyFile)); err != nil {
			t.Fatal(err)
		}
		f.start(s.options)
		problem := func() string { return f.b.keyProblem() }
		if !strings.HasPrefix(problem(), "1 subscriptions are signed with other secrets") {
			t.Errorf("problem: %q", problem())
		}
		if _, err := f.b.RotateSubscription(t.Context(), made.ID.String(), 0, who); err != nil || problem() != "" {
			t.Errorf("%v, problem: %q", err, problem())
		}
		f.serve()
		f.worker.hello(orders)
	})
}

// An operator has what waits tried at once, and the end of a message told anew.
func TestRetryCallbacks(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		sub, made := f.subscribed(s, f.Flow("watch"), "completed", "")
		s.Answer(func(string, int) int { return http.StatusInternalServerError })
		id := f.completes(`{"n":1}`)
		time.Sleep(20 * time.Minute) // the next try is minutes away
		s.Answer(func(string, int) int { return http.StatusAccepted })
		before := len(s.Calls(sub.CallbackURL))
		targets, err := f.b.Callbacks(t.Context())
		if err != nil || len(targets) != 1 || targets[0].Subscription != made.ID || targets[0].Failing == nil || targets[0].Waiting != 1 || targets[0].Callback != ferry.MaskURL(sub.CallbackURL) {
			t.Fatalf("%+v, %v", targets, err)
		}
		if _, err := f.b.RetryCallbacks(t.Context(), ferry.RetryRequest{Callback: "another"}, "ann"); ferry.CodeOf(err) != ferry.CodeNotFound {
			t.Errorf("nothing waits there: %v", err)
		}
		// What cannot be noted in the audit log is not done.
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if out, err := f.b.RetryCallbacks(gone, ferry.RetryRequest{Callback: targets[0].Callback}, "ann"); err == nil || out.Targets != 0 {
			t.Errorf("without an entry: %+v, %v", out, err)
		}
		synctest.Wait()
		if n := len(s.Calls(sub.CallbackURL)); n != before {
			t.Errorf("called without an entry, %d times, then %d", before, n)
		}
		if out, err := f.b.RetryCallbacks(t.Context(), ferry.RetryRequest{Callback: targets[0].Callback}, "ann"); err != nil || out.Targets != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		if log, err := f.b.Audit(t.Context(), 0, time.Time{}, 100); err != nil || log[len(log)-1].Act != "callbacks retry" || log[len(log)-1].Target != "callbacks to "+targets[0].Callback || log[len(log)-1].By != "ann" {
			t.Errorf("the audit log ends with %+v, %v", log[len(log)-1], err)
		}
		synctest.Wait()
		if n := len(s.Calls(sub.CallbackURL)); n != before+1 || f.waitingNotices() != 0 {
			t.Errorf("called %d times, then %d, %d wait", before, n, f.waitingNotices())
		}
		if out, err := f.b.RetryCallbacks(t.Context(), ferry.RetryRequest{Message: id}, "ann"); err != nil || out.Told != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		synctest.Wait()
		if n := len(s.Calls(sub.CallbackURL)); n != before+2 {
			t.Errorf("called %d times", n)
		}
	})
}

// Addresses that may not be called are refused at the door, whichever it is, and
// without a Caller all are.
func TestAddressesAreRefusedAtTheDoor(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, _ *subscribers) {
		who := ferry.Identity{Name: "flow", KeyID: "k", Role: ferry.RoleSender}
		for _, url := range []string{"https://169.254.169.254/?sig=x", "http://h.example/?sig=x", "https://10.0.0.1/?sig=x"} {
			_, err := f.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{}`), CallbackURL: url})
			_, subscribeErr := f.b.Subscribe(t.Context(), ferry.SubscriptionSpec{Event: ferry.EventCompleted, CallbackURL: url}, who)
			for _, err := range []error{err, subscribeErr} {
				if ferry.CodeOf(err) != ferry.CodeBadCallbackURL || strings.Contains(err.Error(), "sig") {
					t.Errorf("%s: %v", url, err)
				}
			}
		}
		f.restart()
		if _, err := f.b.Subscribe(t.Context(), ferry.SubscriptionSpec{Event: ferry.EventCompleted, CallbackURL: "https://h.example/"}, who); ferry.CodeOf(err) != ferry.CodeBadCallbackURL {
			t.Errorf("without a Caller: %v", err)
		}
		f.serve()
		f.worker.hello(orders)
	})
}
