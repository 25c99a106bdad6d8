package api_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferry"
	"ferry/accesslog"
	"ferry/api"
)

// lines is an access log in memory.
type lines struct{ list []accesslog.Entry }

func (l *lines) Add(e *accesslog.Entry) { l.list = append(l.list, *e) }

// Every request is counted with what became of it, once; probes are not.
func TestUsed(t *testing.T) {
	s := newSurface(t)
	for _, c := range []struct {
		what                      string
		key, method, target, body string
		header                    []string
		want                      ferry.Use
		status                    int
		none                      bool
	}{
		{
			what: "a message", key: "sender-key", method: "POST", target: "/v1/routes/invoices/messages", body: "12345", status: 201,
			want: ferry.Use{Key: "k3", Name: "flow", Route: "invoices", Sent: true, BytesIn: 5},
		},
		{
			what: "a refused one", key: "sender-key", method: "POST", target: "/v1/routes/invoices/messages", status: 400,
			want: ferry.Use{Key: "k3", Name: "flow", Route: "invoices", Code: ferry.CodeEmptyBody},
		},
		{
			what: "a partial batch", key: "sender-key", method: "POST", target: "/v1/routes/invoices/messages/batch?partial=true", body: `[{"body":1},{"body":""},{}]`, status: 200,
			want: ferry.Use{Key: "k3", Name: "flow", Route: "invoices", Sent: true, BytesIn: 27, Items: []ferry.Code{ferry.CodeEmptyBody}},
		},
		{
			what: "no key", method: "POST", target: "/v1/routes/invoices/messages", body: "1", status: 401,
			want: ferry.Use{Code: ferry.CodeUnauthenticated},
		},
		{
			what: "another's route", key: "sender-key", method: "POST", target: "/v1/routes/orders/messages", body: "1", status: 403,
			want: ferry.Use{Key: "k3", Name: "flow", Code: ferry.CodeForbidden},
		},
		{what: "a look", key: "operator-key", method: "GET", target: "/v1/status", status: 200, want: ferry.Use{Key: "k2", Name: "olga"}},
		{what: "nothing there", key: "operator-key", method: "GET", target: "/v1/nothing", status: 404, want: ferry.Use{Code: ferry.CodeNotFound}},
		{what: "a probe", method: "GET", target: "/healthz", status: 200, none: true},
	} {
		s.fake.uses = nil
		a := s.call(c.key, c.method, c.target, c.body, c.header...)
		if a.StatusCode != c.status {
			t.Errorf("%s: status %d: %s", c.what, a.StatusCode, a.body)
		}
		if c.none {
			if len(s.fake.uses) != 0 {
				t.Errorf("%s is counted: %+v", c.what, s.fake.uses)
			}
			continue
		}
		if len(s.fake.uses) != 1 {
			t.Errorf("%s: %d counts", c.what, len(s.fake.uses))
			continue
		}
		got := s.fake.uses[0]
		if got.BytesOut != int64(len(a.body)) || got.Took <= 0 || time.Since(got.At) > time.Minute {
			t.Errorf("%s: %+v for an answer of %d bytes", c.what, got, len(a.body))
		}
		c.want.BytesOut = got.BytesOut
		if len(c.want.Items) > 0 && slices.Contains(got.Items, c.want.Items[0]) {
			c.want.Items = got.Items
		}
		if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(ferry.Use{}, "At", "Took")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

// Who is refused may have told any length: what was read is counted.
func TestUsedCountsWhatWasRead(t *testing.T) {
	s := newSurface(t)
	for _, c := range []struct {
		what, key, body string
		length, read    int64
		code            ferry.Code
	}{
		{what: "no key", body: "1", length: math.MaxInt64, code: ferry.CodeUnauthenticated},
		{what: "too large", key: "sender-key", body: "1", length: math.MaxInt64, code: ferry.CodeTooLarge},
		{what: "no length", key: "sender-key", body: "12345", length: -1, read: 5},
		{what: "all of it", key: "sender-key", body: "12345", length: 5, read: 5},
	} {
		s.fake.uses = nil
		r := httptest.NewRequest(http.MethodPost, "http://broker.test/v1/routes/invoices/messages", strings.NewReader(c.body))
		r.ContentLength = c.length
		if c.key != "" {
			r.Header.Set("Authorization", "Bearer "+c.key)
		}
		s.do(r)
		if len(s.fake.uses) != 1 || s.fake.uses[0].BytesIn != c.read || s.fake.uses[0].Code != c.code {
			t.Errorf("%s: %+v, want %d bytes and %q", c.what, s.fake.uses, c.read, c.code)
		}
	}
}

// A sender sees its own counts alone, whatever it asks for; what means nothing is
// refused.
func TestUsageFilter(t *testing.T) {
	s := newSurface(t)
	today, month := time.Now().UTC(), time.Now().UTC().AddDate(0, 0, -30)
	day := func(t time.Time) string { return t.Format(time.DateOnly) }
	for _, c := range []struct {
		key, query string
		want       ferry.UsageFilter
	}{
		{"operator-key", "", ferry.UsageFilter{Since: day(month), By: []string{"key", "route"}}},
		{"operator-key", "?since=2026-11-01&until=2026-11-23T23:59:59Z&key=flow&route=invoices&by=day", ferry.UsageFilter{Since: "2026-11-01", Until: "2026-11-23", Key: "flow", Route: "invoices", By: []string{"day"}}},
		{"operator-key", "?since=7d&by=key,day,route", ferry.UsageFilter{Since: day(today.AddDate(0, 0, -7)), By: []string{"key", "day", "route"}}},
		{"sender-key", "?key=k2", ferry.UsageFilter{Since: day(month), Key: "k2", Own: "k3", By: []string{"key", "route"}}},
	} {
		a := s.call(c.key, http.MethodGet, "/v1/usage"+c.query, "")
		if rows := read[api.List[ferry.UsageRow]](t, a, http.StatusOK); len(rows.Items) != 1 {
			t.Errorf("%s: %+v", c.query, rows)
		}
		if diff := cmp.Diff(c.want, s.fake.usageFilter); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.query, diff)
		}
	}
	for query, status := range map[string]int{"?by=flow": 400, "?since=soon": 400, "?until=x": 400, "?what=x": 400} {
		if a := s.call("operator-key", http.MethodGet, "/v1/usage"+query, ""); a.StatusCode != status {
			t.Errorf("%s: %d", query, a.StatusCode)
		}
	}
	if a := s.call("receiver-key", http.MethodGet, "/v1/usage", ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("a receiver: %d", a.StatusCode)
	}
}

