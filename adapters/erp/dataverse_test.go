package erp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

const rowGUID = "7eb682f1-ca75-e511-80d4-00155d2a68d1"

func dataverseDest() adapters.DestinationConfig {
	return adapters.DestinationConfig{Dialect: "dataverse"}
}

func dataverseRoute(write string) adapters.RouteConfig {
	return adapters.RouteConfig{Entity: "new_invoices", KeyField: "new_externalid", Write: write, Map: `{new_number: .number}`}
}

// TestDataverseWritesByAlternateKey: a row is written by PATCH on its alternate
// key, with the condition of the kind of write, and without the key in the body.
func TestDataverseWritesByAlternateKey(t *testing.T) {
	row := `{"@odata.context":"x","@odata.etag":"W/\"77\"","new_externalid":"A-1","new_invoiceid":"` + rowGUID + `"}`
	const address = "/api/data/v9.2/new_invoices(new_externalid=%27A-1%27)?$select=new_externalid"
	for name, c := range map[string]struct {
		write    string
		answers  []response
		requests []string
		header   map[string]string // of the last request
	}{
		"create only, by If-None-Match": {
			"",
			[]response{{201, "", row}},
			[]string{"PATCH " + address},
			map[string]string{"If-None-Match": "*", "If-Match": ""},
		},
		"upsert, created": {
			"upsert",
			[]response{{201, "", row}},
			[]string{"PATCH " + address},
			map[string]string{"If-None-Match": "", "If-Match": ""},
		},
		"upsert, written over": {
			"upsert",
			[]response{{200, "", row}},
			[]string{"PATCH " + address},
			map[string]string{"If-None-Match": "", "If-Match": ""},
		},
		"update, by the version that was read": {
			"update",
			[]response{{200, "", row}, {200, "", row}},
			[]string{"GET " + address, "PATCH " + address},
			map[string]string{"If-Match": `W/"77"`},
		},
		"update of a row without a version": {
			"update",
			[]response{{200, "", `{"new_invoiceid":"` + rowGUID + `"}`}, {200, "", row}},
			[]string{"GET " + address, "PATCH " + address},
			map[string]string{"If-Match": "*"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, adapter := tell(t, dataverseDest(), dataverseRoute(c.write), c.answers...)
			isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{"number":"1"}`)), rowGUID)
			if diff := cmp.Diff(c.requests, s.requests()); diff != "" {
				t.Error(diff)
			}
			last := s.asked[len(s.asked)-1]
			c.header["Prefer"], c.header["Odata-Version"], c.header["Odata-Maxversion"] = "return=representation", "4.0", "4.0"
			c.header["Accept"], c.header["Content-Type"] = "application/json", "application/json"
			for name, want := range c.header {
				if got := last.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if last.body != `{"new_number":"1"}` {
				t.Errorf("body %s", last.body)
			}
		})
	}
}

// TestDataverseReferences: the row's id comes from the row, or from OData-EntityId,
// which names the row by its key where it was written by one.
func TestDataverseReferences(t *testing.T) {
	for name, c := range map[string]struct {
		entity    string
		said      response
		reference string
	}{
		"204 with the id":          {"accounts", response{204, "OData-EntityId: https://o.crm.dynamics.com/api/data/v9.2/accounts(" + rowGUID + ")", ""}, rowGUID},
		"204 with the key":         {"accounts", response{204, "OData-EntityId: https://o.crm.dynamics.com/api/data/v9.2/accounts(code='A-1')", ""}, "code='A-1'"},
		"the table's own id":       {"accounts", response{201, "", `{"address1_addressid":"` + strings.Repeat("1", 8) + rowGUID[8:] + `","accountid":"` + rowGUID + `","_ownerid_value":"` + rowGUID + `"}`}, rowGUID},
		"plural in ies":            {"opportunities", response{201, "", `{"aid":"` + strings.Repeat("1", 8) + rowGUID[8:] + `","opportunityid":"` + rowGUID + `"}`}, rowGUID},
		"plural in es":             {"new_boxes", response{201, "", `{"aid":"` + strings.Repeat("1", 8) + rowGUID[8:] + `","new_boxid":"` + rowGUID + `"}`}, rowGUID},
		"activities are called so": {"tasks", response{201, "", `{"aid":"` + strings.Repeat("1", 8) + rowGUID[8:] + `","activityid":"` + rowGUID + `","bid":"` + rowGUID + `"}`}, rowGUID},
	} {
		t.Run(name, func(t *testing.T) {
			_, adapter := tell(t, dataverseDest(), adapters.RouteConfig{Entity: c.entity, Key: map[string]string{"code": ".code"}}, c.said)
			isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{"code":"A-1"}`)), c.reference)
		})
	}
	// With a jq program of the route's own, all columns come.
	s, adapter := tell(t, dataverseDest(), adapters.RouteConfig{Entity: "accounts", KeyField: "code", Reference: ".accountnumber"}, response{201, "", `{"accountnumber":"AC-7"}`})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "AC-7")
	if uri := s.asked[0].uri; strings.Contains(uri, "$select") {
		t.Errorf("asked %s", uri)
	}
	// Without any key a row is just created.
	s, adapter = tell(t, dataverseDest(), adapters.RouteConfig{Entity: "accounts"}, response{204, "OData-EntityId: https://o/api/data/v9.2/accounts(" + rowGUID + ")", ""})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{"name":"x"}`)), rowGUID)
	if got := s.requests()[0]; got != "POST /api/data/v9.2/accounts" || s.asked[0].header.Get("If-None-Match") != "" {
		t.Errorf("asked %s", got)
	}
}

// TestDataverseVerdicts: what answers to a write come to, body before status.
func TestDataverseVerdicts(t *testing.T) {
	problem := func(code, message string) string {
		return `{"error":{"code":"` + code + `","message":"` + message + `"}}`
	}
	for name, c := range map[string]verdictCase{
		"429, number of requests": {
			response{429, "Retry-After: 17", problem("0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds.")},
			ferry.Throttled, ferry.EffectNone, "0x80072322", "limit of 6000", 17 * time.Second,
		},
		"429, execution time": {
			response{429, "Retry-After: 30", problem("0x80072321", "Combined execution time")}, ferry.Throttled, ferry.EffectNone, "0x80072321", "", 30 * time.Second,
		},
		"429, at a time": {
			response{429, "", problem("0x80072326", "Number of concurrent requests exceeded the limit of 52.")}, ferry.Throttled, ferry.EffectNone, "0x80072326", "52", 0,
		},
		"a limit in the code, whatever the status": {
			response{503, "Retry-After: 9", problem("0x80072322", "Number of requests")}, ferry.Throttled, ferry.EffectNone, "0x80072322", "", 9 * time.Second,
		},
		"503": {response{503, "Retry-After: 5", ""}, ferry.Unavailable, ferry.EffectNone, "", "", 5 * time.Second},
		"412, If-None-Match found a row": {
			response{412, "", `{"error":{"code":"","message":"A record with matching key values already exists.","innererror":{"message":"Cannot insert duplicate key."}}}`},
			ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "matching key values already exists", 0,
		},
		"412, duplicate alternate key": {
			response{412, "", problem("0x80060892", "Entity Key violated")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "0x80060892", 0,
		},
		"412, a rule for detecting duplicates": {
			response{412, "", problem("0x80040333", "A record was not created because a duplicate exists")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "0x80040333", 0,
		},
		"500 that is a duplicate": {
			response{500, "", problem("0x80040237", "Cannot insert duplicate key")}, ferry.Unknown, ferry.EffectMaybe, adapters.CodeMaybeDuplicate, "0x80040237", 0,
		},
		"412, another version": {
			response{412, "", problem("0x80060882", "The version of the existing record doesn't match")}, ferry.Failed, ferry.EffectNone, "0x80060882", "version", 0,
		},
		"400, a value": {
			response{400, "", problem("0x80044331", "A validation error occurred.")}, ferry.Rejected, ferry.EffectNone, "0x80044331", "validation", 0,
		},
		"401":                   {response{401, "", ""}, ferry.Unauthorized, ferry.EffectNone, "", "", 0},
		"403, a privilege":      {response{403, "", problem("0x80040220", "is missing prvCreateAccount")}, ferry.Unauthorized, ferry.EffectNone, "0x80040220", "prvCreate", 0},
		"404, wrong entity set": {response{404, "", problem("0x8006088a", "Resource not found for the segment 'invoice'.")}, ferry.Rejected, ferry.EffectNone, "0x8006088a", "check entity", 0},
		"500":                   {response{500, "", problem("0x80040216", "An unexpected error occurred.")}, ferry.Unknown, ferry.EffectMaybe, "0x80040216", "", 0},
		"504":                   {response{504, "", ""}, ferry.Unknown, ferry.EffectMaybe, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, adapter := tell(t, dataverseDest(), dataverseRoute(""), c.said)
			c.check(t, adapter.Deliver(t.Context(), letter("A-1", `{"number":"1"}`)))
		})
	}
	// If-Match: * finds no row: it is not created.
	_, adapter := tell(t, dataverseDest(), dataverseRoute("update"),
		response{200, "", `{"new_invoiceid":"` + rowGUID + `"}`}, response{404, "", problem("0x80060891", "does not exist")})
	verdictCase{kind: ferry.Rejected, effect: ferry.EffectNone, code: "0x80060891", text: "no row of the key"}.
		check(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)))
}

// TestDataverseLookups: a row that is not there is told from an address that is
// wrong, which would otherwise have every document made again.
func TestDataverseLookups(t *testing.T) {
	for name, c := range map[string]struct {
		said  response
		state adapters.LookupState
		kind  ferry.VerdictKind
	}{
		"there":                      {response{200, "", `{"new_externalid":"A-1","new_invoiceid":"` + rowGUID + `"}`}, adapters.Found, ""},
		"404, no row of the key":     {response{404, "", `{"error":{"code":"0x80060891","message":"A record with the specified key values does not exist in new_invoice entity"}}`}, adapters.Absent, ""},
		"404, no row, in words only": {response{404, "", `{"error":{"code":"","message":"new_invoice With Id = x Does Not Exist"}}`}, adapters.Absent, ""},
		"404, no row of the id":      {response{404, "", `{"error":{"code":"0x80040217","message":"new_invoice With Id = x Does Not Exist"}}`}, adapters.Absent, ""},
		"404, wrong entity set":      {response{404, "", `{"error":{"code":"0x8006088a","message":"Resource not found for the segment 'new_invoice'."}}`}, adapters.Unanswered, ferry.Failed},
		"404 of a proxy":             {response{404, "", `<html>not here</html>`}, adapters.Unanswered, ferry.Failed},
		"400, the key is none":       {response{400, "", `{"error":{"code":"0x80060888","message":"The specified key attributes are not a defined key"}}`}, adapters.Unanswered, ferry.Failed},
		"204":                        {response{204, "", ``}, adapters.Unanswered, ferry.Failed},
		"empty object":               {response{200, "", `{}`}, adapters.Unanswered, ferry.Failed},
		"throttled":                  {response{429, "", `{"error":{"code":"0x80072322","message":"x"}}`}, adapters.Unanswered, ferry.Throttled},
		"down":                       {response{503, "", ``}, adapters.Unanswered, ferry.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s, adapter := tell(t, dataverseDest(), dataverseRoute(""), c.said)
			r := adapter.Lookup(t.Context(), letter("A-1", `{}`))
			if r.State != c.state || r.Verdict.Kind != c.kind {
				t.Errorf("state %d, verdict %s (%s)", r.State, r.Verdict.Kind, r.Verdict.Text)
			}
			if c.state == adapters.Found && r.Reference != rowGUID {
				t.Errorf("reference %q", r.Reference)
			}
			if s.asked[0].header.Get("Prefer") != "" {
				t.Error("a question asks for a representation")
			}
		})
	}
}

// TestDataverseKeysThatBreakAddresses: no spelling of / < > * % & : \ ? + # in a key
// finds a row. The external key is shaped; keys of the route's own are refused
// before anything is sent.
func TestDataverseKeysThatBreakAddresses(t *testing.T) {
	for _, c := range `/<>*%&:\?+#` {
		key := "PO" + string(c) + "7"
		s, adapter := tell(t, dataverseDest(), dataverseRoute(""), response{201, "", `{"new_invoiceid":"` + rowGUID + `"}`})
		isDelivered(t, adapter.Deliver(t.Context(), letter(key, `{}`)), rowGUID)
		if uri := s.asked[0].uri; !strings.Contains(uri, "(new_externalid=%27PO-7-") {
			t.Errorf("%q: asked %s", key, uri)
		}
		route := dataverseRoute("")
		route.KeyField, route.Key = "", map[string]string{"new_number": ".number"}
		s, adapter = tell(t, dataverseDest(), route, response{201, "", `{}`})
		call := letter("A-1", `{"number":`+quoted(key)+`}`)
		v := adapter.Deliver(t.Context(), call)
		if v.Kind != ferry.Rejected || v.Code != adapters.CodeMappingFailed || !strings.Contains(v.Text, "shortkey(") || len(s.asked) != 0 {
			t.Errorf("%q: %s %q, %d requests", key, v.Kind, v.Text, len(s.asked))
		}
		if r := adapter.Lookup(t.Context(), call); r.State != adapters.Unanswered || len(s.asked) != 0 {
			t.Errorf("%q: lookup %d", key, r.State)
		}
	}
	// What an address can carry: doubled apostrophes, numbers, ids of lookup columns, several columns.
	route := dataverseRoute("upsert")
	route.KeyField, route.Key = "", map[string]string{"a": ".a", "b": ".b", "_c_value": ".c"}
	s, adapter := tell(t, dataverseDest(), route, response{201, "", `{"new_invoiceid":"` + rowGUID + `"}`})
	isDelivered(t, adapter.Deliver(t.Context(), letter("k", `{"a":"O'Neil ä","b":7,"c":"`+rowGUID+`"}`)), rowGUID)
	if want := "/api/data/v9.2/new_invoices(_c_value=" + rowGUID + ",a=%27O%27%27Neil%20%C3%A4%27,b=7)?$select=_c_value%2Ca%2Cb"; s.asked[0].uri != want {
		t.Errorf("asked %s\nwant  %s", s.asked[0].uri, want)
	}
}

