package erp_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

func pollRoute(p *adapters.PollConfig) adapters.RouteConfig {
	return adapters.RouteConfig{Route: "r", URL: "/invoices", Reference: ".id", Confirm: adapters.ConfirmPoll, Poll: p}
}

// What the answer to a create says when the destination may answer later.
func TestLaterAnswers(t *testing.T) {
	state := &adapters.PollConfig{State: `.phase // empty | {open: "running", booked: "done"}[.] // .`}
	location := map[string]string{"Location": "/operations/7"}
	operation := map[string]string{"Operation-Location": "/operations/7?v=1#x", "Location": "/invoices/7"}
	for name, c := range map[string]struct {
		poll   *adapters.PollConfig
		status int
		header map[string]string
		body   string
		kind   ferry.VerdictKind
		path   string // of the address to ask
	}{
		"202":                              {nil, 202, location, ``, ferry.InProgress, "/operations/7"},
		"202, operation before location":   {nil, 202, operation, ``, ferry.InProgress, "/operations/7?v=1"},
		"202, relative":                    {nil, 202, map[string]string{"Location": "operations/8"}, ``, ferry.InProgress, "/operations/8"},
		"202, nowhere to ask":              {nil, 202, nil, `{"id":"1"}`, ferry.Unknown, ""},
		"201":                              {nil, 201, location, `{"id":"1","status":"pending"}`, ferry.Delivered, ""},
		"201, operation, running":          {nil, 201, operation, `{"status":"Running"}`, ferry.InProgress, "/operations/7?v=1"},
		"201, operation, provisioning":     {nil, 201, operation, `{"properties":{"provisioningState":"Accepted"}}`, ferry.InProgress, "/operations/7?v=1"},
		"201, operation, done":             {nil, 201, operation, `{"id":"1","status":"Succeeded"}`, ferry.Delivered, ""},
		"200, its state says running":      {state, 200, location, `{"phase":"open"}`, ferry.InProgress, "/operations/7"},
		"200, running, nowhere to ask":     {state, 200, nil, `{"phase":"open"}`, ferry.Unknown, ""},
		"200, its state says done":         {state, 200, location, `{"id":"1","phase":"booked"}`, ferry.Delivered, ""},
		"200, its state says nothing":      {state, 200, location, `{"id":"1"}`, ferry.Delivered, ""},
		"200, its state cannot be read":    {state, 200, location, `<ok/>`, ferry.InProgress, "/operations/7"},
		"200, a word that state never had": {state, 200, location, `{"phase":"lunch"}`, ferry.InProgress, "/operations/7"},
		"204":                              {nil, 204, nil, ``, ferry.Delivered, ""},
		"400":                              {nil, 400, location, `{"message":"no"}`, ferry.Rejected, ""},
		"503":                              {nil, 503, location, ``, ferry.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := &answerer{status: c.status, header: c.header, body: c.body}
			v := open(t, a, adapters.DestinationConfig{}, pollRoute(c.poll)).Deliver(t.Context(), call())
			_, path, _ := strings.Cut(strings.TrimPrefix(v.StatusURL, "http://"), "/")
			if path != "" {
				path = "/" + path
			}
			if v.Kind != c.kind || path != c.path {
				t.Errorf("%s, asked at %q (%s); want %s, %q", v.Kind, v.StatusURL, v.Text, c.kind, c.path)
			}
			if v.Kind == ferry.InProgress && v.Effect != ferry.EffectMaybe {
				t.Errorf("effect %s", v.Effect)
			}
		})
	}
}

// A rule of the destination's own is the last word, and without confirm a 202
// is what it was before.
func TestLaterIsForThoseWhoSaySo(t *testing.T) {
	a := &answerer{status: 202, header: map[string]string{"Location": "/operations/7"}, body: `{"id":"1","final":true}`}
	route := pollRoute(nil)
	own := adapters.DestinationConfig{Verdicts: []adapters.VerdictRule{{Status: "202", When: ".final", Verdict: "delivered"}}}
	if v := open(t, a, own, route).Deliver(t.Context(), call()); v.Kind != ferry.Delivered || v.Reference != "1" {
		t.Errorf("by its own rule: %+v", v)
	}
	route.Confirm = ""
	if v := open(t, a, adapters.DestinationConfig{}, route).Deliver(t.Context(), call()); v.Kind != ferry.Delivered || v.Reference != "1" {
		t.Errorf("without confirm: %+v", v)
	}
}

