package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
	"ferry/internal/issuer"
	"ferry/jwtauth"
)

// issued is a surface that takes the tokens of one issuer.
type issued struct {
	issuer  *issuer.Issuer
	handler http.Handler
	fake    *fake
	log     *logBuffer
}

// newIssued makes it, inside a bubble of time.
func newIssued(t *testing.T) *issued {
	t.Helper()
	s := &issued{issuer: issuer.New("https://login.example"), fake: newFake(), log: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := jwtauth.New(jwtauth.Options{Log: log, Issuers: []jwtauth.Issuer{{
		Name: "idp", URL: s.issuer.URL, Audiences: []string{"api://ferry"}, Algorithms: []string{"ES256", "RS256"}, Transport: s.issuer,
		Rules: []jwtauth.Rule{
			{Claim: "roles", Value: "Send", Role: ferry.RoleSender, Routes: []string{"orders"}},
			{Claim: "roles", Value: "Operate", Role: ferry.RoleOperator},
		},
	}}})
	t.Cleanup(v.Close)
	s.handler = api.New(s.fake, api.Options{Log: log, Tokens: v, SAS: policies()})
	return s
}

func (s *issued) token(role string, change map[string]any) string {
	claims := s.issuer.Claims("api://ferry")
	claims["roles"] = []string{role}
	for k, v := range change {
		claims[k] = v
	}
	return s.issuer.Sign(claims, nil)
}

func (s *issued) do(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://broker.test"+target, strings.NewReader("{}"))
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

const sendOrders = "/v1/routes/orders/messages"

// Each wrong token has its status; what is wrong is told to who sent it, and the
// token to nobody.
func TestTokensAreRefusedWithTheRightStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssued(t)
		good := s.token("Send", nil)
		parts := strings.Split(good, ".")
		stranger := issuer.New("https://login.example")
		for name, c := range map[string]struct {
			token  string
			status int
			says   string
		}{
			"good":               {good, 201, ""},
			"expired":            {s.token("Send", map[string]any{"exp": time.Now().Unix() - 1}), 401, "it ended at"},
			"not yet":            {s.token("Send", map[string]any{"nbf": time.Now().Unix() + 9}), 401, "good from"},
			"wrong audience":     {s.token("Send", map[string]any{"aud": "api://other"}), 401, `it is for "api://other"`},
			"wrong issuer":       {s.token("Send", map[string]any{"iss": "https://evil.example"}), 401, "none that this broker trusts"},
			"alg none":           {issuer.Raw(`{"alg":"none"}`, string(payloadOf(t, good)), nil), 401, `algorithm "none"`},
			"another's key":      {stranger.Sign(map[string]any{"iss": "https://login.example", "aud": "api://ferry"}, nil), 401, "no key of its issuer"},
			"an unknown key":     {stranger.Sign(s.issuer.Claims("api://ferry"), map[string]any{"kid": "nobody"}), 401, "has no key"},
			"altered":            {parts[0] + "." + parts[1] + "x." + parts[2], 401, "cannot be read"},
			"no token at all":    {"abc", 401, "neither a key"},
			"no role":            {s.token("Nothing", nil), 403, "gives no role"},
			"a role of another":  {s.token("Operate", nil), 403, "a key of the role operator may not do this"},
			"a key that is none": {"fry_x_y_z", 401, "the key is not known"},
		} {
			w := s.do(http.MethodPost, sendOrders, "Authorization: Bearer "+c.token)
			if w.Code != c.status || !strings.Contains(w.Body.String(), jsonText(c.says)) {
				t.Errorf("%s: %d, want %d with %q: %s", name, w.Code, c.status, c.says, w.Body)
			}
			challenge := w.Header().Get("WWW-Authenticate")
			if (w.Code == 401) != strings.HasPrefix(challenge, `Bearer realm="ferry", error="invalid_token", error_description="`) {
				t.Errorf("%s: %d with the challenge %q", name, w.Code, challenge)
			}
			if c.status != 201 && len(c.token) > 100 && strings.Contains(w.Body.String()+challenge+s.log.String(), c.token[:60]) {
				t.Errorf("%s: the token is repeated", name)
			}
		}
		if w := s.do(http.MethodPost, sendOrders); w.Code != 401 || w.Header().Get("WWW-Authenticate") != `Bearer realm="ferry"` {
			t.Errorf("without anything: %d %q", w.Code, w.Header())
		}
		if w := s.do(http.MethodPost, "/v1/routes/invoices/messages", "Authorization: Bearer "+good); w.Code != 403 {
			t.Errorf("another route: %d", w.Code)
		}
		if got := s.fake.messages[s.fake.order[0]].msg.Sender; got.Name != "idp:subject-1" || got.KeyID != "jwt:idp/subject-1" {
			t.Errorf("sent by %+v", got)
		}
	})
}

// A token that cannot be judged is no wrong token: a flow takes 401 for the last
// word, and 503 for one that is worth another try.
func TestTokenWhileTheIssuerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssued(t)
		s.issuer.Away(true)
		w := s.do(http.MethodPost, sendOrders, "Authorization: Bearer "+s.token("Send", nil))
		if w.Code != 503 || w.Header().Get("Retry-After") != "10" || !strings.Contains(w.Body.String(), `"issuerUnavailable"`) {
			t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		if w := s.do(http.MethodPost, sendOrders, "Authorization: Bearer any-key"); w.Code != 401 {
			t.Errorf("what is no token: %d", w.Code)
		}
		if w := s.do(http.MethodPost, sendOrders, "Ocp-Apim-Subscription-Key: any-key"); w.Code != 201 {
			t.Errorf("a key: %d %s", w.Code, w.Body)
		}
		s.issuer.Away(false)
		time.Sleep(10 * time.Second)
		if w := s.do(http.MethodPost, sendOrders, "Authorization: Bearer "+s.token("Send", nil)); w.Code != 201 {
			t.Errorf("when it is back: %d %s", w.Code, w.Body)
		}
	})
}

