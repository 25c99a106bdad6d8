package apispec

import (
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"ferry/httpauth"
)

// Requirement is one way to log on: all of its schemes together. Without schemes:
// nobody has to.
type Requirement []Scheme

// Scheme is one credential that an operation asks for.
type Scheme struct {
	Name string // in the description
	// Auth is what auth: may look like, without secrets; zero when there is no such
	// kind.
	Auth httpauth.Config
	Text string // what it asks for, in words
	// fits says whether a configured auth: gives it; nil: nothing tells.
	fits func(httpauth.Config) bool
}

func requirements(doc *openapi3.T, from openapi3.SecurityRequirements) ([]Requirement, error) {
	var out []Requirement
	for _, alternative := range from {
		r := Requirement{}
		for _, name := range slices.Sorted(maps.Keys(alternative)) {
			var ref *openapi3.SecuritySchemeRef
			if doc.Components != nil {
				ref = doc.Components.SecuritySchemes[name]
			}
			if ref == nil || ref.Value == nil {
				return nil, bad("it is secured by %q, which the description does not explain", cut(name, 100))
			}
			r = append(r, scheme(name, ref.Value, alternative[name]))
		}
		out = append(out, r)
	}
	return out, nil
}

func scheme(name string, from *openapi3.SecurityScheme, scopes []string) Scheme {
	s := Scheme{Name: name}
	switch from.Type {
	case "apiKey":
		return apiKey(s, from)
	case "http":
		return overHTTP(s, from)
	case "oauth2":
		return oauth2(s, from, scopes)
	case "openIdConnect":
		s.Text = "a token of " + cut(from.OpenIdConnectUrl, 200)
		s.Auth = httpauth.Config{Type: httpauth.TypeOAuth2, Scopes: scopes}
		s.fits = givesAuthorization
	case "mutualTLS":
		s.Text = "a client certificate"
	default:
		s.Text = "a scheme of type " + cut(from.Type, 40)
	}
	return s
}

func apiKey(s Scheme, from *openapi3.SecurityScheme) Scheme {
	place := map[string]string{"query": "query parameter", "header": "header", "cookie": "cookie"}[from.In]
	s.Text = fmt.Sprintf("a key in the %s %s", place, cut(from.Name, 100))
	s.Auth = httpauth.Config{Type: httpauth.TypeAPIKey}
	switch {
	case from.In == "query":
		s.Auth.Query = from.Name
		s.fits = func(c httpauth.Config) bool { return c.Query == from.Name }
	case from.In != "header":
		s.Auth = httpauth.Config{}
	case textproto.CanonicalMIMEHeaderKey(from.Name) == "Authorization":
		s.Auth.Header = from.Name
		s.fits = givesAuthorization
	default:
		s.Auth.Header = from.Name
		s.fits = func(c httpauth.Config) bool { return strings.EqualFold(c.Header, from.Name) }
	}
	return s
}

// overHTTP is a scheme of the header Authorization.
func overHTTP(s Scheme, from *openapi3.SecurityScheme) Scheme {
	switch kind := strings.ToLower(from.Scheme); kind {
	case "basic":
		s.Text, s.Auth = "a user name and a password (basic)", httpauth.Config{Type: httpauth.TypeBasic}
		s.fits = func(c httpauth.Config) bool { return c.Type == httpauth.TypeBasic }
	case "bearer":
		s.Text = "a token (bearer)"
		s.Auth = httpauth.Config{Type: httpauth.TypeAPIKey, Header: "Authorization", Prefix: "Bearer "}
		s.fits = func(c httpauth.Config) bool { return givesAuthorization(c) && c.Type != httpauth.TypeBasic }
	default:
		s.Text, s.fits = "the scheme "+cut(kind, 40), givesAuthorization
	}
	return s
}

