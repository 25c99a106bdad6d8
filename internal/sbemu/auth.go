package sbemu

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"ferry/internal/sbemu/sas"
)

// The types of tokens.
const (
	tokenSAS = "servicebus.windows.net:sastoken"
	tokenJWT = "jwt"
)

var errUnauthorized = errors.New("unauthorized")

// authority knows the policies.
type authority struct {
	life     time.Duration
	checkJWT func(string) (string, error)

	mu       sync.Mutex
	policies map[string]Policy
}

func newAuthority(o Options) *authority {
	a := &authority{life: o.Limits.TokenLife, checkJWT: o.CheckJWT, policies: map[string]Policy{}}
	for name, p := range o.Policies {
		a.policies[name] = p
	}
	return a
}

// claim is what a token on a connection allows, until it ends.
type claim struct {
	policy  string
	expires time.Time
}

// first is the name of a policy with all rights, or of any.
func (a *authority) first() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	best := ""
	for name, p := range a.policies {
		switch {
		case best == "", p.Rights > a.policies[best].Rights, p.Rights == a.policies[best].Rights && name < best:
			best = name
		}
	}
	return best
}

func (a *authority) key(policy string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if keys := a.policies[policy].Keys; len(keys) > 0 {
		return keys[0]
	}
	return ""
}

func (a *authority) revoke(policy string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.policies, policy)
}

// allows says whether a policy has a right on a queue.
func (a *authority) allows(policy, queue string, right Rights) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.policies[policy]
	return ok && p.on(queue)&right == right
}

// check reads a token for an audience.
func (a *authority) check(kind, token, audience string, now time.Time) (claim, error) {
	switch kind {
	case tokenSAS:
		return a.checkSAS(token, audience, now)
	case tokenJWT:
		if a.checkJWT == nil {
			return claim{}, fmt.Errorf("%w: tokens of Entra ID are not taken here", errUnauthorized)
		}
		policy, err := a.checkJWT(token)
		if err != nil {
			return claim{}, fmt.Errorf("%w: %w", errUnauthorized, err)
		}
		// How long such a token holds, the hook alone knows: the SDKs renew them.
		return claim{policy: policy, expires: now.Add(24 * time.Hour)}, nil
	}
	return claim{}, fmt.Errorf("%w: tokens of the type %.60q are not known", errUnauthorized, kind)
}

func (a *authority) checkSAS(token, audience string, now time.Time) (claim, error) {
	t, err := sas.Verify(token, audience, now, a.life, a.keys)
	if err != nil {
		return claim{}, fmt.Errorf("%w: %w", errUnauthorized, err)
	}
	return claim{policy: t.Policy, expires: t.Expires}, nil
}

func (a *authority) keys(policy string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.policies[policy].Keys
}

// manages says whether an HTTP request may manage a queue, or the whole namespace
// when the name is empty.
func (a *authority) manages(r *http.Request, queue string) error {
	header := r.Header.Get("Authorization")
	kind := tokenSAS
	if bearer, ok := strings.CutPrefix(header, "Bearer "); ok {
		kind, header = tokenJWT, bearer
	}
	c, err := a.check(kind, header, "/"+queue, time.Now())
	if err != nil {
		return err
	}
	if !a.allows(c.policy, queue, Manage) {
		return fmt.Errorf("%w: this takes the right to manage", errUnauthorized)
	}
	return nil
}

// resource is the path that a URI names, in lower case and without slashes around.
func resource(uri string) string {
	if u, err := url.Parse(uri); err == nil && u.Host != "" {
		uri = u.Path
	}
	return strings.ToLower(strings.Trim(uri, "/"))
}
