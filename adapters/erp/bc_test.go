package erp_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

const bcCompany = "11111111-2222-4333-8444-555555555555"

func bcDest() adapters.DestinationConfig {
	return adapters.DestinationConfig{Dialect: "bc", URL: "/api/v2.0", Company: bcCompany}
}

func bcRoute() adapters.RouteConfig {
	return adapters.RouteConfig{Entity: "purchaseInvoices", KeyField: "vendorInvoiceNumber"}
}

// bcFound is an answer to the question for a document, with that document.
func bcFound(document string) response {
	return response{200, "", `{"@odata.context":"x","value":[` + document + `]}`}
}

func bcError(code, message string) string {
	return `{"error":{"code":"` + code + `","message":"` + message + `  CorrelationId:  2c074c12-1644-4f2c-befb-efd681f5a595."}}`
}

const (
	bcNone  = `{"@odata.context":"x","value":[]}`
	bcDraft = `{"@odata.etag":"W/\"7\"","id":"` + rowGUID + `","number":"PI-7","status":"Draft","vendorInvoiceNumber":"A-1"}`
	bcOpen  = `{"@odata.etag":"W/\"8\"","id":"` + rowGUID + `","number":"PI-7","status":"Open","vendorInvoiceNumber":"A-1"}`
)

// TestBCAsksBeforeItWrites: there is no idempotency, so that every create is
// preceded by the question whether the document is there; lines go with it.
func TestBCAsksBeforeItWrites(t *testing.T) {
	companyPath := "/api/v2.0/companies(" + bcCompany + ")/purchaseInvoices"
	for name, c := range map[string]struct {
		company, where, key string
		requests            []string
	}{
		"company by id": {
			bcCompany, "", "A-1",
			[]string{"GET " + companyPath + "?$filter=vendorInvoiceNumber eq 'A-1'&$top=5", "POST " + companyPath},
		},
		"company by name": {
			"CRONUS & Söhne", "", "A-1",
			[]string{
				"GET /api/v2.0/purchaseInvoices?company=CRONUS & Söhne&$filter=vendorInvoiceNumber eq 'A-1'&$top=5",
				"POST /api/v2.0/purchaseInvoices?company=CRONUS & Söhne",
			},
		},
		"a condition beside, and an apostrophe": {
			bcCompany, "vendorNumber eq 'V-1'", "O'N 1",
			[]string{"GET " + companyPath + "?$filter=vendorInvoiceNumber eq 'O-N-1-SHAPED' and (vendorNumber eq 'V-1')&$top=5", "POST " + companyPath},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dest, route := bcDest(), bcRoute()
			dest.Company = c.company
			route.Lookup = &adapters.LookupConfig{Where: c.where}
			s, adapter := tell(t, dest, route, response{200, "", bcNone}, response{201, "", strings.Replace(bcDraft, "A-1", c.key, 1)})
			isDelivered(t, adapter.Deliver(t.Context(), letter(c.key, `{"purchaseInvoiceLines":[{"quantity":1.50}]}`)), "PI-7")
			got := s.requests()
			for i := range got {
				if strings.Contains(got[i], "+") {
					t.Errorf("a plus is no space: %s", got[i])
				}
				got[i], _ = url.QueryUnescape(got[i])
				if at := strings.Index(got[i], "O-N-1-"); at >= 0 {
					got[i] = got[i][:at] + "O-N-1-SHAPED" + got[i][at+len("O-N-1-")+16:]
				}
			}
			if diff := cmp.Diff(c.requests, got); diff != "" {
				t.Error(diff)
			}
			var sent map[string]any
			if err := json.Unmarshal([]byte(s.asked[1].body), &sent); err != nil || sent["vendorInvoiceNumber"] == nil || !strings.Contains(s.asked[1].body, "1.50") {
				t.Errorf("body %s", s.asked[1].body)
			}
		})
	}
}

