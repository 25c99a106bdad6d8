package erp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

// TestMaskedMembersAreNeitherKeptNorShown: neither by their names, nor where the
// destination quotes their values.
func TestMaskedMembersAreNeitherKeptNorShown(t *testing.T) {
	const iban = "DE89370400440532013000"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			_, _ = fmt.Fprintf(w, `{"items":[{"id":"INV-1","account":"%s"}]}`, iban)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), iban) {
			t.Errorf("the destination gets %s", body)
		}
		if strings.Contains(string(body), "refuse") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"title":"no bank knows %s","errors":[{"pointer":"/bank/iban","detail":"%s is closed"}]}`, iban, iban)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"id":"INV-1","iban":"%s","note":"paid to %s"}`, iban, iban)
	}))
	defer srv.Close()
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: srv.URL, Mask: []string{"account"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	adapter, err := d.Route(adapters.RouteConfig{
		URL: "/invoices", Reference: ".id", Result: ".", Mask: []string{"/supplier/iban", "iban"}, Map: `{bank: {iban: .supplier.iban}, number}`,
		Lookup: &adapters.LookupConfig{URL: "/invoices?externalId={externalKey}", Reference: ".items[0].id", Result: ".items[0]"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := call()
	kept := func(what string, v any, want string) {
		t.Helper()
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), iban) || !strings.Contains(string(data), want) {
			t.Errorf("%s keeps %s", what, data)
		}
	}
	c.Body = []byte(`{"number":"A","supplier":{"iban":"` + iban + `"}}`)
	v := adapter.Deliver(t.Context(), c)
	if v.Kind != ferry.Delivered || v.Reference != "INV-1" {
		t.Fatalf("%+v", v)
	}
	kept("a result", v, "paid to ***")
	kept("a lookup", adapter.Lookup(t.Context(), c), `"account":"***"`)
	p, err := adapter.Preview(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	kept("a preview", p, `\"number\":\"A\"`)
	c.Body = []byte(`{"number":"refuse","supplier":{"iban":"` + iban + `"}}`)
	v = adapter.Deliver(t.Context(), c)
	if v.Kind != ferry.Rejected {
		t.Fatalf("%+v", v)
	}
	kept("a refusal", v, "no bank knows ***")
}
