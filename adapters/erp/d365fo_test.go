package erp_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

func foDest() adapters.DestinationConfig {
	return adapters.DestinationConfig{Dialect: "d365fo", Company: "usmf"}
}

func foRoute() adapters.RouteConfig {
	return adapters.RouteConfig{Entity: "VendorInvoiceHeaders", KeyField: "InvoiceNumber", Reference: ".HeaderReference"}
}

const (
	foNone   = `{"@odata.context":"x","value":[]}`
	foRecord = `{"@odata.etag":"W/\"5\"","@odata.editLink":"VendorInvoiceHeaders(dataAreaId='usmf',HeaderReference='H%2F7')","dataAreaId":"usmf",` +
		`"HeaderReference":"H/7","InvoiceNumber":"A-1","IsPosted":"No"}`
)

func foList(record string) response {
	return response{200, "", `{"@odata.context":"x","value":[` + record + `]}`}
}

func foError(inner string) string {
	return `{"error":{"code":"","message":"An error has occurred.","innererror":{"message":"` + inner +
		`","type":"System.InvalidOperationException","stacktrace":"   at Microsoft.Dynamics"}}}`
}

// decoded are requests with their escapes taken off.
func decoded(t *testing.T, requests []string) []string {
	t.Helper()
	out := make([]string, len(requests))
	for i, r := range requests {
		if strings.Contains(r, "+") {
			t.Errorf("a plus is no space: %s", r)
		}
		out[i], _ = url.PathUnescape(r)
	}
	return out
}

