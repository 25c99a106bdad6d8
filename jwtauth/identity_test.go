package jwtauth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

// What a token says decides role and routes; the first rule that matches decides
// the role, and others of that role add their routes.
func TestRoles(t *testing.T) {
	for name, tc := range map[string]struct {
		claims map[string]any
		want   ferry.Identity
	}{
		"an app's role": {
			map[string]any{"roles": []string{"Other", "Ferry.Send"}, "azp": "app-1"},
			ferry.Identity{Name: "idp:app-1", KeyID: "jwt:idp/subject-1", Role: ferry.RoleSender, Routes: []string{"orders"}},
		},
		"a user's scope": {
			map[string]any{"roles": nil, "scp": "openid Invoices.Send", "preferred_username": "ada@contoso.com"},
			ferry.Identity{Name: "idp:ada@contoso.com", KeyID: "jwt:idp/subject-1", Role: ferry.RoleSender, Routes: []string{"invoices"}, Environment: "env-1"},
		},
		"both": {
			map[string]any{"scp": "Invoices.Send"},
			ferry.Identity{Name: "idp:subject-1", KeyID: "jwt:idp/subject-1", Role: ferry.RoleSender, Routes: []string{"orders", "invoices"}, Environment: "env-1"},
		},
		"a claim inside another": {
			map[string]any{"roles": nil, "realm_access": map[string]any{"roles": []string{"operator"}}},
			ferry.Identity{Name: "idp:subject-1", KeyID: "jwt:idp/subject-1", Role: ferry.RoleOperator},
		},
		"the first decides": {
			map[string]any{"realm_access": map[string]any{"roles": []string{"operator"}}},
			ferry.Identity{Name: "idp:subject-1", KeyID: "jwt:idp/subject-1", Role: ferry.RoleSender, Routes: []string{"orders"}},
		},
		"a name with a line in it": {
			map[string]any{"upn": " a\n\x1b[31mdmin\u202e ", "sub": strings.Repeat("s", 300)},
			ferry.Identity{Name: "idp:a[31mdmin", KeyID: "jwt:idp/e3eea2e4ee4ab0ea6d80c07c3f2f6e33c60e8b0a3c7dd9d3aa94fb5e4b0f3d11", Role: ferry.RoleSender, Routes: []string{"orders"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				got := w.good(w.token(tc.claims))
				if strings.HasPrefix(name, "a name") {
					if len(got.KeyID) > len("jwt:idp/")+64 || strings.Contains(got.KeyID, "ss") {
						t.Errorf("the subject is too long: %s", got.KeyID)
					}
					got.KeyID = tc.want.KeyID
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
				if again := w.good(w.token(tc.claims)); again.Name != got.Name {
					t.Errorf("the second time it is %+v", again)
				}
			})
		})
	}
}

// A rule without routes is for all of them, whatever others say.
func TestAllRoutes(t *testing.T) {
	bubble(t, func(c *issuerConfig) { c.Rules[1].Routes = nil }, func(t *testing.T, w *world) {
		if got := w.good(w.token(map[string]any{"scp": "Invoices.Send"})); got.Routes != nil || got.Role != ferry.RoleSender {
			t.Errorf("%+v", got)
		}
	})
}

// A good token of whom the configuration says nothing may do nothing: 403, with what
// it says.
func TestNoRole(t *testing.T) {
	bubble(t, nil, func(_ *testing.T, w *world) {
		w.bad(w.token(map[string]any{"roles": []string{"Ferry.send"}}), ferry.CodeForbidden, "gives no role")
		w.bad(w.token(map[string]any{"roles": "Ferry.Send Invoices.Send"}), ferry.CodeForbidden, "gives no role")
		w.bad(w.token(map[string]any{"roles": nil, "realm_access": "operator"}), ferry.CodeForbidden, "gives no role")
	})
}

// A token that was found good costs no signature again, ends when it ends, and a
// bound number of them is remembered.
func TestGoodTokensAreRemembered(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		token := w.token(nil)
		w.good(token)
		if n := testing.AllocsPerRun(100, func() { w.good(token) }); n > 2 {
			t.Errorf("a known token costs %v allocations", n)
		}
		time.Sleep(time.Hour + time.Minute)
		w.bad(token, ferry.CodeUnauthenticated, "it ended at")
	})
}
