package httpauth_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ferry/httpauth"
	"ferry/internal/oauthmock"
)

// tokenGate is a destination that takes the tokens of an issuer: it checks their
// signature and their end, and whether they were revoked.
type tokenGate struct {
	key     *rsa.PublicKey
	mu      sync.Mutex
	revoked map[string]bool
	seen    map[string]int // tokens that were let in
}

func newTokenGate(t *testing.T, issuer string) (*tokenGate, string) {
	t.Helper()
	resp, err := http.Get(issuer + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ N, E string } }
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v: %s", err, data)
	}
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	g := &tokenGate{
		key:     &rsa.PublicKey{N: number(set.Keys[0].N), E: int(number(set.Keys[0].E).Int64())},
		revoked: map[string]bool{}, seen: map[string]int{},
	}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	return g, srv.URL
}

func (g *tokenGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return g.key, nil }, jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired())
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || g.revoked[text] {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, err)
		return
	}
	g.seen[text]++
	w.WriteHeader(http.StatusCreated)
}

func (g *tokenGate) revokeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for token := range g.seen {
		g.revoked[token] = true
	}
}

// Against a token endpoint that others wrote: 503 once, tokens of two seconds, a
// token that is revoked while we keep it.
func TestAgainstAnOAuth2Server(t *testing.T) {
	issuer := oauthmock.Start(t)
	gate, url := newTokenGate(t, issuer)
	open := func(client string, scopes ...string) httpauth.Authenticator {
		return openAuth(t, httpauth.Config{Type: "oauth2", TokenURL: issuer + "/token", ClientID: client, ClientSecret: "env:S", Scopes: scopes}, vault{"env:S": clientSecret})
	}
	t.Run("503 once", func(t *testing.T) {
		auth := open("first", oauthmock.FailOnce)
		if _, err := post(t, auth, url, "x"); !errors.Is(err, httpauth.ErrUnavailable) || !strings.Contains(err.Error(), "503") {
			t.Fatalf("%v", err)
		}
		wantPosted(t, auth, url, "x")
	})
	t.Run("two seconds", func(t *testing.T) {
		auth := open("second", oauthmock.TwoSeconds)
		before := len(gate.seen)
		for began := time.Now(); time.Since(began) < 4500*time.Millisecond; time.Sleep(100 * time.Millisecond) {
			wantPosted(t, auth, url, "x") // never with one that has ended
		}
		if n := len(gate.seen) - before; n < 3 || n > 6 {
			t.Errorf("%d tokens in 4.5 s", n)
		}
	})
	t.Run("revoked", func(t *testing.T) {
		auth := open("third")
		wantPosted(t, auth, url, "x")
		gate.revokeAll()
		if a, err := post(t, auth, url, "x"); err != nil || a.Status != http.StatusUnauthorized {
			t.Fatalf("%v %+v", err, a)
		}
		wantPosted(t, auth, url, "x")
	})
}
