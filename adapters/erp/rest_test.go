package erp_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

// What a service that follows the standards answers, and what it comes to: errors as
// in RFC 9457, the ways to say "later", and what nobody can tell.
func TestGenericREST(t *testing.T) {
	lookup := &adapters.LookupConfig{URL: "/in?id={externalKey}", Reference: ".id"}
	checkFacts(t, adapters.DestinationConfig{Dialect: "rest"}, adapters.RouteConfig{URL: "/in", Map: ".invoice", Reference: ".id", Lookup: lookup},
		"POST", reply{status: 404}, []fact{
			{"201", reply{status: 201, body: `{"id":"7"}`}, ferry.Delivered, done, "", "", "", 0},
			{
				"RFC 9457",
				reply{status: 422, body: `{"type":"https://x.example/errors/not-valid","title":"Not valid","detail":"two faults","errors":[{"detail":"is missing","pointer":"#/number"}]}`},
				ferry.Rejected, none, "not-valid", "Not valid: two faults", "#/number: is missing", 0,
			},
			{"400 in words", reply{status: 400, body: "no such supplier"}, ferry.Rejected, none, "", "no such supplier", "", 0},
			{"408 may have been read", reply{status: 408}, ferry.Unknown, maybe, "", "", "", 0},
			{"409 is looked up", reply{status: 409, body: `{"code":"exists"}`}, ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "exists", "", 0},
			{"409 that is the document", reply{status: 409, body: `{"id":"7"}`}, ferry.Duplicate, done, "", "", "", 0},
			{"425 was not looked at", reply{status: 425}, ferry.Throttled, none, "", "", "", 0},
			{"429 with seconds", reply{status: 429, header: map[string]string{"Retry-After": "5"}}, ferry.Throttled, none, "", "", "", 5 * time.Second},
			{"429 that counts down its window", reply{status: 429, header: map[string]string{"X-RateLimit-Reset": "30"}}, ferry.Throttled, none, "", "", "", 30 * time.Second},
			{"429 that names a point in time", reply{status: 429, header: map[string]string{"X-RateLimit-Reset": "1893456000"}}, ferry.Throttled, none, "", "", "", 0},
			{"500 may have been written", reply{status: 500}, ferry.Unknown, maybe, "", "", "", 0},
			{"502 may have been written", reply{status: 502}, ferry.Unknown, maybe, "", "", "", 0},
			{"503 with a pause", reply{status: 503, header: map[string]string{"Retry-After": "120"}}, ferry.Unavailable, none, "", "", "", 2 * time.Minute},
			{"504 may have been written", reply{status: 504}, ferry.Unknown, maybe, "", "", "", 0},
			{"404 is a wrong address", reply{status: 404}, ferry.Rejected, none, "", "", "", 0},
			{"302 is not followed", reply{status: 302, header: map[string]string{"Location": "/elsewhere"}}, ferry.Rejected, none, "", "redirects", "", 0},
		})
}

// The id of the request is the same on every attempt and replay, and another one for
// an edited body, while the external key stays.
func TestRequestIDIsOfTheBody(t *testing.T) {
	a := &answerer{status: 201}
	adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{
		URL: "/in/{requestId}", RequestIDHeader: "RequestID", KeyHeader: "X-Key", Map: "{id: $requestId}",
	})
	sent := func(change func(*adapters.Call)) (id, key string) {
		c := call()
		c.ExternalKey, c.Revision, c.Generation = "PO-7", 1, 1
		change(&c)
		if v := adapter.Deliver(t.Context(), c); v.Kind != ferry.Delivered {
			t.Fatalf("%+v", v)
		}
		r := a.last(t)
		id = r.Header.Get("RequestID")
		if r.URL.Path != "/in/"+id || a.sent != `{"id":"`+id+`"}` || len(id) != 36 {
			t.Errorf("id %q, path %s, body %s", id, r.URL.Path, a.sent)
		}
		return id, r.Header.Get("X-Key")
	}
	first, key := sent(func(*adapters.Call) {})
	for name, c := range map[string]struct {
		change func(*adapters.Call)
		same   bool
	}{
		"attempt":        {func(c *adapters.Call) { c.Number, c.Turn = 9, 12 }, true},
		"replay":         {func(c *adapters.Call) { c.Generation = 3 }, true},
		"edited":         {func(c *adapters.Call) { c.Revision = 2 }, false},
		"another key":    {func(c *adapters.Call) { c.ExternalKey = "PO-8" }, false},
		"another number": {func(c *adapters.Call) { c.ID = ferry.NewID(time.Now()) }, true},
	} {
		id, other := sent(c.change)
		if (id == first) != c.same || name != "another key" && other != key {
			t.Errorf("%s: id %s after %s, key %s", name, id, first, other)
		}
	}
}

// keyField stands in the body, shaped to its length, whatever the map makes.
func TestKeyFieldStandsInTheBody(t *testing.T) {
	for name, c := range map[string]struct {
		route adapters.RouteConfig
		body  string
		want  string // "" : it makes no request
	}{
		"with a map":     {adapters.RouteConfig{KeyField: "ref", Map: "{n: .n}"}, `{"n":1.10}`, `{"n":1.10,"ref":"PO-7"}`},
		"without":        {adapters.RouteConfig{KeyField: "ref"}, `{"n":1.10}`, `{"n":1.10,"ref":"PO-7"}`},
		"over the map's": {adapters.RouteConfig{KeyField: "n"}, `{"n":1}`, `{"n":"PO-7"}`},
		"no object":      {adapters.RouteConfig{KeyField: "ref", Map: "[.n]"}, `{"n":1}`, ""},
		"no JSON":        {adapters.RouteConfig{KeyField: "ref"}, `<n/>`, ""},
	} {
		a := &answerer{status: 201}
		c.route.URL = "/in"
		m := call()
		m.ExternalKey, m.Body = "PO-7", []byte(c.body)
		v := open(t, a, adapters.DestinationConfig{}, c.route).Deliver(t.Context(), m)
		if a.sent != c.want || (v.Kind == ferry.Delivered) != (c.want != "") || c.want == "" && v.Code != adapters.CodeMappingFailed {
			t.Errorf("%s: sent %q, %+v", name, a.sent, v)
		}
	}
	a := &answerer{status: 201}
	m := call()
	m.ExternalKey = strings.Repeat("a long key ", 10)
	open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", KeyField: "ref", KeyLength: 20, Map: "{}"}).Deliver(t.Context(), m)
	if len(a.sent) > len(`{"ref":""}`)+20 || len(a.sent) < 20 || strings.Contains(a.sent, " ") {
		t.Errorf("sent %s", a.sent)
	}
}

