package api

import "strings"

// Where addresses that need no key begin: what follows stands for a key.
const (
	resultsPath       = "/v1/results/"
	subscriptionsPath = "/v1/subscriptions/"
)

// longSegment is less than any token has, and more than the names and ids of a path.
const longSegment = 60

// hidden takes the place of a token.
const hidden = "***"

// shownPath is the request's path, without a token that it may hold.
func (c *call) shownPath() string { return shownPath(c.r.URL.Path) }

// shownPath is a path as logs, problems and counts may show it: without tokens, however
// the path was miswritten around them.
func shownPath(path string) string {
	for _, p := range []string{resultsPath, subscriptionsPath} {
		at := indexFold(path, p)
		if at < 0 {
			continue
		}
		rest := path[at+len(p):]
		if p == subscriptionsPath && (rest == "completed" || rest == "dead-lettered") || rest == "" {
			continue
		}
		return path[:at+len(p)] + hidden
	}
	for from := 0; from < len(path); {
		to := strings.IndexByte(path[from:], '/')
		if to < 0 {
			to = len(path) - from
		}
		if to >= longSegment && likeToken(path[from:from+to]) || strings.HasPrefix(path[from:], keyPrefix) {
			path = path[:from] + hidden + path[from+to:]
			to = len(hidden)
		}
		from += to + 1
	}
	return path
}

// indexFold is where p, a path, begins in path in whatever capitals; -1: nowhere. Small
// letters of the whole would not do: some are longer than their capitals.
func indexFold(path, p string) int {
	for at := 0; at+len(p) <= len(path); at++ {
		if path[at] == p[0] && strings.EqualFold(path[at:at+len(p)], p) {
			return at
		}
	}
	return -1
}

// likeToken says whether s has the alphabet of tokens only.
func likeToken(s string) bool {
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if (ch < 'a' || ch > 'z') && (ch < 'A' || ch > 'Z') && (ch < '0' || ch > '9') && ch != '-' && ch != '_' && ch != '.' {
			return false
		}
	}
	return true
}
