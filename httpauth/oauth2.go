package httpauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"ferry/secret"
)

// clientCredentials fetches tokens by client credentials (RFC 6749, 4.4).
type clientCredentials struct {
	cfg      Config
	resolver Resolver
	// skew is how far the token endpoint's clock is ahead of ours, in seconds, as
	// the last answer said. Only what is signed with a time needs it.
	skew atomic.Int64
}

func newClientCredentials(cfg Config, resolver Resolver) *clientCredentials {
	return &clientCredentials{cfg: cfg, resolver: resolver}
}

// tokenClient makes a client for one fetch. Tokens are fetched rarely: no
// connection is kept, and a file of certificates is read anew.
func tokenClient(caFile string, proxy func(*http.Request) (*url.URL, error)) (*http.Client, error) {
	transport := &http.Transport{
		Proxy: proxy, DisableKeepAlives: true, TLSHandshakeTimeout: fetchTimeout,
		MaxResponseHeaderBytes: 64 << 10, ResponseHeaderTimeout: fetchTimeout,
	}
	if caFile != "" {
		roots, err := readRoots("tokenCa", caFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = tlsConfig(roots)
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       fetchTimeout,
	}, nil
}

func (c *clientCredentials) token(ctx context.Context) (string, time.Duration, error) {
	client, err := tokenClient(c.cfg.TokenCA, http.ProxyFromEnvironment)
	if err != nil {
		return "", 0, err
	}
	client.Transport = &dated{base: client.Transport, skew: &c.skew}
	used := c.skew.Load()
	text, life, err := c.ask(ctx, client, used)
	// An assertion bears times. One of a clock that differs is refused, and nothing
	// locks: it is signed once more, by the endpoint's own clock.
	if c.cfg.ClientAuth == ClientAuthJWT && errors.Is(err, ErrRefused) && differs(used, c.skew.Load()) {
		return c.ask(ctx, client, c.skew.Load())
	}
	return text, life, err
}

func (c *clientCredentials) secrets() ([]secret.Ref, Resolver) {
	return present(c.cfg.ClientSecret, c.cfg.SigningKey), c.resolver
}

func (c *clientCredentials) ask(ctx context.Context, client *http.Client, skew int64) (string, time.Duration, error) {
	request := &clientcredentials.Config{
		ClientID: c.cfg.ClientID, TokenURL: c.cfg.TokenURL, Scopes: c.cfg.Scopes,
		// Never found out by trying: a wrong secret would be sent twice.
		AuthStyle: oauth2.AuthStyleInHeader, EndpointParams: url.Values{},
	}
	if c.cfg.Audience != "" {
		request.EndpointParams.Set("audience", c.cfg.Audience)
	}
	if c.cfg.Resource != "" {
		request.EndpointParams.Set("resource", c.cfg.Resource)
	}
	var proof string
	if c.cfg.ClientAuth == ClientAuthJWT {
		var err error
		if proof, err = c.assertion(time.Now().Add(time.Duration(skew) * time.Second)); err != nil {
			return "", 0, err
		}
		request.AuthStyle = oauth2.AuthStyleInParams
		request.EndpointParams.Set("client_assertion_type", assertionType)
		request.EndpointParams.Set("client_assertion", proof)
	} else {
		value, err := c.resolver.Resolve(c.cfg.ClientSecret)
		if err != nil {
			return "", 0, err
		}
		proof = value.Reveal()
		request.ClientSecret = proof
		if c.cfg.ClientAuth == ClientAuthBody {
			request.AuthStyle = oauth2.AuthStyleInParams
		}
	}
	began := time.Now()
	token, err := request.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return "", 0, tokenError(err, proof)
	}
	if token.Expiry.IsZero() {
		return token.AccessToken, 0, nil
	}
	return token.AccessToken, token.Expiry.Sub(began), nil
}

// tokenError says what a failed fetch came to, without anything that the answer
// may quote: only its status, and the error's code of RFC 6749.
func tokenError(err error, proof string) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response == nil {
		return fmt.Errorf("%w: the token endpoint: %s", ErrUnavailable, reasonOf(err))
	}
	code := answer.ErrorCode
	if strings.Contains(code, proof) {
		code = ""
	}
	return answered("the token endpoint", answer.Response.StatusCode, code)
}

// answered makes the error of an answer that is no token. who gave it; code is
// its error's of RFC 6749.
func answered(who string, status int, code string) error {
	text := fmt.Sprintf("%s answers with status %d", who, status)
	if isCode(code) {
		text += ", " + code
	}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status < 400, status >= 500, code == "temporarily_unavailable":
		return fmt.Errorf("%w: %s", ErrUnavailable, text)
	}
	return fmt.Errorf("%w: %s", ErrRefused, text)
}

// reasonOf says in own words why there was no readable answer: the error's may
// quote the request.
func reasonOf(err error) string {
	var timeout interface{ Timeout() bool }
	var wire *url.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time"
	case isCertificate(err):
		return "its certificate is not trusted"
	case errors.As(err, &wire):
		return "the connection fails"
	default:
		return "its answer holds no token"
	}
}

func isCode(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

func (c *clientCredentials) Fingerprint() string {
	return fingerprint(c.resolver, present(c.cfg.ClientSecret, c.cfg.SigningKey), nil)
}

func (c *clientCredentials) redact(text string) string {
	return source{ref: c.cfg.ClientSecret, resolver: c.resolver}.redact(text)
}

// The smallest and the largest difference of clocks that is made up for. Beyond
// a day the date is believed by nobody.
const (
	leastSkew = 20           // seconds
	mostSkew  = 24 * 60 * 60 // seconds
)

func differs(a, b int64) bool { return a-b > leastSkew || b-a > leastSkew }

// dated learns from answers how far the clock of who gave them is ahead of ours.
type dated struct {
	base http.RoundTripper
	skew *atomic.Int64 // seconds
}

func (d *dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if skew := int64(time.Until(date) / time.Second); skew <= mostSkew && skew >= -mostSkew {
			d.skew.Store(skew)
		}
	}
	return resp, nil
}