// Which of several credentials counts does not depend on who looks: a header that is
// there twice is refused, and the order between the ways is fixed.
func TestSeveralCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssued(t)
		token := "Authorization: Bearer " + s.token("Send", nil)
		const send, queue = sendOrders, "/orders/messages"
		sas := "Authorization: " + sign("https://h/orders", "flows", sasKey, time.Now().Add(time.Hour))
		for name, c := range map[string]struct {
			target string
			header []string
			status int
		}{
			"Authorization twice":               {send, []string{"Authorization: Bearer any-key", "Authorization: Bearer admin-key"}, 400},
			"Authorization twice, the same":     {send, []string{"Ocp-Apim-Subscription-Key: any-key", "Ocp-Apim-Subscription-Key: any-key"}, 201},
			"the subscription key twice":        {send, []string{"Ocp-Apim-Subscription-Key: any-key", "Ocp-Apim-Subscription-Key: bad"}, 400},
			"a SAS and a key, both there":       {queue, []string{sas, "Authorization: Bearer any-key"}, 400},
			"two keys in the query":             {send + "?subscription-key=any-key&subscription-key=bad", nil, 400},
			"the query alone":                   {send + "?subscription-key=any-key", nil, 201},
			"the header before the query":       {send + "?subscription-key=any-key", []string{"Ocp-Apim-Subscription-Key: bad"}, 401},
			"the query is not tried after it":   {send + "?subscription-key=bad", []string{"Ocp-Apim-Subscription-Key: any-key"}, 201},
			"Authorization before the header":   {send, []string{"Authorization: Bearer bad", "Ocp-Apim-Subscription-Key: any-key"}, 401},
			"another scheme hides no key":       {send, []string{"Authorization: Basic eDp5", "Ocp-Apim-Subscription-Key: any-key"}, 201},
			"an empty Bearer hides no key":      {send, []string{"Authorization: Bearer ", "Ocp-Apim-Subscription-Key: any-key"}, 201},
			"a token beside a key":              {send, []string{token, "Ocp-Apim-Subscription-Key: bad"}, 201},
			"a token is no subscription key":    {send, []string{"Ocp-Apim-Subscription-Key: " + s.token("Send", nil)}, 401},
			"a token in the query is not taken": {send + "?subscription-key=" + s.token("Send", nil), nil, 401},
			"a token on the queue's calls":      {queue, []string{token}, 201},
			"a SAS on the other calls":          {send, []string{sas}, 401},
			"Bearer in small letters":           {send, []string{strings.Replace(token, "Bearer", "bearer", 1)}, 201},
			"a header that a proxy might trust": {send, []string{"X-ARR-ClientCert: MIIB", "X-Forwarded-Client-Cert: Hash=1", "X-MS-CLIENT-PRINCIPAL: e30="}, 401},
		} {
			if w := s.do(http.MethodPost, c.target, c.header...); w.Code != c.status {
				t.Errorf("%s: %d, want %d: %s", name, w.Code, c.status, w.Body)
			}
		}
	})
}

// An act under a token is audited as the token's holder.
func TestActsCarryTheirCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssued(t)
		w := s.do(http.MethodPost, "/v1/operations/op1/cancel", "Authorization: Bearer "+s.token("Operate", nil))
		want := ferry.Caller{KeyID: "jwt:idp/subject-1", RequestID: w.Header().Get("X-Request-Id")}
		if w.Code != 200 || s.fake.caller != want {
			t.Errorf("%d: %+v, want %+v", w.Code, s.fake.caller, want)
		}
	})
}

// FuzzBearer: whatever stands behind Bearer, it is refused as what it is.
func FuzzBearer(f *testing.F) {
	for _, seed := range []string{
		"eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUifQ.", "..", "a.b.c", "fry_a_b_c", "eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYiJdfQ.e30.AA",
		"eyJhbGciOiJFUzI1NiIsImtpZCI6ImtleS0xIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUifQ.MEUCIQ", "\xff.\x00.é", "e30.bnVsbA.", "W10.W10.W10",
	} {
		f.Add(seed)
	}
	i := issuer.New("https://login.example")
	v := jwtauth.New(jwtauth.Options{Issuers: []jwtauth.Issuer{{
		Name: "idp", URL: i.URL, Audiences: []string{"a"}, Algorithms: []string{"ES256"}, Transport: i,
		Rules: []jwtauth.Rule{{Claim: "sub", Value: "subject-1", Role: ferry.RoleAdmin}},
	}}})
	f.Cleanup(v.Close)
	h := api.New(newFake(), api.Options{Log: slog.New(slog.DiscardHandler), Tokens: v})
	var from atomic.Uint32
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest(http.MethodGet, "http://b/v1/me", nil)
		r.Header["Authorization"] = []string{"Bearer " + text}
		n := from.Add(1) // many bad ones from one address are not looked at
		r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", byte(n>>16), byte(n>>8), byte(n))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if _, known := fakeKeys[strings.TrimSpace(text)]; known && w.Code == 200 {
			return
		}
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusRequestHeaderFieldsTooLarge || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %d %s", text, w.Code, w.Body)
		}
	})
}

func payloadOf(t *testing.T, token string) []byte {
	t.Helper()
	var c map[string]any
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil || json.Unmarshal(data, &c) != nil {
		t.Fatal(err)
	}
	return data
}

// jsonText is a text as it stands in JSON.
func jsonText(s string) string {
	text, _ := json.Marshal(s)
	return strings.Trim(string(text), `"`)
}
