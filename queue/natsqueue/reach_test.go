package natsqueue

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ferry"
	"ferry/queue"
)

// selfSigned makes a certificate for names, good until ends; and its PEM file.
func selfSigned(t *testing.T, ends time.Time, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Private authority"}, DNSNames: names,
		NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func serveTLS(t *testing.T, cert tls.Certificate, handler http.Handler) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Whatever is in the way is told in a sentence with a hint, is queue.ErrUnavailable,
// and shows no password.
func TestReach(t *testing.T) {
	e := newWebEnv(t, 0)
	answering := func(status int, header ...string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, "<html>hello</html>")
		})
	}
	good, ca := selfSigned(t, time.Now().Add(time.Hour), "127.0.0.1")
	other, otherCA := selfSigned(t, time.Now().Add(time.Hour), "erp.example")
	ended, endedCA := selfSigned(t, time.Now().Add(-time.Hour), "127.0.0.1")
	at := func(handler http.Handler) string { return "wss://" + serveTLS(t, good, handler) + "/queue" }
	through := func(status int, header ...string) func(*ConnectOptions) {
		proxy := httptest.NewServer(answering(status, header...))
		t.Cleanup(proxy.Close)
		return func(o *ConnectOptions) { o.Proxy = proxyTo(t, "http://u:hunter2@"+proxy.Listener.Addr().String()) }
	}
	plain := httptest.NewServer(answering(200))
	t.Cleanup(plain.Close)
	for name, c := range map[string]struct {
		url, ca string
		more    func(*ConnectOptions)
		says    string
		hints   string
	}{
		"nobody there":         {"wss://" + nobody(t) + "/queue", "", nil, "connection refused", "is the broker running"},
		"nobody on TCP":        {"nats://" + nobody(t), "", nil, "connection refused", "is the broker running"},
		"an unknown authority": {e.web.url, "", nil, "signed by nobody whom this machine knows", "queue.nats.ca"},
		"another authority":    {e.web.url, ca, nil, "signed by nobody whom this machine or", "queue.nats.ca"},
		"another host":         {"wss://" + serveTLS(t, other, answering(200)) + "/queue", otherCA, nil, "is for [erp.example], not for 127.0.0.1", "queue.nats.url"},
		"ended":                {"wss://" + serveTLS(t, ended, answering(200)) + "/queue", endedCA, nil, "is not good now", "clock"},
		"no TLS":               {"wss://" + plain.Listener.Addr().String() + "/queue", "", nil, "speaks no TLS", "port"},
		"no authorities":       {e.web.url, filepath.Join(t.TempDir(), "none.pem"), nil, "queue.nats.ca cannot be read", "path"},
		"another path":         {strings.TrimSuffix(e.web.url, "/queue") + "/nothing", e.web.ca, nil, "has nothing at this path (404)", "older version"},
		"no broker":            {at(answering(404)), ca, nil, "there is no broker's queue at", "/healthz"},
		"a page":               {at(answering(200)), ca, nil, "answers 200, as a web page does", "WebSockets"},
		"a way elsewhere":      {at(answering(302, "Location", "https://login.example/in?token=hunter2")), ca, nil, "leads to login.example/in (302)", "queue.nats.url"},
		"a dead upstream":      {at(answering(502)), ca, nil, "answers 502: the broker cannot be reached behind it", ""},
		"a gateway's login":    {at(answering(401)), ca, nil, "refuses this worker (401)", "/queue"},
		"no name":              {"wss://nothing.invalid/queue", "", nil, "cannot be looked up", "queue.nats.proxy"},
		"no proxy there":       {e.web.url, e.web.ca, func(o *ConnectOptions) { o.Proxy = proxyTo(t, "http://u:hunter2@"+nobody(t)) }, "the proxy http://127.0.0.1:", "HTTPS_PROXY"},
		"proxy wants a login":  {e.web.url, e.web.ca, through(407, "Proxy-Authenticate", "Basic"), "refuses the login that it was shown (407)", "proxyAuth"},
		"proxy wants NTLM":     {e.web.url, e.web.ca, through(407, "Proxy-Authenticate", "NTLM"), "of another kind than HTTP basic", "local proxy"},
		"proxy wants one":      {e.web.url, e.web.ca, through(407, "Proxy-Authenticate", `Negotiate, NTLM, basic realm="a, b"`), "refuses the login that it was shown (407)", "proxyAuth"},
		"proxy wants others":   {e.web.url, e.web.ca, through(407, "Proxy-Authenticate", `Digest realm="x, Basic y", nonce="z", NTLM`), "of another kind than HTTP basic", "local proxy"},
		"proxy forbids":        {e.web.url, e.web.ca, through(403), "does not let this worker through", "CONNECT"},
		"proxy finds nobody":   {e.web.url, e.web.ca, through(503), "cannot reach 127.0.0.1:", "is the broker running"},
		"no proxy at all":      {e.web.url, e.web.ca, through(418), "answers 418 to CONNECT", "HTTP proxy"},
		"no password": {e.web.url, e.web.ca, func(o *ConnectOptions) {
			through(407)(o)
			o.Proxy.Login = func() (string, string, error) { return "", "", errors.New("the variable PW is not set") }
		}, "the variable PW is not set", "proxyAuth"},
	} {
		_, err := e.connect(func(o *ConnectOptions) {
			o.URL, o.CA = c.url, c.ca
			if c.more != nil {
				c.more(o)
			}
		})
		var edge *ferry.Error
		switch {
		case err == nil:
			t.Errorf("%s: it connects", name)
		case !errors.Is(err, queue.ErrUnavailable) || !errors.As(err, &edge) || edge.Code != ferry.CodeQueueUnreachable:
			t.Errorf("%s: %v", name, err)
		case !strings.Contains(err.Error(), c.says) || !strings.Contains(edge.Hint, c.hints):
			t.Errorf("%s: %q (%q), want %q (%q)", name, err, edge.Hint, c.says, c.hints)
		case strings.Contains(err.Error()+edge.Hint, "hunter2"):
			t.Errorf("%s shows a secret: %v (%s)", name, err, edge.Hint)
		}
	}
}

