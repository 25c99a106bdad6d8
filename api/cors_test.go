package api_test

import (
	"net/http"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
)

func origins(list ...string) func(*api.Options) {
	return func(o *api.Options) { o.Origins = list }
}

func corsHeaders(a answer) (found []string) {
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			found = append(found, name)
		}
	}
	return found
}

// preflight is what a browser asks before a page of an origin may send a message.
func preflight(s *surface, origin string) answer {
	return s.call("", http.MethodOptions, toOrders, "", "Origin: "+origin,
		"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,ferry-property-a")
}

func TestNoCORSByDefault(t *testing.T) {
	s := newSurface(t)
	a := preflight(s, "https://portal.example")
	s.refusal(a, ferry.CodeMethodNotAllowed)
	if found := corsHeaders(a); found != nil {
		t.Errorf("%v", found)
	}
	a = s.call("any-key", http.MethodPost, toOrders, `{}`, "Origin: https://portal.example")
	if found := corsHeaders(a); a.StatusCode != http.StatusCreated || found != nil || a.Header.Get("Vary") != "" {
		t.Errorf("%d, %v, Vary %q", a.StatusCode, found, a.Header.Get("Vary"))
	}
}

func TestCORSOfListedOrigins(t *testing.T) {
	s := newSurface(t, origins("https://portal.example", "http://localhost:3000"))
	a := preflight(s, "https://portal.example")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://portal.example",
		"Access-Control-Allow-Methods":     "POST",
		"Access-Control-Allow-Headers":     "authorization,content-type,ferry-property-a",
		"Access-Control-Max-Age":           "600",
		"Access-Control-Allow-Credentials": "",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if vary := strings.Join(a.Header["Vary"], ", "); a.StatusCode != http.StatusNoContent || !strings.HasPrefix(vary, "Origin") || !strings.Contains(vary, "Access-Control-Request-Headers") {
		t.Errorf("%d, Vary %q", a.StatusCode, vary)
	}

	a = s.call("any-key", http.MethodPost, toOrders, `{}`, "Origin: http://localhost:3000")
	if a.StatusCode != http.StatusCreated || a.Header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" ||
		!strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "Location, Retry-After, X-Request-Id") || a.Header.Get("Vary") != "Origin" {
		t.Errorf("%d, %v", a.StatusCode, a.Header)
	}
	// A page can read why it was refused.
	a = s.call("", http.MethodPost, toOrders, `{}`, "Origin: http://localhost:3000")
	s.refusal(a, ferry.CodeUnauthenticated)
	if a.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Error("the refusal cannot be read")
	}
	// Without an Origin nothing is said but that it would matter.
	a = s.call("any-key", http.MethodGet, "/v1/me", "")
	if found := corsHeaders(a); found != nil || a.Header.Get("Vary") != "Origin" {
		t.Errorf("%v, Vary %q", found, a.Header.Get("Vary"))
	}
}

func TestCORSOfOtherOrigins(t *testing.T) {
	s := newSurface(t, origins("https://portal.example"))
	for _, origin := range []string{
		"https://evil.example", "null", "", "*", "https://portal.example.evil.example", "https://portal.example:8443", "http://portal.example",
		"https://PORTAL.example", "https://portal.example/", "https://portal.example, https://evil.example",
	} {
		a := preflight(s, origin)
		s.refusal(a, ferry.CodeMethodNotAllowed)
		if found := corsHeaders(a); found != nil {
			t.Errorf("%q: %v", origin, found)
		}
		if a := s.call("any-key", http.MethodGet, "/v1/me", "", "Origin: "+origin); corsHeaders(a) != nil || a.Header.Get("Vary") != "Origin" {
			t.Errorf("%q: %v", origin, a.Header)
		}
	}
	// What is asked for is repeated only when it is names of headers.
	a := s.call("", http.MethodOptions, toOrders, "", "Origin: https://portal.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: a;b\x01")
	if a.Header.Get("Access-Control-Allow-Headers") != "" {
		t.Errorf("%q is repeated", a.Header.Get("Access-Control-Allow-Headers"))
	}
	s.refusal(s.call("", http.MethodOptions, "/nowhere", "", "Origin: https://portal.example", "Access-Control-Request-Method: POST"), ferry.CodeNotFound)
}
