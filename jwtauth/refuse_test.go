package jwtauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"ferry"
	"ferry/internal/issuer"
)

// What a token claims has to be true of it, to the second and to the character.
func TestClaimsThatAreRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		now := time.Now().Unix()
		for name, tc := range map[string]struct {
			change map[string]any
			words  string
		}{
			"ended, beyond the skew":   {map[string]any{"exp": now - 60}, "it ended at"},
			"no end":                   {map[string]any{"exp": nil}, "when it ends"},
			"an end that is a text":    {map[string]any{"exp": "tomorrow"}, "when it ends"},
			"an end out of this time":  {map[string]any{"exp": 1e300}, "when it ends"},
			"an end before 1970":       {map[string]any{"exp": -1}, "when it ends"},
			"not yet":                  {map[string]any{"nbf": now + 61}, "it is good from"},
			"made in the future":       {map[string]any{"iat": now + 61}, "it is good from"},
			"a beginning of no time":   {map[string]any{"nbf": []int{1}}, "its nbf is no time"},
			"another audience":         {map[string]any{"aud": "api://other"}, `it is for "api://other"`},
			"other audiences":          {map[string]any{"aud": []string{"a", "b"}}, `it is for "a, b"`},
			"the audience in part":     {map[string]any{"aud": audience + "/x"}, "it is for"},
			"the audience in capitals": {map[string]any{"aud": strings.ToUpper(audience)}, "it is for"},
			"no audience":              {map[string]any{"aud": nil}, "it is for"},
			"an audience of no text":   {map[string]any{"aud": 7}, "it is for"},
			"another issuer":           {map[string]any{"iss": "https://login.example/other"}, "none that this broker trusts"},
			"the issuer with a slash":  {map[string]any{"iss": "https://login.example/tenant/"}, "none that this broker trusts"},
			"no issuer":                {map[string]any{"iss": nil}, "names no issuer"},
			"an issuer of no text":     {map[string]any{"iss": []string{w.issuer.URL}}, "cannot be read"},
			"nobody":                   {map[string]any{"sub": nil}, "names nobody"},
		} {
			w.what = name
			w.bad(w.token(tc.change), ferry.CodeUnauthenticated, tc.words)
		}
		for name, change := range map[string]map[string]any{
			"ended, within the skew":       {"exp": now - 59},
			"not yet, within the skew":     {"nbf": now + 60, "iat": now + 60},
			"a fraction of a second":       {"exp": float64(now) + 10.5},
			"one of several audiences":     {"aud": []string{"x", audience}},
			"no beginning":                 {"nbf": nil, "iat": nil},
			"a subject of the app instead": {"sub": nil, "azp": "app-1"},
		} {
			w.what = name
			w.good(w.token(change))
		}
	})
}

// Every way to have a token taken whose signature the issuer did not make.
func TestForgedTokens(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		rsaID := w.issuer.AddKey("RS256")
		payload, _ := json.Marshal(w.claims(nil))
		good := w.token(nil)
		w.good(good)
		parts := strings.Split(good, ".")
		public := w.issuer.Public().(*rsa.PublicKey)
		other := jose.JSONWebKey{KeyID: rsaID, Algorithm: "RS256", Key: must(rsa.GenerateKey(rand.Reader, 2048))}
		otherPublic := other.Public()
		sign := func(header map[string]any) string { return issuer.SignWith(other, w.claims(nil), header) }

		der := x509.MarshalPKCS1PublicKey(public)
		spki := must(x509.MarshalPKIXPublicKey(public))
		hs := func(key []byte, alg string) string {
			signed := b64(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, rsaID)) + "." + b64(payload)
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(signed))
			return signed + "." + b64(mac.Sum(nil))
		}
		altered := strings.Replace(string(payload), "Ferry.Send", "Ferry.Sand", 1)
		for name, tc := range map[string]struct{ token, words string }{
			"alg none":                         {issuer.Raw(`{"alg":"none"}`, string(payload), nil), `algorithm "none"`},
			"alg None":                         {issuer.Raw(`{"alg":"None","kid":"key-1"}`, string(payload), nil), `algorithm "None"`},
			"no alg":                           {issuer.Raw(`{"kid":"key-1"}`, string(payload), []byte("x")), `algorithm ""`},
			"alg none with the good signature": {b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2], `algorithm "none"`},
			"HS256 with the public key, DER":   {hs(der, "HS256"), `algorithm "HS256"`},
			"HS256 with the public key, SPKI":  {hs(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), "HS256"), `algorithm "HS256"`},
			"HS256, called RS256":              {hs(der, "RS256"), "no key of its issuer"},
			"an EC key's name on an RSA token": {b64([]byte(`{"alg":"RS256","kid":"key-1"}`)) + "." + parts[1] + "." + parts[2], "no key of its issuer"},
			"another key of that name":         {sign(nil), "no key of its issuer"},
			"another key, named by nobody":     {issuer.SignWith(jose.JSONWebKey{Algorithm: "RS256", Key: other.Key}, w.claims(nil), nil), "no key of its issuer"},
			"a name that would be a path":      {sign(map[string]any{"kid": "../../../dev/null"}), "has no key"},
			"a name that would be SQL":         {sign(map[string]any{"kid": "x' UNION SELECT 'secret"}), "has no key"},
			"its own key beside it, jwk":       {sign(map[string]any{"jwk": &otherPublic}), "no key of its issuer"},
			"where its keys are, jku":          {sign(map[string]any{"jku": "https://evil.example/keys"}), "no key of its issuer"},
			"where its certificate is, x5u":    {sign(map[string]any{"x5u": "https://evil.example/cert"}), "no key of its issuer"},
			"crit of an unknown":               {w.issuer.Sign(w.claims(nil), map[string]any{"crit": []string{"exp"}, "exp": 1}), "(crit)"},
			"crit of b64":                      {w.issuer.Sign(w.claims(nil), map[string]any{"crit": []string{"b64"}, "b64": true}), "(crit)"},
			"crit null":                        {issuer.Raw(`{"alg":"RS256","crit":null}`, string(payload), []byte("x")), "(crit)"},
			"two algs":                         {issuer.Raw(`{"alg":"RS256","alg":"none"}`, string(payload), nil), "cannot be read"},
			"two issuers":                      {issuer.Raw(`{"alg":"RS256"}`, `{"iss":"https://evil.example","iss":"`+w.issuer.URL+`"}`, []byte("x")), "cannot be read"},
			"a token of another kind":          {w.issuer.Sign(w.claims(nil), map[string]any{"typ": "logout+jwt"}), "not that of an access token"},
			"other claims":                     {parts[0] + "." + b64([]byte(altered)) + "." + parts[2], "no key of its issuer"},
			"no signature":                     {parts[0] + "." + parts[1] + ".", "no key of its issuer"},
			"half a signature":                 {good[:len(good)-40], "no key of its issuer"},
			"four parts":                       {good + ".x", "neither a key"},
			"five parts":                       {"a.b.c.d.e", "neither a key"},
			"two parts":                        {parts[0] + "." + parts[1], "neither a key"},
			"spaces":                           {parts[0] + "." + parts[1] + " ." + parts[2], "cannot be read"},
			"nothing":                          {"", "neither a key"},
			"dots":                             {"..", "cannot be read"},
			"claims of no object":              {issuer.Raw(`{"alg":"RS256"}`, `[1]`, nil), "cannot be read"},
			"too long":                         {w.token(map[string]any{"x": strings.Repeat("x", ferry.MaxToken)}), "bytes"},
		} {
			w.what = name
			w.bad(tc.token, ferry.CodeUnauthenticated, tc.words)
		}
	})
}

