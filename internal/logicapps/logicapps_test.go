package logicapps

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answered plays a server that answers request n with the n-th of its answers, and
// the last for ever. "202 Location=…" is a status and headers; "-" is no connection,
// "cut" no answer, "slow" none in time.
type answered struct {
	answers []string

	mu   sync.Mutex
	seen []*http.Request
	at   []time.Duration
	from time.Time
}

func (s *answered) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.from.IsZero() {
		s.from = time.Now()
	}
	answer := s.answers[min(len(s.seen), len(s.answers)-1)]
	s.seen, s.at = append(s.seen, r), append(s.at, time.Since(s.from))
	s.mu.Unlock()
	if answer == "-" {
		return nil, errRefused
	}
	return new(Served{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch answer {
		case "cut":
			panic(http.ErrAbortHandler)
		case "slow":
			<-r.Context().Done()
			return
		}
		status, headers, _ := strings.Cut(answer, " ")
		for h := range strings.SplitSeq(headers, " ") {
			if name, value, ok := strings.Cut(h, "="); ok {
				w.Header().Set(name, value)
			}
		}
		var code int
		_, _ = fmt.Sscan(status, &code)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "answer "+status)
	})}).RoundTrip(r)
}

const (
	pollHere  = "202 Location=https://h/results/1"
	pollIn5   = pollHere + " Retry-After=5"
	pollIn100 = pollHere + " Retry-After=100"
)

// TestWhenTheEngineCalls: what each kind of answer leads to, and when.
func TestWhenTheEngineCalls(t *testing.T) {
	s := func(seconds ...time.Duration) (list []time.Duration) {
		for _, n := range seconds {
			list = append(list, n*time.Second)
		}
		return list
	}
	for name, tc := range map[string]struct {
		answers []string
		change  func(*Action)
		at      []time.Duration
		status  string
		code    int
		polls   int
	}{
		"an answer":                    {[]string{"201"}, nil, s(0), Succeeded, 201, 0},
		"async":                        {[]string{pollIn5, pollIn100, "200"}, nil, s(0, 5, 105), Succeeded, 200, 2},
		"async without Retry-After":    {[]string{pollHere, "200"}, nil, s(0, 20), Succeeded, 200, 1},
		"Retry-After of nothing":       {[]string{pollHere + " Retry-After=x", "200"}, nil, s(0, 20), Succeeded, 200, 1},
		"async is off":                 {[]string{pollIn5}, func(a *Action) { a.DisableAsyncPattern = true }, s(0), Succeeded, 202, 0},
		"no Location":                  {[]string{"202 Retry-After=5"}, nil, s(0), Succeeded, 202, 0},
		"a Location that is relative":  {[]string{"202 Location=/results/1"}, nil, s(0), Succeeded, 202, 0},
		"a poll without Location":      {[]string{pollIn5, "202"}, nil, s(0, 5), Succeeded, 202, 1},
		"200 with a Location":          {[]string{"200 Location=https://h/1"}, nil, s(0), Succeeded, 200, 0},
		"201 with a Location":          {[]string{"201 Location=https://h/1"}, nil, s(0), Succeeded, 201, 0},
		"a poll is gone":               {[]string{pollIn5, "410"}, nil, s(0, 5), Failed, 410, 1},
		"not retried":                  {[]string{"409"}, nil, s(0), Failed, 409, 0},
		"no redirect":                  {[]string{"302 Location=https://h/1"}, nil, s(0), Failed, 302, 0},
		"the default retries":          {[]string{"503"}, nil, s(0, 0, 6, 17, 44), Failed, 503, 0},
		"nobody listens, then one":     {[]string{"-", "cut", "500", "200"}, nil, s(0, 0, 6, 17), Succeeded, 200, 0},
		"408":                          {[]string{"408", "200"}, nil, s(0, 0), Succeeded, 200, 0},
		"429 says when":                {[]string{"429 Retry-After=33", "200"}, nil, s(0, 33), Succeeded, 200, 0},
		"503 does not":                 {[]string{"503 Retry-After=33", "200"}, nil, s(0, 0), Succeeded, 200, 0},
		"polls have their own retries": {[]string{"503", pollIn5, "503", "-", pollIn5, "504", "200"}, nil, s(0, 0, 5, 5, 11, 16, 16), Succeeded, 200, 5},
		"a poll fails for good":        {[]string{pollIn5, "503"}, nil, s(0, 5, 5, 11, 22, 49), Failed, 503, 5},
		"no retries":                   {[]string{"503"}, func(a *Action) { a.Retry.None = true }, s(0), Failed, 503, 0},
		"fixed":                        {[]string{"503"}, func(a *Action) { a.Retry = FixedRetry(2, time.Minute) }, s(0, 60, 120), Failed, 503, 0},
		"exponential":                  {[]string{"503"}, func(a *Action) { a.Retry = ExponentialRetry(3, 10*time.Second, 30*time.Second) }, s(0, 10, 30, 60), Failed, 503, 0},
		"a slow answer is none":        {[]string{"slow", "200"}, nil, s(0, 120), Succeeded, 200, 0},
		"over its limit":               {[]string{pollIn100}, func(a *Action) { a.Limit = 250 * time.Second }, s(0, 100, 200), TimedOut, 202, 2},
		"twice":                        {[]string{"201", "200"}, func(a *Action) { a.Again = Again{Twice: true, After: 270 * time.Second} }, s(0, 270), Succeeded, 201, 0},
		"twice, the first lost":        {[]string{"201", "200"}, func(a *Action) { a.Again = Again{Twice: true, UseSecond: true} }, s(0, 0), Succeeded, 200, 0},
		"twice at a time":              {[]string{"201"}, func(a *Action) { a.Again = Again{Twice: true, Together: true} }, s(0, 0), Succeeded, 201, 0},
		"chunks are agreed to":         {[]string{"200"}, func(a *Action) { a.AllowChunking, a.Retry.None = true, true }, s(0), Failed, 501, 0},
		"chunks are refused":           {[]string{"400"}, func(a *Action) { a.AllowChunking = true }, s(0), Failed, 400, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &answered{answers: tc.answers}
				a := Action{Name: "Post", Method: http.MethodPost, URI: "https://h/post", Body: []byte("{}")}
				if tc.change != nil {
					tc.change(&a)
				}
				out, err := New(Options{Transport: server}).Flow("f").Run().HTTP(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.at, server.at); diff != "" {
					t.Errorf("called at other times: %s", diff)
				}
				if out.Status != tc.status || out.StatusCode != tc.code || out.Polls() != tc.polls || len(out.Exchanges) != len(server.seen) {
					t.Errorf("%s %s %d after %d polls of %d calls", out.Status, out.Code, out.StatusCode, out.Polls(), len(out.Exchanges))
				}
			})
		})
	}
}

