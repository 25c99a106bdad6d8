package httpcall

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

const mask = "***"

// MaskURL writes an address without what may log on: user info and the values
// of query parameters with telling names (key, code, sig, token, password, …).
func MaskURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	if u.User == nil && u.RawQuery == "" && u.Scheme != "" && u.Host != "" && strings.HasPrefix(u.Path, "/") {
		return u.Scheme + "://" + u.Host + u.EscapedPath() // nothing to hide, as is usual
	}
	v := *u
	v.Fragment, v.RawFragment = "", ""
	if v.User != nil {
		v.User = nil
		v.Host = mask + "@" + v.Host
	}
	if v.RawQuery != "" {
		pairs := strings.Split(v.RawQuery, "&")
		for i, pair := range pairs {
			name, _, found := strings.Cut(pair, "=")
			if found && telling(name) {
				pairs[i] = name + "=" + mask
			}
		}
		v.RawQuery = strings.Join(pairs, "&")
	}
	// String would escape the @ that stands for the user info.
	host := v.Host
	v.Host = "host"
	return strings.Replace(v.String(), "//host", "//"+host, 1)
}

func telling(name string) bool {
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	name = strings.NewReplacer("-", "", "_", "", ".", "", "$", "").Replace(strings.ToLower(name))
	switch name {
	case "key", "code", "sig", "signature", "apikey", "accesskey", "subscriptionkey", "ocpapimsubscriptionkey",
		"functionskey", "xfunctionskey", "auth", "authorization", "credential", "credentials", "pwd", "passwd", "pass",
		"session", "sessionid", "sid", "jwt", "assertion", "accountkey", "sharedaccesskey", "sharedsecret":
		return true
	}
	for _, end := range []string{"token", "secret", "password", "apikey"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

var (
	inAddress = regexp.MustCompile(`([?&;])([A-Za-z0-9_.$%-]+)=([^&;\s"'<>]*)`)
	userInfo  = regexp.MustCompile(`(://)[^/\s"'@]+@`)
	scheme    = regexp.MustCompile(`(?i)\b(bearer|basic|negotiate|ntlm|sharedkey|sharedaccesssignature)(:?\s+)[A-Za-z0-9+/._~=-]{16,}`)
	// Tryton's session: user, number and 64 characters in base64. Words are shorter.
	session    = regexp.MustCompile(`(?i)\b(session\s+)[A-Za-z0-9+/=_-]{32,}`)
	quoted     = regexp.MustCompile(`(?i)(["'](?:[a-z0-9_.-]*(?:password|passwd|secret|token|api[_-]?key|authorization|cookie|session[_-]?id|assertion)|pwd|sid)\\*["']\s*:\s*)(?:\\+"[^"]*"?|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)`)
	element    = regexp.MustCompile(`(?i)(<(?:[\w.-]+:)?[\w.-]*(?:password|secret|token|apikey)(?:\s[^>]*)?>)[^<]+`)
	keyShape   = regexp.MustCompile(`\bfry_[A-Za-z0-9]+_[A-Za-z0-9_-]+`)
	jwt        = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)+`)
	keySecret  = regexp.MustCompile(`(?i)\b(token\s+)[A-Za-z0-9_-]{8,}:[A-Za-z0-9_-]{8,}`)
	cookieLine = regexp.MustCompile(`(?im)\b((?:set-)?cookie2?["']?\s*[:=]\s*["']?)[\w.!#$%&*+^|~-]+=[^\r\n"']*`)
	cookie     = regexp.MustCompile(`(?i)\b([\w.-]*(?:session_?id|sessid|session|sso2|aspxauth|\.aspnetcore[\w.-]*)[\w.-]*=)[^\s;,&"'<>]{8,}`)
	csrf       = regexp.MustCompile(`(?i)\b((?:x-)?(?:csrf|xsrf)[_-]?token\s*[:=]\s*)([A-Za-z0-9+/_=.~-]{8,})`)
	header     = regexp.MustCompile(`(?i)\b((?:x-)?api-?key|x-functions-key|ocp-apim-subscription-key|x-openerp-session-id)(\s*[:=]\s*)[A-Za-z0-9+/_=.~-]{8,}`)
	oauth1     = regexp.MustCompile(`(?i)\b(oauth_(?:token|signature|consumer_key|nonce)=)"?[^",&\s]+"?`)
)

// MaskText takes out of a text what looks like a credential: in addresses and
// connection strings, behind the names of authentication schemes, in headers,
// cookies, JSON members and XML elements with telling names, and by its shape: JSON
// web tokens, and keys of ours.
func MaskText(s string) string {
	if strings.ContainsAny(s, "?&;") {
		s = inAddress.ReplaceAllStringFunc(s, func(m string) string {
			name, _, _ := strings.Cut(m[1:], "=")
			if !telling(name) {
				return m
			}
			return m[:1+len(name)] + "=" + mask
		})
	}
	s = userInfo.ReplaceAllString(s, "${1}"+mask+"@")
	s = jwt.ReplaceAllString(s, mask)
	s = cookieLine.ReplaceAllString(s, "${1}"+mask)
	s = cookie.ReplaceAllString(s, "${1}"+mask)
	s = scheme.ReplaceAllString(s, "${1}${2}"+mask)
	s = session.ReplaceAllString(s, "${1}"+mask)
	s = keySecret.ReplaceAllString(s, "${1}"+mask)
	s = header.ReplaceAllString(s, "${1}${2}"+mask)
	s = oauth1.ReplaceAllString(s, `${1}"`+mask+`"`)
	s = quoted.ReplaceAllString(s, `${1}"`+mask+`"`)
	s = element.ReplaceAllString(s, "${1}"+mask)
	s = csrf.ReplaceAllStringFunc(s, func(m string) string {
		parts := csrf.FindStringSubmatch(m)
		if strings.EqualFold(parts[2], "required") {
			return m // SAP's word for a token that is missing
		}
		return parts[1] + mask
	})
	return keyShape.ReplaceAllString(s, "fry_"+mask)
}

// cutText makes s valid UTF-8 without control characters, at most `most` bytes.
func cutText(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0:
			return ' '
		default:
			return r
		}
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= most {
		return s
	}
	const more = "…"
	cut := most - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}
