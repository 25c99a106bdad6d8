package erp_test

import (
	"bytes"
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

// BenchmarkDeliver against BenchmarkBarePost: what the adapter costs on top of
// the call itself.
func BenchmarkDeliver(b *testing.B) {
	srv := benchServer(b)
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: srv.URL})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	adapter, err := d.Route(adapters.RouteConfig{URL: "/invoices", Reference: ".id"})
	if err != nil {
		b.Fatal(err)
	}
	c := call()
	c.ExternalKey, c.Body = "A-1", benchBody()
	b.ReportAllocs()
	for b.Loop() {
		if v := adapter.Deliver(b.Context(), c); v.Kind != ferry.Delivered || v.Reference != "INV-1" {
			b.Fatalf("%+v", v)
		}
	}
}

func BenchmarkBarePost(b *testing.B) {
	srv := benchServer(b)
	client := srv.Client()
	body := benchBody()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := client.Post(srv.URL+"/invoices", "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}

func benchBody() []byte {
	return []byte(`{"number":"A-1","filler":"` + strings.Repeat("x", 1000) + `"}`)
}

func benchServer(b *testing.B) *httptest.Server {
	b.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"INV-1","status":"booked"}`)
	}))
	b.Cleanup(srv.Close)
	return srv
}