// TestWhatTheEngineSends: the maker's headers but for some, its own, and nothing of the
// maker's with a poll.
func TestWhatTheEngineSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &answered{answers: []string{"503", pollIn5, "200"}}
		run := New(Options{Transport: server}).Flow("f").Run()
		out, err := run.HTTP(t.Context(), Action{
			Name: "Send_and_wait", Method: http.MethodPost, URI: "https://h/post?waitFor=completed", Body: []byte(`{"n":1}`), Authentication: "Bearer secret",
			Headers: map[string]string{
				"Ocp-Apim-Subscription-Key": "secret", "Idempotency-Key": "INV-1", "Content-Type": "application/json", "Content-Disposition": "x", "Content-Encoding": "identity",
				"Content-MD5": "x", "Content-Digest": "x", "Content-Language": "x", "Accept": "*/*", "Accept-Charset": "x", "Cookie": "x", "Host": "x", "Origin": "x",
				"Expires": "x", "Last-Modified": "x", "Allow": "x", "Set-Cookie": "x", "Transfer-Encoding": "x",
			},
		})
		if err != nil || out.StatusCode != http.StatusOK {
			t.Fatal(out, err)
		}
		first, retried, poll := server.seen[0].Header, server.seen[1].Header, server.seen[2].Header
		for _, name := range []string{"Content-Md5", "Content-Digest", "Content-Language", "Accept-Charset", "Cookie", "Origin", "Expires", "Last-Modified", "Allow", "Set-Cookie", "Transfer-Encoding"} {
			if first.Get(name) != "" {
				t.Errorf("%s is sent", name)
			}
		}
		for _, name := range []string{"Ocp-Apim-Subscription-Key", "Authorization", "Idempotency-Key", "Content-Type", "Content-Disposition", "Content-Encoding", "Accept"} {
			if first.Get(name) == "" || retried.Get(name) == "" {
				t.Errorf("%s is not sent", name)
			}
			if poll.Get(name) != "" {
				t.Errorf("%s is sent with a poll", name)
			}
		}
		for _, name := range []string{
			"x-ms-workflow-id", "x-ms-workflow-name", "x-ms-workflow-version", "x-ms-workflow-run-id", "x-ms-workflow-run-tracking-id", "x-ms-workflow-operation-name",
			"x-ms-workflow-system-id", "x-ms-workflow-subscription-id", "x-ms-workflow-resourcegroup-name", "x-ms-execution-location", "x-ms-client-tracking-id",
			"x-ms-action-tracking-id", "x-ms-activity-vector", "Accept-Language", "User-Agent",
		} {
			if first.Get(name) == "" || first.Get(name) != retried.Get(name) || first.Get(name) != poll.Get(name) {
				t.Errorf("%s: %q, %q, %q", name, first.Get(name), retried.Get(name), poll.Get(name))
			}
		}
		if first.Get("x-ms-tracking-id") == retried.Get("x-ms-tracking-id") || first.Get("x-ms-tracking-id") != first.Get("x-ms-client-request-id") {
			t.Error("a request's own id is not its own")
		}
		if first.Get("x-ms-action-tracking-id") != out.TrackingID || first.Get("x-ms-client-tracking-id") != run.ID || !strings.HasSuffix(first.Get("User-Agent"), "microsoft-flow/1.0") {
			t.Errorf("%v", first)
		}
		if poll := server.seen[2]; poll.Method != http.MethodGet || poll.URL.String() != "https://h/results/1" || poll.ContentLength != 0 {
			t.Errorf("%s %s", poll.Method, poll.URL)
		}
	})
}

