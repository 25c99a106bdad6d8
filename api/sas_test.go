package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
	"ferry/secret"
)

const (
	sasKey      = "VGhpcyBpcyBhIHRlc3Qga2V5LCBub3QgYSBzZWNyZXQh+/8="
	sasOtherKey = "QW5vdGhlciB0ZXN0IGtleSwgbm90IGEgc2VjcmV0IGVpdGhlcg=="
)

func keysOf(keys ...string) func() ([]secret.Value, error) {
	values := make([]secret.Value, len(keys))
	for i, k := range keys {
		values[i] = secret.NewValue(k)
	}
	return func() ([]secret.Value, error) { return values, nil }
}

func policies() []api.SASPolicy {
	return []api.SASPolicy{
		{Name: "flows", Rights: []string{api.RightSend, api.RightListen}, Keys: keysOf(sasKey)},
		{Name: "rotated", Rights: []string{api.RightSend}, Keys: keysOf("a new primary key of some length", sasKey)},
		{Name: "senders", Rights: []string{api.RightSend}, Routes: []string{"invoices"}, Keys: keysOf(sasOtherKey)},
		{Name: "short", Rights: []string{api.RightSend}, Keys: keysOf("short")},
		{Name: "broken", Rights: []string{api.RightSend}, Keys: func() ([]secret.Value, error) { return nil, errors.New("no such file") }},
	}
}

// sign makes a token as senders do.
func sign(resource, policy, key string, until time.Time) string {
	sr, se := url.QueryEscape(resource), strconv.FormatInt(until.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(sr + "\n" + se))
	return "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))) + "&se=" + se + "&skn=" + policy
}

type sasCall struct {
	handler http.Handler
	fake    *fake
}

func newSAS(opts api.Options) sasCall {
	f := newFake()
	opts.Log, opts.SAS = slog.New(slog.DiscardHandler), policies()
	return sasCall{api.New(f, opts), f}
}

func (s sasCall) do(method, target, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://broker.test"+target, strings.NewReader("x"))
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// TestSASVectors takes tokens that another program signed (Node's crypto, escapes
// in upper and in lower case) in the first hour of the year 2000.
func TestSASVectors(t *testing.T) {
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"escapes in upper case": {"SharedAccessSignature sr=https%3A%2F%2Fcontoso.servicebus.windows.net%2Forders&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&se=946688402&skn=flows", 201},
		"escapes in lower case": {"SharedAccessSignature sr=sb%3a%2f%2fcontoso.servicebus.windows.net%2fOrders%2f&sig=zNyE%2BmYBerglsB44tqd8oXw5oFMpbC1JqYBcaCu%2Fp5E%3D&se=946688400&skn=flows", 201},
		"a deeper path":         {"SharedAccessSignature sr=http%3A%2F%2F127.0.0.1%3A8080%2Forders%2Fmessages&sig=g0jT%2F8Wf9ZHdq%2BqQcL1sbXP%2F%2BxJpXXBaa4hNhuP6R7o%3D&se=946688402&skn=flows", 201},
		"another order":         {"SharedAccessSignature skn=flows&se=946688402&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&x=1&sr=https%3A%2F%2Fcontoso.servicebus.windows.net%2Forders", 201},
		"a literal plus in sig": {"SharedAccessSignature sr=https%3A%2F%2Fcontoso.servicebus.windows.net%2Forders&sig=DJDhmzSAZfoQKaAU+SJo7fD5PaD/yPDP46+sU42MCV4=&se=946688402&skn=flows", 201},
		"the secondary key":     {"sharedaccesssignature  sr=https%3A%2F%2Fcontoso.servicebus.windows.net%2Forders&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&se=946688402&skn=rotated", 201},
		"sr escaped otherwise":  {"SharedAccessSignature sr=https%3a%2f%2fcontoso.servicebus.windows.net%2forders&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&se=946688402&skn=flows", 401},
		"se changed":            {"SharedAccessSignature sr=https%3A%2F%2Fcontoso.servicebus.windows.net%2Forders&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&se=946688403&skn=flows", 401},
		"another policy":        {"SharedAccessSignature sr=https%3A%2F%2Fcontoso.servicebus.windows.net%2Forders&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&se=946688402&skn=senders", 401},
		"past":                  {"SharedAccessSignature sr=https%3A%2F%2Fh%2Forders&sig=bQPsAsl6x3HB%2F%2B%2FToaMYjfO4%2FC%2Fv9OwE3C%2FvqgSpm60%3D&se=946684799&skn=flows", 401},
		"for too long":          {"SharedAccessSignature sr=https%3A%2F%2Fh%2Forders&sig=g3Nr10Is1sbQU98zKESfRRBbdbJv5J7ouHJZRDcwAoo%3D&se=978393600&skn=flows", 401},
		"orders2":               {"SharedAccessSignature sr=https%3A%2F%2Fh%2Forders2&sig=Zcbk%2F%2BZIRzZf9HXMckmSuML8UtlufU3303ikuPddifA%3D&se=946688400&skn=flows", 401},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSAS(api.Options{})
			w := s.do(http.MethodPost, "/orders/messages", c.token)
			if w.Code != c.want {
				t.Errorf("%s: %d, want %d: %s", name, w.Code, c.want, w.Body)
			}
			if w.Code == http.StatusCreated {
				if m := s.fake.messages[s.fake.order[0]].msg; m.Sender.Name != "sas:flows" && m.Sender.Name != "sas:rotated" {
					t.Errorf("%s: sent by %q", name, m.Sender.Name)
				}
			}
		})
	}
}

