package httpauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ferry/secret"
)

// refuser is a Resolver that can tell that a secret was replaced, or read it anew
// from where it is kept, when whoever was given it did not take it.
type refuser interface {
	Refused(ref secret.Ref, was secret.Value) bool
}

// Reread has secrets read anew that a destination did not take, where the resolver
// keeps them: no more often than it allows.
func Reread(resolver Resolver, refs []secret.Ref) {
	for _, ref := range refs {
		replaced(resolver, ref, secret.Value{})
	}
}

// replaced says whether a secret that was refused is another one by now.
func replaced(resolver Resolver, ref secret.Ref, was secret.Value) bool {
	r, ok := resolver.(refuser)
	return ok && !ref.IsZero() && r.Refused(ref, was)
}

// pasts is a Resolver that knows what secrets were before they were replaced: an
// answer may still quote those.
type pasts interface {
	Past(ref secret.Ref) []secret.Value
}

// known are the secret as it is, and as it was shortly before; none when it cannot
// be read.
func (s source) known() []string {
	if s.ref.IsZero() {
		return nil
	}
	var list []string
	if value, err := s.resolver.Resolve(s.ref); err == nil {
		list = append(list, value.Reveal())
	}
	if p, ok := s.resolver.(pasts); ok {
		for _, value := range p.Past(s.ref) {
			list = append(list, value.Reveal())
		}
	}
	return list
}

// Refused says whether the key is another one than the request bore.
func (a apiKey) Refused(req *http.Request) bool {
	var was string
	if a.cfg.Header != "" {
		was = strings.TrimPrefix(req.Header.Get(a.cfg.Header), a.cfg.Prefix)
	} else {
		// The last parameter of the name is the one that was appended.
		name := escapeQuery(a.cfg.Query) + "="
		for pair := range strings.SplitSeq(req.URL.RawQuery, "&") {
			if value, ok := strings.CutPrefix(pair, name); ok {
				was, _ = url.QueryUnescape(value)
			}
		}
	}
	return was != "" && replaced(a.resolver, a.ref, secret.NewValue(was))
}

// Refused says whether the password is another one than the request bore.
func (b basic) Refused(req *http.Request) bool {
	_, was, ok := req.BasicAuth()
	return ok && replaced(b.resolver, b.ref, secret.NewValue(was))
}

// Refused says whether one of the secrets is another one than signed the request.
func (o oauth1) Refused(req *http.Request) bool {
	params := map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimPrefix(req.Header.Get("Authorization"), "OAuth "), ", ") {
		name, value, _ := strings.Cut(pair, "=")
		params[name], _ = url.PathUnescape(strings.Trim(value, `"`))
	}
	now, err := o.header(req, params["oauth_nonce"], params["oauth_timestamp"])
	if err != nil {
		return false
	}
	if now != req.Header.Get("Authorization") {
		return true // replaced meanwhile
	}
	changed := false
	for _, ref := range []secret.Ref{o.cfg.ClientSecret, o.cfg.TokenSecret} {
		changed = replaced(o.resolver, ref, secret.Value{}) || changed
	}
	return changed
}

// proof is a secret as it is at a moment.
type proof struct {
	ref secret.Ref
	was secret.Value
}

// borne notes what secrets are, so that it can be told later whether they are others.
func borne(resolver Resolver, refs []secret.Ref) []proof {
	list := make([]proof, 0, len(refs))
	for _, ref := range refs {
		if value, err := resolver.Resolve(ref); err == nil {
			list = append(list, proof{ref, value})
		}
	}
	return list
}

func anyReplaced(resolver Resolver, list []proof) bool {
	return slices.ContainsFunc(list, func(h proof) bool { return replaced(resolver, h.ref, h.was) })
}