// TestRunsAndItems: what of lineage differs, and what does not.
func TestRunsAndItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &answered{answers: []string{"201"}}
		run := New(Options{Transport: server, LogicApps: true}).Flow("orders").Run()
		post := func(r *Run) error {
			_, err := r.HTTP(t.Context(), Action{Name: "Post", Method: http.MethodPost, URI: "https://h/post", Body: []byte("{}")})
			return err
		}
		if err := run.ForEach(30, 20, func(item *Run, _ int) error { return post(item) }); err != nil {
			t.Fatal(err)
		}
		distinct := func(name string) int {
			var values []string
			for _, r := range server.seen {
				values = append(values, r.Header.Get(name))
			}
			slices.Sort(values)
			return len(slices.Compact(values))
		}
		for name, want := range map[string]int{"x-ms-action-tracking-id": 30, "x-ms-workflow-run-id": 1, "x-ms-workflow-operation-name": 1, "x-ms-client-tracking-id": 1} {
			if got := distinct(name); got != want {
				t.Errorf("%s: %d values in an Apply to each of 30, want %d", name, got, want)
			}
		}
		if err := post(run.Resubmit()); err != nil {
			t.Fatal(err)
		}
		last := server.seen[30].Header
		if last.Get("x-ms-workflow-run-id") == run.ID || last.Get("x-ms-workflow-name") != "orders" || strings.Contains(last.Get("User-Agent"), "flow/1") {
			t.Errorf("resubmitted: %v", last)
		}
		failing := fmt.Errorf("an item fails")
		if err := run.ForEach(3, 1, func(_ *Run, i int) error {
			if i == 1 {
				return failing
			}
			return nil
		}); err != failing {
			t.Errorf("%v", err)
		}
	})
}

// hook is a server that takes subscriptions and calls back.
func hook(t *testing.T, location string) (*Engine, *Callbacks, *[]*http.Request) {
	t.Helper()
	callbacks := NewCallbacks()
	server := httptest.NewServer(callbacks)
	t.Cleanup(server.Close)
	callbacks.Base = server.URL
	var seen []*http.Request
	transport := &Served{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusGone)
			return
		}
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(http.StatusCreated)
	})}
	return New(Options{Transport: transport}), callbacks, &seen
}

