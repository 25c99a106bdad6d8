package erp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

// odataSaid is one answer of a script, and what it was the answer to.
type odataSaid struct {
	status int
	header map[string]string
	body   string
}

type odataHeard struct {
	method, uri string
	header      http.Header
	body        string
}

// odataScript answers in turn; the last answer stays.
type odataScript struct {
	mu      sync.Mutex
	answers []odataSaid
	heard   []odataHeard
}

func (s *odataScript) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.heard = append(s.heard, odataHeard{r.Method, r.RequestURI, r.Header, string(data)})
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.mu.Unlock()
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// odataRoute opens a route of an OData dialect on a script.
func odataRoute(t *testing.T, s http.Handler, dest adapters.DestinationConfig, route adapters.RouteConfig) adapters.Adapter {
	t.Helper()
	adapter, err := tryODataRoute(t, s, dest, route)
	if err != nil {
		t.Fatal(err)
	}
	return adapter
}

func tryODataRoute(t *testing.T, s http.Handler, dest adapters.DestinationConfig, route adapters.RouteConfig) (adapters.Adapter, error) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	dest.Name, dest.URL = "erp", srv.URL+dest.URL
	if dest.Dialect == "" {
		dest.Dialect = "odata"
	}
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = d.Close() })
	if route.Lookup == nil && (route.KeyField != "" || len(route.Key) > 0) {
		route.Lookup = &adapters.LookupConfig{} // as the configuration does
	}
	return d.Route(route)
}

func odataCall(key string) adapters.Call {
	return adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: ferry.NewID(time.Unix(1, 0)), Revision: 1, ExternalKey: key, ContentType: "application/json",
		CreatedAt: time.Date(2026, 11, 26, 9, 30, 15, 500, time.FixedZone("", 3600)),
		Body:      []byte(`{"supplier":"O'Neil & Co","no":4711,"amount":100.00,"id":"018f6d6e-7b2a-7c3d-9e4f-001122334455","lines":[{"t":"a"}]}`),
	}}
}

const created = `{"@odata.context":"x","ID":"1"}`

