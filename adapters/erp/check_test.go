package erp_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

// TestCheckOfALookup: a destination that does not honour the condition on the key
// would have every message found, and so never delivered.
func TestCheckOfALookup(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		body, want string
		without    bool
	}{
		"absent":             {status: 200, body: `{"items":[]}`},
		"absent by status":   {status: 404},
		"condition ignored":  {status: 200, body: `{"items":[{"id":"INV-7"}]}`, want: `finds document "INV-7" for a key that no message has`},
		"refused":            {status: 403, body: `{"title":"no right to read"}`, want: "the lookup is refused: no right to read"},
		"not understood":     {status: 400, body: `{"title":"unknown field"}`, want: "unknown field"},
		"nothing to be read": {status: 200, body: `<html>`, want: "cannot be read"},
		"no lookup":          {without: true},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				if r.Method != http.MethodGet {
					t.Errorf("%s: a check writes nothing", r.Method)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer srv.Close()
			d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: srv.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			cfg := adapters.RouteConfig{
				Route: "invoices", URL: "/invoices",
				Lookup: &adapters.LookupConfig{URL: "/invoices?externalId={externalKey}", Reference: ".items[0].id"},
			}
			if c.without {
				cfg.Lookup = nil
			}
			adapter, err := d.Route(cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = adapter.(adapters.Checker).Check(t.Context())
			switch {
			case c.without:
				if !errors.Is(err, adapters.ErrNoProbe) || calls != 0 {
					t.Errorf("%v after %d calls", err, calls)
				}
			case c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
