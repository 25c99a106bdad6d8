package httpauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferry/secret"
)

// oauth1 signs each request (RFC 5849) by HMAC-SHA256, as NetSuite's token-based
// authentication wants it: realm is the account. Time and nonce make every
// signature another one, so that none can be used again.
type oauth1 struct {
	cfg      Config
	resolver Resolver
}

func (o oauth1) Apply(req *http.Request) error {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails: the process ends first
	header, err := o.header(req, hex.EncodeToString(nonce[:]), strconv.FormatInt(time.Now().Unix(), 10))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", header)
	return nil
}

// header signs a request with the secrets as they are.
func (o oauth1) header(req *http.Request, nonce, at string) (string, error) {
	client, err := o.resolver.Resolve(o.cfg.ClientSecret)
	if err != nil {
		return "", err
	}
	token, err := o.resolver.Resolve(o.cfg.TokenSecret)
	if err != nil {
		return "", err
	}
	params := []param{
		{"oauth_consumer_key", o.cfg.ClientID},
		{"oauth_nonce", nonce},
		{"oauth_signature_method", "HMAC-SHA256"},
		{"oauth_timestamp", at},
		{"oauth_token", o.cfg.TokenID},
		{"oauth_version", "1.0"},
	}
	base, err := signatureBase(req.Method, req.URL, params)
	if err != nil {
		return "", err
	}
	signature := sign(sha256.New, base, client.Reveal(), token.Reveal())
	var b strings.Builder
	b.WriteString("OAuth ")
	if o.cfg.Realm != "" {
		b.WriteString(`realm="` + o.cfg.Realm + `", `)
	}
	for _, p := range append(params, param{"oauth_signature", signature}) {
		b.WriteString(p.name + `="` + percent(p.value) + `", `)
	}
	return strings.TrimSuffix(b.String(), ", "), nil
}

func (o oauth1) Show(req *http.Request) { req.Header.Set("Authorization", "OAuth "+Mask) }

func (o oauth1) Redact(text string) string {
	for _, ref := range []secret.Ref{o.cfg.ClientSecret, o.cfg.TokenSecret} {
		text = source{ref: ref, resolver: o.resolver}.redact(text)
	}
	return text
}

func (o oauth1) Fingerprint() string {
	return fingerprint(o.resolver, []secret.Ref{o.cfg.ClientSecret, o.cfg.TokenSecret}, nil)
}

func (o oauth1) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// param is a parameter of a request, not escaped.
type param struct{ name, value string }

// signatureBase is what is signed (RFC 5849, 3.4.1): method, address and all
// parameters, those of the query as well. Bodies of forms are not sent with this
// kind of authentication.
func signatureBase(method string, u *url.URL, params []param) (string, error) {
	all := slices.Clone(params)
	for _, pair := range strings.Split(u.RawQuery, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if errors.Join(err1, err2) != nil {
			return "", errors.New("the query of the address cannot be read, and so not be signed")
		}
		all = append(all, param{n, v})
	}
	pairs := make([]string, len(all))
	for i, p := range all {
		pairs[i] = percent(p.name) + "=" + percent(p.value)
	}
	// By name, then by value, both escaped. A name ends at =, which sorts before all
	// that names are made of but -, . and %.
	slices.SortFunc(pairs, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	address := strings.ToLower(u.Scheme) + "://" + host + path
	return strings.ToUpper(method) + "&" + percent(address) + "&" + percent(strings.Join(pairs, "&")), nil
}

// sign is the signature of a base string by both secrets (RFC 5849, 3.4.2).
func sign(algorithm func() hash.Hash, base, clientSecret, tokenSecret string) string {
	mac := hmac.New(algorithm, []byte(percent(clientSecret)+"&"+percent(tokenSecret)))
	_, _ = mac.Write([]byte(base)) // a hash takes everything
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// percent escapes all but the unreserved characters (RFC 5849, 3.6).
func percent(s string) string { return escapeQuery(s) }
