package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/trace"
)

// Options of New.
type Options struct {
	// Allow opens more than https at public addresses: hosts, addresses and networks,
	// each with a port or without. Of the broker's own machine http is taken as well.
	Allow []string
	// CA are certificates in PEM that are trusted beside the system's; nil: none.
	CA      []byte
	Timeout time.Duration // of one callback; default 10 s
	// Encode makes the body of a callback.
	Encode      func(ferry.Envelope) []byte
	ContentType string // of what Encode makes; default application/json
	Version     string // of the broker, for User-Agent
	// Tracer makes a span of each callback; nil: none is made.
	Tracer *trace.Tracer
	// Operator makes the body of an operator event, in a format.
	Operator func(e *ferry.OperatorEvent, format string) []byte

	// Resolve and Dial stand in for the system's, in tests.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

// Notifier tells the ends of messages over HTTP. It may be used concurrently.
type Notifier struct {
	opts    Options
	policy  *policy
	clients map[string]*http.Client // by scheme
}

const (
	pageSize       = 32       // ends that one address is told at a time
	atOnce         = 4        // of them, under way
	maxAnswer      = 64 << 10 // bytes of an answer that are read, so that the connection can be used again
	defaultTimeout = 10 * time.Second
)

// New makes a Notifier. An error is a *ferry.Error of the code badConfiguration.
func New(opts Options) (*Notifier, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.ContentType == "" {
		opts.ContentType = "application/json"
	}
	if opts.Resolve == nil {
		opts.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	p, err := newPolicy(opts.Allow)
	if err != nil {
		return nil, err
	}
	roots, err := pool(opts.CA)
	if err != nil {
		return nil, err
	}
	n := &Notifier{opts: opts, policy: p, clients: map[string]*http.Client{}}
	for _, scheme := range []string{"https", "http"} {
		g := &guard{scheme: scheme, policy: p, resolve: opts.Resolve, dial: opts.Dial}
		n.clients[scheme] = &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil, // a proxy would look names up behind our back
				DialContext:            g.DialContext,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				TLSHandshakeTimeout:    dialTimeout,
				ResponseHeaderTimeout:  opts.Timeout,
				MaxResponseHeaderBytes: 16 << 10,
				MaxIdleConns:           128,
				MaxIdleConnsPerHost:    atOnce,
				IdleConnTimeout:        30 * time.Second,
				DisableCompression:     true,
				TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1 only
			},
			// Where a redirect leads, nobody subscribed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return n, nil
}

func pool(pem []byte) (*x509.CertPool, error) {
	if pem == nil {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "callbacks.ca holds no certificate").WithHint("a file of certificates in PEM")
	}
	return roots, nil
}

// Close ends the connections that are kept open.
func (n *Notifier) Close() {
	for _, c := range n.clients {
		c.CloseIdleConnections()
	}
}

// Page says how many ends a Notifier is given at a time, and how long it may take.
func (n *Notifier) Page() (ends int, within time.Duration) {
	return pageSize, pageSize/atOnce*n.opts.Timeout + time.Second
}

// Tell sends ends to one address, a few at a time. After the first that fails no
// more are begun: what is amiss is the address's.
func (n *Notifier) Tell(ctx context.Context, _ ferry.NoticeTarget, ends []ferry.Ending) []error {
	errs := make([]error, len(ends))
	var (
		mu     sync.Mutex
		next   int
		failed error
		group  sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || next == len(ends) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range min(atOnce, len(ends)) {
		group.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				err := n.tell(ctx, &ends[i])
				mu.Lock()
				errs[i] = err
				if err != nil && !errors.Is(err, ferry.ErrUntellable) && failed == nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for i := next; i < len(ends); i++ {
		errs[i] = fmt.Errorf("%w: %w", ferry.ErrNotTried, failed)
	}
	return errs
}

// tell sends one callback. No error of it holds the address, which is often a
// secret.
func (n *Notifier) tell(ctx context.Context, e *ferry.Ending) error {
	ctx, span := n.opts.Tracer.Tell(ctx, e)
	err := n.call(ctx, e)
	span.Told(err)
	return err
}

func (n *Notifier) call(ctx context.Context, e *ferry.Ending) error {
	if err := n.MayCall(e.URL); err != nil {
		return err // the configuration changed since it was taken: it may change again
	}
	ctx, cancel := context.WithTimeout(ctx, n.opts.Timeout)
	defer cancel()
	body, about := n.opts.body(e)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: its address cannot be read", ferry.ErrUntellable)
	}
	for name, value := range about {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "Ferry/"+n.opts.Version)
	req, span := trace.Request(req)
	sign(req.Header, e.Secrets, e.EventID(), time.Now(), body)
	resp, err := n.clients[req.URL.Scheme].Do(req)
	if err != nil {
		span.Answered(0)
		return n.failed(ctx, err)
	}
	span.Answered(resp.StatusCode)
	defer func() { _ = resp.Body.Close() }() // read as far as it matters
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	return judge(resp)
}

// body is what is told, and the headers that say what it is.
func (o *Options) body(e *ferry.Ending) ([]byte, map[string]string) {
	if e.Operator != nil {
		return o.Operator(e.Operator, e.Format), map[string]string{"Content-Type": "application/json", "Ferry-Event": string(e.Operator.Type)}
	}
	return o.Encode(e.Envelope), map[string]string{
		"Content-Type": o.ContentType, "Ferry-Event": string(ferry.EventOf(e.State)), "Ferry-Message-Id": e.ID.String(),
	}
}

// failed is an error of the network without the address.
func (n *Notifier) failed(ctx context.Context, err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("there was no whole answer within %s", n.opts.Timeout)
	}
	return err
}

// answered is a status that is not good.
type answered struct {
	status int
	after  time.Duration
}

func (a *answered) Error() string {
	if a.status >= 300 && a.status < 400 {
		return "it answers " + strconv.Itoa(a.status) + ", and redirects are not followed"
	}
	return "it answers " + strconv.Itoa(a.status)
}

// Is makes two of the statuses a target that is gone.
func (a *answered) Is(target error) bool {
	return target == ferry.ErrTargetGone && (a.status == http.StatusNotFound || a.status == http.StatusGone)
}

// RetryAfter is when the address wants to be called again.
func (a *answered) RetryAfter() time.Duration { return a.after }

// judge says what an answer means. What it says beside its status is not read: it
// may repeat the address.
func judge(resp *http.Response) error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	a := &answered{status: resp.StatusCode}
	if seconds, err := strconv.Atoi(strings.TrimSpace(resp.Header.Get("Retry-After"))); err == nil && seconds > 0 {
		a.after = time.Duration(min(seconds, int(ferry.MaxRetryAfter/time.Second))) * time.Second
	}
	return a
}
