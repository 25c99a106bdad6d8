package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	tenantA = "11111111-2222-3333-4444-555555555555"
	tenantB = "66666666-7777-8888-9999-AAAAAAAAAAAA"
)

func TestIssuers(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte(`
routes: [{name: orders}, {name: invoices}]
issuers:
  - name: entra
    tenant: `+tenantA+`
    tenants: [`+tenantB+`]
    audiences: ["api://ferry", ferry]
    roles:
      - {value: Ferry.Send, role: sender, routes: [orders], environmentId: env-1}
      - {claim: scp, value: Messages.Send, role: sender}
  - name: keycloak
    issuer: https://login.example/realms/erp/
    audiences: [ferry]
    roles: [{claim: realm_access.roles, value: op, role: operator}]
    clockSkew: 0s
    algorithms: [ES256]
    nameClaim: name
  - {name: dev, issuer: "http://127.0.0.1:8081/x", audiences: [a], roles: [{value: a, role: admin}]}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []Issuer{
		{
			Name: "entra", Tenant: tenantA, Tenants: []string{tenantA, tenantB}, Audiences: []string{"api://ferry", "ferry"}, ClockSkew: time.Minute, Algorithms: SignatureAlgorithms(),
			Roles: []IssuerRole{{Claim: "roles", Value: "Ferry.Send", Role: "sender", Routes: []string{"orders"}, EnvironmentID: "env-1"}, {Claim: "scp", Value: "Messages.Send", Role: "sender"}},
		},
		{
			Name: "keycloak", Issuer: "https://login.example/realms/erp/", Audiences: []string{"ferry"}, Algorithms: []string{"ES256"}, NameClaim: "name",
			Roles: []IssuerRole{{Claim: "realm_access.roles", Value: "op", Role: "operator"}},
		},
		{Name: "dev", Issuer: "http://127.0.0.1:8081/x", Audiences: []string{"a"}, ClockSkew: time.Minute, Algorithms: SignatureAlgorithms(), Roles: []IssuerRole{{Claim: "roles", Value: "a", Role: "admin"}}},
	}
	if diff := cmp.Diff(want, b.Issuers, exceptSums()); diff != "" {
		t.Error(diff)
	}
	good := map[string]string{"name": "idp", "issuer": "https://i.example", "audiences": "[a]", "roles": "[{value: x, role: sender}]"}
	with := func(key, value string) string {
		text := "issuers:\n  - z: 1\n"
		text = strings.Replace(text, "z: 1\n", "", 1)
		first := true
		for _, k := range []string{"name", "issuer", "tenant", "audiences", "roles", "clockSkew", "algorithms"} {
			v := good[k]
			if k == key {
				v = value
			}
			if v == "" {
				continue
			}
			if !first {
				text += "    "
			}
			first = false
			text += k + ": " + v + "\n"
		}
		return text
	}
	for name, c := range map[string]wrong{
		"no name":              {with("name", ""), "has no name", "add name:"},
		"a name of keys":       {with("name", "sas"), "called as those of another kind", ""},
		"a bad name":           {with("name", "A b"), "issuers[0].name", ""},
		"neither":              {with("issuer", ""), "has neither tenant nor issuer", "add tenant:"},
		"both":                 {with("tenant", tenantA), "has both tenant and issuer", ""},
		"plain http":           {with("issuer", "http://i.example"), "is not https", "use https"},
		"no URL":               {with("issuer", "i.example"), "is not a URL", ""},
		"credentials":          {with("issuer", "https://a:b@i.example"), "holds credentials", ""},
		"a query":              {with("issuer", "https://i.example?x=1"), "has a query", ""},
		"every tenant":         {with("issuer", "https://login.microsoftonline.com/common/v2.0"), "would let every tenant", "tenants:"},
		"organizations":        {with("issuer", "https://login.microsoftonline.us/Organizations/v2.0"), "would let every tenant", ""},
		"a pattern":            {with("issuer", `"https://login.microsoftonline.com/{tenantid}/v2.0"`), "would let every tenant", ""},
		"a tenant by its name": {strings.Replace(with("issuer", ""), "audiences", "tenant: contoso.onmicrosoft.com\n    audiences", 1), `is not the id of a tenant`, "36 characters"},
		"no audiences":         {with("audiences", ""), "has no audiences", "api://"},
		"an empty audience":    {with("audiences", `[""]`), "an empty audience", ""},
		"no roles":             {with("roles", ""), "no token could do anything", ""},
		"no value":             {with("roles", "[{role: sender}]"), "has no value", ""},
		"no role":              {with("roles", "[{value: x}]"), "has no role", ""},
		"another role":         {with("roles", "[{value: x, role: sendr}]"), `"sendr" is not known`, "sender"},
		"a route that is none": {with("roles", "[{value: x, role: sender, routes: [b1]}]"), "there is no route b1", ""},
		"an operator of one":   {with("roles", "[{value: x, role: operator, routes: [b1]}]"), "is not bound to routes", ""},
		"much skew":            {with("clockSkew", "6m"), "clockSkew must lie between", ""},
		"alg none":             {with("algorithms", "[none]"), "none is never taken", ""},
		"HS256":                {with("algorithms", "[RS256, HS256]"), "HS256 is never taken", ""},
		"an unknown alg":       {with("algorithms", "[RS257]"), `"RS257" is not known`, ""},
		"twice":                {with("", "") + strings.TrimPrefix(with("", ""), "issuers:\n"), "stands here twice", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
		})
	}
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cert", "key", "ca"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	head := fmt.Sprintf("routes: [{name: orders}]\ntls: {cert: %s, key: %s, clientCa: %s}\nclientCertificates:\n", filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca"))
	sum := strings.Repeat("AB:", 31) + "CD"
	b, err := Loader{}.parseBroker([]byte(head+`
  - {name: flow-host, role: sender, routes: [orders], subject: "CN=flow-host,O=Contoso"}
  - {name: pinned, role: admin, thumbprint: "`+sum+`"}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []ClientCertificate{
		{Name: "flow-host", Role: "sender", Routes: []string{"orders"}, Subject: "CN=flow-host,O=Contoso"},
		{Name: "pinned", Role: "admin", Thumbprint: strings.Repeat("ab", 31) + "cd"},
	}
	if diff := cmp.Diff(want, b.ClientCertificates); diff != "" {
		t.Error(diff)
	}
	for name, c := range map[string]wrong{
		"no tls":         {"clientCertificates:\n  - {name: aa, role: sender, san: x}\n", "need tls.clientCa", "clientCa"},
		"nothing":        {head + "  - {name: aa, role: sender}\n", "is known by 0 things", "one of"},
		"two things":     {head + "  - {name: aa, role: sender, san: x, subject: CN=y}\n", "is known by 2 things", ""},
		"SHA-1":          {head + "  - {name: aa, role: sender, thumbprint: " + strings.Repeat("ab", 20) + "}\n", "is a SHA-1", "-sha256"},
		"no hex":         {head + "  - {name: aa, role: sender, thumbprint: xyz}\n", "is not a SHA-256", ""},
		"no name":        {head + "  - {role: sender, san: x}\n", "has no name", ""},
		"no role":        {head + "  - {name: aa, san: x}\n", "has no role", ""},
		"a route":        {head + "  - {name: aa, role: sender, routes: [b1], san: x}\n", "there is no route b1", ""},
		"a name twice":   {head + "  - {name: aa, role: sender, san: x}\n  - {name: aa, role: sender, san: y}\n", "stands here twice", ""},
		"one for two":    {head + "  - {name: aa, role: sender, san: x}\n  - {name: bb, role: admin, san: x}\n", "is known by the same", ""},
		"an environment": {head + "  - {name: aa, role: sender, san: x, environmentId: " + strings.Repeat("e", 129) + "}\n", "more than 128", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
		})
	}
}
