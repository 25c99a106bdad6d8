package jwtauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxDocument = 1 << 20   // of an issuer, bytes
	maxKeys     = 100       // of an issuer
	maxTries    = 10        // keys that a token which names none is held against
	leastRSA    = 2048      // bits
	configFresh = time.Hour // how long a discovery document is good for
)

// source is where the keys of an issuer come from.
type source struct {
	issuer string
	config string // URL of the discovery document
	client *http.Client

	jwks string // URL of the keys, as the discovery document said it
	at   time.Time
}

func wellKnown(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

func newSource(issuer, config string, transport http.RoundTripper) source {
	return source{issuer: issuer, config: config, client: &http.Client{
		Transport: transport,
		Timeout:   askTime / 2,
		// Where the keys are is said by the configuration and by what lies there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// fetch asks for the issuer's keys. It is called by one at a time.
func (s *source) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	if s.jwks == "" || time.Since(s.at) > configFresh {
		// The address that it gave before is still good when it is away now.
		if err := s.discover(ctx); err != nil && s.jwks == "" {
			return nil, err
		}
	}
	data, err := s.get(ctx, s.jwks)
	if err != nil {
		s.at = time.Time{} // they may have moved: look again next time
		return nil, err
	}
	return readKeys(data)
}

func (s *source) discover(ctx context.Context) error {
	data, err := s.get(ctx, s.config)
	if err != nil {
		return err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s is not a discovery document: %w", s.config, err)
	}
	if doc.Issuer != s.issuer {
		return fmt.Errorf("%s is of the issuer %q, not of %q", s.config, doc.Issuer, s.issuer)
	}
	keys, err := url.Parse(doc.Keys)
	if err != nil || keys.Host == "" || keys.Scheme != "https" && !(keys.Scheme == "http" && loopback(keys.Hostname())) {
		return fmt.Errorf("jwks_uri in %s is not an https URL", s.config)
	}
	s.jwks, s.at = doc.Keys, time.Now()
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *source) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "ferry")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", address, resp.StatusCode)
	}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/html" {
		return nil, fmt.Errorf("%s answers a page for people", address)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%s answers more than %d bytes", address, maxDocument)
	}
	return data, nil
}

// readKeys reads a set of keys. Those that sign nothing, or that this build does
// not know, are passed over; so are secrets, which are not for a set that anybody
// may read.
func readKeys(data []byte) ([]jose.JSONWebKey, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("the keys cannot be read: %w", err)
	}
	if doc.Keys == nil {
		return nil, errors.New("the answer has no keys")
	}
	keys := []jose.JSONWebKey{}
	for _, raw := range doc.Keys {
		var key jose.JSONWebKey
		if len(keys) == maxKeys {
			break
		}
		if err := key.UnmarshalJSON(raw); err == nil && usable(&key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func usable(key *jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= leastRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key.Valid()
	}
	return false
}

// keySet is the keys of an issuer as it told them once. It is not changed.
type keySet struct {
	keys   []jose.JSONWebKey
	at     time.Time
	serial uint64 // rises when the keys are others than before
}

// has says whether a key of the id is there; with no id, whether there is any.
func (s *keySet) has(id string) bool {
	return slices.ContainsFunc(s.keys, func(k jose.JSONWebKey) bool { return id == "" || k.KeyID == id })
}

// candidates are the keys that may have signed a token.
func (s *keySet) candidates(id, algorithm string) []*jose.JSONWebKey {
	var list []*jose.JSONWebKey
	for i := range s.keys {
		k := &s.keys[i]
		if (id == "" || k.KeyID == id) && (k.Algorithm == "" || k.Algorithm == algorithm) && len(list) < maxTries {
			list = append(list, k)
		}
	}
	return list
}

// same says whether two sets have the same keys, in the same order.
func (s *keySet) same(other *keySet) bool {
	return slices.EqualFunc(s.keys, other.keys, func(a, b jose.JSONWebKey) bool {
		ta, errA := a.Thumbprint(crypto.SHA256)
		tb, errB := b.Thumbprint(crypto.SHA256)
		return a.KeyID == b.KeyID && a.Algorithm == b.Algorithm && errA == nil && errB == nil && bytes.Equal(ta, tb)
	})
}