// TestBCKeysOfTheRoute: ids are bare in conditions, texts are not.
func TestBCKeysOfTheRoute(t *testing.T) {
	route := bcRoute()
	route.KeyField, route.Key = "", map[string]string{"vendorId": ".vendor", "vendorInvoiceNumber": ".number", "amount": ".amount"}
	s, adapter := tell(t, bcDest(), route, bcFound(`{"id":"`+rowGUID+`","number":"PI-7","vendorInvoiceNumber":"o'n 1"}`))
	v := adapter.Deliver(t.Context(), letter("k", `{"vendor":"`+rowGUID+`","number":"O'N 1 ","amount":10.50}`))
	// Keys are compared without regard to case and to spaces around them.
	if v.Kind != ferry.Duplicate || v.Reference != "PI-7" {
		t.Errorf("%+v", v)
	}
	asked, _ := url.QueryUnescape(s.asked[0].uri)
	if want := "$filter=amount eq 10.50 and vendorId eq " + rowGUID + " and vendorInvoiceNumber eq 'O''N 1 '"; !strings.Contains(asked, want) {
		t.Errorf("asked %s, want %s", asked, want)
	}
}

// TestBCVerdicts: what answers to a create come to, code before status.
func TestBCVerdicts(t *testing.T) {
	for name, c := range map[string]verdictCase{
		"429 without Retry-After":       {response{429, "", ""}, ferry.Throttled, ferry.EffectNone, "", "", 0},
		"429 that bears a code":         {response{429, "", bcError("Application_TooManyRequests", "Too many")}, ferry.Throttled, ferry.EffectNone, "Application_TooManyRequests", "", 0},
		"503 with Retry-After":          {response{503, "Retry-After: 30", bcError("Internal_ServerError", "x")}, ferry.Unavailable, ferry.EffectNone, "Internal_ServerError", "", 30 * time.Second},
		"502":                           {response{502, "Retry-After: 30", ""}, ferry.Unknown, ferry.EffectMaybe, "", "", 0},
		"504, cut off after 10 minutes": {response{504, "", ""}, ferry.Unknown, ferry.EffectMaybe, "", "", 0},
		"408":                           {response{408, "", ""}, ferry.Unknown, ferry.EffectMaybe, "", "", 0},
		"the server's own fault":        {response{400, "", bcError("Internal_ServerError", "Cannot establish a connection to the SQL Server")}, ferry.Unknown, ferry.EffectMaybe, "Internal_ServerError", "SQL Server", 0},
		"the tenant is away":            {response{404, "Retry-After: 4", bcError("Internal_TenantUnavailable", "The tenant is not accessible")}, ferry.Unavailable, ferry.EffectNone, "Internal_TenantUnavailable", "", 4 * time.Second},
		"a bad request":                 {response{400, "", bcError("BadRequest", "Invalid Request Body")}, ferry.Rejected, ferry.EffectNone, "BadRequest", "Invalid", 0},
		"a field that is missing":       {response{400, "", bcError("BadRequest_RequiredParamNotProvided", "Field 'taxable' must not be blank")}, ferry.Rejected, ferry.EffectNone, "BadRequest_RequiredParamNotProvided", "taxable", 0},
		"a rule of the business in 500": {response{500, "", bcError("Application_DialogException", "You are not allowed to apply")}, ferry.Rejected, ferry.EffectNone, "Application_DialogException", "CorrelationId", 0},
		"too long":                      {response{400, "", bcError("Application_StringExceededLength", "The length of the string is 57")}, ferry.Rejected, ferry.EffectNone, "Application_StringExceededLength", "", 0},
		"a vendor that is not there":    {response{400, "", bcError("Internal_InvalidTableRelation", "cannot be found in the related table (Vendor)")}, ferry.Rejected, ferry.EffectNone, "Internal_InvalidTableRelation", "", 0},
		"a record that is not there":    {response{404, "", bcError("Internal_RecordNotFound", "does not exist")}, ferry.Rejected, ferry.EffectNone, "Internal_RecordNotFound", "", 0},
		"no permission":                 {response{403, "", bcError("Authorization_RequestDenied", "no permission")}, ferry.Unauthorized, ferry.EffectNone, "Authorization_RequestDenied", "", 0},
		"no permission, in 400":         {response{400, "", bcError("Authorization_RequestDenied", "no permission")}, ferry.Unauthorized, ferry.EffectNone, "Authorization_RequestDenied", "", 0},
		"wrong credentials":             {response{401, "", bcError("Authentication_InvalidCredentials", "rejected")}, ferry.Unauthorized, ferry.EffectNone, "Authentication_InvalidCredentials", "", 0},
		"no such company":               {response{404, "", bcError("Internal_CompanyNotFound", "Cannot process")}, ferry.Unauthorized, ferry.EffectNone, "Internal_CompanyNotFound", "check company", 0},
		"a duplicate, in 400":           {response{400, "", bcError("Internal_EntityWithSameKeyExists", "already exists")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "Internal_EntityWithSameKeyExists", 0},
		"a duplicate, in 409":           {response{409, "", bcError("Internal_EntityWithSameKeyExists", "already exists")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "", 0},
		"another 409":                   {response{409, "", bcError("Unknown", "x")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "", 0},
		"a lock":                        {response{400, "", bcError("Application_DialogException", "a record in the Purchase Header table was locked by another user. Please retry")}, ferry.Failed, ferry.EffectNone, "Application_DialogException", "", 0},
		"an address that is wrong":      {response{404, "", bcError("BadRequest_ResourceNotFound", "Resource not found for the segment")}, ferry.Rejected, ferry.EffectNone, "BadRequest_ResourceNotFound", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, adapter := tell(t, bcDest(), bcRoute(), response{200, "", bcNone}, c.said)
			c.check(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)))
		})
	}
}