func TestTriggersSubscribe(t *testing.T) {
	engine, callbacks, seen := hook(t, "https://h/subscriptions/1")
	flow := engine.Flow("f")
	trigger := Trigger{
		Name: "When_completed", URI: "https://h/subscriptions/completed", Authentication: "Bearer secret",
		Body: func(u string) []byte { return []byte(`{"callbackUrl":"` + u + `"}`) },
	}
	sub, err := flow.Subscribe(t.Context(), trigger, callbacks)
	if err != nil || sub.Location != "https://h/subscriptions/1" || !strings.HasPrefix(sub.CallbackURL, callbacks.Base+"/workflows/") {
		t.Fatalf("%+v, %v", sub, err)
	}
	trigger.CallbackURL = sub.CallbackURL
	if again, err := flow.Subscribe(t.Context(), trigger, callbacks); err != nil || again.CallbackURL != sub.CallbackURL {
		t.Errorf("%+v, %v", again, err)
	}

	callbacks.Answer(func(_ string, n int) int { return []int{http.StatusServiceUnavailable, http.StatusAccepted, 0}[n] })
	for n, want := range []int{503, 202, 0} {
		resp, err := http.Post(sub.CallbackURL, "application/json", strings.NewReader(`{"n":1}`))
		if want == 0 {
			if err == nil {
				t.Error("the connection was not cut")
			}
			continue
		}
		if err != nil || resp.StatusCode != want {
			t.Fatalf("call %d: %v, %v", n, resp, err)
		}
		_ = resp.Body.Close()
	}
	calls, err := callbacks.Await(t.Context(), sub.CallbackURL, 3)
	if err != nil || len(calls) != 3 || string(calls[1].Body) != `{"n":1}` || calls[0].Answer != 503 || len(callbacks.Calls(sub.CallbackURL)) != 3 {
		t.Errorf("%+v, %v", calls, err)
	}
	resp, err := http.Post(strings.Replace(sub.CallbackURL, "sig=", "sig=x", 1), "", nil)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("another signature: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()

	if end, err := sub.Unsubscribe(t.Context()); err != nil || end.Status != http.StatusGone {
		t.Errorf("%+v, %v", end, err)
	}
	last := (*seen)[len(*seen)-1]
	if last.Method != http.MethodDelete || last.Header.Get("Authorization") != "" || last.URL.Path != "/subscriptions/1" {
		t.Errorf("%s %s %v", last.Method, last.URL, last.Header)
	}

	for _, location := range []string{"", "/subscriptions/1"} {
		engine, callbacks, _ := hook(t, location)
		if _, err := engine.Flow("f").Subscribe(t.Context(), trigger, callbacks); err != ErrNoLocation {
			t.Errorf("Location %q: %v", location, err)
		}
	}
}

func TestWebhookActionPauses(t *testing.T) {
	engine, callbacks, seen := hook(t, "https://h/messages/1")
	run := engine.Flow("f").Run()
	subscribed := make(chan string, 1)
	action := WebhookAction{
		Subscribe: func(u string) Action {
			subscribed <- u
			return Action{Name: "Send", Method: http.MethodPost, URI: "https://h/messages", Headers: map[string]string{"Ferry-Callback-Url": u}, Body: []byte("{}")}
		},
		Unsubscribe: &Action{Name: "Send", Method: http.MethodDelete, URI: "https://h/unsubscribe"},
	}
	go func() {
		resp, err := http.Post(<-subscribed, "application/json", strings.NewReader("ended"))
		if err == nil {
			_ = resp.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	callback, err := run.Webhook(t.Context(), action, callbacks)
	if err != nil || string(callback.Body) != "ended" {
		t.Errorf("%+v, %v", callback, err)
	}
	if last := (*seen)[len(*seen)-1]; last.Method != http.MethodDelete || last.Header.Get("x-ms-client-tracking-id") != run.ID || last.Header.Get("x-ms-workflow-operation-name") != "Send" {
		t.Errorf("%s %v", last.Method, last.Header)
	}
	ctx, cancel := context.WithCancel(t.Context())
	action.Subscribe = func(string) Action {
		cancel()
		return Action{Method: http.MethodPost, URI: "https://h/messages"}
	}
	if _, err := run.Webhook(ctx, action, callbacks); err == nil {
		t.Error("a run that ended waits on")
	}
}
