package erp_test

import (
	"errors"
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

func TestBadDestinations(t *testing.T) {
	registry := adapters.Registry{"erp": erp.New(secret.Resolver{}, nil)}
	good := adapters.DestinationConfig{Name: "books", Adapter: "erp", Dialect: "rest", URL: "https://erp.example/api"}
	if d, err := registry.Open(good); err != nil {
		t.Fatal(err)
	} else if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*adapters.DestinationConfig){
		"no adapter":          func(c *adapters.DestinationConfig) { c.Adapter = "fax" },
		"no dialect":          func(c *adapters.DestinationConfig) { c.Dialect = "klingon" },
		"url is missing":      func(c *adapters.DestinationConfig) { c.URL = "" },
		"no absolute":         func(c *adapters.DestinationConfig) { c.URL = "erp.example/api" },
		"or https":            func(c *adapters.DestinationConfig) { c.URL = "ftp://erp.example" },
		"a user name":         func(c *adapters.DestinationConfig) { c.URL = "https://me:hunter2@erp.example" },
		"cannot be read":      func(c *adapters.DestinationConfig) { c.URL = "https://me:hunter2@erp.example:port" },
		"fragment":            func(c *adapters.DestinationConfig) { c.URL = "https://erp.example/#x" },
		"auth: ":              func(c *adapters.DestinationConfig) { c.Auth = httpauth.Config{Type: "basic"} },
		"no name of a member": func(c *adapters.DestinationConfig) { c.Mask = []string{".iban"} },
		"timeout":             func(c *adapters.DestinationConfig) { c.Timeout = -1 },
		"may not stand":       func(c *adapters.DestinationConfig) { c.Headers = map[string]string{"authorization": "hunter2"} },
		"the connection":      func(c *adapters.DestinationConfig) { c.Headers = map[string]string{"Host": "x"} },
		"name of a header":    func(c *adapters.DestinationConfig) { c.Headers = map[string]string{"a b": "x"} },
		"cannot carry":        func(c *adapters.DestinationConfig) { c.Headers = map[string]string{"a": "x\ny"} },
		"or a program":        func(c *adapters.DestinationConfig) { c.Health = &adapters.HealthConfig{URL: "/ping/{= .a}"} },
		"has a program":       func(c *adapters.DestinationConfig) { c.Headers = map[string]string{"a": "{= .a}"} },
		"a placeholder":       func(c *adapters.DestinationConfig) { c.Health = &adapters.HealthConfig{URL: "/ping/{externalKey}"} },
		"health.url":          func(c *adapters.DestinationConfig) { c.Health = &adapters.HealthConfig{URL: "https://other.example/"} },
		"verdicts, rule 2": func(c *adapters.DestinationConfig) {
			c.Verdicts = []adapters.VerdictRule{{Status: "404", Verdict: "failed"}, {Status: "x", Verdict: "failed"}}
		},
		"there is no verdict": func(c *adapters.DestinationConfig) {
			c.Verdicts = []adapters.VerdictRule{{Status: "404", Verdict: "lost"}}
		},
	} {
		cfg := good
		change(&cfg)
		_, err := registry.Open(cfg)
		checkSetting(t, err, "destination books", want)
	}
}

func TestBadRoutes(t *testing.T) {
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "books", URL: "https://erp.example/api"})
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(l adapters.LookupConfig) adapters.RouteConfig { return adapters.RouteConfig{Lookup: &l} }
	for want, cfg := range map[string]adapters.RouteConfig{
		"is no JSON pointer":                                    {Mask: []string{"/a//b"}},
		"url: {= .a has no closing brace":                       {URL: "/a/{= .a"},
		"url: the jq program, line 1, column 5: unexpected EOF": {URL: "/a/{= .a|}"},
		"query.d: the jq program":                               {Query: map[string]string{"d": "{= foo}"}},
		"headers.X-A: the jq program":                           {Headers: map[string]string{"X-A": "{= foo}"}},
		"the value of X-B has characters":                       {Headers: map[string]string{"X-B": "{= .a}\n"}},
		"carries a secret":                                      {Headers: map[string]string{"Authorization": "{= .token}"}},
		"method":                                                {Method: "DELETE"},
		"keyHeader":                                             {KeyHeader: "a b"},
		"cannot carry the external":                             {KeyHeader: "authorization"},
		"headers":                                               {Headers: map[string]string{"X-Api-Key": "hunter2"}},
		"contentType":                                           {ContentType: "a\nb"},
		"url is absolute":                                       {URL: "https://erp.example/x"},
		"url has an unknown":                                    {URL: "/x/{externalkey}"},
		"url has a { without":                                   {URL: "/x/{externalKey"},
		"url has a } without":                                   {URL: "/x/externalKey}"},
		"a space":                                               {URL: "/x y"},
		"url cannot be read":                                    {URL: "/x%zz"},
		"query.a has an unknown":                                {Query: map[string]string{"a": "{b}"}},
		"map: the jq program, line 2":                           {Map: "{\n a: }"},
		"reference: the jq":                                     {Reference: "." + "["},
		"result: the jq":                                        {Result: "foo"},
		"lookup.url asks for no":                                lookup(adapters.LookupConfig{URL: "/x", Reference: ".id"}),
		"lookup.url has an unknown":                             lookup(adapters.LookupConfig{URL: "/x/{id}", Reference: ".id"}),
		"lookup.reference is missing":                           lookup(adapters.LookupConfig{URL: "/x/{externalKey}"}),
		"lookup.reference: the jq":                              lookup(adapters.LookupConfig{URL: "/x/{externalKey}", Reference: "("}),
		"lookup.same: the jq":                                   lookup(adapters.LookupConfig{URL: "/x/{externalKey}", Reference: ".", Same: "("}),
		"lookup.result: the jq":                                 lookup(adapters.LookupConfig{URL: "/x/{externalKey}", Reference: ".", Result: "("}),
	} {
		cfg.Route = "invoices"
		_, err := d.Route(cfg)
		checkSetting(t, err, "route invoices", want)
	}
}

func checkSetting(t *testing.T, err error, place, want string) {
	t.Helper()
	var e *ferry.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v", want, err)
		return
	}
	if e.Code != ferry.CodeBadConfig || !strings.HasPrefix(e.Message, place) || !strings.Contains(e.Message, want) || strings.Contains(e.Message+e.Hint, "hunter2") {
		t.Errorf("%s: %q, hint %q", want, e.Message, e.Hint)
	}
}

// checkBadRoutes: each route is refused, with words that name the key.
func checkBadRoutes(t *testing.T, dest adapters.DestinationConfig, routes map[string]adapters.RouteConfig) {
	t.Helper()
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range routes {
		cfg.Route = "invoices"
		_, err := d.Route(cfg)
		checkSetting(t, err, "route invoices", want)
	}
}
