package connector

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"ferry"
)

// place is where the broker is, as a definition says it.
type place struct {
	host   string // with the port where it is not 443
	prefix string // of paths, without a slash at the end
	known  bool   // not NoHost
	notes  []string
}

func (p *place) url() string { return "https://" + p.host + p.prefix }

const (
	maxTitle  = 30  // characters, of the connector
	maxOption = 200 // characters, of any other text
	noClient  = "00000000-0000-0000-0000-000000000000"
)

// complete checks the options and fills in what they leave open.
func (o *Options) complete() (*place, error) {
	at, err := findPlace(o.PublicURL)
	if err != nil {
		return nil, err
	}
	if o.Auth == "" {
		o.Auth = AuthAPIKey
		if o.ClientID != "" {
			o.Auth = AuthBoth
		}
	}
	if !slices.Contains(Auths(), o.Auth) {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "auth=%s means nothing", cut(tidy(o.Auth), 40)).WithHint("one of %s", strings.Join(Auths(), ", "))
	}
	if o.Auth != AuthAPIKey && o.ClientID == "" {
		o.ClientID = noClient
		at.notes = append(at.notes, "Microsoft Entra ID needs the client id of an app registration: put it into "+PropertiesFile+" for "+noClient+", or make the connector again with it")
	}
	set := func(value *string, otherwise string) {
		if *value == "" {
			*value = otherwise
		}
	}
	set(&o.Tenant, "common")
	set(&o.Resource, "api://"+o.ClientID)
	set(&o.Title, "Ferry")
	set(&o.Publisher, "Ferry")
	set(&o.Website, at.url()+"/connector/")
	set(&o.Privacy, o.Website)
	for name, value := range map[string]string{
		"clientId": o.ClientID, "tenant": o.Tenant, "resource": o.Resource, "publisher": o.Publisher,
		"email": o.Email, "website": o.Website, "privacyPolicy": o.Privacy,
	} {
		if runes(value) > maxOption || value != tidy(value) {
			return nil, ferry.Errorf(ferry.CodeBadRequest, "%s has more than %d characters, or some that do not show", name, maxOption)
		}
	}
	for name, value := range map[string]string{"website": o.Website, "privacyPolicy": o.Privacy} {
		if u, err := url.Parse(value); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			return nil, ferry.Errorf(ferry.CodeBadRequest, "%s is no https address", name).WithHint("write it as https://contoso.com/erp")
		}
	}
	for name, value := range map[string]string{"clientId": o.ClientID, "tenant": o.Tenant} {
		if strings.Trim(strings.ToLower(value), "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			return nil, ferry.Errorf(ferry.CodeBadRequest, "%s is neither an id nor a domain", name)
		}
	}
	if o.Email != "" && !mailAddress(o.Email) {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "email is no e-mail address")
	}
	return at, checkTitle(o.Title)
}

func mailAddress(s string) bool {
	name, host, ok := strings.Cut(s, "@")
	return ok && name != "" && host != "" && !strings.ContainsAny(s, " ") && strings.Count(s, "@") == 1 &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// checkTitle holds the connector's title to what Power Platform wants of one.
func checkTitle(title string) error {
	bad := func(why string) error {
		return ferry.Errorf(ferry.CodeBadRequest, "the title %s", why).
			WithHint("at most %d characters, a letter or digit at the end, without a product's name of Microsoft", maxTitle)
	}
	ends := title[len(title)-1]
	switch {
	case runes(title) > maxTitle || title != tidy(title):
		return bad("is too long, or has blanks around it or characters that do not show")
	case !(ends >= 'a' && ends <= 'z' || ends >= 'A' && ends <= 'Z' || ends >= '0' && ends <= '9' || ends == ')'):
		return bad("does not end in a letter or a digit")
	}
	words := " " + strings.Join(strings.FieldsFunc(strings.ToLower(title), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), " ") + " "
	for _, word := range []string{"api", "connector", "power apps", "powerapps", "copilot studio", "logic apps", "power automate", "powerautomate", "microsoft flow", "power platform"} {
		if strings.Contains(words, " "+word+" ") {
			return bad("has the words " + word + ", which titles may not have")
		}
	}
	return nil
}

// findPlace reads a public URL, or a host alone.
func findPlace(s string) (*place, error) {
	if s == "" {
		return nowhere("the broker's address is not known: who makes a connection types it in"), nil
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Host, ":") {
		return nil, badHost()
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return nowhere("no flow reaches " + u.Host + ", which is this machine's own address: give the host under which the broker is reached; until then the definition says " + NoHost), nil
	}
	if !hostName(u.Hostname()) {
		return nil, badHost()
	}
	at := &place{host: strings.ToLower(u.Host), prefix: strings.TrimRight(u.EscapedPath(), "/"), known: true}
	if u.Scheme == "http" {
		at.notes = append(at.notes, "the broker's public address is http: Power Platform calls https, put TLS in front of it")
	} else if u.Port() == "443" {
		at.host = strings.TrimSuffix(at.host, ":443")
	}
	if strings.ContainsAny(at.prefix, "{}*%") {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "the path of the public address cannot be part of a definition")
	}
	return at, nil
}

func badHost() error {
	return ferry.Errorf(ferry.CodeBadRequest, "the host cannot be used").
		WithHint("write the broker's host as flows reach it, such as broker.contoso.com")
}

func nowhere(note string) *place { return &place{host: NoHost, notes: []string{note}} }

// hostName says whether s is a name of DNS or an IPv4 address: what a definition's
// host may be.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