// TestD365FOAsksAcrossCompanies: without cross-company=true an answer holds the
// records of the user's own company only, and a document of another one would be
// made again; the company goes into the key and into the record.
func TestD365FOAsksAcrossCompanies(t *testing.T) {
	const find = "GET /data/VendorInvoiceHeaders?cross-company=true&$filter=dataAreaId eq 'usmf' and InvoiceNumber eq 'A-1'&$top=5"
	dest, route := foDest(), foRoute()
	s, adapter := tell(t, dest, route, response{200, "", foNone}, response{201, "", foRecord})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{"InvoiceDate":"2026-11-26","Total":10.50}`)), "H/7")
	if diff := cmp.Diff([]string{find, "POST /data/VendorInvoiceHeaders"}, decoded(t, s.requests())); diff != "" {
		t.Error(diff)
	}
	if got := s.asked[1].body; got != `{"InvoiceDate":"2026-11-26","InvoiceNumber":"A-1","Total":10.50,"dataAreaId":"usmf"}` {
		t.Errorf("body %s", got)
	}
	if h := s.asked[0].header; h.Get("Odata-Version") != "4.0" || !strings.HasPrefix(h.Get("Accept"), "application/json") {
		t.Errorf("%v", h)
	}
	// A company of the route's own; one that the map sets; a condition beside.
	route.Company, route.Lookup = "DEMF", &adapters.LookupConfig{Where: "InvoiceAccount eq 'V-1'"}
	s, adapter = tell(t, dest, route, response{200, "", foNone}, response{201, "", foRecord})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "H/7")
	if got := decoded(t, s.requests())[0]; !strings.Contains(got, "dataAreaId eq 'DEMF' and InvoiceNumber eq 'A-1' and (InvoiceAccount eq 'V-1')") || !strings.Contains(s.asked[1].body, `"DEMF"`) {
		t.Errorf("%s\n%s", got, s.asked[1].body)
	}
	s, adapter = tell(t, adapters.DestinationConfig{Dialect: "d365fo"}, adapters.RouteConfig{
		Entity: "Customers", Key: map[string]string{"dataAreaId": ".company", "CustomerAccount": ".account"},
	}, response{200, "", foNone}, response{201, "", `{}`})
	adapter.Deliver(t.Context(), letter("k", `{"company":"usrt","account":"C-7"}`))
	if got := decoded(t, s.requests())[0]; !strings.Contains(got, "$filter=CustomerAccount eq 'C-7' and dataAreaId eq 'usrt'&") {
		t.Errorf("asked %s", got)
	}
	// In the practice ERP, whose user's company is dat.
	e, adapter := practise(t, dest, foRoute(), practice.Settings{})
	for _, want := range []ferry.VerdictKind{ferry.Delivered, ferry.Duplicate} {
		if v := adapter.Deliver(t.Context(), letter("A-1", `{}`)); v.Kind != want || v.Reference != "INV-000001" {
			t.Errorf("%+v", v)
		}
	}
	if docs := e.Documents(""); len(docs) != 1 {
		t.Errorf("%d documents", len(docs))
	}
}

// TestD365FOUpserts: PATCH where the record is there, by its own key and under the
// version that was read; else POST.
func TestD365FOUpserts(t *testing.T) {
	route := foRoute()
	route.Write = "upsert"
	s, adapter := tell(t, foDest(), route, foList(foRecord), response{204, "", ""})
	if v := adapter.Deliver(t.Context(), letter("A-1", `{"Description":"x"}`)); v.Kind != ferry.Delivered || v.Reference != "H/7" {
		t.Errorf("%+v", v)
	}
	patch := s.asked[1]
	if want := "/data/VendorInvoiceHeaders(dataAreaId='usmf',HeaderReference='H%2F7')?cross-company=true"; patch.method != "PATCH" || patch.uri != want ||
		patch.header.Get("If-Match") != `W/"5"` || patch.body != `{"Description":"x"}` {
		t.Errorf("%+v", patch)
	}
	s, adapter = tell(t, foDest(), route, response{200, "", foNone}, response{201, "", foRecord})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "H/7")
	if s.asked[1].method != "POST" {
		t.Errorf("%v", s.requests())
	}
	// Without a link in the answer the key is the message's.
	s, adapter = tell(t, foDest(), route, foList(`{"dataAreaId":"usmf","InvoiceNumber":"A-1"}`), response{204, "", ""})
	adapter.Deliver(t.Context(), letter("A-1", `{}`))
	if got := decoded(t, s.requests())[1]; got != "PATCH /data/VendorInvoiceHeaders(dataAreaId='usmf',InvoiceNumber='A-1')?cross-company=true" || s.asked[1].header.Get("If-Match") != "" {
		t.Errorf("asked %s", got)
	}
	// A link to elsewhere is not followed.
	s, adapter = tell(t, foDest(), route, foList(strings.Replace(foRecord, "VendorInvoiceHeaders(", "Customers(", 1)), response{204, "", ""})
	adapter.Deliver(t.Context(), letter("A-1", `{}`))
	if got := decoded(t, s.requests())[1]; !strings.Contains(got, "InvoiceNumber='A-1'") {
		t.Errorf("asked %s", got)
	}
	// Changed meanwhile: read, and written, once more.
	s, adapter = tell(t, foDest(), route, foList(foRecord), response{412, "", ""}, foList(strings.Replace(foRecord, "5", "6", 1)), response{204, "", ""})
	if v := adapter.Deliver(t.Context(), letter("A-1", `{}`)); v.Kind != ferry.Delivered || s.asked[3].header.Get("If-Match") != `W/"6"` {
		t.Errorf("%+v", v)
	}
}

// TestD365FOVerdicts: what answers to a create come to. What it is about stands
// within innererror.
func TestD365FOVerdicts(t *testing.T) {
	const write = "Write failed for table row of type 'VendorInvoiceHeaderEntity'. Infolog: "
	maybe := adapters.CodeMaybeDuplicate
	for name, c := range map[string]verdictCase{
		"429 with Retry-After":          {response{429, "Retry-After: 12", ""}, ferry.Throttled, ferry.EffectNone, "", "", 12 * time.Second},
		"503":                           {response{503, "", ""}, ferry.Unavailable, ferry.EffectNone, "", "", 0},
		"500":                           {response{500, "", foError("Object reference not set")}, ferry.Unknown, ferry.EffectMaybe, "", "An error has occurred.: Object reference not set", 0},
		"502":                           {response{502, "", ""}, ferry.Unknown, ferry.EffectMaybe, "", "", 0},
		"record already exists, in 400": {response{400, "", foError(write + "Error: Cannot create a record in X (Y). The record already exists.")}, ferry.Unknown, ferry.EffectMaybe, maybe, "already exists", 0},
		"record already exists, in 500": {response{500, "", foError(write + "The record already exists.")}, ferry.Unknown, ferry.EffectMaybe, maybe, "already exists", 0},
		"record already exists, in 409": {response{409, "", foError("The record already exists.")}, ferry.Unknown, ferry.EffectMaybe, maybe, "", 0},
		"not valid, in 400":             {response{400, "", foError(write + "Warning: Item is blocked.; Warning: validateWrite failed on data source 'X (X)'.")}, ferry.Rejected, ferry.EffectNone, "", "Item is blocked", 0},
		"not valid, in 500":             {response{500, "", foError(write + "Warning: The field is mandatory; validateField failed.")}, ferry.Rejected, ferry.EffectNone, "", "mandatory", 0},
		"a deadlock":                    {response{500, "", foError("Cannot edit a record in X. Deadlock, where one or more users have simultaneously locked the whole table or part of it.")}, ferry.Failed, ferry.EffectNone, "", "Deadlock", 0},
		"somebody else's change":        {response{400, "", foError(write + "An update conflict occurred due to another user process deleting the record")}, ferry.Failed, ferry.EffectNone, "", "", 0},
		"401":                           {response{401, "", ""}, ferry.Unauthorized, ferry.EffectNone, "", "", 0},
		"403":                           {response{403, "", foError("Access denied")}, ferry.Unauthorized, ferry.EffectNone, "", "Access denied", 0},
		"404":                           {response{404, "", ""}, ferry.Rejected, ferry.EffectNone, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, adapter := tell(t, foDest(), foRoute(), response{200, "", foNone}, c.said)
			c.check(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)))
		})
	}
}

// TestD365FOFinishes: an act that is bound to the record is called by the record's
// own key, until finished says that it is done.
func TestD365FOFinishes(t *testing.T) {
	route := foRoute()
	route.Finish, route.Finished = "post", `.IsPosted == "Yes"`
	s, adapter := tell(t, foDest(), route, foList(foRecord), response{200, "", `{"@odata.context":"x","value":true}`})
	isDelivered(t, adapter.Deliver(t.Context(), letter("A-1", `{}`)), "H/7")
	if want := "/data/VendorInvoiceHeaders(dataAreaId='usmf',HeaderReference='H%2F7')/Microsoft.Dynamics.DataEntities.post?cross-company=true"; s.asked[1].uri != want || s.asked[1].body != "{}" {
		t.Errorf("%+v", s.asked[1])
	}
	e, adapter := practise(t, foDest(), route, practice.Settings{})
	call := letter("A-1", `{}`)
	if err := e.Fail(practice.Fault{Kind: practice.FaultCutBefore, On: practice.OpFinish}); err != nil {
		t.Fatal(err)
	}
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Unknown || !strings.Contains(v.Text, "document INV-000001 is there") {
		t.Errorf("%+v", v)
	}
	for _, want := range []ferry.VerdictKind{ferry.Delivered, ferry.Duplicate} {
		call.Number++
		if v := adapter.Deliver(t.Context(), call); v.Kind != want || v.Reference != "INV-000001" {
			t.Errorf("%+v", v)
		}
	}
	if docs := e.Documents(""); len(docs) != 1 || docs[0].Status != "Yes" {
		t.Errorf("%+v", docs)
	}
}

func TestD365FOSettings(t *testing.T) {
	refusesRoute(t, foDest(), adapters.RouteConfig{}, "entity is missing")
	refusesRoute(t, foDest(), adapters.RouteConfig{Entity: "Customers", Write: "upsert"}, "needs keyField or key")
	route := foRoute()
	route.Finish, route.Lookup = "post", &adapters.LookupConfig{}
	refusesRoute(t, foDest(), route, "finish needs finished")
	route.Finished, route.Write = "true", "update"
	refusesRoute(t, foDest(), route, "finish goes with write: create")
}
