// Package sas verifies shared access signatures, the tokens that senders and
// receivers make from the keys of a policy.
package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxChars is how long a token may be.
const MaxChars = 4096

const prefix = "SharedAccessSignature "

// What is wrong with a token. Errors do not quote it.
var (
	ErrMalformed = errors.New("not a shared access signature")
	ErrSignature = errors.New("the signature is not that of a key of the policy")
	ErrExpired   = errors.New("the token has expired")
	ErrResource  = errors.New("the token is for another resource")
)

// Token is a shared access signature, taken apart.
type Token struct {
	Policy   string
	Resource string // a URI, decoded
	Expires  time.Time

	signed string // what was signed: the text of the resource as it stands, and of the end
	sig    []byte
}

// Parse takes a token apart: ErrMalformed. Its fields may stand in any order;
// unknown ones are skipped.
func Parse(token string) (Token, error) {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(token) > MaxChars {
		return Token{}, ErrMalformed
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, "&") {
		name, value, _ := strings.Cut(part, "=")
		if _, twice := fields[name]; twice {
			return Token{}, fmt.Errorf("%w: the field %.10q stands twice", ErrMalformed, name)
		}
		fields[name] = value
	}
	// Not as in a query: a plus stays a plus, which base64 has and some write as it is.
	resource, errResource := url.PathUnescape(fields["sr"])
	policy, errPolicy := url.PathUnescape(fields["skn"])
	encoded, errEncoded := url.PathUnescape(fields["sig"])
	sig, errSig := base64.StdEncoding.DecodeString(encoded)
	end, errEnd := strconv.ParseInt(fields["se"], 10, 64)
	if errors.Join(errResource, errPolicy, errEncoded, errSig, errEnd) != nil || resource == "" || policy == "" {
		return Token{}, ErrMalformed
	}
	return Token{
		Policy: policy, Resource: resource, Expires: time.Unix(end, 0),
		// SDKs escape in lower or in upper case, and sign what they wrote.
		signed: fields["sr"] + "\n" + fields["se"], sig: sig,
	}, nil
}

// SignedBy tells whether the token was made with the key. A key is its text, not
// what that would decode to.
func (t Token) SignedBy(key string) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(t.signed))
	return hmac.Equal(mac.Sum(nil), t.sig)
}

// Covers tells whether the token is good for a resource: the token's own, or one below
// it. Schemes, ports and queries do not matter, nor does case. A resource that begins
// with a slash is a path on any host.
func (t Token) Covers(resource string) bool {
	own, asked := parts(t.Resource), parts(resource)
	if strings.HasPrefix(resource, "/") {
		own = own[1:]
		asked = parts("any" + resource)[1:]
	}
	return len(own) <= len(asked) && slices.Equal(own, asked[:len(own)])
}

// parts are the host of a URI, without a port, and the segments of its path.
func parts(uri string) []string {
	uri = strings.ToLower(uri)
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = rest
	}
	uri, _, _ = strings.Cut(uri, "?")
	list := strings.Split(strings.Trim(uri, "/"), "/")
	list[0], _, _ = strings.Cut(list[0], ":")
	return list
}

// Verify reads a token for a resource. keys are those of a policy, none when there is
// no such policy: of two, one can be changed while the other is in use. A token that
// ends later than now and most is refused, too. ErrMalformed, ErrSignature,
// ErrExpired, ErrResource.
func Verify(token, resource string, now time.Time, most time.Duration, keys func(policy string) []string) (Token, error) {
	t, err := Parse(token)
	switch {
	case err != nil:
		return Token{}, err
	case !slices.ContainsFunc(keys(t.Policy), t.SignedBy):
		return Token{}, ErrSignature
	case !t.Expires.After(now):
		return Token{}, ErrExpired
	case t.Expires.Sub(now) > most:
		return Token{}, fmt.Errorf("%w: it would be good for longer than %s", ErrMalformed, most)
	case !t.Covers(resource):
		return Token{}, ErrResource
	}
	return t, nil
}
