package erp_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

// A destination whose certificate is of an authority of its own: with the wrong
// one nothing is sent and the route stops; the file is put right while all runs.
func TestAuthorityOfItsOwn(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"id":"7"}`)
	}))
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	trust := func(s *httptest.Server) {
		t.Helper()
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		if err := os.WriteFile(ca, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(ca, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: srv.URL, TLS: httpauth.TLS{CA: ca}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	a, err := d.Route(adapters.RouteConfig{URL: "/in", Reference: ".id"})
	if err != nil {
		t.Fatal(err)
	}
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Unauthorized || v.Effect != ferry.EffectNone || v.Code != "secretUnreadable" {
		t.Errorf("no certificate in the file: %+v", v)
	}
	before := d.(adapters.Fingerprinter).Fingerprint()
	trust(srv)
	if now := d.(adapters.Fingerprinter).Fingerprint(); now == before || strings.Contains(now, adapters.Unreadable) {
		t.Errorf("nobody notices that the file is another: %s, was %s", now, before)
	}
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Delivered || v.Reference != "7" {
		t.Errorf("%+v", v)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: "http://erp.example", TLS: httpauth.TLS{CA: ca}})
	if ferry.CodeOf(err) != ferry.CodeBadConfig {
		t.Errorf("without https: %v", err)
	}
}
