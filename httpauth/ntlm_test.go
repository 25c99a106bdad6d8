package httpauth_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
)

// openNTLM opens the kind as an adapter does, over a transport that counts bytes.
func openNTLM(t *testing.T, s *ntlmServer) (httpauth.Authenticator, http.RoundTripper, vault) {
	t.Helper()
	secrets := vault{"env:P": "right-password"}
	auth := openAuth(t, httpauth.Config{Type: "ntlm", Username: s.user, Domain: s.domain, Password: "env:P"}, secrets)
	transport := httpcall.NewTransport(nil)
	rt := auth.Wrap(transport)
	t.Cleanup(rt.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	return auth, rt, secrets
}

// deliver makes one request by httpcall; repeat makes it once more where the kind
// says that it helps, as adapters do.
func deliver(t *testing.T, ctx context.Context, auth httpauth.Authenticator, rt http.RoundTripper, method, url, body string) (a *httpcall.Answer, repeats int) {
	t.Helper()
	for {
		req, err := httpcall.NewStream(ctx, method, url, once{strings.NewReader(body)}, int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		if err := auth.Apply(req); err != nil {
			t.Fatal(err)
		}
		a = httpcall.Do(rt, req)
		r, ok := auth.(httpauth.Renewer)
		if !ok || a.Status != http.StatusUnauthorized || !r.Refused(req) || repeats > 3 {
			return a, repeats
		}
		repeats++
	}
}

func wantStatus(t *testing.T, a *httpcall.Answer, status int) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, %s %v; want %d", a.Status, a.Failure, a.Err, status)
	}
}

func wantLog(t *testing.T, s *ntlmServer, want string) {
	t.Helper()
	if got := s.log(); got != want {
		t.Errorf("the destination saw:\n%s\nwant:\n%s", got, want)
	}
}

var large = strings.Repeat("x", 300_000)

// The body leaves once, with the last step, also when it can be read only once;
// the connection then stays logged on.
func TestNTLMSendsTheBodyOnce(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL+"/invoices", large)
	wantStatus(t, a, http.StatusCreated)
	wantLog(t, s, "HEAD hello 0; POST proof large")
	a, _ = deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL+"/invoices", large)
	wantStatus(t, a, http.StatusCreated)
	a, _ = deliver(t, t.Context(), auth, rt, http.MethodGet, s.srv.URL+"/invoices", "")
	wantStatus(t, a, http.StatusOK)
	wantLog(t, s, "POST nothing large; GET nothing 0")
}

// A connection that was closed while it was idle is not noticed by the call: the
// next one is logged on before the body is sent.
func TestNTLMLogsOnAgain(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	s.log()
	s.srv.CloseClientConnections()
	eventuallyTrue(t, func() bool { // the client learns of it by itself
		a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, large)
		return a.Status == http.StatusCreated
	})
	if got := s.log(); !strings.HasSuffix(got, "HEAD hello 0; POST proof large") {
		t.Errorf("the destination saw: %s", got)
	}
}

// A wrong password is one logon, and stays one for the calls that are under way:
// accounts lock. It is never repeated, and told as 401.
func TestNTLMWrongPassword(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, secrets := openNTLM(t, s)
	secrets["env:P"] = "wrong-password"
	for range 5 {
		a, repeats := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
		wantStatus(t, a, http.StatusUnauthorized)
		if repeats != 0 {
			t.Errorf("%d repeats", repeats)
		}
	}
	if s.proofs != 1 {
		t.Errorf("%d logons", s.proofs)
	}
	before := auth.Fingerprint()
	secrets["env:P"] = "right-password"
	if auth.Fingerprint() == before {
		t.Error("the fingerprint stays the same")
	}
	a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	wantStatus(t, a, http.StatusCreated)
	if s.proofs != 2 {
		t.Errorf("%d logons", s.proofs)
	}
}

