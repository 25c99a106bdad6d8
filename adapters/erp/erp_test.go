package erp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

// answerer is a destination that answers as told and keeps what it was asked.
type answerer struct {
	status int
	header map[string]string
	body   string

	asked []*http.Request
	sent  string
}

func (a *answerer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	a.sent = string(data)
	a.asked = append(a.asked, r)
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func (a *answerer) last(t *testing.T) *http.Request {
	t.Helper()
	if len(a.asked) == 0 {
		t.Fatal("nothing was asked")
	}
	return a.asked[len(a.asked)-1]
}

func open(t *testing.T, a http.Handler, dest adapters.DestinationConfig, route adapters.RouteConfig) adapters.Adapter {
	t.Helper()
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	dest.Name, dest.URL = "erp", srv.URL+dest.URL
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	adapter, err := d.Route(route)
	if err != nil {
		t.Fatal(err)
	}
	return adapter
}

func call() adapters.Call {
	return adapters.Call{Number: 3, HandOut: ferry.HandOut{
		ID: ferry.NewID(time.Unix(1, 0)), ExternalKey: "PO 7/ä+&?#", ContentType: "application/json", CorrelationID: "c 1", Body: []byte(`{"invoice":{"number":"A-1","total":100.00}}`),
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}}
}

func TestRequest(t *testing.T) {
	c := call()
	c.ExternalKey = "PO 7/+&?#"
	a := &answerer{status: 201}
	adapter := open(t, a,
		adapters.DestinationConfig{URL: "/api/?client=100", Headers: map[string]string{"X-Env": "prod", "X-Both": "dest"}},
		adapters.RouteConfig{
			URL: "invoices/{externalKey}?a={externalKey}", Method: "put", Map: `{n: .invoice.number, t: .invoice.total}`,
			Query:   map[string]string{"z": "1 2", "id": "{messageId}"},
			Headers: map[string]string{"x-both": "route"},
		})
	if v := adapter.Deliver(t.Context(), c); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	r := a.last(t)
	wantURI := "/api/invoices/PO%207%2F+&%3F%23?client=100&a=PO%207%2F%2B%26%3F%23&id=" + c.ID.String() + "&z=1%202"
	if r.Method != http.MethodPut || r.RequestURI != wantURI {
		t.Errorf("%s %s\nwant %s", r.Method, r.RequestURI, wantURI)
	}
	if a.sent != `{"n":"A-1","t":100.00}` {
		t.Errorf("body %s", a.sent)
	}
	got := map[string]string{}
	for _, name := range []string{"Content-Type", "Idempotency-Key", "Ferry-Message-Id", "Ferry-Attempt", "X-Env", "X-Both", "User-Agent"} {
		got[name] = r.Header.Get(name)
	}
	want := map[string]string{
		"Content-Type": "application/json", "Idempotency-Key": c.ExternalKey, "Ferry-Message-Id": c.ID.String(), "Ferry-Attempt": "3",
		"X-Env": "prod", "X-Both": "route", "User-Agent": "ferry",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	trace := r.Header.Get("Traceparent")
	if len(trace) != 55 || trace[:36] != c.Traceparent[:36] || trace[36:52] == c.Traceparent[36:52] || trace[52:] != "-01" {
		t.Errorf("traceparent %s", trace)
	}
}

// asleep is a context whose machine slept after so many looks at its deadline: by the
// clock on the wall its time is over then.
type asleep struct {
	context.Context
	looks int
}

func (a *asleep) Deadline() (time.Time, bool) {
	a.looks--
	if a.looks >= 0 {
		return time.Now().Add(time.Second), true // before the time-out: else that one would be asked
	}
	return time.Now().Round(0).Add(-time.Second), true
}

// A call whose time ended while the machine slept is not made, whatever took so long
// before it, a search or the credentials: somebody else may have the message by now.
func TestNoCallAfterTheMachineSlept(t *testing.T) {
	a := &answerer{status: http.StatusCreated, body: `{"id":"7"}`}
	adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", Reference: ".id"})
	// As the time-out is set, before anything, before the request is made, when it is ready.
	const looks = 4
	for looks := range looks {
		if v := adapter.Deliver(&asleep{t.Context(), looks}, call()); v.Kind != ferry.NotTried || v.Effect != ferry.EffectNone || len(a.asked) != 0 {
			t.Errorf("slept after %d looks: %d calls, %+v", looks, len(a.asked), v)
		}
	}
	if v := adapter.Deliver(&asleep{t.Context(), looks}, call()); v.Kind != ferry.Delivered || len(a.asked) != 1 {
		t.Errorf("in time: %d calls, %+v", len(a.asked), v)
	}
}

func TestUntouchedBody(t *testing.T) {
	xml := "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\r\n<Invoice>\xe4 </Invoice>\n"
	for name, c := range map[string]struct {
		body, contentType, configured, want string
	}{
		"XML":           {xml, "application/xml; charset=iso-8859-1", "", "application/xml; charset=iso-8859-1"},
		"no type":       {"\x00\x01", "", "", ""},
		"set by route":  {xml, "text/plain", "application/xml", "application/xml"},
		"JSON as it is": {`{"b": 1.00 , "a":2}`, "application/json", "", "application/json"},
		"empty":         {"", "text/plain", "", "text/plain"},
	} {
		a := &answerer{status: 204, header: map[string]string{"Location": "https://inside.example:8443/x/INV%2F7/"}}
		adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", ContentType: c.configured, KeyHeader: "-"})
		msg := call()
		msg.Body, msg.ContentType, msg.Traceparent = []byte(c.body), c.contentType, "broken"
		v := adapter.Deliver(t.Context(), msg)
		r := a.last(t)
		if a.sent != c.body || r.Header.Get("Content-Type") != c.want || r.Header.Get("Idempotency-Key") != "" || r.Header.Get("Traceparent") != "" {
			t.Errorf("%s: %q, %v", name, a.sent, r.Header)
		}
		if v.Kind != ferry.Delivered || v.Reference != "INV/7" || v.Text != "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestReferenceAndResult(t *testing.T) {
	for name, c := range map[string]struct {
		body, location, reference, result string
		wantRef, wantResult, wantText     string
	}{
		"by jq":               {`{"id":12345678901234567890}`, "/x/other", ".id", "", "12345678901234567890", "", ""},
		"else by Location":    {`{"id":null}`, "/x/7?y=1", ".id", "", "7", "", "it is empty"},
		"no body":             {``, "/x/7", ".id", "", "7", "", "the body is empty"},
		"neither":             {`<ok/>`, "", ".id", "", "", "", "not valid JSON"},
		"jq fails":            {`{"id":{}}`, "", ".id", "", "", "", "an object"},
		"result":              {`{"id":"1","total":7.10}`, "", ".id", "{total}", "1", `{"total":7.10}`, ""},
		"result fails":        {`{"id":"1"}`, "", ".id", ".id.x", "1", "", "result cannot be read"},
		"result too large":    {`{"id":"1"}`, "", ".id", `"x" * 70000`, "1", "", "at most"},
		"long reference":      {`{"id":"` + strings.Repeat("7", 300) + `"}`, "", ".id", "", strings.Repeat("7", 253) + "…", "", ""},
		"no reference at all": {`{"id":"1"}`, "", "", "", "", "", ""},
	} {
		a := &answerer{status: 201, body: c.body, header: map[string]string{"X-Request-Id": "r-9"}}
		if c.location != "" {
			a.header["Location"] = c.location
		}
		adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", Reference: c.reference, Result: c.result})
		v := adapter.Deliver(t.Context(), call())
		if v.Kind != ferry.Delivered || v.Effect != ferry.EffectDone || v.Reference != c.wantRef || string(v.Result) != c.wantResult || v.RemoteCorrelationID != "r-9" {
			t.Errorf("%s: %+v", name, v)
		}
		if !strings.Contains(v.Text, c.wantText) || c.wantText == "" && v.Text != "" {
			t.Errorf("%s: text %q", name, v.Text)
		}
	}
}

func TestConflict(t *testing.T) {
	lookup := &adapters.LookupConfig{URL: "/in?k={externalKey}", Reference: ".items[0].id"}
	const document, fault = `{"id":"INV-1","lines":[]}`, `{"title":"Conflict","code":"dup","id":"err-77"}`
	for name, c := range map[string]struct {
		body   string
		lookup *adapters.LookupConfig
		kind   ferry.VerdictKind
		effect ferry.Effect
		ref    string
		code   string
	}{
		"the document itself":            {document, lookup, ferry.Duplicate, ferry.EffectDone, "INV-1", ""},
		"an error with an id":            {fault, lookup, ferry.Unknown, ferry.EffectMaybe, "", adapters.CodeMaybeDuplicate},
		"an error with an id, no lookup": {fault, nil, ferry.Duplicate, ferry.EffectDone, "err-77", "dup"},
		"an error":                       {`{"title":"Conflict"}`, lookup, ferry.Unknown, ferry.EffectMaybe, "", adapters.CodeMaybeDuplicate},
		"an error, no lookup":            {`{"title":"Conflict"}`, nil, ferry.Rejected, ferry.EffectNone, "", ""},
		"nothing":                        {``, lookup, ferry.Unknown, ferry.EffectMaybe, "", adapters.CodeMaybeDuplicate},
		"a document, no lookup":          {document, nil, ferry.Duplicate, ferry.EffectDone, "INV-1", ""},
		"a document without a reference": {`{"a":1}`, nil, ferry.Rejected, ferry.EffectNone, "", ""},
	} {
		a := &answerer{status: 409, body: c.body}
		v := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", Reference: ".id", Lookup: c.lookup}).Deliver(t.Context(), call())
		if v.Kind != c.kind || v.Effect != c.effect || v.Reference != c.ref || v.Code != c.code || v.Status != 409 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestOwnVerdictRulesComeFirst(t *testing.T) {
	dest := adapters.DestinationConfig{Verdicts: []adapters.VerdictRule{
		{Status: "200", When: `.error != null`, Verdict: "rejected"},
		{Status: "500", Code: "UNIQUE", Verdict: "duplicate"},
		{Status: "500", When: `.retry == true`, Verdict: "failed", Effect: "none"},
		{Status: "404", Verdict: "unavailable"},
	}}
	for name, c := range map[string]struct {
		status int
		body   string
		kind   ferry.VerdictKind
		effect ferry.Effect
		text   string
	}{
		"success that is none":   {200, `{"error":"must be positive"}`, ferry.Rejected, ferry.EffectNone, "must be positive"},
		"success":                {200, `{"id":"1"}`, ferry.Delivered, ferry.EffectDone, ""},
		"success, cut short":     {200, strings.Repeat(" ", 2<<20), ferry.Unknown, ferry.EffectMaybe, "too long"},
		"created needs no body":  {201, strings.Repeat(" ", 2<<20), ferry.Delivered, ferry.EffectDone, ""},
		"500 that is duplicate":  {500, `{"error":{"code":"SQLITE_CONSTRAINT_UNIQUE","message":"x"}}`, ferry.Duplicate, ferry.EffectDone, "x"},
		"500 without an effect":  {500, `{"retry":true}`, ferry.Failed, ferry.EffectNone, "retry"},
		"500 as in the dialect":  {500, `{}`, ferry.Unknown, ferry.EffectMaybe, "{}"},
		"404 while it restarts":  {404, ``, ferry.Unavailable, ferry.EffectNone, ""},
		"a status of no meaning": {299, ``, ferry.Delivered, ferry.EffectDone, ""},
	} {
		a := &answerer{status: c.status, body: c.body}
		v := open(t, a, dest, adapters.RouteConfig{URL: "/in"}).Deliver(t.Context(), call())
		if v.Kind != c.kind || v.Effect != c.effect || !strings.Contains(v.Text, c.text) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestLookupAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status    int
		body      string
		same      string
		state     adapters.LookupState
		reference string
		different bool
	}{
		"found":               {200, `{"items":[{"id":"INV-1","number":"A-1"}]}`, "", adapters.Found, "INV-1", false},
		"found by number":     {200, `{"items":[{"id":17}]}`, "", adapters.Found, "17", false},
		"empty list":          {200, `{"items":[]}`, "", adapters.Absent, "", false},
		"null":                {200, `{"items":null}`, "", adapters.Absent, "", false},
		"empty text":          {200, `{"items":[{"id":" "}]}`, "", adapters.Absent, "", false},
		"not found":           {404, `{"title":"x"}`, "", adapters.Absent, "", false},
		"no content":          {204, ``, "", adapters.Absent, "", false},
		"no JSON":             {200, `<html>log on</html>`, "", adapters.Unanswered, "", false},
		"empty body":          {200, ``, "", adapters.Unanswered, "", false},
		"another shape":       {200, `[]`, "", adapters.Unanswered, "", false},
		"cut short":           {200, `{"items":[], "x":"` + strings.Repeat("x", 2<<20) + `"}`, "", adapters.Unanswered, "", false},
		"gone":                {410, ``, "", adapters.Unanswered, "", false},
		"the same":            {200, `{"items":[{"id":"1","number":"A-1"}]}`, ".answer.items[0].number == .payload.invoice.number and .mapped.n == .payload.invoice.number", adapters.Found, "1", false},
		"another":             {200, `{"items":[{"id":"1","number":"B"}]}`, ".answer.items[0].number == .payload.invoice.number", adapters.Found, "1", true},
		"same is no boolean":  {200, `{"items":[{"id":"1"}]}`, ".answer.items[0].number", adapters.Unanswered, "", false},
		"same fails":          {200, `{"items":[{"id":"1"}]}`, ".answer.items[0].id.x", adapters.Unanswered, "", false},
		"same is not asked":   {200, `{"items":[]}`, "error", adapters.Absent, "", false},
		"partly as an answer": {206, `{"items":[]}`, "", adapters.Unanswered, "", false},
	} {
		a := &answerer{status: c.status, body: c.body}
		adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{
			URL: "/in", Map: "{n: .invoice.number}",
			Lookup: &adapters.LookupConfig{URL: "/in?$filter=key%20eq%20'{externalKey}'&m={messageId}", Reference: ".items[0].id", Same: c.same, Result: ".items[0]"},
		})
		msg := call()
		r := adapter.Lookup(t.Context(), msg)
		if r.State != c.state || r.Reference != c.reference || r.Different != c.different {
			t.Errorf("%s: %+v", name, r)
		}
		if (r.State == adapters.Unanswered) != (r.Verdict.Kind != "") || r.State == adapters.Unanswered && r.Verdict.Text == "" || (r.State == adapters.Found) != (r.Result != nil) {
			t.Errorf("%s: verdict %+v, result %s", name, r.Verdict, r.Result)
		}
		req := a.last(t)
		if want := "/in?$filter=key%20eq%20'PO%207%2F%C3%A4%2B%26%3F%23'&m=" + msg.ID.String(); req.RequestURI != want || req.Method != http.MethodGet {
			t.Errorf("%s: %s %s", name, req.Method, req.RequestURI)
		}
		if req.Header.Get("Idempotency-Key") != "" {
			t.Errorf("%s: a lookup bears a key", name)
		}
	}
}

func TestMessageThatMakesNoRequest(t *testing.T) {
	a := &answerer{status: 201}
	inPath := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in/{correlationId}"})
	for name, change := range map[string]func(*adapters.Call){
		"dots in the path":       func(c *adapters.Call) { c.CorrelationID = ".." },
		"nothing in the path":    func(c *adapters.Call) { c.CorrelationID = "" },
		"line end in the key":    func(c *adapters.Call) { c.ExternalKey = "a\r\nX: y" },
		"line end in the type":   func(c *adapters.Call) { c.ContentType = "a\nb" },
		"control in a used type": func(c *adapters.Call) { c.ContentType = "a\x00" },
	} {
		c := call()
		change(&c)
		v := inPath.Deliver(t.Context(), c)
		if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Code != adapters.CodeMappingFailed || v.Text == "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
	c := call()
	c.Body, c.Size = nil, 7
	if v := inPath.Deliver(t.Context(), c); v.Kind != ferry.NotTried {
		t.Errorf("a body that was not fetched: %+v", v)
	}
	if len(a.asked) > 0 {
		t.Errorf("%d calls", len(a.asked))
	}
}

func TestPreviewMasksQueryKeys(t *testing.T) {
	adapter := open(t, &answerer{status: 201}, adapters.DestinationConfig{Auth: httpauth.Config{Type: "apiKey", Query: "code", Key: "env:FERRY_TEST_NOT_SET"}},
		adapters.RouteConfig{URL: "/in", Map: ".invoice"})
	p, err := adapter.Preview(t.Context(), call())
	if err != nil {
		t.Fatal(err) // a preview needs no secret
	}
	if !strings.HasSuffix(p.URL, "/in?code=***") || p.Method != "POST" || p.Body != `{"number":"A-1","total":100.00}` || p.Header["Content-Type"] != "application/json" {
		t.Errorf("%+v", p)
	}
}
