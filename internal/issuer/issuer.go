// Package issuer is an issuer of tokens inside the process, for tests: discovery, a
// set of keys that changes, and tokens of every kind, wrong ones too.
package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is the double. It answers below the path of URL; safe for concurrent use.
type Issuer struct {
	URL string // iss, and where its discovery document lies

	mu       sync.Mutex
	keys     []jose.JSONWebKey // private; the last one signs
	made     int
	away     bool
	fetches  int                              // of the keys
	Document func(map[string]any)             // changes the discovery document; nil: leaves it
	Set      func() (status int, body []byte) // answers for the keys; nil: they are told
}

// New makes an issuer with one key for ES256.
func New(url string) *Issuer {
	i := &Issuer{URL: url}
	i.AddKey("ES256")
	return i
}

// AddKey makes another key, which signs from now on, and returns its id. The keys
// before it stay in the set.
func (i *Issuer) AddKey(algorithm string) string {
	var private any
	switch algorithm {
	case "ES256":
		private, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, private, _ = ed25519.GenerateKey(rand.Reader)
	default:
		private, _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	id := fmt.Sprintf("key-%d", i.made)
	i.keys = append(i.keys, jose.JSONWebKey{Key: private, KeyID: id, Algorithm: algorithm, Use: "sig"})
	return id
}

// Withdraw takes a key out of the set.
func (i *Issuer) Withdraw(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	kept := i.keys[:0:0]
	for _, k := range i.keys {
		if k.KeyID != id {
			kept = append(kept, k)
		}
	}
	i.keys = kept
}

// Rotate makes another key and withdraws all others; it returns the new one's id.
func (i *Issuer) Rotate() string {
	id := i.AddKey("ES256")
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[len(i.keys)-1:]
	return id
}

// Away lets the issuer answer nothing but 503, or answer again.
func (i *Issuer) Away(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// Fetches is how often the keys were asked for.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// Key is the private key that signs.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Public is the signing key's public half.
func (i *Issuer) Public() crypto.PublicKey { k := i.Key(); return k.Public().Key }

// ServeHTTP answers the two documents.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/keys") {
		i.fetches++
	}
	switch {
	case i.away:
		w.WriteHeader(http.StatusServiceUnavailable)
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		doc := map[string]any{"issuer": i.URL, "jwks_uri": strings.TrimSuffix(i.URL, "/") + "/keys"}
		if i.Document != nil {
			i.Document(doc)
		}
		_ = json.NewEncoder(w).Encode(doc)
	case strings.HasSuffix(r.URL.Path, "/keys") && i.Set != nil:
		status, body := i.Set()
		w.WriteHeader(status)
		_, _ = w.Write(body)
	case strings.HasSuffix(r.URL.Path, "/keys"):
		set := jose.JSONWebKeySet{}
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		_ = json.NewEncoder(w).Encode(set)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// RoundTrip reaches the issuer without a network, so that time may stand still.
func (i *Issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	i.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request, resp.Body = r, io.NopCloser(bytes.NewReader(rec.Body.Bytes()))
	return resp, nil
}

// Claims are those of a good token for an audience, of an hour.
func (i *Issuer) Claims(audience string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": i.URL, "aud": audience, "sub": "subject-1", "iat": now, "nbf": now, "exp": now + 3600}
}

// Sign makes a token of the claims with the issuer's key. Members of header are put
// into the token's header, or take the place of those that are usual.
func (i *Issuer) Sign(claims, header map[string]any) string {
	return SignWith(i.Key(), claims, header)
}

// SignWith is Sign with any key.
func SignWith(key jose.JSONWebKey, claims, header map[string]any) string {
	opts := new(jose.SignerOptions).WithType("JWT")
	for name, value := range header {
		opts = opts.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, opts)
	if err != nil {
		panic(err) // a test's mistake
	}
	payload, _ := json.Marshal(claims)
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

// Raw puts a token together of texts, with a signature of any bytes.
func Raw(header, payload string, signature []byte) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(header)) + "." + b64([]byte(payload)) + "." + b64(signature)
}