// TestBCLookups: only a list of documents says what is there.
func TestBCLookups(t *testing.T) {
	for name, c := range map[string]struct {
		said  response
		state adapters.LookupState
		kind  ferry.VerdictKind
	}{
		"there":                   {bcFound(bcDraft), adapters.Found, ""},
		"not there":               {response{200, "", bcNone}, adapters.Absent, ""},
		"404":                     {response{404, "", bcError("BadRequest_ResourceNotFound", "x")}, adapters.Unanswered, ferry.Failed},
		"no list":                 {response{200, "", `{}`}, adapters.Unanswered, ferry.Failed},
		"another document's key":  {bcFound(`{"number":"PI-8","vendorInvoiceNumber":"A-2"}`), adapters.Unanswered, ferry.Failed},
		"no such company":         {response{404, "", bcError("Internal_CompanyNotFound", "x")}, adapters.Unanswered, ferry.Unauthorized},
		"the tenant is away":      {response{404, "", bcError("Internal_TenantUnavailable", "x")}, adapters.Unanswered, ferry.Unavailable},
		"wrong credentials":       {response{400, "", bcError("Authentication_InvalidCredentials", "x")}, adapters.Unanswered, ferry.Unauthorized},
		"throttled":               {response{429, "", ""}, adapters.Unanswered, ferry.Throttled},
		"waited for its turn":     {response{503, "Retry-After: 3", ""}, adapters.Unanswered, ferry.Unavailable},
		"a query that is refused": {response{400, "", bcError("BadRequest_NotFound", "Could not find a property named")}, adapters.Unanswered, ferry.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			s, adapter := tell(t, bcDest(), bcRoute(), c.said)
			r := adapter.Lookup(t.Context(), letter("A-1", `{}`))
			if r.State != c.state || r.Verdict.Kind != c.kind {
				t.Errorf("state %d, verdict %s (%s)", r.State, r.Verdict.Kind, r.Verdict.Text)
			}
			if v := adapter.Deliver(t.Context(), letter("A-1", `{}`)); c.state == adapters.Unanswered && (len(s.asked) != 2 || v.Effect != ferry.EffectNone) {
				t.Errorf("written without an answer: %v, %+v", s.requests(), v)
			}
		})
	}
	// Two documents of the key, of which each may be the message's: a person looks.
	s, adapter := tell(t, bcDest(), bcRoute(), bcFound(bcDraft+","+strings.Replace(bcOpen, "PI-7", "PI-8", 1)))
	r := adapter.Lookup(t.Context(), letter("A-1", `{}`))
	v := adapter.Deliver(t.Context(), letter("A-1", `{}`))
	if !r.Different || !strings.Contains(r.Verdict.Text, "PI-7, PI-8") || v.Kind != ferry.Unknown || len(s.asked) != 2 {
		t.Errorf("%+v; %+v", r, v)
	}
}

