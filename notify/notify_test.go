package notify

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
)

func notifier(t *testing.T, opts Options) *Notifier {
	t.Helper()
	if opts.Encode == nil {
		opts.Encode = func(e ferry.Envelope) []byte { return []byte(`{"id":"` + e.ID.String() + `"}`) }
	}
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// heard is what a subscriber got.
type heard struct {
	mu   sync.Mutex
	list []*http.Request
	body [][]byte
}

func (h *heard) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list, h.body = append(h.list, r), append(h.body, body)
}

// subscriber serves TLS on loopback; h.example leads there, as if it were public.
func subscriber(t *testing.T, handler http.Handler) (opts Options, url string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return Options{
		CA:      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}),
		Timeout: 5 * time.Second,
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "8.8.8.8:443" {
				return nil, errors.New("the wrong address: " + address)
			}
			var d net.Dialer
			return d.DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}, "https://example.com/cb?sig=SECRET" // the name of the test's certificate
}

func ending(url string, n byte) ferry.Ending {
	id := ferry.ID{15: n}
	return ferry.Ending{
		Notice: ferry.Notice{
			To: ferry.NoticeTarget{Kind: ferry.ReplyCallback, Route: "invoices", Target: ferry.MaskURL(url)},
			ID: id, Event: ferry.ID{14: n}, State: ferry.StateCompleted, Generation: 1, URL: url,
		},
		Envelope: ferry.Envelope{ID: id, State: ferry.StateCompleted}, Secrets: [][]byte{[]byte("the secret of the sender"), []byte("the secret before it....")},
	}
}

func tell(t *testing.T, n *Notifier, ends ...ferry.Ending) []error {
	t.Helper()
	return n.Tell(t.Context(), ends[0].To, ends)
}

func TestACallback(t *testing.T) {
	h := &heard{}
	opts, url := subscriber(t, h)
	opts.Version = "1.2.3"
	n := notifier(t, opts)
	e := ending(url, 1)
	for range 2 { // a try and another
		if err := tell(t, n, e)[0]; err != nil {
			t.Fatal(err)
		}
	}
	r := h.list[0]
	if r.Method != http.MethodPost || r.Host != "example.com" || r.URL.RawQuery != "sig=SECRET" || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("User-Agent") != "Ferry/1.2.3" || r.Header.Get("Ferry-Event") != "completed" || r.Header.Get("Ferry-Message-Id") != e.ID.String() {
		t.Errorf("%+v", r)
	}
	if got := string(h.body[0]); got != `{"id":"`+e.ID.String()+`"}` {
		t.Errorf("body: %s", got)
	}
	for i, r := range h.list {
		for _, secret := range e.Secrets {
			if !Verify(secret, r.Header, h.body[i], time.Now()) {
				t.Errorf("try %d was not signed with %q: %v", i, secret, r.Header)
			}
		}
	}
	if a, b := h.list[0].Header.Get("webhook-id"), h.list[1].Header.Get("webhook-id"); a != b || a != "msg_"+e.Event.String() {
		t.Errorf("ids: %s, %s", a, b)
	}
}

func TestWhatASubscriberAnswers(t *testing.T) {
	var status atomic.Int64
	var after atomic.Value
	after.Store("")
	var elsewhere atomic.Int64
	opts, url := subscriber(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			elsewhere.Add(1)
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Retry-After", after.Load().(string))
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte("you called " + r.URL.String()))
	}))
	n := notifier(t, opts)
	for _, c := range []struct {
		status int
		after  string
		good   bool
		gone   bool
		wait   time.Duration
	}{
		{status: 200, good: true},
		{status: 202, good: true},
		{status: 204, good: true},
		{status: 301},
		{status: 302},
		{status: 307},
		{status: 308},
		{status: 400},
		{status: 401},
		{status: 404, gone: true},
		{status: 410, gone: true},
		{status: 429, after: "7", wait: 7 * time.Second},
		{status: 500},
		{status: 503, after: "99999999", wait: ferry.MaxRetryAfter},
		{status: 503, after: "soon"},
	} {
		status.Store(int64(c.status))
		after.Store(c.after)
		err := tell(t, n, ending(url, 1))[0]
		if (err == nil) != c.good || errors.Is(err, ferry.ErrTargetGone) != c.gone || errors.Is(err, ferry.ErrUntellable) {
			t.Errorf("%d: %v", c.status, err)
		}
		if err == nil {
			continue
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%d: the error holds the address: %v", c.status, err)
		}
		if patient, ok := errors.AsType[*answered](err); !ok || patient.RetryAfter() != c.wait {
			t.Errorf("%d, Retry-After %q: %v", c.status, c.after, err)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// A subscriber that says nothing, or a byte at a time, costs no more than the
// time-out; the others of the page are not begun.
func TestASlowSubscriber(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int64
	opts, url := subscriber(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for {
			select {
			case <-release:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if _, err := conn.Write([]byte("H")); err != nil {
				return
			}
		}
	}))
	defer close(release)
	opts.Timeout = 100 * time.Millisecond
	n := notifier(t, opts)
	var ends []ferry.Ending
	for i := range byte(pageSize) {
		ends = append(ends, ending(url, i+1))
	}
	errs := tell(t, n, ends...)
	tried := 0
	for i, err := range errs {
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Fatalf("%d: %v", i, err)
		}
		if !errors.Is(err, ferry.ErrNotTried) {
			tried++
		}
	}
	if tried > atOnce || asked.Load() > atOnce {
		t.Errorf("%d were tried, %d asked", tried, asked.Load())
	}
}