func oauth2(s Scheme, from *openapi3.SecurityScheme, scopes []string) Scheme {
	s.Text, s.fits = "a token (oauth2)", func(c httpauth.Config) bool { return givesAuthorization(c) && c.Type != httpauth.TypeBasic }
	s.Auth = httpauth.Config{Type: httpauth.TypeOAuth2, Scopes: scopes}
	if from.Flows == nil {
		return s
	}
	switch flow := from.Flows.ClientCredentials; {
	case flow != nil:
		s.Text, s.Auth.TokenURL = "a token (oauth2, client credentials)", flow.TokenURL
	case from.Flows.AuthorizationCode != nil:
		s.Text = "a token (oauth2); only flows for people are described, so ask for client credentials"
		s.Auth.TokenURL = from.Flows.AuthorizationCode.TokenURL
	case from.Flows.Password != nil:
		s.Text = "a token (oauth2); only flows for people are described, so ask for client credentials"
		s.Auth.TokenURL = from.Flows.Password.TokenURL
	}
	return s
}

// givesAuthorization says whether auth: fills the header Authorization.
func givesAuthorization(c httpauth.Config) bool {
	if c.Type == httpauth.TypeAPIKey {
		return strings.EqualFold(c.Header, "Authorization")
	}
	return c.Type != "" && c.Type != httpauth.TypeNone
}

// CheckAuth says whether auth: and tls: give what the operation asks for. auth:
// {type: none} is taken for a decision. An error is a *ferry.Error that says what
// to write.
func (o *Operation) CheckAuth(auth httpauth.Config, tls httpauth.TLS) error {
	if len(o.Security) == 0 || auth.Type == httpauth.TypeNone {
		return nil
	}
	gives := func(s Scheme) bool {
		if auth.Type == "" {
			return s.fits == nil && tls.Cert != ""
		}
		return s.fits == nil || s.fits(auth)
	}
	var asked, hints []string
	for _, r := range o.Security {
		// auth: gives one credential; where several go together, the others are for
		// certificates and gateways.
		if len(r) == 0 || slices.ContainsFunc(r, gives) {
			return nil
		}
		var texts []string
		for _, s := range r {
			texts = append(texts, s.Text)
			if shown := ShowAuth(s.Auth, "NAME"); shown != "" && !slices.Contains(hints, shown) {
				hints = append(hints, shown)
			}
		}
		asked = append(asked, strings.Join(texts, " and "))
	}
	err := bad("the operation asks for %s, and auth: is missing", cut(strings.Join(asked, ", or "), 400))
	if auth.Type != "" {
		err = bad("the operation asks for %s, and auth: of type %s does not give that", cut(strings.Join(asked, ", or "), 400), auth.Type)
	}
	if len(hints) == 0 {
		return err.WithHint("auth: {type: none} when something else logs on")
	}
	return err.WithHint("auth: %s; or auth: {type: none} when nobody has to log on", cut(strings.Join(hints, ", or "), 500))
}

// ShowAuth writes auth: on one line, its secrets as references to the environment
// variable name. Empty when the kind is none.
func ShowAuth(c httpauth.Config, name string) string {
	switch c.Type {
	case httpauth.TypeAPIKey:
		if c.Query != "" {
			return fmt.Sprintf("{type: apiKey, query: %s, key: env:%s}", quote(c.Query), name)
		}
		prefix := ""
		if c.Prefix != "" {
			prefix = fmt.Sprintf(", prefix: %q", c.Prefix)
		}
		return fmt.Sprintf("{type: apiKey, header: %s%s, key: env:%s}", quote(c.Header), prefix, name)
	case httpauth.TypeBasic:
		user := c.Username
		if user == "" {
			user = "USER"
		}
		return fmt.Sprintf("{type: basic, username: %s, password: env:%s}", quote(user), name)
	case httpauth.TypeOAuth2:
		address := c.TokenURL
		if address == "" {
			address = "https://login.example/oauth2/token"
		}
		scopes := ""
		if len(c.Scopes) > 0 {
			quoted := make([]string, len(c.Scopes))
			for i, scope := range c.Scopes {
				quoted[i] = quote(scope)
			}
			scopes = ", scopes: [" + strings.Join(quoted, ", ") + "]"
		}
		id := c.ClientID
		if id == "" {
			id = "CLIENT-ID"
		}
		return fmt.Sprintf("{type: oauth2, tokenUrl: %s, clientId: %s, clientSecret: env:%s%s}", quote(address), quote(id), name, scopes)
	}
	return ""
}

// quote writes text for YAML's flow style.
func quote(s string) string {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && (c == '-' || c == '.' || c >= '0' && c <= '9')
		if !letter {
			return fmt.Sprintf("%q", s)
		}
	}
	if s == "" || slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s)) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
