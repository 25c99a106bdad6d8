package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"ferry"
)

// Issuer is one whose tokens stand for keys: Entra by its tenant, or any issuer
// with OpenID Connect discovery.
type Issuer struct {
	Name string `yaml:"name"` // what callers are called after, and the log
	// Issuer is the URL that tokens name as iss, to the character; its discovery
	// document lies below it. https, or http on a loopback address.
	Issuer string `yaml:"issuer"`
	// Tenant is the id of an Entra tenant, instead of Issuer; Tenants are several of
	// them, at most 50.
	Tenant  string   `yaml:"tenant"`
	Tenants []string `yaml:"tenants"`
	// Audiences are what tokens may name as aud, at most 20; one of them must.
	Audiences []string `yaml:"audiences"`
	// Roles say what a token may do, at most 100; the first that matches decides.
	Roles []IssuerRole `yaml:"roles"`
	// NameClaim is the claim that callers are called by; default what the token has
	// of preferred_username, upn, app_displayname, azp, appid, sub.
	NameClaim string `yaml:"nameClaim"`
	// ClockSkew is how far the clocks of issuer and broker may be apart; default 1
	// minute, from 0 to 5 minutes.
	ClockSkew time.Duration `yaml:"clockSkew"`
	// Algorithms of signatures that are taken; default all that have a public key.
	Algorithms []string `yaml:"algorithms"`
	CA         string   `yaml:"ca"` // PEM file: certificates that are trusted beside the system's
	ca         fileSum
}

// IssuerRole gives tokens that have a value in a claim a role.
type IssuerRole struct {
	Claim string `yaml:"claim"` // default roles; scp and scope hold words with blanks between
	Value string `yaml:"value"`
	Role  string `yaml:"role"` // sender, receiver, operator or admin
	// Routes, of sender and receiver: which; none means all.
	Routes []string `yaml:"routes"`
	// EnvironmentID is the Power Platform environment of the flows that call so.
	EnvironmentID string `yaml:"environmentId"`
}

const (
	maxTenants       = 50
	maxAudiences     = 20
	maxIssuerRoles   = 100
	defaultClockSkew = time.Minute
)

// SignatureAlgorithms are those of tokens: each has a public key, so that what
// checks a token cannot make one.
func SignatureAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (b *Broker) completeIssuers(has func(path string) bool) {
	for i := range b.Issuers {
		s := &b.Issuers[i]
		if !has(fmt.Sprintf("issuers[%d].clockSkew", i)) {
			s.ClockSkew = defaultClockSkew
		}
		if len(s.Algorithms) == 0 {
			s.Algorithms = SignatureAlgorithms()
		}
		if s.Tenant != "" {
			s.Tenants = append([]string{s.Tenant}, s.Tenants...)
		}
		for j := range s.Roles {
			setDefault(&s.Roles[j].Claim, "roles")
		}
	}
}

func (b *Broker) checkIssuers(d *decoder) {
	if len(b.Issuers) > ferry.MaxIssuers {
		d.at("issuers", "", "there are %d issuers, %d at most", len(b.Issuers), ferry.MaxIssuers)
	}
	names, urls := map[string]int{}, map[string]int{}
	once := func(seen map[string]int, key, path, what string) {
		if line, twice := seen[key]; twice && key != "" {
			d.at(path, "", "the %s %s stands here twice, first on line %d", what, clip(key), line)
			return
		}
		seen[key] = d.line(path)
	}
	for i := range b.Issuers {
		s, path := &b.Issuers[i], fmt.Sprintf("issuers[%d]", i)
		once(names, s.Name, path+".name", "issuer")
		once(urls, s.Issuer, path+".issuer", "issuer")
		for _, tenant := range s.Tenants {
			once(urls, strings.ToLower(tenant), path+".tenants", "tenant")
		}
		s.check(d, path)
		for j := range s.Roles {
			at := fmt.Sprintf("%s.roles[%d]", path, j)
			s.Roles[j].check(d, at)
			b.checkBound(d, at, s.Roles[j].Role, s.Roles[j].Routes)
		}
	}
}

