package erp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/internal/cap"
	"ferry/secret"
)

// capService opens routes on SAP CAP.
type capService struct {
	t    *testing.T
	root string // of the address
	dest adapters.Destination
}

func startCAP(t *testing.T, mode cap.Mode, version string) *capService {
	t.Helper()
	root := cap.Start(t, mode)
	t.Setenv("FERRY_CAP_PASSWORD", cap.Password)
	path := cap.V4
	if version == "v2" {
		path = cap.V2
	}
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{
		Name: "cap", Dialect: "odata", Version: version, URL: root + path, Timeout: 20 * time.Second,
		Auth: httpauth.Config{Type: "basic", Username: cap.User, Password: "env:FERRY_CAP_PASSWORD"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &capService{t: t, root: root, dest: d}
}

func (c *capService) route(cfg adapters.RouteConfig) adapters.Adapter {
	c.t.Helper()
	if cfg.Lookup == nil && (cfg.KeyField != "" || len(cfg.Key) > 0) {
		cfg.Lookup = &adapters.LookupConfig{}
	}
	adapter, err := c.dest.Route(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return adapter
}

// get asks the service itself. A plus in the address stays one.
func (c *capService) get(path string) (int, map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.root+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth(cap.User, cap.Password)
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var v map[string]any
	_ = json.Unmarshal(data, &v)
	return resp.StatusCode, v
}

func (c *capService) count(set string) int {
	c.t.Helper()
	_, v := c.get(cap.V4 + "/" + set + "?$count=true&$top=0")
	n, ok := v["@odata.count"].(float64)
	if !ok {
		c.t.Fatalf("%s: no count in %v", set, v)
	}
	return int(n)
}

const capInvoice = `{"supplier":"S-1","number":"A-1","currency":"EUR","total":25.50,"date":"2026-11-26","lines":[{"text":"a","amount":10.25},{"text":"b","amount":15.25}]}`

func capCall(key, body string) adapters.Call {
	return adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: ferry.NewID(time.Now()), Revision: 1, ExternalKey: key, ContentType: "application/json", Body: []byte(body), CreatedAt: time.Now(),
	}}
}

func capInvoices() adapters.RouteConfig {
	return adapters.RouteConfig{Route: "invoices", Entity: "SupplierInvoices(ID:guid)", Map: ".", KeyField: "externalId", KeyLength: 40}
}

// TestCAPDeepInsert: an invoice and its lines in one request, found again by its
// external key, whose apostrophe, blank and plus are no obstacle.
func TestCAPDeepInsert(t *testing.T) {
	c := startCAP(t, cap.Development, "v4")
	route := capInvoices()
	route.KeyLength = 0
	route.Result = `{total, lines: (.lines | length)}`
	adapter := c.route(route)
	call := capCall("O'Neil +1 & more", capInvoice)
	v := adapter.Deliver(t.Context(), call)
	if v.Kind != ferry.Delivered || len(v.Reference) != 36 || string(v.Result) != `{"lines":2,"total":25.5}` || v.RemoteCorrelationID == "" {
		t.Fatalf("%+v", v)
	}
	if r := adapter.Lookup(t.Context(), call); r.State != adapters.Found || r.Reference != v.Reference {
		t.Errorf("%+v", r)
	}
	if r := adapter.Lookup(t.Context(), capCall("another", capInvoice)); r.State != adapters.Absent {
		t.Errorf("%+v", r)
	}
	if n := c.count("SupplierInvoiceLines"); n != 2 {
		t.Errorf("%d lines", n)
	}
	if err := adapter.(adapters.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
	// A filter as url.Values writes it is refused.
	status, _ := c.get(cap.V4 + "/SupplierInvoices?$filter=externalId+eq+'x'")
	if status != 400 {
		t.Errorf("a plus in a filter: %d", status)
	}
	if status, _ = c.get(cap.V4 + "/SupplierInvoices?%24filter=externalId%20eq%20'x'"); status != 200 {
		t.Errorf("an escaped dollar: %d", status)
	}
}

// TestCAPDuplicate: a duplicate is a 500, which in production says nothing. In
// both the lookup finds the document.
func TestCAPDuplicate(t *testing.T) {
	for mode, code := range map[cap.Mode]string{cap.Development: adapters.CodeMaybeDuplicate, cap.Production: "500"} {
		c := startCAP(t, mode, "v4")
		adapter := c.route(capInvoices())
		call := capCall("INV-1", capInvoice)
		first := adapter.Deliver(t.Context(), call)
		second := adapter.Deliver(t.Context(), call)
		if first.Kind != ferry.Delivered || second.Kind != ferry.Unknown || second.Status != 500 || second.Code != code {
			t.Errorf("%s: %+v\n%+v", mode, first, second)
		}
		if r := adapter.Lookup(t.Context(), call); r.State != adapters.Found || r.Reference != first.Reference {
			t.Errorf("%s: %+v", mode, r)
		}
		if n := c.count("SupplierInvoices"); n != 1 {
			t.Errorf("%s: %d invoices", mode, n)
		}
	}
}

func TestCAPErrors(t *testing.T) {
	for _, version := range []string{"v4", "v2"} {
		c := startCAP(t, cap.Development, version)
		adapter := c.route(capInvoices())
		v := adapter.Deliver(t.Context(), capCall("E-1", `{"total":"-1"}`))
		fields := map[string]string{}
		for _, f := range v.Fields {
			fields[f.Field] = f.Text
		}
		if v.Kind != ferry.Rejected || v.Code != "MULTIPLE_ERRORS" || len(fields) != 4 || fields["supplier"] == "" || fields["number"] == "" || fields["total"] == "" {
			t.Errorf("%s: %+v", version, v)
		}
		for supplier, want := range map[string]ferry.VerdictKind{"LOCKED": ferry.Failed, "CLOSED": ferry.Unknown, "UNKNOWN": ferry.Rejected} {
			v := adapter.Deliver(t.Context(), capCall("E-2", strings.Replace(capInvoiceOf(version), "S-1", supplier, 1)))
			if v.Kind != want || !strings.Contains(v.Code+v.Text, "SUPPLIER_"+supplier) && v.Kind != ferry.Unknown {
				t.Errorf("%s, %s: %+v", version, supplier, v)
			}
		}
	}
}

// capInvoiceOf is the invoice as a version wants it.
func capInvoiceOf(version string) string {
	if version == "v4" {
		return capInvoice
	}
	return `{"supplier":"S-1","number":"A-1","currency":"EUR","total":"25.50","date":"/Date(1795651200000)/","lines":{"results":[{"text":"a","amount":"10.25"}]}}`
}

// TestCAPETag: what is written over needs If-Match (428), of what is there now
// (412); upsert creates, then writes over; update leaves alone what is not there.
func TestCAPETag(t *testing.T) {
	c := startCAP(t, cap.Development, "v4")
	route := adapters.RouteConfig{
		Route: "suppliers", Entity: "Suppliers", Map: `{name}`, Write: "upsert", Key: map[string]string{"code": ".code", "country": ".country"},
	}
	upsert := c.route(route)
	route.Write = "update"
	update := c.route(route)
	route.Write, route.Method = "upsert", "PATCH"
	direct := c.route(route)
	supplier := func(name string) adapters.Call {
		return capCall("S", `{"code":"O'N 1","country":"DE","name":"`+name+`"}`)
	}
	name := func() any {
		_, v := c.get(cap.V4 + "/Suppliers(code='O''N%201',country='DE')")
		return v["name"]
	}
	if v := update.Deliver(t.Context(), supplier("zero")); v.Kind != ferry.Rejected || v.Code != "notFound" {
		t.Errorf("update of nothing: %+v", v)
	}
	if v := upsert.Deliver(t.Context(), supplier("one")); v.Kind != ferry.Delivered || v.Status != 201 || v.Reference != "O'N 1/DE" || name() != "one" {
		t.Errorf("created: %+v, %v", v, name())
	}
	if v := upsert.Deliver(t.Context(), supplier("two")); v.Kind != ferry.Delivered || v.Status != 200 || name() != "two" {
		t.Errorf("written over: %+v, %v", v, name())
	}
	if v := update.Deliver(t.Context(), supplier("three")); v.Kind != ferry.Delivered || name() != "three" {
		t.Errorf("updated: %+v, %v", v, name())
	}
	// Without the ETag: our own fault, which a person is told of.
	if v := direct.Deliver(t.Context(), supplier("four")); v.Kind != ferry.Failed || v.Effect != ferry.EffectNone || v.Status != 428 || !strings.Contains(v.Text, "If-Match") || name() != "three" {
		t.Errorf("no If-Match: %+v, %v", v, name())
	}
	route.Headers = map[string]string{"If-Match": `W/"2001-01-01T00:00:00.000Z"`}
	stale := c.route(route)
	if v := stale.Deliver(t.Context(), supplier("five")); v.Kind != ferry.Failed || v.Status != 412 || name() != "three" {
		t.Errorf("a stale ETag: %+v, %v", v, name())
	}
	route.Method, route.Headers = "PUT", map[string]string{"If-None-Match": "*"}
	create := c.route(route)
	if v := create.Deliver(t.Context(), capCall("S", `{"code":"2","country":"DE","name":"new"}`)); v.Kind != ferry.Delivered || v.Status != 201 {
		t.Errorf("PUT with If-None-Match: %+v", v)
	}
	route.Headers = map[string]string{"If-Match": "*"}
	if v := c.route(route).Deliver(t.Context(), capCall("S", `{"code":"3","country":"DE","name":"new"}`)); v.Kind != ferry.Failed || v.Status != 412 || c.count("Suppliers") != 2 {
		t.Errorf("PUT with If-Match of what is not there: %+v", v)
	}
}

// TestCAPFinish: a bound action after the create, addressed by a GUID that only the
// answer has; the second attempt finds the document and releases it.
func TestCAPFinish(t *testing.T) {
	for version, act := range map[string]string{"v4": "ferry.ERP.release", "v2": "SupplierInvoices_release"} {
		c := startCAP(t, cap.Development, version)
		route := capInvoices()
		route.Finish, route.Finished = act, `.status == "released"`
		adapter := c.route(route)
		call := capCall("F-1", capInvoiceOf(version))
		v := adapter.Deliver(t.Context(), call)
		if v.Kind != ferry.Delivered || len(v.Reference) != 36 {
			t.Errorf("%s: %+v", version, v)
			continue
		}
		if r := adapter.Lookup(t.Context(), call); r.State != adapters.Found {
			t.Errorf("%s: %+v", version, r)
		}
		draft := capInvoices()
		draftOnly := capCall("F-2", capInvoiceOf(version))
		c.route(draft).Deliver(t.Context(), draftOnly)
		if r := adapter.Lookup(t.Context(), draftOnly); r.State != adapters.Absent {
			t.Errorf("%s: a draft is still to be finished: %+v", version, r)
		}
		draftOnly.Number = 2
		if v := adapter.Deliver(t.Context(), draftOnly); v.Kind != ferry.Delivered {
			t.Errorf("%s: %+v", version, v)
		}
		if n := c.count("SupplierInvoices"); n != 2 {
			t.Errorf("%s: %d invoices", version, n)
		}
		_, all := c.get(cap.V4 + "/SupplierInvoices?$filter=status%20ne%20'released'")
		if left, _ := all["value"].([]any); len(left) != 0 {
			t.Errorf("%s: not released: %v", version, left)
		}
	}
}

// TestCAPBatch: the whole is a success (200, 202) and part 1 "created", while part
// 2 is refused: nothing was stored, and the message is rejected.
func TestCAPBatch(t *testing.T) {
	for name, version := range map[string]string{"JSON": "v4", "multipart": "v4", "V2": "v2"} {
		c := startCAP(t, cap.Development, version)
		route := adapters.RouteConfig{
			Route: "batch", Batch: true,
			Map: `[.suppliers[] | {url: "Suppliers", body: .}]`, Reference: ".code",
		}
		if name == "multipart" {
			route.ContentType = "multipart/mixed"
		}
		adapter := c.route(route)
		good := `{"code":"1","country":"DE","name":"one"}`
		v := adapter.Deliver(t.Context(), capCall("B-1", fmt.Sprintf(`{"suppliers":[%s,{"code":"2","country":"DE"}]}`, good)))
		if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Status != 400 || !strings.Contains(v.Text, "request 2") || c.count("Suppliers") != 0 {
			t.Errorf("%s: %+v, %d suppliers", name, v, c.count("Suppliers"))
		}
		v = adapter.Deliver(t.Context(), capCall("B-2", fmt.Sprintf(`{"suppliers":[%s,{"code":"2","country":"DE","name":"two"}]}`, good)))
		if v.Kind != ferry.Delivered || v.Status != 201 || v.Reference != "1" || c.count("Suppliers") != 2 {
			t.Errorf("%s: %+v, %d suppliers", name, v, c.count("Suppliers"))
		}
		v = adapter.Deliver(t.Context(), capCall("B-3", fmt.Sprintf(`{"suppliers":[{"code":"3","country":"DE","name":"three"},%s]}`, good)))
		if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Code != "SQLITE_CONSTRAINT_PRIMARYKEY" || c.count("Suppliers") != 2 {
			t.Errorf("%s: a duplicate in it, without a lookup: %+v, %d suppliers", name, v, c.count("Suppliers"))
		}
	}
}

// TestCAPV2: through the adapter of V2: amounts are texts, and come back without
// their zeroes; the address in the answer is of an inner host.
func TestCAPV2(t *testing.T) {
	c := startCAP(t, cap.Development, "v2")
	route := capInvoices()
	route.Map = `.total = (.total | decstring(2)) | .date = (.date | odatadate) | .lines = {results: [.lines[] | .amount = (.amount | decstring(2))]}`
	route.Result = `{total, date, address: .__metadata.uri}`
	adapter := c.route(route)
	call := capCall("V2 o'clock", capInvoice)
	v := adapter.Deliver(t.Context(), call)
	var result struct{ Total, Date, Address string }
	if err := json.Unmarshal(v.Result, &result); err != nil || v.Kind != ferry.Delivered || len(v.Reference) != 36 {
		t.Fatalf("%v: %+v", err, v)
	}
	if result.Total != "25.5" || result.Date != "/Date(1795651200000)/" || !strings.Contains(result.Address, "guid'"+v.Reference+"'") {
		t.Errorf("%+v", result)
	}
	if r := adapter.Lookup(t.Context(), call); r.State != adapters.Found || r.Reference != v.Reference {
		t.Errorf("%+v", r)
	}
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Unknown || v.Code != adapters.CodeMaybeDuplicate {
		t.Errorf("%+v", v)
	}
	// By the GUID, whose literal differs between the versions.
	route.KeyField, route.KeyLength, route.Key = "", 0, map[string]string{"ID": `"` + v.Reference + `"`}
	if r := c.route(route).Lookup(t.Context(), call); r.State != adapters.Found || r.Reference != v.Reference {
		t.Errorf("by GUID: %+v", r)
	}
}
