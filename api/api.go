// Package api is the broker's HTTP surface for senders and operators.
//
// The whole surface stands on one page, routes.go: one table from which both the
// handler and openapi.json are made. A request goes the same way everywhere:
// name it, find the endpoint, authenticate, check the query, call the handler;
// and every error becomes an answer in one place, problem.go.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// Options of the surface.
type Options struct {
	Log         *slog.Logger // nil: slog.Default
	Environment string       // shown by /v1/me and in envelopes
	Version     string
	// PublicURL is what Location headers and status URLs begin with, such as
	// https://broker.example; empty: what the request was sent to.
	PublicURL string
	Metrics   http.Handler // answers /metrics; nil: there is none
	// AccessLog gets an entry for each request; nil: there is none.
	AccessLog AccessLog
	// SAS are the policies whose tokens stand for keys in the calls of Service Bus.
	SAS []SASPolicy
	// Tokens judges tokens of issuers; nil: none is taken.
	Tokens Tokens
	// Certificates are the client certificates that stand for keys.
	Certificates []Certificate
	// BodyMemory bounds the bodies of requests that are in memory at a time, bytes;
	// beyond it requests are answered 429. One body always fits. Messages of more than
	// ferry.InlineBody bytes go to files and take none. 0: 64 MiB.
	BodyMemory int64
	Limits     Limits
	// Origins are those whose pages may call from a browser; none by default.
	Origins []string
	// Listener says whose calls are answered; empty: everybody's.
	Listener Listener
	// Reload reads the configuration anew; nil: there is none to read.
	Reload Reloader
	Queue  QueueLink // answers /queue; nil: workers do not connect here
}

// defaultBodyMemory keeps the whole broker well below 150 MB.
const defaultBodyMemory = 64 << 20

type api struct {
	svc     Service
	opts    Options
	log     *slog.Logger
	mux     *http.ServeMux
	queues  *http.ServeMux         // of /{route}/messages and below
	openapi func() ([]byte, error) // made when it is first asked for
	bodies  *budget
	guard   *guard
	unread  unreadable // keys of SAS policies

	idPrefix string // of request ids, for this start
	idLast   atomic.Uint64

	draining context.Context // ends when the server begins to stop
	drain    context.CancelFunc
	leaving  *atomic.Bool // the server is about to stop
}

// New makes the surface over svc.
func New(svc Service, opts Options) http.Handler { return newAPI(svc, opts) }

func newAPI(svc Service, opts Options) *api {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.BodyMemory <= 0 {
		opts.BodyMemory = defaultBodyMemory
	}
	opts.PublicURL = strings.TrimRight(opts.PublicURL, "/")
	a := &api{
		svc: svc, opts: opts, log: opts.Log, mux: http.NewServeMux(), queues: http.NewServeMux(),
		bodies:   &budget{most: opts.BodyMemory},
		guard:    newGuard(opts.Limits, svc),
		idPrefix: ferry.NewID(time.Now()).Short() + "-",
	}
	a.draining, a.drain = context.WithCancel(context.Background())
	a.leaving = &atomic.Bool{}
	endpoints := opts.Listener.of(a.endpoints())
	a.openapi = sync.OnceValues(func() ([]byte, error) { return document(endpoints, opts) })
	a.register(endpoints)
	return a
}

// register gives each path one handler that knows the methods of the path, so
// that a wrong method is told the right ones.
func (a *api) register(endpoints []endpoint) {
	byPath := map[string][]*endpoint{}
	for i := range endpoints {
		ep := &endpoints[i]
		ep.queryNames = map[string]bool{"subscription-key": true, "api-version": true}
		for _, p := range ep.params {
			if p.in == inQuery {
				ep.queryNames[p.name] = true
			}
		}
		byPath[ep.path] = append(byPath[ep.path], ep)
	}
	for path, eps := range byPath {
		mux := a.mux
		if strings.HasPrefix(path, "/{route}/") {
			mux = a.queues
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, eps) })
	}
	for _, mux := range []*http.ServeMux{a.mux, a.queues} {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, nil) })
	}
}