func (s *Issuer) check(d *decoder, path string) {
	if s.Name == "" {
		d.at(path, "add name:, such as entra", "%s has no name", path)
	} else if s.Name == "sas" || s.Name == "cert" {
		d.at(path+".name", "", "%s.name: callers of %s would be called as those of another kind", path, s.Name)
	} else {
		d.checkName(path+".name", "issuer", s.Name)
	}
	switch {
	case s.Issuer == "" && len(s.Tenants) == 0:
		d.at(path, "add tenant: with the id of your Entra tenant, or issuer: with the URL of another issuer", "%s has neither tenant nor issuer", path)
	case s.Issuer != "" && len(s.Tenants) > 0:
		d.at(path+".issuer", "keep one of them", "%s has both tenant and issuer", path)
	case s.Issuer != "":
		s.checkURL(d, path+".issuer")
	}
	s.ca = d.readFile(path+".ca", s.CA)
	s.checkTenants(d, path)
	switch {
	case len(s.Audiences) == 0:
		d.at(path, "add audiences: what tokens for this broker name as aud, such as api://ferry or the id of the app registration", "%s has no audiences", path)
	case len(s.Audiences) > maxAudiences:
		d.at(path+".audiences", "", "%s has %d audiences, %d at most", path, len(s.Audiences), maxAudiences)
	case slices.Contains(s.Audiences, ""):
		d.at(path+".audiences", "", "%s has an empty audience", path)
	}
	switch {
	case len(s.Roles) == 0:
		d.at(path, "add roles: [{value: Ferry.Send, role: sender}]", "%s has no roles: no token could do anything", path)
	case len(s.Roles) > maxIssuerRoles:
		d.at(path+".roles", "", "%s has %d roles, %d at most", path, len(s.Roles), maxIssuerRoles)
	}
	d.checkSpan(path+".clockSkew", int64(s.ClockSkew), 0, int64(ferry.MaxClockSkew), showDuration)
	for i, name := range s.Algorithms {
		at := fmt.Sprintf("%s.algorithms[%d]", path, i)
		if name == "none" || strings.HasPrefix(name, "HS") {
			d.at(at, "an issuer signs with a key that only it has", "%s: %s is never taken: whoever can check such a token can make one", at, name)
			continue
		}
		d.checkOneOf(at, name, SignatureAlgorithms()...)
	}
}

func (s *Issuer) checkURL(d *decoder, path string) {
	d.checkURL(path, s.Issuer, "https://login.example", "https", "http")
	u, err := url.Parse(s.Issuer)
	switch {
	case err != nil:
	case u.Scheme == "http" && !isLoopback(u.Host) && !isLoopback(u.Host+":80"):
		d.at(path, "use https: whoever is on the way could say which keys are good", "%s is not https", path)
	case u.RawQuery != "" || u.Fragment != "":
		d.at(path, "", "%s has a query or a fragment", path)
	case strings.Contains(s.Issuer, "{") || strings.HasPrefix(strings.ToLower(u.Host), "login.microsoftonline.") && manyTenants(u.Path):
		d.at(path, "list the tenants that are let in: tenants: [ID, ID]", "%s would let every tenant of Entra in", path)
	}
}

// manyTenants says whether a path at Entra is not that of one tenant.
func manyTenants(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(path), "/"), "/")
	return slices.Contains([]string{"common", "organizations", "consumers"}, first)
}

func (s *Issuer) checkTenants(d *decoder, path string) {
	if len(s.Tenants) > maxTenants {
		d.at(path+".tenants", "", "%s has %d tenants, %d at most", path, len(s.Tenants), maxTenants)
	}
	for _, tenant := range s.Tenants {
		if !isGUID(tenant) {
			d.at(path+".tenant", "the tenant's id stands in the Azure portal under Microsoft Entra ID, Overview: 36 characters", "%s: %q is not the id of a tenant", path, clip(tenant))
		}
	}
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, ch := range []byte(strings.ToLower(s)) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (ch == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(ch)) {
			return false
		}
	}
	return true
}

func (r *IssuerRole) check(d *decoder, path string) {
	if r.Value == "" {
		d.at(path, "add value: what the claim of the token says, such as Ferry.Send", "%s has no value", path)
	}
	if len(r.EnvironmentID) > ferry.MaxEnvironmentID {
		d.at(path+".environmentId", "", "%s.environmentId has more than %d characters", path, ferry.MaxEnvironmentID)
	}
}

// checkBound looks at a role and the routes that it is bound to.
func (b *Broker) checkBound(d *decoder, path, role string, routes []string) {
	if role == "" {
		d.at(path, "add role: sender, receiver, operator or admin", "%s has no role", path)
		return
	}
	if !d.checkOneOf(path+".role", role, "sender", "receiver", "operator", "admin") {
		return
	}
	if len(routes) > 0 && role != "sender" && role != "receiver" {
		d.at(path+".routes", "", "%s.routes: the role %s is not bound to routes", path, role)
	}
	for j, name := range routes {
		if !slices.ContainsFunc(b.Routes, func(r BrokerRoute) bool { return r.Name == name }) {
			d.at(fmt.Sprintf("%s.routes[%d]", path, j), "name one of routes, or leave it out for all", "%s.routes: there is no route %s", path, clip(name))
		}
	}
}
