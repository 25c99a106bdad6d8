package jwtauth_test

import (
	"bytes"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/internal/issuer"
	"ferry/jwtauth"
)

type issuerConfig = jwtauth.Issuer

const audience = "api://ferry"

func algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// world is a verifier and the one issuer that it trusts. Time stands still around it.
type world struct {
	t      *testing.T
	issuer *issuer.Issuer
	v      *jwtauth.Verifier
	log    *bytes.Buffer
	what   string // is tried at the moment
}

// bubble runs a test around a world, in which the issuer may be changed first.
func bubble(t *testing.T, change func(*jwtauth.Issuer), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, issuer: issuer.New("https://login.example/tenant"), log: new(bytes.Buffer)}
		cfg := jwtauth.Issuer{
			Name: "idp", URL: w.issuer.URL, Audiences: []string{audience}, Skew: time.Minute, Algorithms: algorithms(), Transport: w.issuer,
			Rules: []jwtauth.Rule{
				{Claim: "roles", Value: "Ferry.Send", Role: ferry.RoleSender, Routes: []string{"orders"}},
				{Claim: "scp", Value: "Invoices.Send", Role: ferry.RoleSender, Routes: []string{"invoices"}, Environment: "env-1"},
				{Claim: "realm_access.roles", Value: "operator", Role: ferry.RoleOperator},
			},
		}
		if change != nil {
			change(&cfg)
		}
		w.v = jwtauth.New(jwtauth.Options{Issuers: []jwtauth.Issuer{cfg}, Log: slog.New(slog.NewTextHandler(w.log, nil))})
		defer w.v.Close()
		test(t, w)
	})
}

// claims are those of a good token of a sender; more replaces some, nil takes out.
func (w *world) claims(more map[string]any) map[string]any {
	c := w.issuer.Claims(audience)
	c["roles"] = []string{"Ferry.Send"}
	maps.Copy(c, more)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (w *world) token(more map[string]any) string { return w.issuer.Sign(w.claims(more), nil) }

func (w *world) good(token string) ferry.Identity {
	w.t.Helper()
	who, err := w.v.Authenticate(w.t.Context(), token)
	if err != nil {
		w.t.Fatalf("%s: a good token: %v", w.what, err)
	}
	return who
}

// bad wants the token refused with the code, and the words in the error, which
// must not repeat the token.
func (w *world) bad(token string, code ferry.Code, words string) {
	w.t.Helper()
	who, err := w.v.Authenticate(w.t.Context(), token)
	if ferry.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
		w.t.Errorf("%s: got %+v and %v (%s), want %s with %q", w.what, who, err, ferry.CodeOf(err), code, words)
		return
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 20 && strings.Contains(err.Error(), part) {
			w.t.Errorf("the error repeats the token: %v", err)
		}
	}
}
