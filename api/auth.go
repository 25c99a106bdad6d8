package api

import (
	"slices"
	"strings"

	"ferry"
)

// authenticate finds out who calls and whether they may.
func (c *call) authenticate() error {
	if c.ep.right != "" {
		if token, ok := c.sharedAccess(); ok {
			return c.authenticateSAS(token)
		}
	}
	return c.require(c.ep.roles)
}

// require wants a key with one of the roles.
func (c *call) require(roles []ferry.Role) error {
	key := c.key()
	if key == "" {
		return ferry.Errorf(ferry.CodeUnauthenticated, "the request has no key").
			WithHint("send Authorization: Bearer KEY, Ocp-Apim-Subscription-Key: KEY or ?subscription-key=KEY")
	}
	who, err := c.api.svc.Authenticate(c.ctx(), key)
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

// key is the caller's key: the first of Authorization, Ocp-Apim-Subscription-Key
// and the query that has one. Another scheme of Authorization, which a proxy may
// have left, does not hide the other two.
func (c *call) key() string {
	if h := c.r.Header["Authorization"]; len(h) > 0 {
		scheme, key, _ := strings.Cut(h[0], " ")
		if key = strings.TrimSpace(key); key != "" && strings.EqualFold(scheme, "Bearer") {
			return key
		}
	}
	if h := c.r.Header["Ocp-Apim-Subscription-Key"]; len(h) > 0 && h[0] != "" {
		return h[0]
	}
	return c.q("subscription-key")
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
