package api

import (
	"net/http"
	"slices"
	"strings"
)

// exposed are the headers of answers that pages may read beside those that every
// page may.
const exposed = "Location, Retry-After, X-Request-Id, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Ferry-Quota-Remaining, Ferry-Quota-Reset, Ferry-Message-Id, BrokerProperties"

// preflightAge is how long a browser may remember what it was told, seconds.
const preflightAge = "600"

// crossOrigin lets the pages of the configured origins call, and says whether the
// request is answered with that: a preflight. To any other origin nothing is said,
// so that its pages cannot read an answer. No cookie is ever looked at, and
// credentials are not allowed: a page shows its key in a header.
func (c *call) crossOrigin(eps []*endpoint) (answered bool) {
	if len(c.api.opts.Origins) == 0 {
		return false
	}
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origin := c.r.Header["Origin"]
	if len(origin) != 1 || !slices.Contains(c.api.opts.Origins, origin[0]) {
		return false
	}
	h["Access-Control-Allow-Origin"] = []string{origin[0]}
	if c.r.Method != http.MethodOptions || c.r.Header.Get("Access-Control-Request-Method") == "" {
		h["Access-Control-Expose-Headers"] = []string{exposed}
		return false
	}
	if len(eps) == 0 {
		return false // there is nothing: the refusal may be read
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	h["Access-Control-Allow-Methods"] = []string{allowed(eps)}
	// Custom properties are headers of any name: those that are asked for.
	if asked := strings.Join(c.r.Header["Access-Control-Request-Headers"], ", "); asked != "" && headerNames(asked) {
		h["Access-Control-Allow-Headers"] = []string{asked}
	}
	h["Access-Control-Max-Age"] = []string{preflightAge}
	c.status, c.wrote = http.StatusNoContent, true
	c.w.WriteHeader(http.StatusNoContent)
	return true
}

// headerNames says whether the text is nothing but names of headers.
func headerNames(list string) bool {
	const most = 4 << 10
	if len(list) > most {
		return false
	}
	for i := range len(list) {
		ch := list[i]
		if ch|0x20 >= 'a' && ch|0x20 <= 'z' || ch >= '0' && ch <= '9' || strings.IndexByte("-_, ", ch) >= 0 {
			continue
		}
		return false
	}
	return true
}
