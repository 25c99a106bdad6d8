package httpcall_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters/httpcall"
)

func post(t *testing.T, ctx context.Context, rt http.RoundTripper, url string) *httpcall.Answer { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	req, err := httpcall.NewRequest(ctx, http.MethodPost, url, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return httpcall.Do(rt, req)
}

// readRequest reads up to the end of the body that post sends.
func readRequest(c net.Conn) {
	var got []byte
	for buf := make([]byte, 4096); !bytes.HasSuffix(got, []byte("{}")); {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return
		}
	}
}

// What fails before the request leaves has no effect; what fails after may have.
func TestEffect(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	plainListener := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); _ = c.Close() })
	half := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 201 Cre")
		_ = c.Close()
	})
	noHTTP := listen(t, func(c net.Conn) {
		readRequest(c) // whole: a write that meets a closed connection is another failure
		_, _ = io.WriteString(c, "220 mail ready\r\n\r\n")
		_ = c.Close()
	})
	silent := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closed := listen(t, func(net.Conn) {})
	closedAddress := closed.Addr().String()
	_ = closed.Close()

	for name, c := range map[string]struct {
		url     string
		timeout time.Duration
		failure httpcall.Failure
		effect  ferry.Effect
	}{
		"refused":                      {"http://" + closedAddress, 0, httpcall.FailureRefused, ferry.EffectNone},
		"unknown certificate":          {secure.URL, 0, httpcall.FailureTLS, ferry.EffectNone},
		"cut during the TLS handshake": {"https://" + plainListener.Addr().String(), 0, httpcall.FailureCut, ferry.EffectNone},
		"silent TLS handshake":         {"https://" + silent.Addr().String(), 80 * time.Millisecond, httpcall.FailureTimeout, ferry.EffectNone},
		"cut after the first byte":     {"http://" + plainListener.Addr().String(), 0, httpcall.FailureCut, ferry.EffectMaybe},
		"cut within the status line":   {"http://" + half.Addr().String(), 0, httpcall.FailureCut, ferry.EffectMaybe},
		"no HTTP":                      {"http://" + noHTTP.Addr().String(), 0, httpcall.FailureProtocol, ferry.EffectMaybe},
		"silence":                      {"http://" + silent.Addr().String(), 80 * time.Millisecond, httpcall.FailureTimeout, ferry.EffectMaybe},
	} {
		t.Run(name, func(t *testing.T) {
			if c.timeout == 0 {
				c.timeout = 10 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			tr := httpcall.NewTransport(nil)
			defer tr.CloseIdleConnections()
			a := post(t, ctx, tr, c.url+"/invoices")
			if a.Failure != c.failure || a.Effect != c.effect || a.Err == nil || a.Status != 0 {
				t.Errorf("failure %s, effect %s (%v); want %s, %s", a.Failure, a.Effect, a.Err, c.failure, c.effect)
			}
		})
	}
}

func TestEffectOfDialing(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		failure httpcall.Failure
	}{
		"no such name":  {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "erp.example", IsNotFound: true}}, httpcall.FailureDNS},
		"no route":      {&net.OpError{Op: "dial", Err: errors.New("no route to host")}, httpcall.FailureCut},
		"dial time-out": {&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, httpcall.FailureTimeout},
	} {
		tr := httpcall.NewTransport(func(context.Context, string, string) (net.Conn, error) { return nil, c.err })
		a := post(t, t.Context(), tr, "http://erp.example/invoices")
		if a.Failure != c.failure || a.Effect != ferry.EffectNone {
			t.Errorf("%s: failure %s, effect %s (%v)", name, a.Failure, a.Effect, a.Err)
		}
	}
}

// A transport that does not report what it writes leaves only "maybe".
func TestEffectOfAForeignTransport(t *testing.T) {
	a := post(t, t.Context(), roundTrip(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }), "http://erp.example/")
	if a.Effect != ferry.EffectMaybe {
		t.Errorf("effect %s", a.Effect)
	}
	tr := httpcall.NewTransport(nil)
	tr.DialContext = func(context.Context, string, string) (net.Conn, error) { // not counted
		here, there := net.Pipe()
		_ = there.Close()
		return here, nil
	}
	if a := post(t, t.Context(), tr, "http://erp.example/"); a.Effect != ferry.EffectMaybe {
		t.Errorf("effect %s without a count", a.Effect)
	}
}

// A destination that wants a certificate of ours refuses the call before it is read.
func TestClientCertificateWanted(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the call was read") }))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	defer srv.Close()
	tr := httpcall.NewTransport(nil)
	tr.TLSClientConfig.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	a := post(t, t.Context(), tr, srv.URL)
	// The alert and the reset that follows it may overtake each other.
	if a.Failure == httpcall.FailureTLS && a.Effect != ferry.EffectNone || a.Failure != httpcall.FailureTLS && a.Effect != ferry.EffectMaybe {
		t.Errorf("failure %s, effect %s (%v)", a.Failure, a.Effect, a.Err)
	}
}

func TestAnswerIsBounded(t *testing.T) {
	for _, size := range []int{0, 10, httpcall.MaxAnswer, httpcall.MaxAnswer + 1, 3 * httpcall.MaxAnswer} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, strings.Repeat("x", size))
		}))
		tr := httpcall.NewTransport(nil)
		a := post(t, t.Context(), tr, srv.URL)
		if a.Status != 201 || len(a.Body) != min(size, httpcall.MaxAnswer) || a.Truncated != (size > httpcall.MaxAnswer) || a.BodyErr != nil {
			t.Errorf("size %d: status %d, %d bytes, truncated %t, %v", size, a.Status, len(a.Body), a.Truncated, a.BodyErr)
		}
		tr.CloseIdleConnections()
		srv.Close()
	}
}

// A call ends with its deadline to the tick, and what it told before stays told.
func TestDeadlineInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := there.Read(buf); err != nil {
					return
				}
			}
		}()
		tr := httpcall.NewTransport(func(context.Context, string, string) (net.Conn, error) { return here, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 42*time.Second)
		defer cancel()
		start := time.Now()
		a := post(t, ctx, tr, "http://erp.example/invoices")
		if d := time.Since(start); d != 42*time.Second || a.Failure != httpcall.FailureTimeout || a.Effect != ferry.EffectMaybe {
			t.Errorf("after %s: %s, effect %s", d, a.Failure, a.Effect)
		}
		_ = there.Close()
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// listen serves each connection by f.
func listen(t *testing.T, f func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	return l
}
