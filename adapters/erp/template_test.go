package erp_test

import (
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
)

// TestPrograms: jq in addresses, queries and headers.
func TestPrograms(t *testing.T) {
	a := &answerer{status: 201}
	c := call()
	c.ExternalKey, c.Revision = "K 1", 2
	c.Body = []byte(`{"company":"ACME & Söhne","supplier":"A/1 +","date":"2026-11-26","amount":12.50,"tags":["x"],"empty":"","dots":".","on":true}`)
	adapter := open(t, a, adapters.DestinationConfig{Headers: map[string]string{"X-Optional": "of the destination"}}, adapters.RouteConfig{
		URL:    `/suppliers/{= .supplier}/on/{= .date | sapdate}/{externalKey}?first={= {a: "}"} | .a}&rev={= $revision}`,
		Method: "PUT",
		Query: map[string]string{
			"$filter": "date eq {= .date | odatadatetime} and name eq {= .company | odatakey}", "a": "{= .amount}", "missing": "{= .nothing}",
			"none": "x{= empty}", "blank": "{= .empty}", "ref": "{= $externalKey}-{messageId}", "on": "{= .on}",
		},
		Headers: map[string]string{
			"X-Company": `{= .supplier | ascii_downcase} of {"json": 1}`, "X-Key": "{externalKey}", "X-Optional": "{= .nothing}", "X-Amount": "{= .amount}",
		},
	})
	if v := adapter.Deliver(t.Context(), c); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	r := a.last(t)
	// A space is %20, never a plus: OData services refuse a plus.
	want := "/suppliers/A%2F1%20+/on/20261126/K%201?first=%7D&rev=2" +
		"&%24filter=date%20eq%20datetime%272026-11-26T00%3A00%3A00%27%20and%20name%20eq%20%27ACME%20%26%20S%C3%B6hne%27" +
		"&a=12.50&blank=&on=true&ref=K%201-" + c.ID.String()
	if r.RequestURI != want {
		t.Errorf("%s\nwant %s", r.RequestURI, want)
	}
	for name, want := range map[string]string{"X-Company": `a/1 + of {"json": 1}`, "X-Key": "K 1", "X-Amount": "12.50"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, there := r.Header["X-Optional"]; there {
		t.Error("a header without a value is sent")
	}
	p, err := adapter.Preview(t.Context(), c)
	if err != nil || !strings.HasSuffix(p.URL, want) || p.Header["X-Key"] != "K 1" {
		t.Errorf("preview %+v, %v", p, err)
	}
}

// What makes no request is the message's fault, and says which program and why.
func TestProgramsThatGiveNoRequest(t *testing.T) {
	for name, c := range map[string]struct {
		route adapters.RouteConfig
		want  string
	}{
		"nothing in a path":      {adapters.RouteConfig{URL: "/a/{= .nothing}"}, "{= .nothing} gives null or nothing, where the address needs text"},
		"empty in a path":        {adapters.RouteConfig{URL: "/a/{= .empty}"}, "{= .empty} cannot stand in a path"},
		"up":                     {adapters.RouteConfig{URL: `/a/{= ".."}/b`}, "cannot stand in a path: it is empty, or dots only"},
		"up in two steps":        {adapters.RouteConfig{URL: `/a/.{= .dot}/b`}, "cannot stand in a path"},
		"up of two":              {adapters.RouteConfig{URL: `/a/{= ".x"[:1]}{= .dot}/b`}, "cannot stand in a path"},
		"nothing in the address": {adapters.RouteConfig{URL: "/a?b={= .nothing}"}, "gives null or nothing"},
		"a list":                 {adapters.RouteConfig{URL: "/a/{= .list}"}, "{= .list}: it gives an array or an object"},
		"an error":               {adapters.RouteConfig{URL: "/a", Query: map[string]string{"d": "{= .empty | sapdate}"}}, `{= .empty | sapdate}: sapdate: the text "" is no date`},
		"a header of lines":      {adapters.RouteConfig{URL: "/a", Headers: map[string]string{"X-A": "{= .lines}"}}, "the value of header X-A has characters that a header cannot carry"},
		"a header of a list":     {adapters.RouteConfig{URL: "/a", Headers: map[string]string{"X-A": "{= .list}"}}, "header X-A: {= .list}: it gives an array"},
	} {
		a := &answerer{status: 201}
		adapter := open(t, a, adapters.DestinationConfig{}, c.route)
		m := call()
		m.Body = []byte(`{"empty":"","dot":".","list":[1],"lines":"a\nX-Injected: 1"}`)
		v := adapter.Deliver(t.Context(), m)
		if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Code != adapters.CodeMappingFailed || !strings.Contains(v.Text, c.want) || len(a.asked) != 0 {
			t.Errorf("%s: %+v, want %s", name, v, c.want)
		}
	}
	a := &answerer{status: 201}
	adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/a/{= .x}"})
	m := call()
	m.Body, m.ContentType = []byte("<x/>"), "application/xml"
	if v := adapter.Deliver(t.Context(), m); v.Kind != ferry.Rejected || !strings.Contains(v.Text, "not valid JSON") {
		t.Errorf("%+v", v)
	}
	adapter = open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/a/{= def f: f; f}"})
	if v := adapter.Deliver(t.Context(), call()); v.Kind != ferry.Failed || !strings.Contains(v.Text, "longer than") {
		t.Errorf("stopped for its time: %+v", v)
	}
}

// A lookup may ask by what is in the payload; worker check has no payload to ask by.
func TestProgramsInLookups(t *testing.T) {
	a := &answerer{status: 200, body: `{"items":[]}`}
	adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{
		URL: "/in", Lookup: &adapters.LookupConfig{URL: "/in?$filter=ref%20eq%20{= .invoice.number | odatakey}", Reference: ".items[0].id"},
	})
	if r := adapter.Lookup(t.Context(), call()); r.State != adapters.Absent || a.last(t).RequestURI != "/in?$filter=ref%20eq%20%27A-1%27" {
		t.Errorf("%+v, asked %s", r, a.last(t).RequestURI)
	}
	m := call()
	m.Body = []byte(`{"invoice":{}}`)
	asked := len(a.asked)
	if r := adapter.Lookup(t.Context(), m); r.State != adapters.Unanswered || len(a.asked) != asked {
		t.Errorf("a question that asks for nothing: %+v", r)
	}
	if err := adapter.(adapters.Checker).Check(t.Context()); err != adapters.ErrNoProbe {
		t.Errorf("check: %v", err)
	}
}
