package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/config"
	"ferry/internal/prism"
	"ferry/worker"
)

// TestPrism goes from a description to verdicts, at a server that another project
// made of the same description: what worker import wrote is loaded and delivers.
// Prism answers as the description says, holds requests against it, and gives the
// answer that the header Prefer asks for.
func TestPrism(t *testing.T) {
	address := prism.Start(t, "../../examples/openapi/invoices.yaml")
	api := strings.Replace(example(t), "https://{host}/api", address, 1)
	// Ours lets longer numbers through than the server does: a description that has
	// moved on.
	api = strings.Replace(api, "maxLength: 40", "maxLength: 400", 1)
	code, text, stderr := runIn(t, map[string]string{"invoices.yaml": api}, "import", "openapi", "invoices.yaml", "--operation", "createInvoice")
	if code != exitDone {
		t.Fatal(stderr)
	}
	call := func(number string) adapters.Call {
		body := `{"number":"` + number + `","supplier":{"id":"S-1"},"date":"2026-01-31","currency":"EUR","total":11.90,"lines":[{"account":"4400","amount":11.90}]}`
		now := time.Now()
		return adapters.Call{Number: 1, HandOut: ferry.HandOut{
			ID: ferry.NewID(now), Route: "create-invoice", ExternalKey: number, ContentType: "application/json", Body: []byte(body), Size: int64(len(body)),
		}}
	}
	// edited is the route of the file with a few lines changed, as a person would.
	edited := func(t *testing.T, changes ...string) (*config.Worker, *worker.Setup) {
		t.Helper()
		return opens(t, strings.NewReplacer(changes...).Replace(text))
	}
	const lookup = "    lookup: {url: \"/invoices?number={externalKey}\", reference: \".items[0].id\"}\n"
	forced := func(status string) []string {
		return []string{"    reference: .id\n", "    reference: .id\n    headers: {Prefer: code=" + status + "}\n" + lookup}
	}

	t.Run("201 is delivered", func(t *testing.T) {
		_, setup := edited(t)
		v := setup.Routes[0].Adapter.Deliver(t.Context(), call("4711"))
		if v.Kind != ferry.Delivered || v.Status != 201 || v.Reference != "INV-000001" {
			t.Errorf("%+v", v)
		}
		if err := setup.Destinations["invoices"].Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := setup.Destinations["invoices"].Probe(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("401 stops the route", func(t *testing.T) {
		_, setup := edited(t, "auth: {type: apiKey, header: x-api-key, key: env:INVOICES_KEY}", "auth: {type: none}")
		v := setup.Routes[0].Adapter.Deliver(t.Context(), call("4711"))
		if v.Kind != ferry.Unauthorized || v.Effect != ferry.EffectNone || v.Status != 401 || v.Code != "keyRefused" {
			t.Errorf("%+v", v)
		}
	})
	t.Run("422 is rejected with its fields", func(t *testing.T) {
		_, setup := edited(t)
		v := setup.Routes[0].Adapter.Deliver(t.Context(), call(strings.Repeat("1", 100)))
		if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Status != 422 || v.Code != "invalid" {
			t.Errorf("%+v", v)
		}
		want := []ferry.FieldError{{Field: "#/supplier/id", Text: "is not known"}, {Field: "#/lines/0/account", Text: "is closed"}}
		if diff := cmp.Diff(want, v.Fields); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what both refuse is not sent", func(t *testing.T) {
		_, setup := edited(t)
		v := setup.Routes[0].Adapter.Deliver(t.Context(), call(""))
		if v.Kind != ferry.Rejected || v.Status != 0 || v.Code != "schemaViolation" || len(v.Fields) != 1 || v.Fields[0].Field != "/number" {
			t.Errorf("%+v", v)
		}
	})
	t.Run("409 is looked up", func(t *testing.T) {
		_, setup := edited(t, forced("409")...)
		a := setup.Routes[0].Adapter
		v := a.Deliver(t.Context(), call("4711"))
		if v.Kind != ferry.Unknown || v.Code != adapters.CodeMaybeDuplicate || v.Status != 409 {
			t.Errorf("%+v", v)
		}
		if found := a.Lookup(t.Context(), call("4711")); found.State != adapters.Found || found.Reference != "INV-000001" {
			t.Errorf("%+v", found)
		}
	})
	t.Run("429 holds the destination", func(t *testing.T) {
		_, setup := edited(t, forced("429")...)
		v := setup.Routes[0].Adapter.Deliver(t.Context(), call("4711"))
		if v.Kind != ferry.Throttled || v.Effect != ferry.EffectNone || v.RetryAfter != 7*time.Second {
			t.Errorf("%+v", v)
		}
	})
	t.Run("503 is away", func(t *testing.T) {
		_, setup := edited(t, forced("503")...)
		v := setup.Routes[0].Adapter.Deliver(t.Context(), call("4711"))
		if v.Kind != ferry.Unavailable || v.Effect != ferry.EffectNone || v.RetryAfter != 7*time.Second {
			t.Errorf("%+v", v)
		}
	})
}