// TestBCRepeatAppendsLines: in the practice ERP as in life, a create that is
// repeated is answered with 201, and its lines are appended. No course of things
// repeats it.
func TestBCRepeatAppendsLines(t *testing.T) {
	const lines = `{"number":"1","purchaseInvoiceLines":[{"quantity":1}]}`
	e, adapter := practise(t, bcDest(), bcRoute(), practice.Settings{})
	call := letter("A-1", lines)
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	for range 2 {
		if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Duplicate || v.Reference != "INV-000001" {
			t.Errorf("again: %+v", v)
		}
	}
	// An answer that was lost.
	call = letter("A-2", lines)
	if err := e.Fail(practice.Fault{Kind: practice.FaultCutAfter}); err != nil {
		t.Fatal(err)
	}
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Unknown {
		t.Errorf("a lost answer: %+v", v)
	}
	call.Number = 2
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Duplicate || v.Reference != "INV-000002" {
		t.Errorf("after a lost answer: %+v", v)
	}
	for _, d := range e.Documents("") {
		if d.Appended != 0 || strings.Count(string(d.Body), "quantity") != 1 {
			t.Errorf("%s: %s", d.ID, d.Body)
		}
	}
	// What keeps it from that is the question before: without one, lines double.
	_, blind := func() (*practice.ERP, adapters.Adapter) {
		return e, open(t, e, bcDest(), bcRoute()) // no lookup: the worker's configuration always has one
	}()
	blind.Deliver(t.Context(), letter("A-1", lines))
	if d := e.Documents("A-1")[0]; d.Appended != 1 || strings.Count(string(d.Body), "quantity") != 2 {
		t.Errorf("the practice ERP does not append: %+v", d)
	}
}

// TestBCPosts: a document is posted after it was created, and one that was not is
// found and posted, never made again.
func TestBCPosts(t *testing.T) {
	route := bcRoute()
	route.Finish = "post"
	e, adapter := practise(t, bcDest(), route, practice.Settings{})
	call := letter("A-1", `{"number":"1"}`)
	if err := e.Fail(practice.Fault{Kind: practice.FaultStatus, Status: 500, Code: "Application_DialogException", Text: "the period is closed", On: practice.OpFinish}); err != nil {
		t.Fatal(err)
	}
	v := adapter.Deliver(t.Context(), call)
	if v.Kind != ferry.Rejected || !strings.Contains(v.Text, "document INV-000001 is there, and post did not succeed") || !strings.Contains(v.Text, "period is closed") {
		t.Errorf("%+v", v)
	}
	if r := adapter.Lookup(t.Context(), call); r.State != adapters.Absent {
		t.Errorf("a draft is what was asked for: %+v", r)
	}
	call.Number = 2
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Delivered || v.Reference != "INV-000001" {
		t.Errorf("%+v", v)
	}
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Duplicate {
		t.Errorf("posted twice: %+v", v)
	}
	if docs := e.Documents(""); len(docs) != 1 || docs[0].Status != "Open" || e.Calls(practice.OpFinish) != 2 {
		t.Errorf("%+v, %d acts", docs, e.Calls(practice.OpFinish))
	}
	for finish, want := range map[string]string{"post": "Microsoft.NAV.post", "My.Own.release": "My.Own.release"} {
		route.Finish = finish
		s, adapter := tell(t, bcDest(), route, bcFound(bcDraft), response{204, "", ""})
		isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "PI-7")
		if got := s.requests()[1]; got != "POST /api/v2.0/companies("+bcCompany+")/purchaseInvoices("+rowGUID+")/"+want || s.asked[1].body != "" {
			t.Errorf("asked %s %s", got, s.asked[1].body)
		}
	}
	// A draft of an earlier body cannot be written over together with its lines.
	route.Finish = "post"
	edited := letter("A-1", `{"purchaseInvoiceLines":[{"quantity":2}]}`)
	edited.Revision = 2
	s, adapter := tell(t, bcDest(), route, bcFound(bcDraft))
	if v := adapter.Deliver(t.Context(), edited); v.Kind != ferry.Rejected || !strings.Contains(v.Text, "purchaseInvoiceLines cannot be written over") || len(s.asked) != 1 {
		t.Errorf("%+v", v)
	}
}