// Another password is another identity: it gets a connection of its own.
func TestNTLMNewPassword(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, secrets := openNTLM(t, s)
	deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	s.set(func(s *ntlmServer) { s.password = "new-password" })
	secrets["env:P"] = "new-password"
	s.log()
	a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	wantStatus(t, a, http.StatusCreated)
	wantLog(t, s, "HEAD hello 0; POST proof small")
	if len(s.conns) != 2 {
		t.Errorf("%d connections", len(s.conns))
	}
}

// IIS can be told to forget a logon after each request (authPersistSingleRequest).
// The first call that meets it is repeated once; then each one logs on.
func TestNTLMEachRequest(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	s.set(func(s *ntlmServer) { s.eachTime = true })
	deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	wantLog(t, s, "HEAD hello 0; POST proof small")
	a, repeats := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	wantStatus(t, a, http.StatusCreated)
	if repeats != 1 {
		t.Errorf("%d repeats", repeats)
	}
	wantLog(t, s, "POST nothing small; HEAD hello 0; POST proof small")
	a, repeats = deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	wantStatus(t, a, http.StatusCreated)
	if repeats != 0 {
		t.Errorf("%d repeats", repeats)
	}
	wantLog(t, s, "HEAD hello 0; POST proof small")
}

// Without a body the logon is made within the call.
func TestNTLMEachRequestWithoutBody(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	s.set(func(s *ntlmServer) { s.eachTime = true })
	deliver(t, t.Context(), auth, rt, http.MethodGet, s.srv.URL, "")
	s.log()
	a, repeats := deliver(t, t.Context(), auth, rt, http.MethodGet, s.srv.URL, "")
	wantStatus(t, a, http.StatusOK)
	if repeats != 0 {
		t.Errorf("%d repeats", repeats)
	}
	wantLog(t, s, "GET nothing 0; HEAD hello 0; GET proof 0")
}

func TestNTLMFirstStep(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ntlmServer)
		want   string
	}{
		"HEAD is not known":       {func(s *ntlmServer) { s.noHead = true }, "HEAD hello 0; GET hello 0; POST proof small"},
		"it is named Negotiate":   {func(s *ntlmServer) { s.scheme = "Negotiate" }, "HEAD other 0; HEAD hello 0; POST proof small"},
		"nobody needs to be told": {func(s *ntlmServer) { s.open, s.scheme = true, "" }, "HEAD other 0; POST nothing small"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newNTLMServer(t)
			auth, rt, _ := openNTLM(t, s)
			s.set(c.change)
			a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
			wantStatus(t, a, http.StatusCreated)
			wantLog(t, s, c.want)
		})
	}
}

// What fails before the request itself is sent had no effect; what fails after,
// may have had one.
func TestNTLMEffect(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	s.set(func(s *ntlmServer) { s.closes = true })
	a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	if a.Err == nil || a.Effect != ferry.EffectNone || !strings.Contains(a.Err.Error(), "between the steps") {
		t.Errorf("closed between the steps: %s %v", a.Effect, a.Err)
	}
	wantLog(t, s, "HEAD hello 0")

	hangs := make(chan struct{})
	s.set(func(s *ntlmServer) { s.closes, s.hangs = false, hangs })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	a, _ = deliver(t, ctx, auth, rt, http.MethodPost, s.srv.URL, "x")
	if a.Failure != httpcall.FailureTimeout || a.Effect != ferry.EffectMaybe {
		t.Errorf("hanging with the request: %s %s %v", a.Failure, a.Effect, a.Err)
	}
	close(hangs)

	s.srv.Close()
	a, _ = deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	if a.Failure != httpcall.FailureRefused || a.Effect != ferry.EffectNone {
		t.Errorf("nobody listens: %s %s %v", a.Failure, a.Effect, a.Err)
	}

	cancelled, stop := context.WithCancel(t.Context())
	stop()
	a, _ = deliver(t, cancelled, auth, rt, http.MethodPost, s.srv.URL, "x")
	if a.Failure != httpcall.FailureCancelled || a.Effect != ferry.EffectNone {
		t.Errorf("cancelled before: %s %s %v", a.Failure, a.Effect, a.Err)
	}
}

