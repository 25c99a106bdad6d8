package jwtauth_test

import (
	"fmt"
	"testing"

	"ferry"
	"ferry/internal/issuer"
	"ferry/jwtauth"
)

// BenchmarkToken is what a token costs that was seen before, and one that was not.
func BenchmarkToken(b *testing.B) {
	for _, c := range []struct {
		name   string
		tokens int
	}{{"known", 1}, {"new", 20_000}} {
		b.Run(c.name, func(b *testing.B) {
			i := issuer.New("https://login.example")
			i.AddKey("RS256")
			v := jwtauth.New(jwtauth.Options{Issuers: []jwtauth.Issuer{{
				Name: "idp", URL: i.URL, Audiences: []string{audience}, Algorithms: algorithms(), Transport: i,
				Rules: []jwtauth.Rule{{Claim: "roles", Value: "Ferry.Send", Role: ferry.RoleSender}},
			}}})
			defer v.Close()
			tokens := make([]string, c.tokens) // more than are remembered
			for n := range tokens {
				claims := i.Claims(audience)
				claims["roles"], claims["sub"] = "Ferry.Send", fmt.Sprint(n)
				tokens[n] = i.Sign(claims, nil)
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if _, err := v.Authenticate(b.Context(), tokens[n%len(tokens)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
