package jwtauth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses members that are there twice, and tells aud from Aud

	"ferry"
)

// token is a token taken apart; nothing of it is proved yet.
type token struct {
	text      string
	algorithm string
	keyID     string
	issuer    string
}

// read takes a token apart, as far as is needed to know whom to ask about it.
func read(text string) (*token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, refused("it is neither a key of this broker nor a signed token").
			WithHint("a key begins with fry_; a token has three parts with dots between, and stands in Authorization: Bearer TOKEN")
	}
	var head struct {
		Algorithm string          `json:"alg"`
		KeyID     string          `json:"kid"`
		Type      string          `json:"typ"`
		Critical  json.RawMessage `json:"crit"`
	}
	var body struct {
		Issuer string `json:"iss"`
	}
	if !decodePart(parts[0], &head) || !decodePart(parts[1], &body) {
		return nil, refused("it cannot be read").WithHint("it may have been cut, or quoted: it goes as the issuer gave it")
	}
	switch {
	case head.Critical != nil:
		return nil, refused("it wants something understood that this broker does not (crit)")
	case !accessToken(head.Type):
		return nil, refused("its type %s is not that of an access token", shown(head.Type))
	case body.Issuer == "":
		return nil, refused("it names no issuer")
	}
	return &token{text: text, algorithm: head.Algorithm, keyID: head.KeyID, issuer: body.Issuer}, nil
}

func decodePart(part string, into any) bool {
	data, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(data, into) == nil
}

// accessToken says whether a token of the type may be one: others are signed with
// the same keys and mean something else, such as a logout.
func accessToken(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "" || typ == "jwt" || typ == "at+jwt"
}

// signature reads the token's signature; it must be made with one of the algorithms.
func (t *token) signature(algorithms []jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	if !slices.Contains(algorithms, jose.SignatureAlgorithm(t.algorithm)) {
		return nil, refused("the algorithm %s of its signature is not taken", shown(t.algorithm)).
			WithHint("one of %v", algorithms)
	}
	signed, err := jose.ParseSignedCompact(t.text, algorithms)
	if err != nil {
		return nil, refused("its signature cannot be read")
	}
	return signed, nil
}

// claims is what a token says, once a key of its issuer signed it.
type claims map[string]any

func readClaims(payload []byte) (claims, error) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.SetNumberType(json.UnmarshalJSONNumber)
	var c claims
	if err := dec.Decode(&c); err != nil || c == nil {
		return nil, refused("its claims cannot be read")
	}
	return c, nil
}

// judge says until when the token may be taken, if it is for this broker at all.
func (a *authority) judge(c claims, now time.Time) (until time.Time, err error) {
	if c.text("iss") != a.keys.issuer {
		return until, refused("its issuer is not the one that signed it")
	}
	ends, ok := c.time("exp")
	if !ok {
		return until, refused("it does not say when it ends (exp)")
	}
	until = ends.Add(a.Skew)
	if !now.Before(until) {
		return until, refused("it ended at %s", ends.UTC().Format(time.RFC3339)).
			WithHint("fetch a new one from %s; the broker's clock says %s", a.Name, now.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		if _, there := c[name]; !there {
			continue
		}
		begins, ok := c.time(name)
		if !ok {
			return until, refused("its %s is no time", name)
		}
		if begins.Add(-a.Skew).After(now) {
			return until, refused("it is good from %s on", begins.UTC().Format(time.RFC3339)).
				WithHint("the broker's clock says %s", now.UTC().Format(time.RFC3339))
		}
	}
	if audiences := c.texts("aud"); !slices.ContainsFunc(audiences, func(aud string) bool { return slices.Contains(a.Audiences, aud) }) {
		return until, refused("it is for %s", shown(strings.Join(audiences, ", "))).
			WithHint("audiences of the issuer %s in the broker's configuration lists what is taken here", a.Name)
	}
	return until, nil
}

// text is a claim that is a string, else empty.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// texts are the strings of a claim: one, or a list. A dot in the name leads into an
// object, unless there is a claim of the whole name.
func (c claims) texts(name string) []string {
	value, ok := c[name]
	for at := map[string]any(c); !ok; {
		first, rest, dotted := strings.Cut(name, ".")
		inner, isObject := at[first].(map[string]any)
		if !dotted || !isObject {
			return nil
		}
		name, at = rest, inner
		value, ok = at[name]
	}
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		list := make([]string, 0, len(value))
		for _, v := range value {
			if s, ok := v.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// time is a claim that is a time: seconds since 1970, perhaps with a fraction.
func (c claims) time(name string) (time.Time, bool) {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	const far = 1 << 38 // the year 10680
	if err != nil || seconds < 0 || seconds > far {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

func refused(why string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeUnauthenticated, "the token is not taken: %s", fmt.Sprintf(why, args...))
}

// shown is a text of a token as an error may repeat it.
func shown(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