func TestSASScope(t *testing.T) {
	for resource, covered := range map[string]bool{
		"https://h/orders": true, "HTTPS://H/ORDERS/": true, "sb://h.servicebus.windows.net/orders/messages": true, "amqp://h:5671/orders": true,
		"https://h/": true, "https://h": true, "h.servicebus.windows.net": true, "h.servicebus.windows.net/orders": true, "localhost:8080/orders": true,
		"/orders": true, "orders": true, "https://h/orders?timeout=60": true, "https://h/orders/messages": true,
		"https://h/gate/orders": true, "https://h/gate": true, // publicUrl is https://h/gate
		"https://h/orders/messages/head": false, "https://h/order": false, "https://h/orders2": false, "https://h/orders-x/messages": false,
		"https://h/gate2": false, "https://h/invoices": false, "invoices": false, "orders2": false, "/invoices": false,
		"https://h/invoices/../orders": false, "https://h//orders": true, "%zz": false, "https://h/gate/orders2": false,
	} {
		t.Run(resource, func(t *testing.T) {
			s := newSAS(api.Options{PublicURL: "https://h/gate/"})
			w := s.do(http.MethodPost, "/orders/messages", sign(resource, "flows", sasKey, time.Now().Add(time.Hour)))
			if (w.Code == http.StatusCreated) != covered {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		})
	}
}

func TestSASRefusals(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	good := sign("https://h/invoices", "senders", sasOtherKey, soon)
	_, fields, _ := strings.Cut(good, " ")
	for name, c := range map[string]struct {
		method, target, token string
		want                  int
	}{
		"good":                {http.MethodPost, "/invoices/messages", good, 201},
		"right listen":        {http.MethodPost, "/invoices/messages/head", good, 403},
		"another route":       {http.MethodPost, "/orders/messages", sign("https://h/", "senders", sasOtherKey, soon), 403},
		"no such route":       {http.MethodPost, "/nothing/messages", sign("https://h/", "flows", sasKey, soon), 410},
		"no such policy":      {http.MethodPost, "/invoices/messages", sign("https://h/", "nobody", sasOtherKey, soon), 401},
		"key of another":      {http.MethodPost, "/invoices/messages", sign("https://h/", "senders", sasKey, soon), 401},
		"key decoded":         {http.MethodPost, "/invoices/messages", sign("https://h/", "flows", "This is a test key, not a secret!\xfb\xff", soon), 401},
		"key too short":       {http.MethodPost, "/invoices/messages", sign("https://h/", "short", "short", soon), 401},
		"ended":               {http.MethodPost, "/invoices/messages", sign("https://h/", "flows", sasKey, time.Now().Add(-time.Second)), 401},
		"a year and two days": {http.MethodPost, "/invoices/messages", sign("https://h/", "flows", sasKey, time.Now().Add(367*24*time.Hour)), 401},
		"empty":               {http.MethodPost, "/invoices/messages", "SharedAccessSignature ", 401},
		"no signature":        {http.MethodPost, "/invoices/messages", "SharedAccessSignature sr=h&se=1&skn=flows", 401},
		"twice":               {http.MethodPost, "/invoices/messages", good + "&sr=x", 401},
		"as a key":            {http.MethodPost, "/invoices/messages", "Bearer " + fields, 401},
		"on another call":     {http.MethodGet, "/v1/messages", good, 401},
		"on /v1":              {http.MethodPost, "/v1/routes/invoices/messages", good, 401},
		"keys unreadable":     {http.MethodPost, "/invoices/messages", sign("https://h/", "broken", sasKey, soon), 503},
	} {
		s := newSAS(api.Options{})
		w := s.do(c.method, c.target, c.token)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.want, w.Body)
		}
		if strings.Contains(w.Body.String(), sasKey) || strings.Contains(w.Body.String(), "sig=") && strings.Contains(w.Body.String(), "%2") {
			t.Errorf("%s: the answer shows a secret: %s", name, w.Body)
		}
	}
}

// Keys that cannot be read are the broker's trouble: senders are told to come again and
// nothing of where the keys lie, which the log says, once a minute and policy.
func TestSASKeysUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sas-key")
	log := &logBuffer{}
	h := api.New(newFake(), api.Options{Log: slog.New(slog.NewTextHandler(log, nil)), SAS: []api.SASPolicy{{
		Name: "flows", Rights: []string{api.RightSend}, Keys: func() ([]secret.Value, error) {
			key, err := secret.Resolver{}.Resolve(secret.Ref("file:" + path))
			return []secret.Value{key}, err
		},
	}}})
	s := sasCall{h, nil}
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			w := s.do(http.MethodPost, "/orders/messages", sign("https://h/orders", "flows", sasKey, time.Now().Add(time.Hour)))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), string(ferry.CodeSecretUnavailable)) {
				t.Errorf("%d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
			}
			if strings.Contains(w.Body.String(), "sas-key") || strings.Contains(w.Body.String(), "file:") {
				t.Errorf("the answer says where the key lies: %s", w.Body)
			}
			if first := log.String(); !strings.Contains(first, "policy=flows") || !strings.Contains(first, w.Header().Get("X-Request-Id")) || !strings.Contains(first, path) {
				t.Errorf("the log does not say what is wrong: %s", first)
			}
			time.Sleep(20 * time.Second)
		}
		if n := strings.Count(log.String(), path); n != 1 {
			t.Errorf("the cause was logged %d times in a minute", n)
		}
		s.do(http.MethodPost, "/orders/messages", sign("https://h/orders", "flows", sasKey, time.Now().Add(time.Hour)))
		if n := strings.Count(log.String(), path); n != 2 {
			t.Errorf("the cause was logged %d times in a minute and a second one", n)
		}
	})
}

// The key is asked for anew, so that a rotation is seen.
func TestSASKeysRotate(t *testing.T) {
	key := sasKey
	f := newFake()
	h := api.New(f, api.Options{Log: slog.New(slog.DiscardHandler), SAS: []api.SASPolicy{{
		Name: "flows", Rights: []string{api.RightSend}, Keys: func() ([]secret.Value, error) { return []secret.Value{secret.NewValue(key)}, nil },
	}}})
	s := sasCall{h, f}
	token := sign("https://h/orders", "flows", sasKey, time.Now().Add(time.Hour))
	if w := s.do(http.MethodPost, "/orders/messages", token); w.Code != 201 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	key = sasOtherKey
	if w := s.do(http.MethodPost, "/orders/messages", token); w.Code != 401 {
		t.Fatalf("after the rotation: %d: %s", w.Code, w.Body)
	}
	if len(f.refused) != 1 || f.refused[0] != ":"+string(ferry.CodeUnauthenticated) {
		t.Errorf("counted: %v", f.refused)
	}
}

func FuzzSAS(f *testing.F) {
	f.Add("sr=https%3A%2F%2Fh%2Forders&sig=DJDhmzSAZfoQKaAU%2BSJo7fD5PaD%2FyPDP46%2BsU42MCV4%3D&se=946688402&skn=flows")
	f.Add("sr=&sig=&se=&skn=")
	f.Add("se=99999999999999999999&sig=%zz&&=")
	s := newSAS(api.Options{Limits: api.Limits{FailedLogins: ferry.Rate{Calls: 1_000_000_000, Per: time.Second}}})
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest(http.MethodPost, "http://b/orders/messages", strings.NewReader("x"))
		r.Header["Authorization"] = []string{"SharedAccessSignature " + token}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusRequestHeaderFieldsTooLarge {
			t.Fatalf("%q: %d %s", token, w.Code, w.Body)
		}
	})
}
