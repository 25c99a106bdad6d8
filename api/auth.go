package api

import (
	"context"
	"slices"
	"strings"

	"ferry"
)

// Tokens judges the tokens of issuers. Errors are unauthenticated, forbidden where
// a good token may do nothing here, and issuerUnavailable where it cannot be
// judged now.
type Tokens interface {
	Authenticate(ctx context.Context, token string) (ferry.Identity, error)
}

// authenticate finds out who calls and whether they may.
func (c *call) authenticate() error {
	if c.ep.right != "" {
		token, there, err := c.sharedAccess()
		if err != nil {
			return err
		}
		if there {
			c.presented = true
			return c.authenticateSAS(token)
		}
	}
	return c.require(c.ep.roles)
}

// require wants a caller with one of the roles. What stands in the request decides;
// the certificate of the connection counts for requests that bring nothing: it may
// be that of a host which passes on the calls of many.
func (c *call) require(roles []ferry.Role) error {
	who, err := c.caller()
	if err != nil {
		return err
	}
	c.who = who
	if !who.May(roles...) {
		return ferry.Errorf(ferry.CodeForbidden, "a key of the role %s may not do this", who.Role).
			WithHint("it needs the role %s", roleNames(roles))
	}
	return nil
}

// act lets what is done for the request be audited as the caller's.
func (c *call) act() {
	c.r = c.r.WithContext(ferry.WithCaller(c.ctx(), ferry.Caller{KeyID: c.who.KeyID, RequestID: c.id}))
}

func (c *call) caller() (ferry.Identity, error) {
	key, fromBearer, err := c.key()
	switch {
	case err != nil:
		return ferry.Identity{}, err
	case key == "":
		return c.certified()
	}
	c.presented = true
	if fromBearer && c.api.opts.Tokens != nil && !strings.HasPrefix(key, keyPrefix) {
		return c.api.opts.Tokens.Authenticate(c.ctx(), key)
	}
	return c.api.svc.Authenticate(c.ctx(), key)
}

// keyPrefix tells a key from a token.
const keyPrefix = "fry_"

func noCredentials() error {
	return ferry.Errorf(ferry.CodeUnauthenticated, "the request has no key").
		WithHint("send Authorization: Bearer KEY, Ocp-Apim-Subscription-Key: KEY or ?subscription-key=KEY")
}

// key is the caller's key, or token: the first of Authorization,
// Ocp-Apim-Subscription-Key and the query that has one. Another scheme of
// Authorization, which a proxy may have left, does not hide the other two. A header
// that is there twice with different values is refused: a proxy may have looked at
// the one, and we would take the other.
func (c *call) key() (key string, fromBearer bool, err error) {
	auth, err := c.one("Authorization")
	if err != nil {
		return "", false, err
	}
	scheme, key, _ := strings.Cut(auth, " ")
	if key = strings.TrimSpace(key); key != "" && strings.EqualFold(scheme, "Bearer") {
		return key, true, nil
	}
	if key, err = c.one("Ocp-Apim-Subscription-Key"); err != nil || key != "" {
		return key, false, err
	}
	keys := c.query["subscription-key"]
	for _, k := range keys[min(len(keys), 1):] {
		if k != keys[0] {
			return "", false, twice("the query parameter subscription-key")
		}
	}
	return c.q("subscription-key"), false, nil
}

// one is the value of a header that may be there once.
func (c *call) one(header string) (string, error) {
	values := c.r.Header[header]
	if len(values) == 0 {
		return "", nil
	}
	for _, v := range values[1:] {
		if v != values[0] {
			return "", twice("the header " + header)
		}
	}
	return values[0], nil
}

func twice(what string) error {
	return ferry.Errorf(ferry.CodeBadRequest, "%s is given twice, with different values", what).
		WithHint("send one; a proxy on the way may have added the other")
}

// challenge is the WWW-Authenticate of an answer 401 or 403 (RFC 6750): it says what
// is wrong only to who brought something.
func (c *call) challenge(e *ferry.Error) string {
	const realm = `Bearer realm="ferry"`
	if !c.presented {
		return realm
	}
	return realm + `, error="invalid_token", error_description="` + quotable(e.Message) + `"`
}

// quotable leaves of a text what may stand in the description of a challenge.
func quotable(text string) string {
	return strings.Map(func(ch rune) rune {
		switch {
		case ch == '"' || ch == '\\':
			return '\''
		case ch < ' ' || ch > '~':
			return '?'
		}
		return ch
	}, text[:min(len(text), 300)])
}

func roleNames(roles []ferry.Role) string {
	names := make([]string, 0, len(roles)+1)
	for _, r := range roles {
		names = append(names, string(r))
	}
	if !slices.Contains(roles, ferry.RoleAdmin) {
		names = append(names, string(ferry.RoleAdmin))
	}
	return strings.Join(names, " or ")
}
