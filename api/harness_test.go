package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"ferry"
	"ferry/api"
)

// surface is the handler over a fake broker; every exchange is checked against
// the description that the handler itself serves.
type surface struct {
	t       *testing.T
	fake    *fake
	handler http.Handler
	options string // that the description is made of
	router  routers.Router
	log     *logBuffer
	seen    map[string]bool // operationIds that answered without refusing
	wrong   bool            // requests are wrong on purpose, and need not be described
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newSurface(t *testing.T, change ...func(*api.Options)) *surface {
	t.Helper()
	s := &surface{t: t, fake: newFake(), log: &logBuffer{}, seen: map[string]bool{}}
	opts := api.Options{
		Log:         slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Environment: "test",
		Version:     "1.2.3",
		PublicURL:   "http://broker.test/",
		Queue:       link(upgraded),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "ferry_up 1\n")
		}),
	}
	opts.Reload = func(context.Context, string, string) (ferry.Reload, error) {
		return ferry.Reload{Changed: []string{"routes[orders].window"}, At: time.Now()}, nil
	}
	for _, f := range change {
		f(&opts)
	}
	s.handler = api.New(s.fake, opts)
	s.options = strings.Join([]string{opts.Version, opts.PublicURL, string(opts.Listener)}, " ")
	return s
}

// described is the description that the handler serves, loaded, and how its calls
// are found. It is made for those tests only that hold an exchange against it.
func (s *surface) described() routers.Router {
	s.t.Helper()
	if s.router != nil {
		return s.router
	}
	router, err := descriptions.router(s.options, func() []byte {
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
		return w.Body.Bytes()
	})
	if err != nil {
		s.t.Fatalf("openapi.json: %v", err)
	}
	s.router = router
	return router
}

// descriptions are those that were loaded already: most surfaces have the same one,
// and to load it takes longer than most tests.
var descriptions loaded

type loaded struct {
	mu        sync.Mutex
	byOptions map[string]routers.Router
}

func (l *loaded) router(options string, text func() []byte) (routers.Router, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.byOptions[options]; ok {
		return r, nil
	}
	doc, err := openapi3.NewLoader().LoadFromData(text())
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	if l.byOptions == nil {
		l.byOptions = map[string]routers.Router{}
	}
	l.byOptions[options] = router
	return router, nil
}

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("answer %d has the content type %q: %s", a.StatusCode, ct, a.body)
	}
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("answer %d is not JSON: %v: %s", a.StatusCode, err, a.body)
	}
	return p
}

func read[T any](t *testing.T, a answer, status int) T {
	t.Helper()
	var v T
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("answer: %v: %s", err, a.body)
	}
	return v
}

// call makes a request with a key; header is "Name: value" pairs.
func (s *surface) call(key, method, target, body string, header ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://broker.test"+target, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return s.do(r)
}

func (s *surface) do(r *http.Request) answer {
	s.t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	length := r.ContentLength
	again := func() *http.Request {
		c := r.Clone(r.Context())
		c.Body, c.ContentLength = io.NopCloser(bytes.NewReader(body)), length
		return c
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, again())
	resp := w.Result()
	for name, values := range resp.Header { // as a client has them
		delete(resp.Header, name)
		resp.Header[http.CanonicalHeaderKey(name)] = values
	}
	a := answer{resp, w.Body.Bytes()}
	described := again()
	// Two liberties of the handler that OpenAPI cannot describe.
	if len(body) > 0 && r.Header.Get("Content-Type") == "" {
		described.Header.Set("Content-Type", "application/json")
	}
	described.Body = io.NopCloser(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	s.check(described, a)
	return a
}

// check holds the exchange against openapi.json. Requests that were refused need
// not be described; everything answered must be.
func (s *surface) check(r *http.Request, a answer) {
	s.t.Helper()
	if id := a.Header.Get("X-Request-Id"); id == "" {
		s.t.Errorf("%s %s: no X-Request-Id", r.Method, r.URL.Path)
	}
	if r.Method == http.MethodHead || r.Method == http.MethodOptions && a.StatusCode == http.StatusNoContent {
		return
	}
	route, params, err := s.described().FindRoute(r)
	if err != nil {
		if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusMethodNotAllowed {
			s.t.Errorf("%s %s answers %d and is not described: %v", r.Method, r.URL.Path, a.StatusCode, err)
		}
		return
	}
	options := &openapi3filter.Options{
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
		IncludeResponseStatus: true,
		MultiError:            true,
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	if a.StatusCode < 300 {
		s.seen[route.Operation.OperationID] = true
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil && !s.wrong {
			s.t.Errorf("%s %s is answered %d, but not described so: %v", r.Method, r.URL, a.StatusCode, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: a.StatusCode, Header: a.Header,
		Body: io.NopCloser(bytes.NewReader(a.body)), Options: options,
	}
	if err := openapi3filter.ValidateResponse(r.Context(), out); err != nil {
		s.t.Errorf("the answer to %s %s is not as described: %v\n%s", r.Method, r.URL, err, a.body)
	}
}

// RoundTrip lets a client of package client speak to the surface.
func (s *surface) RoundTrip(r *http.Request) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if r.Body != nil {
		body = r.Body
	}
	in := httptest.NewRequest(r.Method, r.URL.String(), body)
	in.Header, in.ContentLength = r.Header.Clone(), r.ContentLength
	a := s.do(in)
	a.Body = io.NopCloser(bytes.NewReader(a.body))
	return a.Response, nil
}

// refusal checks status and code together, and that the answer says what it must.
func (s *surface) refusal(a answer, code ferry.Code) api.Problem {
	s.t.Helper()
	p := a.problem(s.t)
	if p.Code != code || a.StatusCode != api.Status(code) || p.Status != a.StatusCode {
		s.t.Errorf("answer %d %s (%s; %s), want %s", a.StatusCode, p.Code, p.Detail, p.Hint, code)
	}
	if p.Type != "urn:ferry:error:"+string(p.Code) || p.Title == "" || p.Detail == "" || p.Instance == "" ||
		p.RequestID == "" || p.RequestID != a.Header.Get("X-Request-Id") {
		s.t.Errorf("the problem is not whole: %+v", p)
	}
	return p
}