func TestPollAnswers(t *testing.T) {
	own := &adapters.PollConfig{
		State: `{"W": "running", "F": "done", "X": "failed"}[.code // ""] // null`, Reference: ".doc.number", Result: ".doc", Text: ".why",
	}
	for name, c := range map[string]struct {
		poll   *adapters.PollConfig
		status int
		header map[string]string
		body   string
		want   ferry.Verdict // kind, reference, text, code, retry-after
	}{
		"202":                   {nil, 202, map[string]string{"Retry-After": "7"}, ``, ferry.Verdict{Kind: ferry.InProgress, RetryAfter: 7 * time.Second, Text: "the destination is still working on it"}},
		"202, says succeeded":   {nil, 202, nil, `{"status":"Succeeded"}`, ferry.Verdict{Kind: ferry.InProgress, Text: "the destination is still working on it"}},
		"200, not started":      {nil, 200, nil, `{"status":"NotStarted"}`, ferry.Verdict{Kind: ferry.InProgress, Text: "the destination is still working on it"}},
		"200, in progress":      {nil, 200, nil, `{"state":"in_progress"}`, ferry.Verdict{Kind: ferry.InProgress, Text: "the destination is still working on it"}},
		"200, succeeded":        {nil, 200, nil, `{"status":"Succeeded","id":"INV-1"}`, ferry.Verdict{Kind: ferry.Delivered, Reference: "INV-1"}},
		"200, a document":       {nil, 200, nil, `{"status":"booked","id":"INV-1"}`, ferry.Verdict{Kind: ferry.Delivered, Reference: "INV-1"}},
		"201, location":         {nil, 201, map[string]string{"Location": "/invoices/INV-2"}, `{"id":null}`, ferry.Verdict{Kind: ferry.Delivered, Reference: "INV-2", Text: "the answer's reference cannot be read: it is empty"}},
		"failed":                {nil, 200, nil, `{"status":"Failed","error":{"code":"E1","message":"the period is closed"}}`, ferry.Verdict{Kind: ferry.Rejected, Code: "E1", Text: "the period is closed"}},
		"canceled":              {nil, 200, nil, `{"status":"Canceled"}`, ferry.Verdict{Kind: ferry.Rejected, Text: `{"status":"Canceled"}`}},
		"own: running":          {own, 200, nil, `{"code":"W"}`, ferry.Verdict{Kind: ferry.InProgress, Text: "the destination is still working on it"}},
		"own: running, by 202":  {own, 202, nil, `{}`, ferry.Verdict{Kind: ferry.InProgress, Text: "the destination is still working on it"}},
		"own: empty 202":        {own, 202, nil, ``, ferry.Verdict{Kind: ferry.InProgress, Text: "the destination is still working on it"}},
		"own: done, though 202": {own, 202, nil, `{"code":"F","doc":{"number":7}}`, ferry.Verdict{Kind: ferry.Delivered, Reference: "7"}},
		"own: failed":           {own, 200, nil, `{"code":"X","why":"no cost centre"}`, ferry.Verdict{Kind: ferry.Rejected, Code: "X", Text: "no cost centre"}},
		"own: unreadable":       {own, 200, nil, `<x/>`, ferry.Verdict{Kind: ferry.Failed}},
		"404":                   {nil, 404, nil, `{"message":"never heard of it"}`, ferry.Verdict{Kind: ferry.Unknown, Code: adapters.CodeForgotten, Text: "the destination no longer knows the operation: never heard of it"}},
		"410":                   {nil, 410, nil, ``, ferry.Verdict{Kind: ferry.Unknown, Code: adapters.CodeForgotten, Text: "the destination no longer knows the operation"}},
		"503":                   {nil, 503, map[string]string{"Retry-After": "9"}, ``, ferry.Verdict{Kind: ferry.Unavailable, RetryAfter: 9 * time.Second}},
		"500":                   {nil, 500, nil, ``, ferry.Verdict{Kind: ferry.Failed}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &answerer{status: 202, header: map[string]string{"Location": "/operations/7"}}
			adapter := open(t, a, adapters.DestinationConfig{Headers: map[string]string{"X-Client": "ferry"}}, pollRoute(c.poll))
			asked := call()
			taken := adapter.Deliver(t.Context(), asked)
			a.status, a.header, a.body = c.status, c.header, c.body
			asked.StatusURL = taken.StatusURL
			v := adapter.(adapters.Poller).Poll(context.Background(), asked)
			if v.Kind != c.want.Kind || v.Reference != c.want.Reference || v.Code != c.want.Code || v.RetryAfter != c.want.RetryAfter ||
				c.want.Text != "" && v.Text != c.want.Text {
				t.Errorf("got  %+v\nwant %+v", v, c.want)
			}
			if r := a.last(t); r.Method != http.MethodGet || r.URL.Path != "/operations/7" || r.Header.Get("X-Client") != "ferry" || r.Header.Get("Idempotency-Key") != "" {
				t.Errorf("asked by %s %s, %v", r.Method, r.URL, r.Header)
			}
			if v.Kind == ferry.Delivered && c.poll != nil && string(v.Result) != `{"number":7}` {
				t.Errorf("result %s", v.Result)
			}
		})
	}
}

func TestBadConfirmSettings(t *testing.T) {
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: "https://erp.example"})
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*adapters.RouteConfig){
		`there is no "fax"`:      func(c *adapters.RouteConfig) { c.Confirm = "fax" },
		"confirmHeader is for":   func(c *adapters.RouteConfig) { c.ConfirmHeader = "X-Call" },
		"cannot carry":           func(c *adapters.RouteConfig) { c.Confirm, c.ConfirmHeader = "callback", "Cookie" },
		"poll is for":            func(c *adapters.RouteConfig) { c.Confirm, c.Poll = "callback", &adapters.PollConfig{} },
		"poll.state":             func(c *adapters.RouteConfig) { c.Poll = &adapters.PollConfig{State: ".["} },
		"{confirmUrl} is for":    func(c *adapters.RouteConfig) { c.Query = map[string]string{"back": "{confirmUrl}"} },
		"is not told":            func(c *adapters.RouteConfig) { c.Confirm, c.ConfirmHeader = "callback", "-" },
		"which is for what is":   func(c *adapters.RouteConfig) { c.Lookup.URL = "/x/{externalKey}?{confirmUrl}" },
		"unknown placeholder {c": func(c *adapters.RouteConfig) { c.URL = "/x/{confirm}" },
	} {
		route := pollRoute(nil)
		route.Lookup = &adapters.LookupConfig{URL: "/x/{externalKey}", Reference: ".id"}
		change(&route)
		if _, err := d.Route(route); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
