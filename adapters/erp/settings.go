package erp

import (
	"errors"
	"net/http"
	"net/textproto"

	"ferry"
	"ferry/httpauth"
)

// withContext puts a place before an error and keeps its hint.
func withContext(place string, err error) *ferry.Error {
	out := ferry.Errorf(ferry.CodeBadConfig, "%s: %w", place, err)
	var e *ferry.Error
	if errors.As(err, &e) {
		out.Hint = e.Hint
	}
	return out
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

// checkHeaders refuses headers that cannot be sent, that the connection owns,
// and that hold credentials.
func checkHeaders(headers map[string]string) error {
	for name, value := range headers {
		switch {
		case !httpauth.IsHeaderName(name):
			return bad("headers: %q cannot be the name of a header", name)
		case httpauth.IsConnectionHeader(name):
			return bad("headers: %s belongs to the connection and cannot be set", name)
		case carriesSecret(name):
			return bad("headers: %s carries a secret, which may not stand in the configuration", name).
				WithHint("use auth: {type: apiKey, header: %s, key: env:NAME}", name)
		case !validValue(value):
			return bad("headers: the value of %s has characters that a header cannot carry", name)
		}
	}
	return nil
}

func carriesSecret(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key", "X-Functions-Key",
		"Ocp-Apim-Subscription-Key":
		return true
	}
	return false
}

// validValue says whether a header can carry s.
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func setAll(h http.Header, values map[string]string) {
	for name, value := range values {
		h.Set(name, value)
	}
}

// standardHeaders are what every request says of itself unless configured.
func standardHeaders(h http.Header) {
	if h.Get("Accept") == "" {
		h.Set("Accept", "application/json, */*;q=0.5")
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "ferry")
	}
}
