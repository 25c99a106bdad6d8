package httpauth

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"ferry/internal/azure"
	"ferry/secret"
)

// entra fetches tokens of Entra ID. Every fetch makes its credential anew: a
// rotated secret is used at once, and no cache of the SDK's gives back a token
// that was refused.
type entra struct {
	cfg      Config
	scope    string
	resolver Resolver
}

func newEntra(cfg Config, destination string, resolver Resolver) (*entra, error) {
	e := &entra{cfg: cfg, resolver: resolver}
	if len(cfg.Scopes) == 1 {
		e.scope = cfg.Scopes[0]
		return e, nil
	}
	if e.scope = scopeOf(destination); e.scope == "" {
		return nil, bad("scopes is missing").
			WithHint("scopes: [api://APPLICATION/.default]; only destinations of Dynamics 365 and Dataverse need none")
	}
	return e, nil
}

// scopeOf is the scope of an API whose tokens are for its own address: Dataverse,
// Finance and Operations, Business Central, in all clouds. "" for others.
func scopeOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	for _, end := range []string{".dynamics.com", ".dynamics.cn", ".microsoftdynamics.us", ".microsoftdynamics.de", ".appsplatform.us", ".dynamics.us"} {
		if strings.HasSuffix(host, end) {
			return "https://" + host + "/.default"
		}
	}
	return ""
}

func (e *entra) token(ctx context.Context) (string, time.Duration, error) {
	c := azure.Credential{
		Kind: e.cfg.credential(), TenantID: e.cfg.TenantID, ClientID: e.cfg.ClientID, Certificate: e.cfg.Certificate,
		TokenFile: e.cfg.TokenFile, Authority: e.cfg.Authority, OneTry: true,
	}
	for _, s := range []struct {
		ref secret.Ref
		to  *string
	}{{e.cfg.ClientSecret, &c.ClientSecret}, {e.cfg.Password, &c.Password}} {
		if s.ref.IsZero() {
			continue
		}
		value, err := e.resolver.Resolve(s.ref)
		if err != nil {
			return "", 0, err
		}
		*s.to = value.Reveal()
	}
	proxy := http.ProxyFromEnvironment
	if c.Kind == azure.ManagedIdentity {
		proxy = nil // the machine itself is asked
	}
	client, err := tokenClient(e.cfg.TokenCA, proxy)
	if err != nil {
		return "", 0, err
	}
	credential, err := azure.New(c, client)
	if err != nil {
		return "", 0, bad("%w", err).WithHint("see docs/auth.md")
	}
	request := policy.TokenRequestOptions{Scopes: []string{e.scope}}
	if c.Kind == azure.ManagedIdentity {
		// The SDK keeps these tokens for the whole process, and passes by what it keeps
		// only when claims are asked for. They are not sent on.
		request.Claims = "{}"
	}
	began := time.Now()
	token, err := credential.GetToken(ctx, request)
	if err != nil {
		return "", 0, entraError(ctx, err)
	}
	return token.Token, token.ExpiresOn.Sub(began), nil
}

// entraError says what a failed fetch came to: the SDK's own text quotes the
// whole answer.
func entraError(ctx context.Context, err error) error {
	status, body := azure.Answer(err)
	switch {
	case status == 0 && ctx.Err() != nil:
		return fmt.Errorf("%w: Entra ID does not answer in time", ErrUnavailable)
	case status == 0:
		return fmt.Errorf("%w: Entra ID: %s", ErrUnavailable, reasonOf(err))
	}
	var said struct {
		Error string `json:"error"`
		Codes []int  `json:"error_codes"`
	}
	_ = json.Unmarshal(body, &said) // what cannot be read says nothing
	out := answered("Entra ID", status, said.Error)
	if len(said.Codes) > 0 {
		// The number by which Microsoft's documents tell the reason.
		out = fmt.Errorf("%w, AADSTS%d", out, said.Codes[0])
	}
	return out
}

func (e *entra) Fingerprint() string {
	files := slices.DeleteFunc([]string{e.cfg.Certificate}, func(f string) bool { return f == "" })
	return fingerprint(e.resolver, present(e.cfg.ClientSecret, e.cfg.Password), files)
}

func (e *entra) secrets() ([]secret.Ref, Resolver) {
	return present(e.cfg.ClientSecret, e.cfg.Password), e.resolver
}

func (e *entra) redact(text string) string {
	return source{ref: e.cfg.ClientSecret, resolver: e.resolver}.redact(text)
}
