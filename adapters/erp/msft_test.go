package erp_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/secret"
)

// response is an answer; header is "Name: value", or empty.
type response struct {
	status       int
	header, body string
}

// asking is a request.
type asking struct {
	method, uri, body string
	header            http.Header
}

// scripted is a destination that answers as told, the last answer again and again,
// and keeps what it was asked.
type scripted struct {
	mu      sync.Mutex
	answers []response
	asked   []asking
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, asking{r.Method, r.RequestURI, string(body), r.Header})
	a := s.answers[min(len(s.asked), len(s.answers))-1]
	s.mu.Unlock()
	if name, value, ok := strings.Cut(a.header, ": "); ok {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// requests are what was asked, as "METHOD URI".
func (s *scripted) requests() []string {
	out := make([]string, len(s.asked))
	for i, a := range s.asked {
		out[i] = a.method + " " + a.uri
	}
	return out
}

// tell makes the adapter of a route to a destination that answers as told.
func tell(t *testing.T, dest adapters.DestinationConfig, route adapters.RouteConfig, answers ...response) (*scripted, adapters.Adapter) {
	t.Helper()
	s := &scripted{answers: answers}
	if route.Lookup == nil && (route.KeyField != "" || len(route.Key) > 0) {
		route.Lookup = &adapters.LookupConfig{} // as the worker's configuration has it
	}
	return s, open(t, s, dest, route)
}

// practise makes the adapter of a route to a practice ERP.
func practise(t *testing.T, dest adapters.DestinationConfig, route adapters.RouteConfig, settings practice.Settings) (*practice.ERP, adapters.Adapter) {
	t.Helper()
	settings.Dialect = dest.Dialect
	e := practice.New("", settings)
	t.Cleanup(e.Close)
	if route.Lookup == nil && (route.KeyField != "" || len(route.Key) > 0) {
		route.Lookup = &adapters.LookupConfig{}
	}
	return e, open(t, e, dest, route)
}

// letter is a call of that key and body.
func letter(key, body string) adapters.Call {
	return adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: ferry.NewID(time.Unix(1, 0)), ExternalKey: key, ContentType: "application/json", Revision: 1,
		Body: []byte(body), Size: int64(len(body)),
	}}
}

// refusesRoute asserts that a route cannot be made, and that the error says why.
func refusesRoute(t *testing.T, dest adapters.DestinationConfig, route adapters.RouteConfig, says string) {
	t.Helper()
	dest.Name, dest.URL = "erp", "https://erp.example"+dest.URL
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err == nil {
		defer func() { _ = d.Close() }()
		_, err = d.Route(route)
	}
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%+v: %v, want %q", route, err, says)
	}
}

// verdictCase is an answer and what it comes to.
type verdictCase struct {
	said   response
	kind   ferry.VerdictKind
	effect ferry.Effect
	code   string
	text   string // a part of it
	after  time.Duration
}

func (c verdictCase) check(t *testing.T, v ferry.Verdict) {
	t.Helper()
	if v.Kind != c.kind || v.Effect != c.effect || v.Code != c.code || !strings.Contains(v.Text, c.text) || v.RetryAfter != c.after {
		t.Errorf("%s, effect %s, code %q, text %q, retry after %s; want %s, %s, %q, %q, %s",
			v.Kind, v.Effect, v.Code, v.Text, v.RetryAfter, c.kind, c.effect, c.code, c.text, c.after)
	}
}

// isDelivered asserts a success with that reference.
func isDelivered(t *testing.T, v ferry.Verdict, reference string) {
	t.Helper()
	if v.Kind != ferry.Delivered || v.Effect != ferry.EffectDone || v.Reference != reference || v.Text != "" {
		t.Errorf("%s, effect %s, reference %q, code %q, text %q; want delivered, %q", v.Kind, v.Effect, v.Reference, v.Code, v.Text, reference)
	}
}

// openAt makes the adapter of a route to a destination that is there already.
func openAt(t *testing.T, dest adapters.DestinationConfig, route adapters.RouteConfig) adapters.Adapter {
	t.Helper()
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	adapter, err := d.Route(route)
	if err != nil {
		t.Fatal(err)
	}
	return adapter
}