func quoted(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

// TestDataverseOnce: in the practice ERP, a key has one row however often it comes.
func TestDataverseOnce(t *testing.T) {
	e, adapter := practise(t, dataverseDest(), dataverseRoute("upsert"), practice.Settings{})
	first := adapter.Deliver(t.Context(), letter("A-1", `{"number":"1"}`))
	again := letter("A-1", `{"number":"2"}`)
	again.Revision = 2
	second := adapter.Deliver(t.Context(), again)
	docs := e.Documents("A-1")
	if len(docs) != 1 || first.Reference != second.Reference || string(docs[0].Body) != `{"new_number":"2"}` {
		t.Errorf("%+v; %q, then %q", docs, first.Reference, second.Reference)
	}
	// A create leaves the row as it is, and finds it.
	create := open(t, e, dataverseDest(), func() adapters.RouteConfig {
		r := dataverseRoute("")
		r.Lookup = &adapters.LookupConfig{}
		return r
	}())
	v := create.Deliver(t.Context(), letter("A-1", `{"number":"3"}`))
	r := create.Lookup(t.Context(), letter("A-1", `{"number":"3"}`))
	if v.Code != adapters.CodeMaybeDuplicate || r.State != adapters.Found || r.Reference != first.Reference || string(e.Documents("A-1")[0].Body) != `{"new_number":"2"}` {
		t.Errorf("%+v, %+v", v, r)
	}
	// An update of a row that is not there makes none.
	_, update := practise(t, dataverseDest(), dataverseRoute("update"), practice.Settings{})
	if v := update.Deliver(t.Context(), letter("A-1", `{"number":"1"}`)); v.Kind != ferry.Rejected || v.Code != "notFound" {
		t.Errorf("%+v", v)
	}
}

func TestDataverseSettings(t *testing.T) {
	refusesRoute(t, dataverseDest(), adapters.RouteConfig{}, "entity is missing")
	refusesRoute(t, dataverseDest(), adapters.RouteConfig{Entity: "a b"}, "characters that cannot stand")
	refusesRoute(t, dataverseDest(), adapters.RouteConfig{Entity: "accounts", Write: "upsert"}, "needs keyField or key")
	refusesRoute(t, dataverseDest(), adapters.RouteConfig{Entity: "accounts", Finish: "x"}, "takes no finish")
	// The path of the Web API is added where url has none.
	for url, want := range map[string]string{"": "/api/data/v9.2/accounts", "/": "/api/data/v9.2/accounts", "/api/data/v9.1/": "/api/data/v9.1/accounts"} {
		dest := dataverseDest()
		dest.URL = url
		s, adapter := tell(t, dest, adapters.RouteConfig{Entity: "accounts"}, response{204, "", ""})
		adapter.Deliver(t.Context(), letter("k", `{}`))
		if got := s.asked[0]; got.uri != want || got.method != http.MethodPost {
			t.Errorf("%q: %s", url, got.uri)
		}
	}
}