// ServeHTTP answers a request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if unclean(r.URL.Path) {
		a.serve(w, r, nil) // the mux would redirect, and senders do not follow
		return
	}
	if ofQueue(r.URL.Path) {
		a.queues.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Leave has /readyz say no from now on, and asks callers to come back on another
// connection: the server is about to stop. Everything else is answered.
func (a *api) Leave() { a.leaving.Store(true) }

// Drain ends the waits of requests: the server begins to stop.
func (a *api) Drain() { a.drain() }

func unclean(path string) bool {
	return path == "" || path[0] != '/' || strings.Contains(path, "//") || strings.Contains(path, "/.")
}

// serve takes the request the common way; eps are the endpoints of its path.
func (a *api) serve(w http.ResponseWriter, r *http.Request, eps []*endpoint) {
	c := &call{api: a, w: w, r: r, start: time.Now(), id: a.requestID()}
	defer c.end()
	h := w.Header()
	h["X-Request-Id"] = []string{c.id}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
	if a.leaving.Load() {
		h["Connection"] = closing
	}
	if c.crossOrigin(eps) {
		return
	}
	if err := c.handle(eps); err != nil {
		c.refuse(err)
	}
}

// Header values that every answer shares; never written to.
var (
	noSniff = []string{"nosniff"}
	noStore = []string{"no-store"}
	closing = []string{"close"}
)

func (c *call) handle(eps []*endpoint) error {
	if err := c.checkHeader(); err != nil {
		return err
	}
	if len(eps) == 0 {
		return notHere()
	}
	if c.ep = forMethod(eps, c.r.Method); c.ep == nil {
		allow := allowed(eps)
		c.w.Header().Set("Allow", allow)
		return ferry.Errorf(ferry.CodeMethodNotAllowed, "%s is not possible here", c.r.Method).
			WithHint("possible: %s", allow)
	}
	if c.ep.open {
		return c.ep.handle(c)
	}
	if c.r.URL.RawQuery != "" {
		q, err := url.ParseQuery(c.r.URL.RawQuery)
		if err != nil {
			// The text of the error repeats the query, which may hold a key.
			return ferry.Errorf(ferry.CodeBadRequest, "the query cannot be read").
				WithHint("percent-encode every character beyond letters, digits, -, ., _ and ~")
		}
		c.query = q
	}
	if !c.ep.byToken || c.q("token") == "" {
		if err := c.authenticate(); err != nil {
			return err
		}
		if c.ep.act {
			c.act()
		}
		if err := c.admit(); err != nil {
			return err
		}
	}
	if err := c.checkQuery(); err != nil {
		return err
	}
	if c.ep.body != nil {
		if err := c.checkChunks(); err != nil {
			return err
		}
	}
	return c.ep.handle(c)
}

func notHere() error {
	return ferry.Errorf(ferry.CodeNotFound, "there is nothing at this path").
		WithHint("/openapi.json lists every path")
}

func forMethod(eps []*endpoint, method string) *endpoint {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, ep := range eps {
		if ep.method == method {
			return ep
		}
	}
	return nil
}

func allowed(eps []*endpoint) string {
	var methods []string
	for _, ep := range eps {
		methods = append(methods, ep.method)
		if ep.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return strings.Join(methods, ", ")
}

// end follows every request: it turns a panic into an answer, gives the memory
// back and writes the log line.
func (c *call) end() {
	if p := recover(); p != nil {
		c.api.bodies.give(c.held)
		c.held = 0
		c.settle()
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) // how a handler cuts its answer off
		}
		c.api.log.Error("panic while a request was handled", "requestId", c.id, "method", c.r.Method,
			"path", c.shownPath(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		c.refuse(fmt.Errorf("panic: %v", p))
	}
	c.api.bodies.give(c.held)
	c.settle()
	c.account()
	if c.api.log.Enabled(c.ctx(), slog.LevelDebug) {
		c.api.log.LogAttrs(c.ctx(), slog.LevelDebug, "request", c.attrs(c.status, slog.String("code", string(c.code)))...)
	}
}

// requestID is unique among the broker's starts, and cheap.
func (a *api) requestID() string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	n := a.idLast.Add(1)
	var b [24]byte
	i := len(b)
	for ; n > 0; n >>= 5 {
		i--
		b[i] = digits[n&31]
	}
	return a.idPrefix + string(b[i:])
}