func proxyTo(t *testing.T, text string) Proxy {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return Proxy{Find: func(*url.URL) (*url.URL, error) { return u, nil }}
}

// The login of worker.yaml counts before one in the proxy's URL.
func TestProxyLogin(t *testing.T) {
	e := newWebEnv(t, 0)
	for name, c := range map[string]struct {
		url   string
		login bool
		want  string
	}{
		"none":        {"http://", false, ""},
		"in the URL":  {"http://env:hunter1@", false, "env:hunter1"},
		"proxyAuth":   {"http://", true, "yaml:hunter2"},
		"in both":     {"http://env:hunter1@", true, "yaml:hunter2"},
		"name in URL": {"http://env@", true, "yaml:hunter2"},
	} {
		var got string
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
			got = strings.Trim(user+":"+password, ":")
			w.WriteHeader(http.StatusForbidden)
		}))
		_, err := e.connect(func(o *ConnectOptions) {
			o.Proxy = proxyTo(t, c.url+proxy.Listener.Addr().String())
			if c.login {
				o.Proxy.Login = func() (string, string, error) { return "yaml", "hunter2", nil }
			}
		})
		proxy.Close()
		if !errors.Is(err, queue.ErrUnavailable) || got != c.want {
			t.Errorf("%s: the proxy is shown %q, want %q: %v", name, got, c.want, err)
		}
	}
}

// While the broker is away each reason is logged once; with a new certificate, by an
// authority that the worker's file has meanwhile, the connection is made again.
func TestReachAgain(t *testing.T) {
	e := newWebEnv(t, 0)
	first, ca := selfSigned(t, time.Now().Add(time.Hour), "127.0.0.1")
	second, secondCA := selfSigned(t, time.Now().Add(time.Hour), "127.0.0.1")
	var shown atomic.Pointer[tls.Certificate]
	var closed atomic.Bool
	shown.Store(&first)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed.Load() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if err := e.server.ServeQueue(w, r); err != nil {
			t.Error(err)
		}
	}))
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*shown.Load()}}, nil
	}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	var logged lockedBuffer
	d, err := e.connect(func(o *ConnectOptions) {
		o.URL, o.CA, o.Log = "wss://"+server.Listener.Addr().String()+"/queue", ca, slog.New(slog.NewTextHandler(&logged, nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(context.Background()) }()
	until := func(text string) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); !strings.Contains(logged.String(), text); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q is not logged: %s", text, logged.String())
			}
		}
	}
	cut := func() {
		door := e.server.door
		door.mu.Lock()
		defer door.mu.Unlock()
		for v := range door.visits {
			v.end()
		}
	}
	closed.Store(true)
	cut()
	until("there is no broker's queue at")
	shown.Store(&second)
	until("is signed by nobody whom this machine or")
	text, err := os.ReadFile(secondCA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	closed.Store(false)
	until("queue.connected")
	if n := strings.Count(logged.String(), "is signed by nobody"); n != 1 {
		t.Errorf("one reason is logged %d times: %s", n, logged.String())
	}
}

// A worker that is stopped while it waits for a proxy that says nothing stops at once,
// and leaves nothing behind; so does one that was never let in.
func TestReachGivenUp(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("given up", func(t *testing.T) {
		e := newWebEnv(t, 0)
		var silent atomic.Bool
		waits := make(chan struct{}, 16)
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if silent.Load() {
				waits <- struct{}{}
				<-r.Context().Done()
				return
			}
			to, err := net.Dial("tcp", r.Host)
			if err != nil {
				t.Error(err)
				return
			}
			from, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
			go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
			_, _ = io.Copy(from, to)
			_ = from.Close()
		}))
		defer proxy.Close()
		way := func(o *ConnectOptions) { o.Proxy = proxyTo(t, proxy.URL) }
		d, err := e.connect(way)
		if err != nil {
			t.Fatal(err)
		}
		silent.Store(true)
		e.server.door.mu.Lock()
		for v := range e.server.door.visits {
			v.end()
		}
		e.server.door.mu.Unlock()
		<-waits
		began := time.Now()
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("closing took %s", took)
		}
		// The first attempt ends with its context.
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-waits; cancel() }()
		_, err = Connect(ctx, ConnectOptions{Worker: "w1", URL: e.web.url, CA: e.web.ca, Seed: append([]byte(nil), e.seed...), Proxy: proxyTo(t, proxy.URL)})
		if !errors.Is(err, queue.ErrUnavailable) || time.Since(began) > webTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		silent.Store(false)
		e.admit(false)
		if _, err := e.connect(way); !errors.Is(err, queue.ErrUnauthorized) {
			t.Error(err)
		}
	})
	goleak.VerifyNone(t, before)
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