// The access log has one entry for each request, also for probes and panics, and
// neither queries nor tokens.
func TestAccessLog(t *testing.T) {
	log, f := &lines{}, newFake()
	s := &surface{t: t, fake: f, log: &logBuffer{}, seen: map[string]bool{}}
	s.handler = api.New(f, api.Options{AccessLog: log, PublicURL: "http://broker.test"})
	last := func(key, method, target, body string, header ...string) accesslog.Entry {
		t.Helper()
		n := len(log.list)
		r := httptest.NewRequest(method, "http://broker.test"+target, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		s.handler.ServeHTTP(httptest.NewRecorder(), r)
		if len(log.list) != n+1 {
			t.Fatalf("%s %s: %d entries", method, target, len(log.list)-n)
		}
		return log.list[n]
	}
	e := last("sender-key", "POST", "/v1/routes/invoices/messages?idempotencyKey=hush-1&subscription-key=hush-2", "12345", "User-Agent: curl/8", "X-Ms-Workflow-Run-Id: run-1", "X-Ms-Workflow-Name: f")
	want := accesslog.Entry{
		Method: "POST", Path: "/v1/routes/invoices/messages", Endpoint: "sendMessage", Route: "invoices", Status: 201, BytesIn: 5, BytesOut: e.BytesOut,
		Key: "k3", By: "flow", Remote: "192.0.2.1", Agent: "curl/8", FlowRun: "run-1",
	}
	if diff := cmp.Diff(want, e, cmpopts.IgnoreFields(accesslog.Entry{}, "At", "Took", "RequestID")); diff != "" || e.RequestID == "" || e.BytesOut < 50 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	token := strings.Repeat("hush", 16)
	for _, target := range []string{
		"/v1/results/" + token, "/V1/results/" + token, "/v1/results/" + token + "/more", "/v1/subscriptions/" + token, "/v1/messages/" + token,
		"/" + token, "/v1/keys/fry_abcdefgh_hushhushhushhushhushhushhushhush_abcd/rotate", "/nothing?key=hush",
	} {
		if e := last("", "GET", target, ""); strings.Contains(e.Path, "hush") || e.Status < 400 && e.Status != 0 {
			t.Errorf("%s: %+v", target, e)
		}
	}
	if e := last("", "GET", "/healthz", ""); e.Endpoint != "getHealth" || e.Status != 200 {
		t.Errorf("%+v", e)
	}
	if e := last("sender-key", "DELETE", "/v1/me", ""); e.Status != 405 || e.Code != ferry.CodeMethodNotAllowed {
		t.Errorf("%+v", e)
	}
	f.panics = true
	if e := last("sender-key", "POST", "/v1/routes/invoices/messages", "x"); e.Status != 500 {
		t.Errorf("%+v", e)
	}
}

// Letters that are longer as small ones do not shift where a token is looked for.
func TestAccessLogOfAPathThatGrows(t *testing.T) {
	for path, shown := range map[string]string{
		"/%C8%BA%C8%BA/v1/results/x":                  "/ȺȺ/v1/results/***",
		"/%C8%BA%C8%BA%C8%BA/v1/subscriptions/secret": "/ȺȺȺ/v1/subscriptions/***",
	} {
		log := &lines{}
		s := newSurface(t, func(o *api.Options) { o.AccessLog = log })
		if p := s.refusal(s.call("", http.MethodGet, path, ""), ferry.CodeNotFound); p.Instance != shown {
			t.Errorf("%s is shown as %s", path, p.Instance)
		}
		if len(log.list) == 0 || log.list[0].Path != shown || log.list[0].Status != http.StatusNotFound {
			t.Errorf("%s is logged as %+v", path, log.list)
		}
	}
}