// TestBCUpdates: a document is written over under the version that was read; one
// that somebody changed meanwhile, which is 409 there, is read once more.
func TestBCUpdates(t *testing.T) {
	route := bcRoute()
	route.Write = "update"
	changed := response{409, "", bcError("Request_EntityChanged", "Another user has already changed the record.")}
	s, adapter := tell(t, bcDest(), route, bcFound(bcDraft), changed, bcFound(bcOpen), response{200, "", bcOpen})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{"memo":"x"}`)), "PI-7")
	if got := s.asked[3]; len(s.asked) != 4 || got.method != "PATCH" || !strings.HasSuffix(got.uri, "/purchaseInvoices("+rowGUID+")") ||
		s.asked[1].header.Get("If-Match") != `W/"7"` || got.header.Get("If-Match") != `W/"8"` {
		t.Errorf("%v", s.requests())
	}
	s, adapter = tell(t, bcDest(), route, bcFound(bcDraft), changed, bcFound(bcDraft), changed)
	if v := adapter.Deliver(t.Context(), letter("A-1", `{}`)); v.Kind != ferry.Failed || v.Effect != ferry.EffectNone || len(s.asked) != 4 {
		t.Errorf("%+v after %v", v, s.requests())
	}
	// Without a version any is written over: the header itself is mandatory.
	s, adapter = tell(t, bcDest(), route, bcFound(`{"id":"`+rowGUID+`","number":"PI-7"}`), response{200, "", bcOpen})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "PI-7")
	if got := s.asked[1].header.Get("If-Match"); got != "*" {
		t.Errorf("If-Match %q", got)
	}
	if v := func() ferry.Verdict {
		_, adapter := tell(t, bcDest(), route, response{200, "", bcNone})
		return adapter.Deliver(t.Context(), letter("A-1", `{}`))
	}(); v.Kind != ferry.Rejected || v.Code != "notFound" {
		t.Errorf("%+v", v)
	}
	// Upsert: written over where it is there, created where it is not.
	route.Write = "upsert"
	for _, c := range []struct {
		found  response
		answer response
		want   string
	}{{bcFound(bcDraft), response{200, "", bcDraft}, "PATCH"}, {response{200, "", bcNone}, response{201, "", bcDraft}, "POST"}} {
		s, adapter := tell(t, bcDest(), route, c.found, c.answer)
		isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "PI-7")
		if s.asked[1].method != c.want {
			t.Errorf("%v", s.requests())
		}
	}
}

// TestBCBatch: one call under Isolation: snapshot, which is a success only if every
// request of it is; the company goes into each. It is asked before, like any create.
func TestBCBatch(t *testing.T) {
	const failed = `{"id":"2","status":400,"headers":{},"body":{"error":{"code":"Application_FieldValidationException","message":"Customer Posting Group must have a value"}}}`
	const first = `{"id":"1","status":201,"headers":{"content-type":"application/json"},"body":` + bcDraft + `}`
	answer := func(parts ...string) response {
		return response{200, "Content-Type: application/json", `{"responses":[` + strings.Join(parts, ",") + `]}`}
	}
	for name, c := range map[string]struct {
		company string
		said    response
		kind    ferry.VerdictKind
		text    string
		inner   string // of the second request
	}{
		"all of it": {
			bcCompany, answer(first, `{"id":"2","status":200,"headers":{}}`), ferry.Delivered, "",
			`{"body":{"phone":"1"},"headers":{"content-type":"application/json","if-match":"*"},"id":"2","method":"PATCH","url":"companies(` + bcCompany + `)/vendors(7)"}`,
		},
		"company by name": {
			"CRONUS", answer(first, `{"id":"2","status":200,"headers":{}}`), ferry.Delivered, "",
			`{"body":{"phone":"1"},"headers":{"company":"CRONUS","content-type":"application/json","if-match":"*"},"id":"2","method":"PATCH","url":"vendors(7)"}`,
		},
		"one of them failed":             {bcCompany, answer(first, failed), ferry.Rejected, "Posting Group", ""},
		"the first failed, and no more":  {bcCompany, answer(failed), ferry.Rejected, "Posting Group", ""},
		"short of an answer":             {bcCompany, answer(first), ferry.Unknown, "1 answers to 2 requests", ""},
		"not whole":                      {bcCompany, response{200, "Content-Type: application/json", `{"responses":[`}, ferry.Unknown, "does not tell", ""},
		"refused as a whole":             {bcCompany, response{429, "", ""}, ferry.Throttled, "", ""},
		"a duplicate within, looked for": {bcCompany, answer(strings.ReplaceAll(failed, "Application_FieldValidationException", "Internal_EntityWithSameKeyExists")), ferry.Unknown, "Internal_EntityWithSameKeyExists", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dest, route := bcDest(), bcRoute()
			dest.Company, route.Batch = c.company, true
			route.Map = `[{url: "purchaseInvoices", body: {vendorNumber: .v}}, {method: "patch", url: "/vendors(7)", body: {phone: "1"}}]`
			s, adapter := tell(t, dest, route, response{200, "", bcNone}, c.said)
			v := adapter.Deliver(t.Context(), letter("A-1", `{"v":"V-1"}`))
			if v.Kind != c.kind || !strings.Contains(v.Text, c.text) || c.kind == ferry.Delivered && v.Reference != "PI-7" {
				t.Errorf("%+v", v)
			}
			sent := s.asked[1]
			if sent.method != "POST" || sent.uri != "/api/v2.0/$batch" || sent.header.Get("Isolation") != "snapshot" || strings.Contains(sent.body, "atomicityGroup") ||
				!strings.Contains(sent.body, `"body":{"vendorInvoiceNumber":"A-1","vendorNumber":"V-1"}`) || !strings.Contains(sent.body, c.inner) {
				t.Errorf("%s %s %v\n%s\nwant %s", sent.method, sent.uri, sent.header, sent.body, c.inner)
			}
		})
	}
	route := bcRoute()
	route.Batch, route.Map = true, `[range(101) | {url: "vendors", body: {}}]`
	_, adapter := tell(t, bcDest(), route, response{200, "", bcNone})
	if v := adapter.Deliver(t.Context(), letter("A-1", `{}`)); v.Kind != ferry.Rejected || !strings.Contains(v.Text, "1 to 100 requests") {
		t.Errorf("%+v", v)
	}
}

func TestBCSettings(t *testing.T) {
	route := bcRoute()
	route.KeyField = ""
	refusesRoute(t, bcDest(), route, "neither keyField nor key is set: Business Central recognises no repeat")
	refusesRoute(t, bcDest(), adapters.RouteConfig{KeyField: "x"}, "entity is missing")
	dest := bcDest()
	dest.Company = ""
	refusesRoute(t, dest, bcRoute(), "company is missing")
	route = bcRoute()
	route.Batch = true
	refusesRoute(t, bcDest(), route, "batch needs a map")
	route.Map, route.Finish, route.Lookup = ".", "post", &adapters.LookupConfig{}
	refusesRoute(t, bcDest(), route, "no finish")
	route.Finish, route.Write = "", "upsert"
	refusesRoute(t, bcDest(), route, "batch goes with write: create")
}