func TestODataRequests(t *testing.T) {
	deep := adapters.RouteConfig{Entity: "Invoices(ID)", Map: `{supplier, total: .amount, lines}`, KeyField: "externalId"}
	for name, c := range map[string]struct {
		dest        adapters.DestinationConfig
		route       adapters.RouteConfig
		method, uri string
		body        string
		header      map[string]string
	}{
		"V4 deep insert": {
			adapters.DestinationConfig{URL: "/srv/?x=1"},
			deep, "POST", "/srv/Invoices?x=1",
			`{"externalId":"K-1","lines":[{"t":"a"}],"supplier":"O'Neil & Co","total":100.00}`,
			map[string]string{"Accept": "application/json", "Content-Type": "application/json", "Odata-Version": "4.0", "Dataserviceversion": ""},
		},
		"V2 keeps the body as mapped": {
			adapters.DestinationConfig{URL: "/srv", Version: "v2"},
			func() adapters.RouteConfig {
				r := deep
				r.Map = `{to_Lines: {results: .lines}, Total: (.amount | decstring(2))}`
				return r
			}(), "POST", "/srv/Invoices",
			`{"Total":"100.00","externalId":"K-1","to_Lines":{"results":[{"t":"a"}]}}`,
			map[string]string{"Accept": "application/json", "Dataserviceversion": "2.0", "Maxdataserviceversion": "2.0", "Odata-Version": "", "Prefer": ""},
		},
		"a query of the route's own, a space as %20": {
			adapters.DestinationConfig{URL: "/srv"}, func() adapters.RouteConfig {
				r := deep
				r.Query = map[string]string{"$select": "ID", "note": "a b"}
				return r
			}(), "POST", "/srv/Invoices?%24select=ID&note=a%20b", "", nil,
		},
		"no map, no key: the body as it is": {
			adapters.DestinationConfig{URL: "/srv"},
			adapters.RouteConfig{Entity: "Invoices"},
			"POST", "/srv/Invoices",
			string(odataCall("").Body),
			map[string]string{"Accept": "application/json"},
		},
		"a key that is a GUID": {
			adapters.DestinationConfig{URL: "/srv"},
			adapters.RouteConfig{Entity: "Invoices(ID:guid)", Map: `{supplier}`, KeyField: "ID"},
			"POST", "/srv/Invoices",
			`{"ID":"69e7c8bf-b6e7-5949-84f7-ab5f38675930","supplier":"O'Neil & Co"}`, nil,
		},
		"upsert by the service's own PATCH": {
			adapters.DestinationConfig{URL: "/srv"}, adapters.RouteConfig{
				Entity: "Suppliers", Map: `{name: .supplier}`, Write: "upsert", Method: "patch",
				Key: map[string]string{"code": ".no", "country": `"DE"`, "owner": ".supplier"},
			}, "PATCH", "/srv/Suppliers(code=4711,country=%27DE%27,owner=%27O%27%27Neil%20&%20Co%27)", `{"name":"O'Neil & Co"}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &odataScript{answers: []odataSaid{{201, nil, created}}}
			v := odataRoute(t, s, c.dest, c.route).Deliver(t.Context(), odataCall("K-1"))
			if v.Kind != ferry.Delivered || len(s.heard) != 1 {
				t.Fatalf("%+v after %d requests", v, len(s.heard))
			}
			got := s.heard[0]
			if got.method != c.method || got.uri != c.uri || c.body != "" && got.body != c.body {
				t.Errorf("%s %s\n%s\nwant %s %s\n%s", got.method, got.uri, got.body, c.method, c.uri, c.body)
			}
			for name, want := range c.header {
				if got.header.Get(name) != want {
					t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
				}
			}
		})
	}
}

// TestODataFilter: spaces as %20 and never as a plus, apostrophes doubled, two
// documents asked for, literals of both versions.
func TestODataFilter(t *testing.T) {
	const key = "O'Neil +1&/?#"
	for name, c := range map[string]struct {
		version string
		route   adapters.RouteConfig
		filter  string
	}{
		"by the key's field":      {"", adapters.RouteConfig{Entity: "Invoices", KeyField: "Ref"}, `Ref eq 'O''Neil +1&/?#'`},
		"with a condition":        {"", adapters.RouteConfig{Entity: "Invoices", KeyField: "Ref", Lookup: &adapters.LookupConfig{Where: "status ne 'deleted' or year gt 2020"}}, `Ref eq 'O''Neil +1&/?#' and (status ne 'deleted' or year gt 2020)`},
		"two fields":              {"", adapters.RouteConfig{Entity: "Invoices", KeyField: "Ref", Key: map[string]string{"Party": ".supplier", "No": ".no"}}, `No eq 4711 and Party eq 'O''Neil & Co' and Ref eq 'O''Neil +1&/?#'`},
		"a GUID in V4":            {"v4", adapters.RouteConfig{Entity: "Invoices(ID:guid)", Key: map[string]string{"ID": ".id"}}, `ID eq 018f6d6e-7b2a-7c3d-9e4f-001122334455`},
		"a GUID in V2":            {"v2", adapters.RouteConfig{Entity: "Invoices(ID:guid)", Key: map[string]string{"ID": ".id"}}, `ID eq guid'018f6d6e-7b2a-7c3d-9e4f-001122334455'`},
		"a date in V2":            {"v2", adapters.RouteConfig{Entity: "Invoices(Day:date)", Key: map[string]string{"Day": `"2026-11-26T00:00:00"`}}, `Day eq datetime'2026-11-26T00:00:00'`},
		"a literal in V2":         {"v2", adapters.RouteConfig{Entity: "Invoices", Key: map[string]string{"ID": ".id | odataguid"}}, `ID eq guid'018f6d6e-7b2a-7c3d-9e4f-001122334455'`},
		"a literal in V4":         {"v4", adapters.RouteConfig{Entity: "Invoices", Key: map[string]string{"ID": ".id | odataguid"}}, `ID eq 018f6d6e-7b2a-7c3d-9e4f-001122334455`},
		"a number as a text":      {"", adapters.RouteConfig{Entity: "Invoices(No:number)", Key: map[string]string{"No": `"4711"`}}, `No eq 4711`},
		"no way out of a literal": {"", adapters.RouteConfig{Entity: "Invoices(ID:guid)", Key: map[string]string{"ID": `"1 or 1 eq 1"`}}, `ID eq '1 or 1 eq 1'`},
	} {
		t.Run(name, func(t *testing.T) {
			s := &odataScript{answers: []odataSaid{{200, nil, `{"value":[{"ID":"7"}]}`}}}
			c.route.Reference = ".ID"
			r := odataRoute(t, s, adapters.DestinationConfig{URL: "/srv?sap-language=EN", Version: c.version}, c.route).Lookup(t.Context(), odataCall(key))
			if r.State != adapters.Found || r.Reference != "7" {
				t.Fatalf("%+v", r)
			}
			got := s.heard[0]
			_, query, _ := strings.Cut(got.uri, "?")
			values, err := url.ParseQuery(query)
			if err != nil || values.Get("$filter") != c.filter || values.Get("$top") != "2" || values.Get("sap-language") != "EN" {
				t.Errorf("%s\n%s\nwant %s", got.uri, values.Get("$filter"), c.filter)
			}
			if strings.Contains(got.uri, "+") || got.method != "GET" || got.header.Get("Accept") != "application/json" {
				t.Errorf("%s %s, accept %q", got.method, got.uri, got.header.Get("Accept"))
			}
			if json := values.Get("$format") == "json"; json != (c.version == "v2") {
				t.Errorf("$format: %s", got.uri)
			}
		})
	}
}

func TestODataLookupAnswers(t *testing.T) {
	create := adapters.RouteConfig{Entity: "Invoices(ID)", KeyField: "Ref"}
	for name, c := range map[string]struct {
		odataSaid odataSaid
		state     adapters.LookupState
		kind      ferry.VerdictKind
		differ    bool
		text      string
	}{
		"one":                    {odataSaid{200, nil, `{"value":[{"ID":"7"}]}`}, adapters.Found, "", false, ""},
		"one in V2":              {odataSaid{200, nil, `{"d":{"results":[{"ID":"7"}]}}`}, adapters.Found, "", false, ""},
		"one in V2, the old way": {odataSaid{200, nil, `{"d":[{"ID":"7"}]}`}, adapters.Found, "", false, ""},
		"none":                   {odataSaid{200, nil, `{"value":[]}`}, adapters.Absent, "", false, ""},
		"two":                    {odataSaid{200, nil, `{"value":[{"ID":"7"},{"ID":"8"}]}`}, adapters.Found, "", true, "several documents bear the key: 7, 8"},
		"one, in capitals":       {odataSaid{200, nil, `{"value":[{"ID":"7","Ref":"k "}]}`}, adapters.Found, "", false, ""},
		"one of another key":     {odataSaid{200, nil, `{"value":[{"ID":"7","Ref":"X"}]}`}, adapters.Unanswered, ferry.Failed, false, "does not honour"},
		"no list":                {odataSaid{200, nil, `{"hello":"proxy"}`}, adapters.Unanswered, ferry.Failed, false, "no list"},
		"a wrong address":        {odataSaid{404, nil, `{"error":{"code":"404","message":"Invalid resource path"}}`}, adapters.Unanswered, ferry.Failed, false, "no such address"},
		"not found, of a filter": {odataSaid{404, nil, `{"error":{"code":"404","message":"Not Found"}}`}, adapters.Unanswered, ferry.Failed, false, "no such address"},
		"no content":             {odataSaid{204, nil, ``}, adapters.Unanswered, ferry.Failed, false, ""},
		"a plus is refused":      {odataSaid{400, nil, `{"error":{"code":"400","message":"Parsing URL failed"}}`}, adapters.Unanswered, ferry.Failed, false, "Parsing URL failed"},
		"throttled":              {odataSaid{429, nil, ``}, adapters.Unanswered, ferry.Throttled, false, ""},
	} {
		s := &odataScript{answers: []odataSaid{c.odataSaid}}
		r := odataRoute(t, s, adapters.DestinationConfig{}, create).Lookup(t.Context(), odataCall("K"))
		if r.State != c.state || r.Verdict.Kind != c.kind || r.Different != c.differ || !strings.Contains(r.Verdict.Text, c.text) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestODataVerdicts: cause and effect of each answer; what the body says comes
// before the status.
func TestODataVerdicts(t *testing.T) {
	const fault = `{"error":{"code":"%","message":"said"}}`
	withCode := func(code string) string { return strings.Replace(fault, "%", code, 1) }
	for name, c := range map[string]struct {
		odataSaid odataSaid
		kind      ferry.VerdictKind
		effect    ferry.Effect
		code      string
	}{
		"created":                            {odataSaid{201, nil, created}, ferry.Delivered, ferry.EffectDone, ""},
		"a duplicate as 500":                 {odataSaid{500, nil, withCode("SQLITE_CONSTRAINT_UNIQUE")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate},
		"a duplicate of the primary key":     {odataSaid{500, nil, withCode("SQLITE_CONSTRAINT_PRIMARYKEY")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate},
		"a duplicate in PostgreSQL":          {odataSaid{500, nil, withCode("23505")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate},
		"a duplicate in HANA":                {odataSaid{400, nil, withCode("301")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate},
		"a duplicate in production":          {odataSaid{500, nil, `{"error":{"message":"Internal Server Error","code":"500"}}`}, ferry.Unknown, ferry.EffectMaybe, "500"},
		"another constraint":                 {odataSaid{500, nil, withCode("SQLITE_CONSTRAINT_NOTNULL")}, ferry.Unknown, ferry.EffectMaybe, "SQLITE_CONSTRAINT_NOTNULL"},
		"409":                                {odataSaid{409, nil, withCode("X")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate},
		"412":                                {odataSaid{412, nil, withCode("412")}, ferry.Failed, ferry.EffectNone, "412"},
		"423, somebody has it open":          {odataSaid{423, nil, withCode("LOCKED")}, ferry.Failed, ferry.EffectNone, "LOCKED"},
		"428, our fault":                     {odataSaid{428, nil, withCode("428")}, ferry.Failed, ferry.EffectNone, "428"},
		"400":                                {odataSaid{400, nil, withCode("ASSERT_MANDATORY")}, ferry.Rejected, ferry.EffectNone, "ASSERT_MANDATORY"},
		"a code of the service's own on 409": {odataSaid{409, nil, withCode("SUPPLIER_CLOSED")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate},
		"404":                                {odataSaid{404, nil, withCode("404")}, ferry.Rejected, ferry.EffectNone, "404"},
		"405":                                {odataSaid{405, nil, ``}, ferry.Rejected, ferry.EffectNone, ""},
		"415":                                {odataSaid{415, nil, ``}, ferry.Rejected, ferry.EffectNone, ""},
		"401":                                {odataSaid{401, nil, ``}, ferry.Unauthorized, ferry.EffectNone, ""},
		"403, though a token is asked for":   {odataSaid{403, map[string]string{"X-Csrf-Token": "Required"}, ``}, ferry.Unauthorized, ferry.EffectNone, ""},
		"429":                                {odataSaid{429, map[string]string{"Retry-After": "7"}, ``}, ferry.Throttled, ferry.EffectNone, ""},
		"500":                                {odataSaid{500, nil, `oops`}, ferry.Unknown, ferry.EffectMaybe, ""},
		"502":                                {odataSaid{502, nil, ``}, ferry.Unknown, ferry.EffectMaybe, ""},
		"503":                                {odataSaid{503, nil, ``}, ferry.Unavailable, ferry.EffectNone, ""},
		"504":                                {odataSaid{504, nil, ``}, ferry.Unknown, ferry.EffectMaybe, ""},
		"a success that quotes a duplicate":  {odataSaid{201, nil, `{"ID":"1","error":{"code":"SQLITE_CONSTRAINT_UNIQUE"}}`}, ferry.Delivered, ferry.EffectDone, ""},
		"a redirect is not followed":         {odataSaid{302, map[string]string{"Location": "/elsewhere"}, ``}, ferry.Rejected, ferry.EffectNone, ""},
	} {
		s := &odataScript{answers: []odataSaid{c.odataSaid}}
		v := odataRoute(t, s, adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "Invoices(ID)", KeyField: "Ref"}).Deliver(t.Context(), odataCall("K"))
		if v.Kind != c.kind || v.Effect != c.effect || v.Code != c.code {
			t.Errorf("%s: %s, effect %s, code %q; want %s, %s, %q", name, v.Kind, v.Effect, v.Code, c.kind, c.effect, c.code)
		}
		if len(s.heard) != 1 {
			t.Errorf("%s: %d requests", name, len(s.heard))
		}
	}
	// Without a lookup nobody finds out whose document it is.
	s := &odataScript{answers: []odataSaid{{500, nil, withCode("SQLITE_CONSTRAINT_UNIQUE")}}}
	if v := odataRoute(t, s, adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "Invoices"}).Deliver(t.Context(), odataCall("K")); v.Kind != ferry.Rejected {
		t.Errorf("a duplicate without a lookup: %+v", v)
	}
}

// TestODataLocation: it may be relative, or of a host that only the service knows;
// the key is kept, and nothing is followed.
func TestODataLocation(t *testing.T) {
	for location, want := range map[string]string{
		"Invoices(018f6d6e-7b2a-7c3d-9e4f-001122334455)":                      "Invoices(018f6d6e-7b2a-7c3d-9e4f-001122334455)",
		"http://localhost:4004/odata/v2/erp/Invoices(guid'018f6d6e')":         "Invoices(guid'018f6d6e')",
		"https://s4-internal:44300/x/A_SupplierInvoice(A='1',FiscalYear='2')": "A_SupplierInvoice(A='1',FiscalYear='2')",
	} {
		s := &odataScript{answers: []odataSaid{{204, map[string]string{"Location": location}, ""}}}
		v := odataRoute(t, s, adapters.DestinationConfig{}, adapters.RouteConfig{Entity: "Invoices"}).Deliver(t.Context(), odataCall("K"))
		if v.Kind != ferry.Delivered || v.Reference != want || len(s.heard) != 1 {
			t.Errorf("%s: %+v", location, v)
		}
	}
}
