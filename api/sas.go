package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/secret"
)

// SASPolicy is a shared access policy: who knows one of its keys signs tokens that
// stand for an API key in the calls of Service Bus.
type SASPolicy struct {
	Name   string
	Rights []string // RightSend, RightListen
	Routes []string // none means all
	// Keys gives the primary key and, where there is one, the secondary; it is asked
	// for every token, so that a rotated key is seen.
	Keys func() ([]secret.Value, error)
	// Renew has keys that are kept elsewhere read anew, no more often than that
	// allows; true: one is another one now. Nil: they are never kept.
	Renew func() bool
}

const (
	// maxSASLife bounds how long a token may be good for: one that never ends cannot
	// be taken back without changing the key for everybody.
	maxSASLife = 366 * 24 * time.Hour
	// MinSASKey is the shortest key that is taken, bytes.
	MinSASKey = 16
)

// unreadable bounds how often the log says that the keys of a policy cannot be read.
type unreadable struct {
	mu   sync.Mutex
	said map[string]time.Time // by policy
}

// say says whether the log has not told it of the policy for a minute; it tells it
// now.
func (u *unreadable) say(policy string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if last, ok := u.said[policy]; ok && now.Sub(last).Abs() < time.Minute {
		return false
	}
	if u.said == nil {
		u.said = map[string]time.Time{}
	}
	u.said[policy] = now
	return true
}

// sharedAccess is the token of the request, where it has one.
func (c *call) sharedAccess() (token string, there bool, err error) {
	auth, err := c.one("Authorization")
	scheme, token, _ := strings.Cut(auth, " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "SharedAccessSignature"), err
}

// authenticateSAS finds out whose token it is and whether it may do this. What is
// wrong with a token is told only to who knows the key.
func (c *call) authenticateSAS(token string) error {
	t, ok := parseSAS(token)
	if !ok {
		return badSAS("it cannot be read").WithHint("SharedAccessSignature sr=…&sig=…&se=…&skn=…, each value percent-encoded")
	}
	i := slices.IndexFunc(c.api.opts.SAS, func(p SASPolicy) bool { return p.Name == t.policy })
	if i < 0 {
		return badSignature()
	}
	policy := &c.api.opts.SAS[i]
	signed, err := policy.signed(&t)
	if err == nil && !signed && policy.Renew != nil && policy.Renew() {
		signed, err = policy.signed(&t) // signed with a key that was changed a moment ago
	}
	if err != nil {
		if c.api.unread.say(policy.Name, c.start) {
			c.api.log.Warn("the keys of a SAS policy cannot be read", "policy", policy.Name, "requestId", c.id,
				"error", errorChain(err), "next", "its tokens are answered 503 until they can be read")
		}
		// Nothing of err: whoever names a policy would learn where its keys lie.
		return ferry.Errorf(ferry.CodeSecretUnavailable, "the keys of the SAS policy cannot be read now").
			WithHint("send again after the time in Retry-After")
	}
	if !signed {
		return badSignature()
	}
	c.who = ferry.Identity{Name: "sas:" + policy.Name, KeyID: "sas:" + policy.Name, Role: ferry.RoleSender, Routes: policy.Routes}
	if c.ep.right == RightListen {
		c.who.Role = ferry.RoleReceiver
	}
	switch {
	case !c.start.Before(t.expires):
		return badSAS("it ended at %s", t.expires.UTC().Format(time.RFC3339)).WithHint("sign another one; se is Unix time, in seconds")
	case t.expires.Sub(c.start) > maxSASLife:
		return badSAS("it is good until %s, longer than a year from now", t.expires.UTC().Format(time.RFC3339)).WithHint("sign one that ends sooner")
	case !t.covers(c.r.URL.Path, c.publicPath()):
		return badSAS("it is not for this address").WithHint("sign the address of the queue, such as https://HOST/ROUTE; the host is not compared")
	case !slices.Contains(policy.Rights, c.ep.right):
		return ferry.Errorf(ferry.CodeForbidden, "the SAS policy %s does not have the right %s", policy.Name, c.ep.right)
	}
	return nil
}

func badSAS(why string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeUnauthenticated, "the SAS token is not taken: %s", fmt.Sprintf(why, args...))
}

func badSignature() error {
	return badSAS("no policy of this broker signed it").
		WithHint("skn names a policy of sas in the broker's configuration, sig is made with its key as text, over the lines sr and se as they stand in the token")
}

// publicPath is what the addresses of this broker have before the paths that it
// knows, behind a proxy that takes it off.
func (c *call) publicPath() string {
	u, err := url.Parse(c.api.opts.PublicURL)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

// sasToken is a token taken apart.
type sasToken struct {
	resource string // as it stands in the token: that is what was signed
	until    string // likewise
	policy   string
	sum      []byte
	expires  time.Time
}

// parseSAS reads a token whose fields come in any order. Fields that it does not
// know mean nothing.
func parseSAS(text string) (t sasToken, ok bool) {
	seen := map[string]string{}
	for field := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(field, "=")
		if _, twice := seen[name]; twice {
			return t, false
		}
		seen[name] = value
	}
	t.resource, t.until = seen["sr"], seen["se"]
	var policyErr, sigErr, sumErr error
	t.policy, policyErr = url.PathUnescape(seen["skn"])
	// A plus is a plus in base64; as in a form it would become a space.
	sig, sigErr := url.PathUnescape(seen["sig"])
	t.sum, sumErr = base64.StdEncoding.DecodeString(sig)
	seconds, untilErr := strconv.ParseInt(t.until, 10, 64)
	if policyErr != nil || sigErr != nil || sumErr != nil || untilErr != nil || t.policy == "" || t.resource == "" || len(t.sum) != sha256.Size || seconds < 0 || seconds > 1<<40 {
		return t, false
	}
	t.expires = time.Unix(seconds, 0)
	return t, true
}

// signed says whether one of the policy's keys signed the token, in a time that
// tells nothing.
func (p *SASPolicy) signed(t *sasToken) (bool, error) {
	keys, err := p.Keys()
	if err != nil {
		return false, err
	}
	good := false
	for _, key := range keys {
		// The key is its text: it looks like base64, and is not decoded.
		mac := hmac.New(sha256.New, []byte(key.Reveal()))
		mac.Write([]byte(t.resource + "\n" + t.until))
		if hmac.Equal(mac.Sum(nil), t.sum) && len(key.Reveal()) >= MinSASKey {
			good = true
		}
	}
	return good, nil
}

// covers says whether the token is for the path: its resource is the path or one
// above it. Scheme and host say nothing, since a proxy may have changed both; what a
// policy may do is said by its routes. public is what a proxy took off the path.
func (t *sasToken) covers(path, public string) bool {
	resource, err := url.PathUnescape(t.resource)
	if err != nil {
		return false
	}
	_, rest, hasScheme := strings.Cut(resource, "://")
	if !hasScheme {
		rest = resource
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "#")
	host, signed, _ := strings.Cut(rest, "/")
	if !hasScheme && host != "" && !strings.ContainsAny(host, ".:") {
		signed = rest // no host at all: it must not count as one, which would cover every route
	}
	return under(signed, path) || public != "" && under(signed, public+path)
}

// under says whether path is the one signed, or below it.
func under(signed, path string) bool {
	signed, path = strings.ToLower(strings.Trim(signed, "/")), strings.ToLower(strings.Trim(path, "/"))
	return signed == "" || path == signed || strings.HasPrefix(path, signed+"/")
}
