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
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/secret"
)

// practised is a dialect's practice ERP, and a route to it.
type practised struct {
	*practice.ERP
	url     string
	dest    adapters.Destination
	adapter adapters.Adapter
	keyFile string
	seq     int
}

const practiceKey = "practice-s3cret-0123456789"

// openPractice opens a route to the practice ERP of a dialect, by its example, without
// its map.
func openPractice(t *testing.T, dialect string, settings practice.Settings, change func(*adapters.DestinationConfig, *adapters.RouteConfig)) *practised {
	t.Helper()
	settings.Dialect = dialect
	p := &practised{ERP: practice.New(practiceKey, settings), keyFile: filepath.Join(t.TempDir(), "key")}
	if err := os.WriteFile(p.keyFile, []byte(practiceKey), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(p.ERP)
	p.url = srv.URL
	t.Cleanup(func() { p.Close(); srv.Close() })
	dest, route := loadExample(t, dialect, srv.URL, "file:"+filepath.ToSlash(p.keyFile))
	route.Map = "."
	if change != nil {
		change(&dest, &route)
	}
	var err error
	if p.dest, err = erp.New(secret.Resolver{}, nil)(dest); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.dest.Close() })
	if p.adapter, err = p.dest.Route(route); err != nil {
		t.Fatal(err)
	}
	return p
}

// call is the call of a new message.
func (p *practised) call(body string) adapters.Call {
	p.seq++
	return adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: ferry.NewID(time.Now()), Revision: 1, ExternalKey: fmt.Sprintf("PO-%d", p.seq), ContentType: "application/json",
		Body: []byte(body), Size: int64(len(body)),
	}}
}

func (p *practised) deliver(t *testing.T, c adapters.Call, kind ferry.VerdictKind, effect ferry.Effect) ferry.Verdict {
	t.Helper()
	v := p.adapter.Deliver(t.Context(), c)
	wantVerdict(t, "", v, kind, effect)
	return v
}

func (p *practised) poll(t *testing.T, c adapters.Call, v ferry.Verdict, kind ferry.VerdictKind) ferry.Verdict {
	t.Helper()
	c.StatusURL = v.StatusURL
	out := p.adapter.(adapters.Poller).Poll(t.Context(), c)
	if out.Kind != kind {
		t.Errorf("poll: %s (%d %s %s), want %s", out.Kind, out.Status, out.Code, out.Text, kind)
	}
	return out
}

func wantVerdict(t *testing.T, what string, v ferry.Verdict, kind ferry.VerdictKind, effect ferry.Effect) {
	t.Helper()
	if v.Kind != kind || v.Effect != effect {
		t.Errorf("%s: verdict %s, effect %s (status %d, %s %s); want %s, %s", what, v.Kind, v.Effect, v.Status, v.Code, v.Text, kind, effect)
	}
}

// reply is one answer of a answering destination.
type reply struct {
	status int
	header map[string]string
	body   string
}

// answering is a destination that answers by method and path, each list in turn and
// its last one again; it keeps what it was asked.
type answering struct {
	mu      sync.Mutex
	answers map[string][]reply // "POST /path"; the path may be left out
	asked   []string           // method and URI
	bodies  []string
	headers []http.Header
}

func (s *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.bodies, s.headers = append(s.asked, r.Method+" "+r.RequestURI), append(s.bodies, string(body)), append(s.headers, r.Header.Clone())
	for _, key := range []string{r.Method + " " + r.URL.Path, r.Method} {
		list := s.answers[key]
		if len(list) == 0 {
			continue
		}
		a := list[0]
		if len(list) > 1 {
			s.answers[key] = list[1:]
		}
		for k, v := range a.header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
		return
	}
	w.WriteHeader(http.StatusTeapot)
}

func (s *answering) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

// fact is what one answer to a create comes to.
type fact struct {
	name   string
	answer reply
	kind   ferry.VerdictKind
	effect ferry.Effect
	code   string
	text   string // a part of it
	fields string // as "name: text; name: text"
	after  time.Duration
}

// checkFacts delivers one message per fact. nothing is the answer to a question for
// a document that is not there.
func checkFacts(t *testing.T, dest adapters.DestinationConfig, route adapters.RouteConfig, write string, nothing reply, facts []fact) {
	t.Helper()
	for _, f := range facts {
		t.Run(f.name, func(t *testing.T) {
			s := &answering{answers: map[string][]reply{write: {f.answer}, "GET": {nothing}}}
			r := route
			if r.Lookup != nil {
				own := *r.Lookup
				r.Lookup = &own
			}
			v := open(t, s, dest, r).Deliver(t.Context(), call())
			wantVerdict(t, f.name, v, f.kind, f.effect)
			var fields []string
			for _, e := range v.Fields {
				fields = append(fields, e.Field+": "+e.Text)
			}
			if v.Code != f.code || !strings.Contains(v.Text, f.text) || strings.Join(fields, "; ") != f.fields || v.RetryAfter != f.after {
				t.Errorf("code %q, text %q, fields %q, after %s", v.Code, v.Text, fields, v.RetryAfter)
			}
			if all := fmt.Sprintf("%+v", v); strings.Contains(all, "Traceback") || strings.Contains(all, "stackTrace") || strings.Contains(all, " at PX.") || strings.Contains(all, "<b>") {
				t.Errorf("a traceback, or markup, is kept: %s", all)
			}
			if n := s.count(write[:strings.IndexByte(write+" ", ' ')]); n != 1 {
				t.Errorf("%d requests that write", n)
			}
		})
	}
}
