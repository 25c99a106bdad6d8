package erp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"ferry"
	"ferry/adapters/erp"
	"ferry/secret"
)

// TestSeeOtherIsNoProofOfNothing: 303 is how some services answer a create that they
// carried out. No dialect may say of it that nothing was written.
func TestSeeOtherIsNoProofOfNothing(t *testing.T) {
	for _, dialect := range []string{"rest", "odata", "odata-sap", "dataverse", "d365fo", "bc", "netsuite", "frappe"} {
		t.Run(dialect, func(t *testing.T) {
			writes := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet || r.Method == http.MethodHead {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"value":[],"data":[],"d":{"results":[]}}`)
					return
				}
				writes++
				w.Header().Set("Location", "/elsewhere/1")
				w.WriteHeader(http.StatusSeeOther)
			}))
			defer srv.Close()
			key := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(key, []byte("any-key-0123"), 0o600); err != nil {
				t.Fatal(err)
			}
			dest, route := loadExample(t, dialect, srv.URL, "file:"+filepath.ToSlash(key))
			d, err := erp.New(secret.Resolver{}, nil)(dest)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			adapter, err := d.Route(route)
			if err != nil {
				t.Fatal(err)
			}
			c := call()
			c.ExternalKey = "A-1"
			c.Body = []byte(`{"invoice":{"number":"A-1","supplier":"17","currency":"EUR","total":100,"date":"2026-11-26"}}`)
			if v := adapter.Deliver(t.Context(), c); v.Kind != ferry.Unknown || v.Effect != ferry.EffectMaybe || writes != 1 {
				t.Errorf("%s, effect %s after %d writes: %s", v.Kind, v.Effect, writes, v.Text)
			}
		})
	}
}