// A destination that is busy at the first step is busy, and not one that refuses
// the password or wants none.
func TestNTLMBusy(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		s.set(func(s *ntlmServer) { s.answers = status })
		a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
		if wantStatus(t, a, status); httpcall.RetryAfter(a.Header, time.Now()) != 7*time.Second {
			t.Errorf("%d: header %v", status, a.Header)
		}
		wantLog(t, s, "HEAD hello 0")
	}
	s.set(func(s *ntlmServer) { s.answers = http.StatusBadGateway })
	a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	if a.Err == nil || a.Effect != ferry.EffectNone {
		t.Errorf("%d %s %v", a.Status, a.Effect, a.Err)
	}
	wantLog(t, s, "HEAD hello 0")
	s.set(func(s *ntlmServer) { s.answers = 0 })
	a, _ = deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
	wantStatus(t, a, http.StatusCreated)
}

// Calls at the same time have a connection each, and none more.
func TestNTLMConnections(t *testing.T) {
	s := newNTLMServer(t)
	auth, rt, _ := openNTLM(t, s)
	for range 3 {
		hangs := make(chan struct{})
		s.set(func(s *ntlmServer) { s.hangs = hangs })
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, s.srv.URL, "x")
				if a.Status != http.StatusCreated {
					t.Errorf("%d %v", a.Status, a.Err)
				}
			})
		}
		eventuallyTrue(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			n := 0
			for _, r := range s.requests {
				if strings.HasPrefix(r, "POST") {
					n++
				}
			}
			return n == 4
		})
		close(hangs)
		calls.Wait()
		s.log()
	}
	if len(s.conns) != 4 || s.proofs != 4 {
		t.Errorf("%d connections, %d logons", len(s.conns), s.proofs)
	}
}

func TestNTLMShowsNothing(t *testing.T) {
	s := newNTLMServer(t)
	auth, _, secrets := openNTLM(t, s)
	req, err := http.NewRequest(http.MethodPost, s.srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	auth.Show(req)
	if got := req.Header.Get("Authorization"); got != "NTLM ***" {
		t.Errorf("%q", got)
	}
	if got := auth.Redact("right-password is wrong"); got != "*** is wrong" {
		t.Errorf("%q", got)
	}
	delete(secrets, "env:P")
	if err := auth.Apply(req); err == nil {
		t.Error("a missing password is no error")
	}
	// Connections that cannot be told apart are not used.
	if _, err := auth.Wrap(anyTransport{}).RoundTrip(req); err == nil || !strings.Contains(err.Error(), "net/http") {
		t.Errorf("%v", err)
	}
}

type anyTransport struct{}

func (anyTransport) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

func eventuallyTrue(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not become true")
		}
	}
}

// NTLM over connections that TLS settings secure: the logon stays with its
// connection there too.
func TestNTLMWithItsOwnAuthority(t *testing.T) {
	s := newNTLMServer(t)
	secure := httptest.NewUnstartedServer(s)
	secure.Config.ConnContext = s.srv.Config.ConnContext
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, pemOf(t, "CERTIFICATE", secure.Certificate().Raw, nil))
	options := httpauth.Options{URL: secure.URL, TLS: httpauth.TLS{CA: ca}}
	auth, err := options.Open(httpauth.Config{Type: "ntlm", Username: `CORP\svc-ferry`, Password: "env:P"}, vault{"env:P": "right-password"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = auth.(io.Closer).Close() })
	rt := auth.Wrap(httpcall.NewTransport(nil))
	for range 2 {
		a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, secure.URL, large)
		wantStatus(t, a, http.StatusCreated)
	}
	wantLog(t, s, "HEAD hello 0; POST proof large; POST nothing large")
	secure.CloseClientConnections()
	eventuallyTrue(t, func() bool {
		a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, secure.URL, large)
		return a.Status == http.StatusCreated
	})
	if got := s.log(); !strings.HasSuffix(got, "HEAD hello 0; POST proof large") {
		t.Errorf("the destination saw: %s", got)
	}
}