// Claims that are there twice are refused even when the issuer signed them: which
// one counts would be a matter of taste.
func TestSignedClaimsTwice(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		body := string(must(json.Marshal(w.claims(nil))))
		twice := strings.Replace(body, `"aud":`, `"aud":"api://other","aud":`, 1)
		w.bad(w.signText(twice), ferry.CodeUnauthenticated, "cannot be read")
		w.good(w.signText(body))
		w.bad(w.signText(strings.Replace(body, `"aud":`, `"Aud":`, 1)), ferry.CodeUnauthenticated, "it is for")
		w.bad(w.signText(body+"x"), ferry.CodeUnauthenticated, "cannot be read")
	})
}

// signText signs claims as they stand.
func (w *world) signText(payload string) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: w.issuer.Key()}, nil))
	return must(must(signer.Sign([]byte(payload))).CompactSerialize())
}

func TestAlgorithms(t *testing.T) {
	bubble(t, nil, func(_ *testing.T, w *world) {
		for _, algorithm := range []string{"RS256", "PS512", "ES384", "EdDSA"} {
			w.issuer.AddKey(algorithm)
			w.good(w.token(nil))
		}
	})
	only := func(names ...string) func(*issuerConfig) { return func(c *issuerConfig) { c.Algorithms = names } }
	bubble(t, only("RS256"), func(_ *testing.T, w *world) {
		w.bad(w.token(nil), ferry.CodeUnauthenticated, `algorithm "ES256"`)
		w.issuer.AddKey("RS256")
		w.good(w.token(nil))
	})
}

// A key that the issuer says is for one algorithm, or for something else than
// signing, signs nothing else.
func TestKeysForSomethingElse(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, tc := range map[string]struct {
		key   jose.JSONWebKey
		signs string
		words string
	}{
		"for encrypting":        {jose.JSONWebKey{Key: key, KeyID: "k", Use: "enc"}, "ES256", "has no key"},
		"for another algorithm": {jose.JSONWebKey{Key: key, KeyID: "k", Algorithm: "ES384"}, "ES256", "no key of its issuer"},
		"of 1024 bits":          {jose.JSONWebKey{Key: weak, KeyID: "k"}, "RS256", "has no key"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(_ *testing.T, w *world) {
				w.issuer.Set = func() (int, []byte) {
					public := tc.key.Public()
					secret := `{"kty":"oct","kid":"k","k":"c2VjcmV0","alg":"HS256"}`
					return 200, []byte(`{"keys":[` + secret + `,{"kty":"new","kid":"k"},7,` + string(must(public.MarshalJSON())) + `]}`)
				}
				signer := tc.key
				signer.Algorithm = tc.signs
				w.bad(issuer.SignWith(signer, w.claims(nil), nil), ferry.CodeUnauthenticated, tc.words)
			})
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
