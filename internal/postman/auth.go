package postman

import (
	"encoding/json"
	"strings"

	"ferry/httpauth"
)

// Auth is how a request logs on: kind and place, never a secret.
type Auth struct {
	Config httpauth.Config // without secrets; zero: none, or a kind that there is not
	Note   string          // what a person has to know; empty: nothing
	// Literal says that the collection holds the secret itself.
	Literal bool
}

// authOf reads an auth object; without one that of the folder counts.
func authOf(data json.RawMessage, in folder) Auth {
	var raw map[string]json.RawMessage
	if json.Unmarshal(data, &raw) != nil || raw == nil {
		return in.auth
	}
	var kind string
	if json.Unmarshal(raw["type"], &kind) != nil {
		return in.auth
	}
	s := settings(raw[kind])
	switch kind {
	case "noauth":
		return Auth{}
	case "apikey":
		name := s["key"]
		if name == "" || strings.Contains(name, "{{") {
			return Auth{Note: "the collection logs on with a key, and does not say in which header"}
		}
		a := Auth{Config: httpauth.Config{Type: httpauth.TypeAPIKey, Header: name}, Literal: literal(s["value"])}
		if s["in"] == "query" {
			a.Config.Header, a.Config.Query = "", name
		}
		return a
	case "basic":
		a := Auth{Config: httpauth.Config{Type: httpauth.TypeBasic}, Literal: literal(s["password"])}
		if literal(s["username"]) && !strings.Contains(s["username"], ":") {
			a.Config.Username = s["username"]
		}
		return a
	case "bearer":
		return Auth{Config: bearer(), Literal: literal(s["token"])}
	case "oauth2":
		return oauth2(s)
	case "ntlm":
		return Auth{Config: httpauth.Config{Type: httpauth.TypeNTLM}, Note: "the collection logs on by NTLM: auth: {type: ntlm, username: …, password: env:NAME}"}
	}
	return Auth{Note: "the collection logs on by " + cut(kind, 40) + ", for which there is no kind of auth: here"}
}

func bearer() httpauth.Config {
	return httpauth.Config{Type: httpauth.TypeAPIKey, Header: "Authorization", Prefix: "Bearer "}
}

func oauth2(s map[string]string) Auth {
	a := Auth{Config: httpauth.Config{Type: httpauth.TypeOAuth2}, Literal: literal(s["clientSecret"]) || literal(s["accessToken"])}
	if address := s["accessTokenUrl"]; literal(address) {
		a.Config.TokenURL = address
	}
	if literal(s["clientId"]) {
		a.Config.ClientID = s["clientId"]
	}
	if literal(s["scope"]) {
		a.Config.Scopes = strings.Fields(s["scope"])
	}
	if grant := s["grant_type"]; grant != "" && grant != "client_credentials" {
		a.Note = "the collection logs a person on (" + cut(grant, 40) + "): ask for client credentials"
	}
	return a
}

// settings are those of one kind: a list of pairs in v2.1, an object in v2.0.
func settings(data json.RawMessage) map[string]string {
	out := map[string]string{}
	var list []json.RawMessage
	if json.Unmarshal(data, &list) == nil {
		for _, p := range pairs(list) {
			out[p.Key] = p.text()
		}
		return out
	}
	var object map[string]any
	if json.Unmarshal(data, &object) == nil {
		for name, value := range object {
			out[name] = pair{Value: value}.text()
		}
	}
	return out
}

// literal says whether a value stands in the collection itself, and not in a
// variable.
func literal(s string) bool { return s != "" && !strings.Contains(s, "{{") }

// Secret says whether a header or a query parameter of this name carries what logs
// on, or what belongs to one person's session.
func Secret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{
		"authorization", "token", "secret", "apikey", "api-key", "api_key", "subscription-key", "functions-key", "password", "passwd", "pwd",
		"cookie", "session", "signature", "credential", "access-key", "access_key",
	} {
		if strings.Contains(name, word) {
			return true
		}
	}
	switch name {
	case "key", "code", "sig", "auth", "x-auth", "pass":
		return true
	}
	return false
}
