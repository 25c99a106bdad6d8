package httpauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Bounds of fetching a token.
const (
	tokenTimeout = 10 * time.Second // for one fetch; its answer is at most 1 MiB
	tokenMargin  = time.Minute      // a token ends so much earlier: clocks differ, and calls take time
	tokenLife    = 5 * time.Minute  // of a token that does not say how long it lives
	maxToken     = 64 << 10         // bytes; a longer one fits into no header
)

// clientToken sends a token that it fetches by client credentials, and keeps
// until shortly before it ends. One fetch is under way at a time.
type clientToken struct {
	cfg Config
	source
	client *http.Client

	mu       sync.Mutex
	token    string
	until    time.Time
	recent   [4]string // tokens that an answer may still quote
	count    int       // of tokens
	fetching *fetch    // nil: none is under way
}

// fetch is one request for a token that all who need one wait for.
type fetch struct {
	done  chan struct{} // closed when token and err are there
	token string
	err   error
}

func newOAuth2(cfg Config, resolver Resolver) *clientToken {
	return &clientToken{
		cfg: cfg, source: source{ref: cfg.ClientSecret, resolver: resolver},
		client: &http.Client{
			// Tokens are fetched rarely: no connection is kept for the next one.
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: tokenTimeout,
				MaxResponseHeaderBytes: 64 << 10, ResponseHeaderTimeout: tokenTimeout,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       tokenTimeout,
		},
	}
}

// Apply waits for a token if need be, as long as req's context lasts.
func (o *clientToken) Apply(req *http.Request) error {
	token, err := o.take(req.Context())
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func (o *clientToken) take(ctx context.Context) (string, error) {
	o.mu.Lock()
	if o.token != "" && time.Now().Before(o.until) {
		defer o.mu.Unlock()
		return o.token, nil
	}
	f := o.fetching
	if f == nil {
		secret, err := o.resolver.Resolve(o.ref)
		if err != nil {
			o.mu.Unlock()
			return "", err
		}
		f = &fetch{done: make(chan struct{})}
		o.fetching, o.token = f, ""
		go o.fetch(f, secret.Reveal())
	}
	o.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return "", fmt.Errorf("%w: no token came in time", ErrUnavailable)
	}
}

// fetch gets one token. It outlives the call that asked for it, by its own bound.
func (o *clientToken) fetch(f *fetch, secret string) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	began := time.Now()
	token, err := o.config(secret).Token(context.WithValue(ctx, oauth2.HTTPClient, o.client))
	switch {
	case err != nil:
		f.err = tokenError(err, secret)
	case !isHeaderValue(token.AccessToken) || len(token.AccessToken) > maxToken:
		f.err = fmt.Errorf("%w: its token fits into no header", ErrUnavailable)
	default:
		f.token = token.AccessToken
	}
	o.mu.Lock()
	o.fetching = nil
	if f.err == nil {
		o.token, o.until = f.token, endOf(token, began)
		o.recent[o.count%len(o.recent)] = f.token
		o.count++
	}
	o.mu.Unlock()
	close(f.done)
}

func (o *clientToken) config(secret string) *clientcredentials.Config {
	c := &clientcredentials.Config{
		ClientID: o.cfg.ClientID, ClientSecret: secret, TokenURL: o.cfg.TokenURL, Scopes: o.cfg.Scopes,
		// Never found out by trying: a wrong secret would be sent twice.
		AuthStyle: oauth2.AuthStyleInHeader,
	}
	if o.cfg.ClientAuth == ClientAuthBody {
		c.AuthStyle = oauth2.AuthStyleInParams
	}
	if o.cfg.Audience != "" {
		c.EndpointParams = url.Values{"audience": {o.cfg.Audience}}
	}
	return c
}

// endOf is when a token is no longer used: a margin before its end, or at half
// its life when that is short.
func endOf(token *oauth2.Token, began time.Time) time.Time {
	life := tokenLife
	if !token.Expiry.IsZero() {
		life = token.Expiry.Sub(began)
	}
	return began.Add(life - min(tokenMargin, life/2))
}

// tokenError says what a failed fetch came to, without anything that the answer
// may quote: only its status, and the error's code of RFC 6749.
func tokenError(err error, secret string) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response == nil {
		return fmt.Errorf("%w: %s", ErrUnavailable, reasonOf(err))
	}
	status := answer.Response.StatusCode
	text := fmt.Sprintf("status %d", status)
	if code := answer.ErrorCode; isCode(code) && !strings.Contains(code, secret) {
		text += ", " + code
	}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status < 400, status >= 500:
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

// Refused drops the token that the request bore, unless it was renewed meanwhile.
func (o *clientToken) Refused(req *http.Request) bool {
	bearer, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.token == bearer {
		o.token = ""
	}
	return true
}

func (o *clientToken) Show(req *http.Request) { req.Header.Set("Authorization", "Bearer "+Mask) }

func (o *clientToken) Redact(text string) string {
	o.mu.Lock()
	recent := o.recent
	o.mu.Unlock()
	text = redact(text, recent[:]...)
	if secret, err := o.resolver.Resolve(o.ref); err == nil {
		text = redact(text, secret.Reveal(), url.QueryEscape(secret.Reveal()))
	}
	return text
}

func (o *clientToken) Wrap(base http.RoundTripper) http.RoundTripper { return base }
