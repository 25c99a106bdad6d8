package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
)

func (f *fake) ConfirmToken(id ferry.ID, token string) (ferry.CallOf, error) {
	if token != "1."+id.Short() {
		return ferry.CallOf{}, ferry.Errorf(ferry.CodeUnauthenticated, "the token is not one of this message")
	}
	return ferry.CallOf{Generation: 1, Turn: 4}, nil
}

func (f *fake) Confirm(_ context.Context, id ferry.ID, of ferry.CallOf, c ferry.Confirmation, by string, audited bool) (ferry.State, bool, error) {
	f.note("confirm %s %d.%d %+v by=%s audited=%t", id.Short(), of.Generation, of.Turn, c, by, audited)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(id); err != nil {
		return "", false, err
	}
	if c.Delivered {
		return ferry.StateCompleted, false, f.err
	}
	return ferry.StateQueued, true, f.err
}

func TestConfirm(t *testing.T) {
	const post = http.MethodPost
	s := newSurface(t)
	id := s.send(`{}`).ID
	path := "/v1/messages/" + id.String() + "/confirm"
	token := path + "?token=1." + id.Short()

	a := read[api.ConfirmAnswer](t, s.call("", post, token, `{"outcome":"delivered","reference":"INV-1","text":"booked"}`), http.StatusOK)
	if a.ID != id || a.State != ferry.StateCompleted || a.Kept {
		t.Errorf("answer %+v", a)
	}
	s.asked(t, "confirm %s 1.4 {Delivered:true Reference:INV-1 Code: Text:booked} by=the destination audited=false", id.Short())
	a = read[api.ConfirmAnswer](t, s.call("", post, token, `{"outcome":"rejected","code":"credit"}`), http.StatusOK)
	if !a.Kept {
		t.Errorf("answer %+v", a)
	}
	for key, by := range map[string]string{"receiver-key": "erp audited=false", "operator-key": "olga audited=true", "admin-key": "root audited=true"} {
		s.call(key, post, path, `{"outcome":"delivered"}`)
		s.asked(t, "confirm %s 0.0 {Delivered:true Reference: Code: Text:} by=%s", id.Short(), by)
	}
	// The end of an id does for those with a key, and not for a token.
	read[api.ConfirmAnswer](t, s.call("receiver-key", post, "/v1/messages/"+id.Short()+"/confirm", `{"outcome":"delivered"}`), http.StatusOK)

	long := strings.Repeat("x", 5000)
	nobody := ferry.NewID(now)
	s.wrong = true
	for name, c := range map[string]struct {
		key, target, body string
		code              ferry.Code
	}{
		"no key":                  {"", path, `{"outcome":"delivered"}`, ferry.CodeUnauthenticated},
		"empty token":             {"", path + "?token=", `{"outcome":"delivered"}`, ferry.CodeUnauthenticated},
		"wrong token":             {"", path + "?token=1.x", `{"outcome":"delivered"}`, ferry.CodeUnauthenticated},
		"wrong token, good key":   {"admin-key", path + "?token=1.x", `{"outcome":"delivered"}`, ferry.CodeUnauthenticated},
		"token, short id":         {"", "/v1/messages/" + id.Short() + "/confirm?token=1." + id.Short(), `{"outcome":"delivered"}`, ferry.CodeUnauthenticated},
		"token of another":        {"", "/v1/messages/" + nobody.String() + "/confirm?token=1." + id.Short(), `{}`, ferry.CodeUnauthenticated},
		"token, removed since":    {"", "/v1/messages/" + nobody.String() + "/confirm?token=1." + nobody.Short(), `{"outcome":"delivered"}`, ferry.CodeMessageNotFound},
		"sender":                  {"sender-key", path, `{"outcome":"delivered"}`, ferry.CodeForbidden},
		"no such message":         {"receiver-key", "/v1/messages/" + nobody.String() + "/confirm", `{"outcome":"delivered"}`, ferry.CodeMessageNotFound},
		"not this route's":        {"orders-receiver-key", path, `{"outcome":"delivered"}`, ferry.CodeMessageNotFound},
		"no body":                 {"", token, ``, ferry.CodeBadRequest},
		"no outcome":              {"", token, `{}`, ferry.CodeInvalid},
		"other outcome":           {"", token, `{"outcome":"perhaps"}`, ferry.CodeInvalid},
		"unknown member":          {"", token, `{"outcome":"delivered","number":"1"}`, ferry.CodeBadRequest},
		"rejected, reference":     {"", token, `{"outcome":"rejected","reference":"1"}`, ferry.CodeInvalid},
		"delivered, code":         {"", token, `{"outcome":"delivered","code":"1"}`, ferry.CodeInvalid},
		"reference too long":      {"", token, `{"outcome":"delivered","reference":"` + long[:300] + `"}`, ferry.CodeReferenceTooLong},
		"control characters":      {"", token, `{"outcome":"delivered","reference":"a\u0000"}`, ferry.CodeInvalid},
		"code too long":           {"", token, `{"outcome":"rejected","code":"` + long[:300] + `"}`, ferry.CodeInvalid},
		"text too long":           {"", token, `{"outcome":"rejected","text":"` + long + `"}`, ferry.CodeInvalid},
		"too much":                {"", token, `{"outcome":"rejected","text":"` + strings.Repeat(long, 5) + `"}`, ferry.CodeTooLarge},
		"something else in query": {"", token + "&outcome=delivered", `{"outcome":"delivered"}`, ferry.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) { s.refusal(s.call(c.key, post, c.target, c.body), c.code) })
	}
	if strings.Contains(s.log.String(), "token=") {
		t.Error("a log line shows a token")
	}
}
