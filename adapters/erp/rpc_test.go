package erp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/secret"
)

// told is an answer as it comes.
type told struct {
	status int
	body   string
}

// teller is an ERP whose methods are called by name: it answers as told, and keeps
// what it was asked.
type teller struct {
	answers map[string][]told // by a part of the request; the last one stays

	mu    sync.Mutex
	asked []string // method of HTTP, path and body
}

func (s *teller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	request := r.URL.Path + " " + string(body)
	s.mu.Lock()
	s.asked = append(s.asked, request)
	answer := told{404, "nothing is told for " + request}
	for part, answers := range s.answers {
		if strings.Contains(request, part) {
			answer = answers[0]
			if len(answers) > 1 {
				s.answers[part] = answers[1:]
			}
		}
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, answer.body)
}

// called counts requests with that part.
func (s *teller) called(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, request := range s.asked {
		if strings.Contains(request, part) {
			n++
		}
	}
	return n
}

// sent gives the last request with that part.
func (s *teller) sent(t *testing.T, part string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.asked) - 1; i >= 0; i-- {
		if strings.Contains(s.asked[i], part) {
			return s.asked[i]
		}
	}
	t.Fatalf("no request has %q: %q", part, s.asked)
	return ""
}

// opened is one destination and one of its routes.
type opened struct {
	dest    adapters.Destination
	adapter adapters.Adapter
}

// openAs opens the practice ERP's example of a dialect on h, with changes. The
// password is "s3cret-4711".
func openAs(t *testing.T, dialect string, h http.Handler, change func(*adapters.DestinationConfig, *adapters.RouteConfig)) opened {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(rpcPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dest, route := loadExample(t, dialect, srv.URL, "file:"+filepath.ToSlash(file))
	if change != nil {
		change(&dest, &route)
	}
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	adapter, err := d.Route(route)
	if err != nil {
		t.Fatal(err)
	}
	return opened{d, adapter}
}

const rpcPassword = "s3cret-4711"

// invoiceCall is the call of an invoice.
func rpcCall(key, body string) adapters.Call {
	c := call()
	c.ExternalKey, c.Body, c.Revision = key, []byte(body), 1
	c.Size = int64(len(body))
	return c
}

// refusedSettings opens a dialect with one setting changed each, which must be an
// error that names what is wrong.
func refusedSettings(t *testing.T, dialect string, cases map[string]func(*adapters.DestinationConfig, *adapters.RouteConfig)) {
	t.Helper()
	for want, change := range cases {
		dest, route := loadExample(t, dialect, practice.ExampleURL, practice.ExampleKey)
		change(&dest, &route)
		d, err := erp.New(secret.Resolver{}, nil)(dest)
		if err == nil {
			_, err = d.Route(route)
		}
		if err == nil || !strings.Contains(err.Error(), want) || ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// rpcRefusals are the settings that all three dialects refuse.
func rpcRefusals(model string) map[string]func(*adapters.DestinationConfig, *adapters.RouteConfig) {
	return map[string]func(*adapters.DestinationConfig, *adapters.RouteConfig){
		`entity: "" is no model`:                   func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Entity = "" },
		`entity: "` + model + `/../x" is no model`: func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Entity += "/../x" },
		"neither keyField nor key is set":          func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.KeyField = "" },
		`finish: "_post" is no method`:             func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finish = "_post" },
		"finish does not go with write: update":    func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Write = "update" },
		`there is no "merge"`:                      func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Write = "merge" },
		"takes no query":                           func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Query = map[string]string{"a": "b"} },
		"takes no confirm":                         func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Confirm = "poll" },
		"takes no url":                             func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.URL = "/invoices" },
		"lookup.where is no domain":                func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Lookup.Where = "type = in" },
		`company: "Hafenlicht" is no id`:           func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Company = "Hafenlicht" },
		"reference and lookup.reference differ":    func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Lookup.Reference = ".id" },
		"result reads fields of the document, and lookup.fields does not name them": func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
			r.Result = "{number, state}"
		},
		"finished reads fields": func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finished = `.payment_state == "paid"` },
	}
}

// wantRPC asserts what a delivery came to.
func wantRPC(t *testing.T, name string, v ferry.Verdict, kind ferry.VerdictKind, effect ferry.Effect, says string) {
	t.Helper()
	if v.Kind != kind || v.Effect != effect || !strings.Contains(v.Text, says) {
		t.Errorf("%s: %s, effect %s, code %q, text %q; want %s, %s, %q", name, v.Kind, v.Effect, v.Code, v.Text, kind, effect, says)
	}
	if strings.Contains(fmt.Sprintf("%+v", v), rpcPassword) || strings.Contains(fmt.Sprintf("%+v", v), "Traceback") || strings.Contains(fmt.Sprintf("%+v", v), "iban") {
		t.Errorf("%s: the verdict keeps what it must not: %+v", name, v)
	}
}