// Rules of the configuration look at the words of an error too, and come first.
func TestRulesOverTheWords(t *testing.T) {
	dest := adapters.DestinationConfig{Verdicts: []adapters.VerdictRule{
		{Says: `(?i)period .* closed`, Verdict: "failed", Effect: "none"},
		{Status: "400", Says: `exists`, Verdict: "duplicate"},
	}}
	for body, want := range map[string]ferry.VerdictKind{
		`{"message":"Period 2026-01 is closed"}`: ferry.Failed, `{"message":"it exists"}`: ferry.Duplicate, `{"message":"no"}`: ferry.Rejected, `exists`: ferry.Duplicate,
	} {
		if v := open(t, &answerer{status: 400, body: body}, dest, adapters.RouteConfig{URL: "/in"}).Deliver(t.Context(), call()); v.Kind != want {
			t.Errorf("%s: %+v", body, v)
		}
	}
}

// net/http sends a POST again behind one's back when a reused connection dies, and
// the request bears one of two headers (net/http, Request.isReplayable). A dialect's
// request is sent once, whatever header it bears. See also the conformance suite:
// DeadReusedConnectionIsSentOnce, LargeBodyIsSentOnce.
func TestNetHTTPDoesNotSendAgain(t *testing.T) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key", "RequestID"} {
		for _, body := range []string{`{"n":1}`, ""} {
			srv, posts := dyingServer(t)
			d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{URL: srv})
			if err != nil {
				t.Fatal(err)
			}
			a, err := d.Route(adapters.RouteConfig{URL: "/in", KeyHeader: name})
			if err != nil {
				t.Fatal(err)
			}
			m := call()
			m.ExternalKey, m.Body = "PO-7", []byte(body)
			if v := a.Deliver(t.Context(), m); v.Kind != ferry.Delivered {
				t.Fatalf("%+v", v)
			}
			wantVerdict(t, name, a.Deliver(t.Context(), m), ferry.Unknown, maybe)
			if n := posts.Load(); n != 2 {
				t.Errorf("%s, body %q: %d requests for 2 deliveries", name, body, n)
			}
			_ = d.Close()
		}
	}
	// What net/http does left to itself: it is why the rule is there.
	srv, posts := dyingServer(t)
	client := &http.Client{Transport: &http.Transport{}}
	for range 2 {
		req, err := http.NewRequest(http.MethodPost, srv+"/in", strings.NewReader(`{"n":1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "PO-7")
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	client.CloseIdleConnections()
	if n := posts.Load(); n < 3 {
		t.Logf("net/http no longer sends again: %d requests", n)
	}
}

// dyingServer answers the first request of each connection, and ends the connection
// at the second.
func dyingServer(t *testing.T) (string, *atomic.Int32) {
	t.Helper()
	type seen struct{}
	var posts atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := r.Context().Value(seen{}).(*atomic.Int32).Add(1)
		if posts.Add(1); n > 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
	}))
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, seen{}, &atomic.Int32{})
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL, &posts
}

// Amounts keep every digit on their way through maps, lookups and references:
// encoding/json would make a float64 of them.
func TestNumbersKeepEveryDigit(t *testing.T) {
	a := &answerer{status: 201, body: `{"id":12345678901234567890,"total":1234567890123456.10}`}
	m := call()
	m.Body = []byte(`{"total":1234567890123456.10,"n":12345678901234567890,"zero":100.00}`)
	v := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", KeyField: "ref", Map: "{total, n, zero}", Reference: ".id", Result: "{total}"}).Deliver(t.Context(), m)
	if !strings.HasPrefix(a.sent, `{"n":12345678901234567890,"ref":`) || !strings.HasSuffix(a.sent, `,"total":1234567890123456.10,"zero":100.00}`) {
		t.Errorf("sent %s", a.sent)
	}
	if v.Reference != "12345678901234567890" || string(v.Result) != `{"total":1234567890123456.10}` {
		t.Errorf("%+v", v)
	}
}

// url.Values.Encode writes a plus for a space, which OData services refuse: a query
// is written with %20.
func TestSpaceInAQueryIsNoPlus(t *testing.T) {
	a := &answerer{status: 200, body: `{"id":null}`}
	m := call()
	m.ExternalKey = "a b+c"
	adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{
		URL: "/in", Query: map[string]string{"note": "x y"}, Lookup: &adapters.LookupConfig{URL: "/in?$filter=ref%20eq%20'{externalKey}'", Reference: ".id"},
	})
	adapter.Lookup(t.Context(), m)
	if got := a.last(t).RequestURI; got != "/in?$filter=ref%20eq%20'a%20b%2Bc'" {
		t.Errorf("%s", got)
	}
	adapter.Deliver(t.Context(), m)
	if got := a.last(t).RequestURI; got != "/in?note=x%20y" {
		t.Errorf("%s", got)
	}
}
