package jwtauth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"ferry"
)

// Issuer is one whose tokens are taken.
type Issuer struct {
	Name string // what its callers are called after
	// URL is what tokens name as iss, to the character; or Tenants are ids of Entra
	// tenants, whose tokens of both versions are taken.
	URL     string
	Tenants []string
	// Audiences: a token is for one of them.
	Audiences []string
	// Rules give callers their role: the first that matches says which, and the others
	// of that role that match add their routes.
	Rules []Rule
	// NameClaim says how a caller is called; empty, or not there: what is usual.
	NameClaim string
	// Skew is how far the clocks may be apart.
	Skew time.Duration
	// Algorithms of signatures that are taken, such as RS256.
	Algorithms []string
	// Transport reaches the issuer; nil: http.DefaultTransport.
	Transport http.RoundTripper
}

// Rule gives a role to tokens that have Value in Claim.
type Rule struct {
	Claim  string // a dot leads into an object, such as realm_access.roles
	Value  string
	Role   ferry.Role
	Routes []string // none means all
	// Environment is the Power Platform environment of such callers, if it is known.
	Environment string
}

// Options of a Verifier.
type Options struct {
	Issuers []Issuer
	Log     *slog.Logger // nil: none
}

// Verifier judges tokens. Its methods may be called concurrently.
type Verifier struct {
	issuers map[string]*authority // by iss
	known   *memory

	ctx   context.Context // of what is done in the background
	close context.CancelFunc
	work  sync.WaitGroup
}

// authority is one iss: an issuer, or one version of the tokens of a tenant.
type authority struct {
	*Issuer
	algorithms []jose.SignatureAlgorithm
	keys       *keyring
}

const (
	entraV2 = "https://login.microsoftonline.com/"
	entraV1 = "https://sts.windows.net/"
)

// New makes a Verifier. It reaches no issuer: that is done when there is a token,
// or by Start.
func New(opts Options) *Verifier {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{issuers: map[string]*authority{}, known: newMemory(maxKnown)}
	v.ctx, v.close = context.WithCancel(context.Background())
	for i := range opts.Issuers {
		s := &opts.Issuers[i]
		if s.URL != "" {
			v.add(s, s.URL, wellKnown(s.URL), opts.Log)
		}
		for _, tenant := range s.Tenants {
			// An app registration decides which version its tokens have, and few know which.
			v.add(s, entraV2+tenant+"/v2.0", wellKnown(entraV2+tenant+"/v2.0"), opts.Log)
			v.add(s, entraV1+tenant+"/", wellKnown(entraV2+tenant), opts.Log)
		}
	}
	return v
}

func (v *Verifier) add(s *Issuer, iss, config string, log *slog.Logger) {
	a := &authority{Issuer: s, keys: newKeyring(v.ctx, &v.work, iss, config, s.Transport, log.With("issuer", s.Name))}
	for _, name := range s.Algorithms {
		a.algorithms = append(a.algorithms, jose.SignatureAlgorithm(name))
	}
	v.issuers[iss] = a
}

// Start asks the issuers for their keys in the background, so that the first caller
// does not wait for them. It waits for nothing, and an issuer that is away is asked
// again when there is a token.
func (v *Verifier) Start() {
	v.work.Go(func() {
		for _, a := range v.issuers {
			_, _ = a.keys.current(v.ctx) // it is logged there
		}
	})
}

// Close ends what is done in the background, and waits for it.
func (v *Verifier) Close() {
	v.close()
	v.work.Wait()
}

// Authenticate says whose token it is. Errors are unauthenticated; forbidden, when
// a good token may do nothing here; issuerUnavailable, when it cannot be judged now.
func (v *Verifier) Authenticate(ctx context.Context, text string) (ferry.Identity, error) {
	if len(text) > ferry.MaxToken {
		return ferry.Identity{}, refused("it has %d bytes", len(text)).
			WithHint("at most %d; an issuer can be told to leave out groups", ferry.MaxToken)
	}
	sum := sha256.Sum256([]byte(text))
	if seen, ok := v.known.get(sum, time.Now()); ok {
		set, err := seen.by.keys.current(ctx)
		if err != nil {
			return ferry.Identity{}, err
		}
		if set.serial == seen.serial {
			return seen.who, nil
		}
	}
	t, err := read(text)
	if err != nil {
		return ferry.Identity{}, err
	}
	a, ok := v.issuers[t.issuer]
	if !ok {
		return ferry.Identity{}, refused("its issuer %s is none that this broker trusts", shown(t.issuer)).
			WithHint("issuers in the broker's configuration lists those; it has to be the same to the last character")
	}
	claims, set, err := a.verify(ctx, t)
	if err != nil {
		return ferry.Identity{}, err
	}
	until, err := a.judge(claims, time.Now())
	if err != nil {
		return ferry.Identity{}, err
	}
	who, err := a.identity(claims)
	if err != nil {
		return ferry.Identity{}, err
	}
	v.known.put(sum, verdict{who: who, by: a, serial: set.serial, until: until})
	return who, nil
}

// verify finds the key that signed the token, asking the issuer where it is not
// known, and returns what the key signed.
func (a *authority) verify(ctx context.Context, t *token) (claims, *keySet, error) {
	signed, err := t.signature(a.algorithms)
	if err != nil {
		return nil, nil, err
	}
	set, err := a.keys.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !set.has(t.keyID) {
		if set, err = a.keys.lookFor(ctx); err != nil {
			return nil, nil, err
		}
		if !set.has(t.keyID) {
			return nil, nil, refused("its issuer %s has no key %s", a.Name, shown(t.keyID)).
				WithHint("the key may have been withdrawn: fetch a new token")
		}
	}
	for _, key := range set.candidates(t.keyID, t.algorithm) {
		payload, err := signed.Verify(key)
		if err != nil {
			continue
		}
		c, err := readClaims(payload)
		return c, set, err
	}
	return nil, nil, refused("no key of its issuer %s signed it", a.Name).
		WithHint("it was altered on the way, or is of somebody else: fetch a new one")
}
