package jwtauth_test

import (
	"encoding/json"
	"net/http"
	"strings"

	"ferry/internal/issuer"
)

// entra answers as login.microsoftonline.com does: the discovery document of each
// version names its own issuer.
type entra struct{ issuers map[string]*issuer.Issuer }

func newEntra() *entra { return &entra{map[string]*issuer.Issuer{}} }

// of is the issuer of tokens that name iss.
func (e *entra) of(iss string) *issuer.Issuer {
	if e.issuers[iss] == nil {
		e.issuers[iss] = issuer.New(iss)
	}
	return e.issuers[iss]
}

func (e *entra) RoundTrip(r *http.Request) (*http.Response, error) {
	parts := strings.Split(r.URL.Path, "/")
	tenant := parts[1]
	iss := "https://sts.windows.net/" + tenant + "/"
	if parts[2] == "v2.0" {
		iss = "https://login.microsoftonline.com/" + tenant + "/v2.0"
	}
	if r.URL.Host == "sts.windows.net" {
		iss = "https://sts.windows.net/" + tenant + "/" // where the double has its keys
	}
	return e.of(iss).RoundTrip(r)
}

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }
