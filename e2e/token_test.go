package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"ferry/internal/issuer"
	"ferry/internal/oauthmock"
)

// trust lets the broker of the world take the tokens of an issuer.
func (w *world) trust(iss string) {
	w.t.Helper()
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("broker.yaml", string(text)+fmt.Sprintf(`
issuers:
  - name: idp
    issuer: %s
    audiences: ["api://ferry"]
    clockSkew: 10s
    roles: [{value: Ferry.Send, role: sender, routes: [%s]}]
`, iss, invoices))
}

// tokenSend is the status of sending a message with a token.
func (w *world) tokenSend(token string) int {
	w.t.Helper()
	return w.bus(http.MethodPost, "/v1/routes/"+invoices+"/messages", "Bearer "+token, `{"invoice":{"number":"1"}}`, "Content-Type: application/json").status
}

// The program starts without its issuer, says 503 until it can be asked, takes its
// tokens then, and a key that it did not know with the first token of it; what is
// wrong is 401.
func TestTokensOfAnIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	var idp *issuer.Issuer
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { idp.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	idp = issuer.New(server.URL + "/tenant")
	idp.Away(true)
	w.trust(idp.URL)
	w.startBroker()
	token := func(change map[string]any) string {
		claims := idp.Claims("api://ferry")
		claims["roles"] = []string{"Ferry.Send"}
		for k, v := range change {
			claims[k] = v
		}
		return idp.Sign(claims, nil)
	}
	if got := w.tokenSend(token(nil)); got != http.StatusServiceUnavailable {
		t.Fatalf("while the issuer is away: %d", got)
	}
	idp.Away(false)
	eventually(t, 30*time.Second, func() string {
		if got := w.tokenSend(token(nil)); got != http.StatusCreated {
			return fmt.Sprint("the issuer is back: ", got)
		}
		return ""
	})
	idp.Rotate()
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"a new key":        {token(nil), 201},
		"expired":          {token(map[string]any{"exp": time.Now().Unix() - 11}), 401},
		"another audience": {token(map[string]any{"aud": "api://other"}), 401},
		"no role":          {token(map[string]any{"roles": "Other"}), 403},
		"alg none":         {issuer.Raw(`{"alg":"none"}`, `{"iss":"`+idp.URL+`","aud":"api://ferry","exp":9999999999,"roles":["Ferry.Send"]}`, nil), 401},
	} {
		if got := w.tokenSend(c.token); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for _, text := range []string{token(nil)[:80]} {
		if strings.Contains(w.broker.out.String(), text) {
			t.Error("the log has a token")
		}
	}
}

// The same against an issuer that others wrote.
func TestTokensOfAnOAuth2Server(t *testing.T) {
	address := oauthmock.Start(t)
	t.Parallel()
	var doc struct{ Issuer string }
	fetch(t, address+"/.well-known/openid-configuration", nil, &doc)
	w := newWorld(t, options{})
	w.trust(doc.Issuer)
	w.startBroker()
	token := func(scopes ...string) string {
		var answer struct {
			Token string `json:"access_token"`
		}
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"flow"}, "scope": {strings.Join(append(scopes, oauthmock.Ferry), " ")}}
		fetch(t, address+"/token", form, &answer)
		return answer.Token
	}
	first := token()
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"good":             {first, 201},
		"expired":          {token(oauthmock.Expired), 401},
		"another audience": {token(oauthmock.Other), 401},
	} {
		if got := w.tokenSend(c.token); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	token(oauthmock.Rotate)
	next := first
	eventually(t, 30*time.Second, func() string {
		if next = token(); keyOf(t, next) == keyOf(t, first) {
			return "the issuer has not signed with its new key"
		}
		return ""
	})
	if got := w.tokenSend(next); got != http.StatusCreated {
		t.Errorf("a key that the broker had not seen: %d", got)
	}
}

// keyOf is the name of the key that a token says signed it.
func keyOf(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	var h struct{ Kid string }
	if err != nil || json.Unmarshal(data, &h) != nil || h.Kid == "" {
		t.Fatalf("%v: %s", err, data)
	}
	return h.Kid
}

// fetch reads JSON; form is posted, if there is one.
func fetch(t *testing.T, address string, form url.Values, into any) {
	t.Helper()
	get := func() (*http.Response, error) { return http.Get(address) }
	if form != nil {
		get = func() (*http.Response, error) { return http.PostForm(address, form) }
	}
	resp, err := get()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", address, resp.StatusCode, err)
	}
}
