package jwtauth

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"

	"ferry"
)

const (
	maxName    = 80  // runes of a caller's name
	maxSubject = 100 // bytes of a subject; a longer one is told by its hash
)

// identity is who calls, by the claims of a token that was judged good.
func (a *authority) identity(c claims) (ferry.Identity, error) {
	subject := first(c, "sub", "azp", "appid", "client_id")
	if subject == "" {
		return ferry.Identity{}, refused("it names nobody (sub)")
	}
	if len(subject) > maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		sum := sha256.Sum256([]byte(subject))
		subject = hex.EncodeToString(sum[:])
	}
	who := ferry.Identity{Name: a.Name + ":" + a.called(c, subject), KeyID: "jwt:" + a.Name + "/" + subject}
	all := false
	for i := range a.Rules {
		r := &a.Rules[i]
		if who.Role != "" && who.Role != r.Role || !r.matches(c) {
			continue
		}
		who.Role = r.Role
		if who.Environment == "" {
			who.Environment = r.Environment
		}
		all = all || len(r.Routes) == 0
		for _, route := range r.Routes {
			if !slices.Contains(who.Routes, route) {
				who.Routes = append(who.Routes, route)
			}
		}
	}
	if all {
		who.Routes = nil
	}
	if who.Role == "" {
		return ferry.Identity{}, ferry.Errorf(ferry.CodeForbidden, "the token of %s is good, but gives no role here", who.Name).
			WithHint("it says %s; roles of the issuer %s in the broker's configuration lists what is looked for", a.said(c), a.Name)
	}
	return who, nil
}

// matches says whether the claim has the value; that of scopes holds several, with
// blanks between.
func (r *Rule) matches(c claims) bool {
	for _, text := range c.texts(r.Claim) {
		if text == r.Value || (r.Claim == "scp" || r.Claim == "scope") && slices.Contains(strings.Fields(text), r.Value) {
			return true
		}
	}
	return false
}

// said is what the token says in the claims that rules look at, for a hint.
func (a *authority) said(c claims) string {
	var list []string
	for _, r := range a.Rules {
		text := r.Claim + " " + shown(strings.Join(c.texts(r.Claim), ", "))
		if !slices.Contains(list, text) && len(list) < 5 {
			list = append(list, text)
		}
	}
	return strings.Join(list, ", ")
}

// called is the name of the caller for people: a user's, else that of the program.
// The name of the issuer stands before it, so that nobody can be taken for a key.
func (a *authority) called(c claims, subject string) string {
	name := first(c, a.NameClaim, "preferred_username", "upn", "app_displayname", "azp", "appid", "client_id")
	name = strings.TrimSpace(strings.Map(func(ch rune) rune {
		if !unicode.IsPrint(ch) {
			return -1
		}
		return ch
	}, name))
	if runes := []rune(name); len(runes) > maxName {
		name = string(runes[:maxName])
	}
	if name == "" {
		return subject
	}
	return name
}

// first is the first of the claims that the token has.
func first(c claims, names ...string) string {
	for _, name := range names {
		if list := c.texts(name); name != "" && len(list) == 1 && list[0] != "" {
			return list[0]
		}
	}
	return ""
}