// What a name leads to is looked at when the connection is made, and for the
// address that is connected to: a name that moves between two looks gains nothing.
func TestANameThatMoves(t *testing.T) {
	h := &heard{}
	opts, url := subscriber(t, h)
	var looks atomic.Int64
	opts.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		if looks.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("fe80::1")}, nil
	}
	var dialled []string
	good := opts.Dial
	opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return good(ctx, network, address)
	}
	n := notifier(t, opts)
	if err := tell(t, n, ending(url, 1))[0]; err != nil {
		t.Fatal(err)
	}
	n.Close() // the next one needs a connection of its own
	err := tell(t, n, ending(url, 2))[0]
	if err == nil || !strings.Contains(err.Error(), "is not public") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("it was called again: %v", err)
	}
	if _, ok := errors.AsType[*blocked](err); !ok {
		t.Errorf("%#v", err)
	}
	if len(h.list) != 1 || len(dialled) != 1 {
		t.Errorf("%d heard, dialled %q", len(h.list), dialled)
	}
}

// Of several addresses the public ones are called, and the network's own dialler
// holds what it connects to against the policy once more.
func TestOnlyPublicOnesOfSeveral(t *testing.T) {
	opts, url := subscriber(t, &heard{})
	opts.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("8.8.8.8")}, nil
	}
	if err := tell(t, notifier(t, opts), ending(url, 1))[0]; err != nil {
		t.Error(err)
	}
	g := &guard{scheme: "https", policy: notifier(t, Options{}).policy}
	_, err := g.connect(t.Context(), "h.example", netip.MustParseAddrPort("127.0.0.1:443"))
	if _, ok := errors.AsType[*blocked](err); !ok {
		t.Errorf("the dialler connects: %v", err)
	}
}

func TestLoopbackIsOpenedByName(t *testing.T) {
	h := &heard{}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	if err := tell(t, notifier(t, Options{}), ending(srv.URL, 1))[0]; ferry.CodeOf(err) != ferry.CodeBadCallbackURL {
		t.Errorf("loopback, and nobody opened it: %v", err)
	}
	if err := tell(t, notifier(t, Options{Allow: []string{"127.0.0.1"}}), ending(srv.URL+"/cb?sig=SECRET", 1))[0]; err != nil || len(h.list) != 1 {
		t.Errorf("%v, %d heard", err, len(h.list))
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	opts, url := subscriber(t, &heard{})
	opts.CA = nil
	err := tell(t, notifier(t, opts), ending(url, 1))[0]
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("an unknown authority: %v", err)
	}
	opts, url = subscriber(t, &heard{})
	if err := tell(t, notifier(t, opts), ending(strings.Replace(url, "example.com", "other.test", 1), 1))[0]; err == nil {
		t.Error("another host's certificate is taken")
	}
	if _, err := New(Options{CA: []byte("no certificate")}); ferry.CodeOf(err) != ferry.CodeBadConfig {
		t.Errorf("a file without certificates: %v", err)
	}
}

// No proxy of the environment stands between: it would look names up itself.
func TestNoProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	h := &heard{}
	opts, url := subscriber(t, h)
	if err := tell(t, notifier(t, opts), ending(url, 1))[0]; err != nil || len(h.list) != 1 {
		t.Error(err)
	}
}

// A large answer is not read to its end.
func TestALargeAnswer(t *testing.T) {
	var wrote atomic.Int64
	opts, url := subscriber(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<16)
		for range 1 << 10 { // 64 MiB
			n, err := w.Write(chunk)
			wrote.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	if err := tell(t, notifier(t, opts), ending(url, 1))[0]; err != nil {
		t.Error(err)
	}
	if n := wrote.Load(); n >= 1<<26 {
		t.Errorf("all of the answer was taken: %d bytes", n)
	}
}
