package httpauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"ferry/secret"
)

// Bounds of tokens.
const (
	tokenMargin = time.Minute     // a token ends so much earlier: clocks differ, and calls take time
	tokenLife   = 5 * time.Minute // of a token that does not say how long it lives
	maxToken    = 64 << 10        // bytes; a longer one fits into no header
)

// tokenSource fetches tokens.
type tokenSource interface {
	// token fetches one; life is how long it lives from the moment of the call, 0
	// when it does not say. An error wraps ErrUnavailable or ErrRefused, or says
	// that a secret cannot be read; it repeats nothing that an answer may quote.
	token(ctx context.Context) (text string, life time.Duration, err error)
	Fingerprint() string
	redact(text string) string
	// secrets are what a fetch proves itself with, and what reads them.
	secrets() ([]secret.Ref, Resolver)
}

// bearer sends a token that it fetches, and keeps until shortly before it ends.
type bearer struct {
	source tokenSource
	tokens *keeper[string]

	mu     sync.Mutex
	recent [4]string // tokens that an answer may still quote
	count  int       // of tokens
}

func newBearer(source tokenSource) *bearer {
	b := &bearer{source: source}
	b.tokens = newKeeper(b.fetch, nil)
	return b
}

func (b *bearer) fetch(ctx context.Context) (string, time.Time, error) {
	began := time.Now()
	secrets, resolver := b.source.secrets()
	before := borne(resolver, secrets)
	token, life, err := b.source.token(ctx)
	if errors.Is(err, ErrRefused) && anyReplaced(resolver, before) {
		token, life, err = b.source.token(ctx)
	}
	switch {
	case err != nil:
		return "", time.Time{}, err
	case token == "" || !isHeaderValue(token) || len(token) > maxToken:
		return "", time.Time{}, fmt.Errorf("%w: the token fits into no header", ErrUnavailable)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recent[b.count%len(b.recent)] = token
	b.count++
	return token, endOf(life, began), nil
}

// endOf is when a token is no longer used: a margin before its end, or at half
// its life when that is short. It is told from here by the time that passes: how
// the clocks stand does not matter.
func endOf(life time.Duration, began time.Time) time.Time {
	if life <= 0 {
		life = tokenLife
	}
	return began.Add(life - min(tokenMargin, life/2))
}

// Apply waits for a token if need be, as long as req's context lasts.
func (b *bearer) Apply(req *http.Request) error {
	token, err := b.tokens.take(req.Context())
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// Refused drops the token that the request bore, unless it was renewed meanwhile.
func (b *bearer) Refused(req *http.Request) bool {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if ok {
		b.tokens.drop(func(kept string) bool { return kept == token })
	}
	return ok
}

func (b *bearer) Show(req *http.Request) { req.Header.Set("Authorization", "Bearer "+Mask) }

func (b *bearer) Redact(text string) string {
	b.mu.Lock()
	recent := b.recent
	b.mu.Unlock()
	return b.source.redact(redact(text, recent[:]...))
}

func (b *bearer) Fingerprint() string { return b.source.Fingerprint() }

func (b *bearer) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// Close ends a fetch that is under way.
func (b *bearer) Close() error {
	b.tokens.close()
	return nil
}
