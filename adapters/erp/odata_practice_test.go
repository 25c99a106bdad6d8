package erp_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/secret"
)

// odataPractised opens the practice ERP of an OData dialect, and its destination.
func odataPractised(t *testing.T, dialect, version string, settings practice.Settings) (*practice.ERP, adapters.Destination) {
	t.Helper()
	settings.Dialect = dialect
	world := practice.New("s3cret-of-odata", settings)
	srv := httptest.NewServer(world)
	t.Cleanup(func() {
		world.Close()
		srv.Close()
	})
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("s3cret-of-odata"), 0o600); err != nil {
		t.Fatal(err)
	}
	dest, _ := loadExample(t, dialect, srv.URL, "file:"+filepath.ToSlash(key))
	if version == "v2" && dialect == "odata" {
		dest.URL, dest.Version = srv.URL+"/odata/v2/erp", "v2"
	}
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return world, d
}

// TestPracticeODataBatch: the practice ERP's batches, whose parts happen together or
// not at all, in each of the three shapes.
func TestPracticeODataBatch(t *testing.T) {
	for name, c := range map[string]struct{ dialect, version, set, key, number string }{
		"V4 in JSON":  {"odata", "v4", "Invoices", "externalId", "number"},
		"V2":          {"odata", "v2", "Invoices", "externalId", "number"},
		"SAP Gateway": {"odata-sap", "v2", "A_SupplierInvoice", "SupplierInvoiceIDByInvcgParty", "DocumentHeaderText"},
	} {
		t.Run(name, func(t *testing.T) {
			world, d := odataPractised(t, c.dialect, c.version, practice.Settings{Required: []string{"number"}, OnDuplicate: practice.Conflict})
			reference := ".ID"
			if c.dialect == "odata-sap" {
				reference = ".SupplierInvoice"
			}
			adapter, err := d.Route(adapters.RouteConfig{
				Route: "r", Entity: c.set, Batch: true, KeyField: c.key, Reference: reference, Lookup: &adapters.LookupConfig{},
				Map: `[{url: "` + c.set + `", body: {` + c.number + `: .a}}, {url: "` + c.set + `", body: {` + c.number + `: .b}}]`,
			})
			if err != nil {
				t.Fatal(err)
			}
			call := odataCall("B-1")
			call.Body = []byte(`{"a":"1"}`)
			v := adapter.Deliver(t.Context(), call)
			if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Status != 400 || !strings.Contains(v.Text, "request 2") || len(world.Documents("")) != 0 {
				t.Errorf("part 2 is refused: %+v, %d documents", v, len(world.Documents("")))
			}
			call.Body = []byte(`{"a":"1","b":"2"}`)
			if v = adapter.Deliver(t.Context(), call); v.Kind != ferry.Delivered || v.Reference == "" || len(world.Documents("")) != 2 {
				t.Errorf("both: %+v, %d documents", v, len(world.Documents("")))
			}
			reference = v.Reference
			v = adapter.Deliver(t.Context(), call)
			if v.Kind != ferry.Unknown || v.Code != adapters.CodeMaybeDuplicate || len(world.Documents("")) != 2 {
				t.Errorf("again: %+v", v)
			}
			if r := adapter.Lookup(t.Context(), call); r.State != adapters.Found || r.Reference != reference {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestPracticeODataActs: released once, with the ETag; what is over is not released
// again.
func TestPracticeODataActs(t *testing.T) {
	for name, c := range map[string]struct{ dialect, version, set, key, act, finished, reference string }{
		"V4":          {"odata", "v4", "Invoices(ID)", "externalId", "release", `.status == "released"`, ""},
		"V2":          {"odata", "v2", "Invoices(ID)", "externalId", "release", `.status == "released"`, ""},
		"SAP Gateway": {"odata-sap", "v2", "A_SupplierInvoice", "SupplierInvoiceIDByInvcgParty", "Release", `.SupplierInvoiceStatus == "released"`, ".SupplierInvoice"},
	} {
		t.Run(name, func(t *testing.T) {
			world, d := odataPractised(t, c.dialect, c.version, practice.Settings{})
			adapter, err := d.Route(adapters.RouteConfig{
				Route: "r", Entity: c.set, KeyField: c.key, Reference: c.reference, Finish: c.act, Finished: c.finished, Lookup: &adapters.LookupConfig{}, Map: "{a: 1}",
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := world.Fail(practice.Fault{Kind: practice.FaultStatus, Status: 500, On: practice.OpFinish, Text: "Invoice is locked by user MILLER"}); err != nil {
				t.Fatal(err)
			}
			call := odataCall("F-1")
			v := adapter.Deliver(t.Context(), call)
			locked := ferry.Unknown
			if c.dialect == "odata-sap" {
				locked = ferry.Failed
			}
			if v.Kind != locked || len(world.Documents("")) != 1 {
				t.Fatalf("%+v, %d documents", v, len(world.Documents("")))
			}
			if r := adapter.Lookup(t.Context(), call); r.State != adapters.Absent {
				t.Errorf("it is still to be released: %+v", r)
			}
			call.Number = 2
			if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Delivered || len(world.Documents("")) != 1 || world.Documents("")[0].Status != "released" {
				t.Errorf("%+v, %+v", v, world.Documents(""))
			}
			call.Number = 3
			if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Duplicate || v.Reference != world.Documents("")[0].ID {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestPracticeODataActsAfterATakeOver: a turn that somebody else began, and of which
// nobody knows an attempt, may have left a document that was not acted on.
func TestPracticeODataActsAfterATakeOver(t *testing.T) {
	world, d := odataPractised(t, "odata", "v4", practice.Settings{})
	adapter, err := d.Route(adapters.RouteConfig{
		Route: "r", Entity: "Invoices(ID)", KeyField: "externalId", Finish: "release", Finished: `.status == "released"`, Lookup: &adapters.LookupConfig{}, Map: "{a: 1}",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Fail(practice.Fault{Kind: practice.FaultStatus, Status: 500, On: practice.OpFinish}); err != nil {
		t.Fatal(err)
	}
	call := odataCall("F-1")
	call.Turn = 1
	if v := adapter.Deliver(t.Context(), call); v.Kind.HasIt() {
		t.Fatalf("%+v", v)
	}
	call.Turn = 2
	if v := adapter.Deliver(t.Context(), call); v.Kind != ferry.Delivered || len(world.Documents("")) != 1 || world.Documents("")[0].Status != "released" {
		t.Errorf("%+v, %+v", v, world.Documents(""))
	}
	if creates, acts := world.Calls(practice.OpCreate), world.Calls(practice.OpFinish); creates != 1 || acts != 2 {
		t.Errorf("%d creates and %d acts", creates, acts)
	}
}
