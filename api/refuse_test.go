package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
)

func TestRefusals(t *testing.T) {
	const post, get = http.MethodPost, http.MethodGet
	long := strings.Repeat("k", 129)
	s := newSurface(t)
	id := s.send(`{}`).ID.String()
	other := read[ferry.Accepted](t, s.call("any-key", post, "/v1/routes/orders/messages", `{}`), http.StatusCreated).ID.String()
	act := "/v1/dead-letters/" + id

	for _, tc := range []struct {
		name, key, method, target, body string
		header                          []string
		code                            ferry.Code
	}{
		// Who.
		{"no key", "", post, invoices, `{}`, nil, ferry.CodeUnauthenticated},
		{"unknown key", "x", post, invoices, `{}`, nil, ferry.CodeUnauthenticated},
		{"other scheme", "", get, "/v1/me", "", []string{"Authorization: Basic c2VuZGVyLWtleQ=="}, ferry.CodeUnauthenticated},
		{"operator sends", "operator-key", post, invoices, `{}`, nil, ferry.CodeForbidden},
		{"receiver sends", "receiver-key", post, invoices, `{}`, nil, ferry.CodeForbidden},
		{"sender of other routes", "sender-key", post, "/v1/routes/orders/messages", `{}`, nil, ferry.CodeForbidden},
		{"sender of other routes, no such", "sender-key", post, "/v1/routes/nope/messages", `{}`, nil, ferry.CodeForbidden},
		{"sender, dead letters", "sender-key", get, "/v1/dead-letters", "", nil, ferry.CodeForbidden},
		{"sender, status", "sender-key", get, "/v1/status", "", nil, ferry.CodeForbidden},
		{"operator, keys", "operator-key", get, "/v1/keys", "", nil, ferry.CodeForbidden},
		{"operator, audit", "operator-key", get, "/v1/audit", "", nil, ferry.CodeForbidden},
		{"operator, new worker", "operator-key", post, "/v1/workers", `{"name":"w1","routes":["orders"]}`, nil, ferry.CodeForbidden},
		{"operator, bind", "operator-key", post, "/v1/routes/orders/bind", `{"worker":"w1"}`, nil, ferry.CodeForbidden},
		{"receiver, message", "receiver-key", get, "/v1/messages/" + id, "", nil, ferry.CodeForbidden},
		{"metrics from afar", "", get, "/metrics", "", nil, ferry.CodeUnauthenticated},
		{"metrics as sender", "sender-key", get, "/metrics", "", nil, ferry.CodeForbidden},

		// Where.
		{"unknown path", "", get, "/v1/nope", "", nil, ferry.CodeNotFound},
		{"root", "", get, "/", "", nil, ferry.CodeNotFound},
		{"doubled slash", "sender-key", post, "/v1//routes/invoices/messages", `{}`, nil, ferry.CodeNotFound},
		{"dots", "sender-key", post, "/v1/../v1/routes/invoices/messages", `{}`, nil, ferry.CodeNotFound},
		{"trailing slash", "sender-key", post, invoices + "/", `{}`, nil, ferry.CodeNotFound},
		{"result by token", "", get, "/v1/results/abc", "", nil, ferry.CodeNotFound},
		{"unknown route", "any-key", post, "/v1/routes/nope/messages", `{}`, nil, ferry.CodeRouteNotFound},
		{"wrong method", "sender-key", get, invoices, "", nil, ferry.CodeMethodNotAllowed},
		{"wrong method, no key", "", http.MethodDelete, "/v1/messages/" + id, "", nil, ferry.CodeMethodNotAllowed},
		{"another's message", "sender-key", get, "/v1/messages/" + other, "", nil, ferry.CodeMessageNotFound},
		{"another's message by its end", "sender-key", get, "/v1/messages/" + other[24:], "", nil, ferry.CodeMessageNotFound},
		{"another's body", "sender-key", get, "/v1/messages/" + other + "/body", "", nil, ferry.CodeMessageNotFound},
		{"another's result", "sender-key", get, "/v1/messages/" + other + "/result", "", nil, ferry.CodeMessageNotFound},
		{"unknown message", "operator-key", get, "/v1/messages/01936d2e-7c1a-7f3b-9e4d-5a6b7c8d9e0f", "", nil, ferry.CodeMessageNotFound},
		{"short id", "operator-key", get, "/v1/messages/abcde", "", nil, ferry.CodeBadID},
		{"no id", "operator-key", get, "/v1/messages/xyzxyz", "", nil, ferry.CodeBadID},
		{"unknown operation", "operator-key", get, "/v1/operations/nope", "", nil, ferry.CodeNotFound},

		// Sending.
		{"empty body", "sender-key", post, invoices, "", nil, ferry.CodeEmptyBody},
		{"too large", "sender-key", post, "/v1/routes/small/messages", strings.Repeat("x", 65), nil, ferry.CodeTooLarge},
		{"chunks", "sender-key", post, invoices, "", []string{"x-ms-transfer-mode: chunked", "x-ms-content-length: 9"}, ferry.CodeChunkingNotSupported},
		{"gzip", "sender-key", post, invoices, "x", []string{"Content-Encoding: gzip"}, ferry.CodeUnsupportedMedia},
		{"content type", "sender-key", post, invoices, "x", []string{"Content-Type: a/b" + strings.Repeat("c", 300)}, ferry.CodeUnsupportedMedia},
		{"two content types", "sender-key", post, invoices, "x", []string{"Content-Type: a/b", "Content-Type: c/d"}, ferry.CodeUnsupportedMedia},
		{"long key", "sender-key", post, invoices, "x", []string{"Idempotency-Key: " + long}, ferry.CodeBadKey},
		{"empty key", "sender-key", post, invoices + "?messageId=", "x", nil, ferry.CodeBadKey},
		{"empty quoted key", "sender-key", post, invoices, "x", []string{`Idempotency-Key: ""`}, ferry.CodeBadKey},
		{"open quote", "sender-key", post, invoices, "x", []string{`Idempotency-Key: "abc`}, ferry.CodeBadKey},
		{"more after the quote", "sender-key", post, invoices, "x", []string{`Idempotency-Key: "abc";p=1`}, ferry.CodeBadKey},
		{"bad escape", "sender-key", post, invoices, "x", []string{`Idempotency-Key: "a\bc"`}, ferry.CodeBadKey},
		{"key not ASCII", "sender-key", post, invoices + "?idempotencyKey=%C3%A4", "x", nil, ferry.CodeBadKey},
		{"long ordering key", "sender-key", post, invoices + "?orderingKey=" + long, "x", nil, ferry.CodeBadOrderingKey},
		{"ordering key with a line", "sender-key", post, invoices + "?orderingKey=a%0Ab", "x", nil, ferry.CodeBadOrderingKey},
		{"long correlation id", "sender-key", post, invoices + "?correlationId=" + long, "x", nil, ferry.CodeBadCorrelationID},
		{"correlation id not UTF-8", "sender-key", post, invoices + "?correlationId=%FF", "x", nil, ferry.CodeBadCorrelationID},
		{"time without offset", "sender-key", post, invoices + "?deliverAt=2026-11-23T10:00:00", "x", nil, ferry.CodeBadTime},
		{"time with a lost plus", "sender-key", post, invoices + "?deliverAt=2026-11-23T10:00:00+01:00", "x", nil, ferry.CodeBadTime},
		{"time beyond the life", "sender-key", post, invoices + "?deliverAt=2126-11-23T10:00:00Z", "x", nil, ferry.CodeBadTime},
		{"duration", "sender-key", post, invoices + "?timeToLive=P1M", "x", nil, ferry.CodeBadDuration},
		{"no duration", "sender-key", post, invoices + "?timeToLive=0s", "x", nil, ferry.CodeBadDuration},
		{"negative duration", "sender-key", post, invoices + "?timeToLive=-5m", "x", nil, ferry.CodeBadDuration},
		{"endless duration", "sender-key", post, invoices + "?timeToLive=9999d", "x", nil, ferry.CodeBadDuration},
		{"callback over http", "sender-key", post, invoices + "?callbackUrl=http://flow.example/", "x", nil, ferry.CodeBadCallbackURL},
		{"relative callback", "sender-key", post, invoices, "x", []string{"Ferry-Callback-Url: /cb"}, ferry.CodeBadCallbackURL},
		{"callback with a password", "sender-key", post, invoices, "x", []string{"Ferry-Callback-Url: https://u:p@h/"}, ferry.CodeBadCallbackURL},
		{"on conflict", "sender-key", post, invoices + "?onConflict=merge", "x", nil, ferry.CodeBadRequest},
		{"unknown option", "sender-key", post, invoices + "?idempotencykey=1", "x", nil, ferry.CodeBadRequest},
		{"option twice", "sender-key", post, invoices + "?orderingKey=1&orderingKey=2", "x", nil, ferry.CodeBadRequest},
		{"options disagree", "sender-key", post, invoices + "?idempotencyKey=a", "x", []string{"Idempotency-Key: b"}, ferry.CodeBadRequest},
		{"aliases disagree", "sender-key", post, invoices + "?idempotencyKey=a&messageId=b", "x", nil, ferry.CodeBadRequest},
		{"header twice", "sender-key", post, invoices, "x", []string{"Idempotency-Key: a", "Idempotency-Key: b"}, ferry.CodeBadRequest},
		{"broken query", "sender-key", post, invoices + "?a=%zz", "x", nil, ferry.CodeBadRequest},
		{"properties", "sender-key", post, invoices, "x", []string{"Ferry-Properties: [1]"}, ferry.CodeBadRequest},
		{"properties disagree", "sender-key", post, invoices, "x", []string{"Ferry-Property-A: 1", `Ferry-Properties: {"a":"2"}`}, ferry.CodeBadRequest},
		{"property name", "sender-key", post, invoices, "x", []string{`Ferry-Properties: {"a b":"2"}`}, ferry.CodeBadRequest},
		{"property with a line", "sender-key", post, invoices, "x", []string{`Ferry-Properties: {"a":"x\ny"}`}, ferry.CodeBadRequest},
		{"too many properties", "sender-key", post, invoices, "x", manyProperties(65), ferry.CodeTooManyProperties},
		{"header block", "sender-key", post, invoices, "x", []string{"X-Long: " + strings.Repeat("x", ferry.MaxHeaderBytes)}, ferry.CodeHeaderTooLarge},

		// Lists.
		{"state", "operator-key", get, "/v1/messages?state=lost", "", nil, ferry.CodeBadFilter},
		{"reason", "operator-key", get, "/v1/dead-letters?reason=rejected", "", nil, ferry.CodeBadFilter},
		{"limit 0", "operator-key", get, "/v1/messages?limit=0", "", nil, ferry.CodeBadFilter},
		{"limit 1001", "operator-key", get, "/v1/dead-letters?limit=1001", "", nil, ferry.CodeBadFilter},
		{"since", "operator-key", get, "/v1/dead-letters?since=yesterday", "", nil, ferry.CodeBadTime},
		{"cursor", "operator-key", get, "/v1/messages?cursor=zzz", "", nil, ferry.CodeBadCursor},
		{"filter's route", "operator-key", get, "/v1/messages?route=nope", "", nil, ferry.CodeRouteNotFound},
		{"sender, another's route", "sender-key", get, "/v1/messages?route=orders", "", nil, ferry.CodeForbidden},
		{"misspelt filter", "operator-key", get, "/v1/dead-letters?reasons=Rejected", "", nil, ferry.CodeBadRequest},
		{"revision", "operator-key", get, "/v1/messages/" + id + "/body?revision=x", "", nil, ferry.CodeBadFilter},
		{"after", "admin-key", get, "/v1/audit?after=-1", "", nil, ferry.CodeBadFilter},

		// Acts.
		{"discard without a note", "operator-key", post, act + "/discard", "", nil, ferry.CodeNoteRequired},
		{"discard with a blank note", "operator-key", post, act + "/discard", `{"note":"  "}`, nil, ferry.CodeNoteRequired},
		{"long note", "operator-key", post, act + "/restore", `{"note":"` + strings.Repeat("n", 1025) + `"}`, nil, ferry.CodeNoteTooLong},
		{"accept without a note", "operator-key", post, act + "/accept", `{"reference":"4711"}`, nil, ferry.CodeNoteRequired},
		{"accept without a reference", "operator-key", post, act + "/accept", `{"note":"seen"}`, nil, ferry.CodeInvalid},
		{"long reference", "operator-key", post, act + "/accept", `{"note":"seen","reference":"` + strings.Repeat("r", 257) + `"}`, nil, ferry.CodeReferenceTooLong},
		{"replay: unknown member", "operator-key", post, act + "/replay", `{"boddy":{}}`, nil, ferry.CodeBadRequest},
		{"replay: wrong type", "operator-key", post, act + "/replay", `{"note":7}`, nil, ferry.CodeInvalid},
		{"replay: not JSON", "operator-key", post, act + "/replay", `{`, nil, ferry.CodeBadRequest},
		{"replay: two values", "operator-key", post, act + "/replay", `{}{}`, nil, ferry.CodeBadRequest},
		{"replay: as a form", "operator-key", post, act + "/replay", `a=b`, []string{"Content-Type: application/x-www-form-urlencoded"}, ferry.CodeUnsupportedMedia},
		{"replay: null", "operator-key", post, act + "/replay", `{"body":null}`, nil, ferry.CodeInvalid},
		{"replay: both bodies", "operator-key", post, act + "/replay", `{"body":1,"bodyBase64":"MQ=="}`, nil, ferry.CodeInvalid},
		{"replay: not base64", "operator-key", post, act + "/replay", `{"bodyBase64":"?"}`, nil, ferry.CodeInvalid},
		{"replay: XML as an object", "operator-key", post, act + "/replay", `{"body":{},"contentType":"text/xml"}`, nil, ferry.CodeInvalid},
		{"replay: type alone", "operator-key", post, act + "/replay", `{"contentType":"text/xml"}`, nil, ferry.CodeInvalid},
		{"replay: empty", "operator-key", post, act + "/replay", `{"bodyBase64":""}`, nil, ferry.CodeEmptyBody},
		{"replay: too large", "operator-key", post, act + "/replay", `{"body":"` + strings.Repeat("x", 1<<20) + `"}`, nil, ferry.CodeTooLarge},
		{"bulk: nothing", "operator-key", post, "/v1/dead-letters/replay", ``, nil, ferry.CodeBadRequest},
		{"bulk: no selection", "operator-key", post, "/v1/dead-letters/replay", `{}`, nil, ferry.CodeBadFilter},
		{"bulk: only a limit", "operator-key", post, "/v1/dead-letters/replay", `{"filter":{"limit":5}}`, nil, ferry.CodeBadFilter},
		{"bulk: two selections", "operator-key", post, "/v1/dead-letters/replay", `{"filter":{"route":"orders"},"all":true}`, nil, ferry.CodeBadFilter},
		{"bulk: unknown filter", "operator-key", post, "/v1/dead-letters/replay", `{"filter":{"rout":"orders"}}`, nil, ferry.CodeBadRequest},
		{"bulk: reason", "operator-key", post, "/v1/dead-letters/replay", `{"filter":{"reason":"x"}}`, nil, ferry.CodeBadFilter},
		{"bulk: time", "operator-key", post, "/v1/dead-letters/replay", `{"filter":{"since":"now"}}`, nil, ferry.CodeBadRequest},
		{"bulk: id", "operator-key", post, "/v1/dead-letters/replay", `{"ids":["7"]}`, nil, ferry.CodeBadID},
		{"bulk: expect", "operator-key", post, "/v1/dead-letters/replay", `{"all":true,"expect":-1}`, nil, ferry.CodeInvalid},
		{"bulk: count changed", "operator-key", post, "/v1/dead-letters/replay", `{"all":true,"expect":4}`, nil, ferry.CodeCountChanged},
		{"bulk: discard without a note", "operator-key", post, "/v1/dead-letters/discard", `{"all":true}`, nil, ferry.CodeNoteRequired},
		{"pause till the past", "operator-key", post, "/v1/routes/orders/pause", `{"until":"2020-01-01T00:00:00Z"}`, nil, ferry.CodeBadTime},
		{"pause unknown", "operator-key", post, "/v1/routes/nope/pause", ``, nil, ferry.CodeRouteNotFound},
		{"bind to nobody", "admin-key", post, "/v1/routes/orders/bind", `{"worker":""}`, nil, ferry.CodeBadName},

		// Keys and workers.
		{"key's name", "admin-key", post, "/v1/keys", `{"name":"A","role":"sender"}`, nil, ferry.CodeBadName},
		{"key's role", "admin-key", post, "/v1/keys", `{"name":"abc","role":"king"}`, nil, ferry.CodeInvalid},
		{"key's routes", "admin-key", post, "/v1/keys", `{"name":"abc","role":"sender","routes":["nope"]}`, nil, ferry.CodeInvalid},
		{"operator with routes", "admin-key", post, "/v1/keys", `{"name":"abc","role":"operator","routes":["orders"]}`, nil, ferry.CodeInvalid},
		{"expired key", "admin-key", post, "/v1/keys", `{"name":"abc","role":"sender","expiresAt":"2020-01-01T00:00:00Z"}`, nil, ferry.CodeBadTime},
		{"reserved worker", "admin-key", post, "/v1/workers", `{"name":"queue","routes":["orders"]}`, nil, ferry.CodeBadName},
		{"worker without routes", "admin-key", post, "/v1/workers", `{"name":"abc","routes":[]}`, nil, ferry.CodeInvalid},
		{"worker with a route twice", "admin-key", post, "/v1/workers", `{"name":"abc","routes":["orders","orders"]}`, nil, ferry.CodeInvalid},
		{"body where none is", "admin-key", post, "/v1/keys/k1/rotate", `{"x":1}`, nil, ferry.CodeBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t = t
			before := len(s.fake.refused)
			a := s.call(tc.key, tc.method, tc.target, tc.body, tc.header...)
			s.refusal(a, tc.code)
			if len(s.fake.refused) != before+1 || !strings.HasSuffix(s.fake.refused[before], ":"+string(tc.code)) {
				t.Errorf("counted: %q", s.fake.refused[before:])
			}
		})
	}
	s.t = t
	if len(s.fake.messages) != 2 {
		t.Errorf("%d messages were kept, want the 2 sent first", len(s.fake.messages))
	}
	if log := s.log.String(); strings.Contains(log, "u:p@h") || strings.Contains(log, "c2VuZGVyLWtleQ") {
		t.Error("the log has a secret")
	}
}

func manyProperties(n int) []string {
	header := make([]string, n)
	for i := range header {
		header[i] = fmt.Sprintf("Ferry-Property-P%d: v", i)
	}
	return header
}

func TestRefusalHeaders(t *testing.T) {
	s := newSurface(t)
	if a := s.call("sender-key", http.MethodGet, invoices, ""); a.Header.Get("Allow") != "POST" {
		t.Errorf("Allow %q", a.Header.Get("Allow"))
	}
	if a := s.call("admin-key", http.MethodPut, "/v1/keys", ""); a.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow %q", a.Header.Get("Allow"))
	}
	if a := s.call("", http.MethodGet, "/v1/me", ""); !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("WWW-Authenticate %q", a.Header.Get("WWW-Authenticate"))
	}
	for _, code := range []ferry.Code{ferry.CodeNoSpace, ferry.CodeLedgerUnavailable, ferry.CodeStopping, ferry.CodeTooManyRequests} {
		s.fake.err = ferry.Errorf(code, "not now")
		a := s.call("sender-key", http.MethodPost, invoices, `{}`)
		s.refusal(a, code)
		if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 {
			t.Errorf("%s: Retry-After %q", code, a.Header.Get("Retry-After"))
		}
	}
	s.refusal(s.call("", http.MethodGet, "/readyz", ""), ferry.CodeTooManyRequests)
	s.fake.err = errors.New("the disk of /var/lib/ferry is gone")
	if p := s.refusal(s.call("", http.MethodGet, "/readyz", ""), ferry.CodeLedgerUnavailable); strings.Contains(p.Detail, "/var") {
		t.Errorf("readyz tells the cause: %s", p.Detail)
	}
	if a := s.call("", http.MethodGet, "/healthz", ""); a.StatusCode != http.StatusOK {
		t.Errorf("healthz is %d while the ledger is away", a.StatusCode)
	}
	if got := s.fake.refused[0]; got != ":methodNotAllowed" {
		t.Errorf("first refusal counted as %q", got)
	}
	if got := s.fake.refused[3]; got != "invoices:noSpace" {
		t.Errorf("fourth refusal counted as %q", got)
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	s := newSurface(t)
	s.fake.err = errors.New("open /var/lib/ferry: secret detail")
	a := s.call("sender-key", http.MethodPost, invoices, `{}`)
	p := s.refusal(a, ferry.CodeInternal)
	if strings.Contains(string(a.body), "secret detail") {
		t.Errorf("the answer tells the cause: %s", a.body)
	}
	if log := s.log.String(); !strings.Contains(log, "secret detail") || !strings.Contains(log, p.RequestID) {
		t.Errorf("the log does not tell the cause:\n%s", log)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	s := newSurface(t)
	s.fake.panics = true
	p := s.refusal(s.call("sender-key", http.MethodPost, invoices, `{}`), ferry.CodeInternal)
	if log := s.log.String(); !strings.Contains(log, "the fake panics") || !strings.Contains(log, p.RequestID) {
		t.Errorf("the log does not tell of the panic:\n%s", log)
	}
	s.fake.panics = false
	if a := s.call("sender-key", http.MethodPost, invoices, `{}`); a.StatusCode != http.StatusCreated {
		t.Errorf("after the panic: %d %s", a.StatusCode, a.body)
	}
}

func TestMetricsOnThisMachine(t *testing.T) {
	s := newSurface(t)
	for name, tc := range map[string]struct {
		remote, forwarded string
		want              int
	}{
		"loopback":       {"127.0.0.1:999", "", http.StatusOK},
		"loopback, IPv6": {"[::1]:999", "", http.StatusOK},
		"a proxy here":   {"127.0.0.1:999", "203.0.113.9", http.StatusUnauthorized},
		"another":        {"203.0.113.9:999", "", http.StatusUnauthorized},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://broker.test/metrics", nil)
		r.RemoteAddr = tc.remote
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		if a := s.do(r); a.StatusCode != tc.want {
			t.Errorf("%s: %d, want %d", name, a.StatusCode, tc.want)
		}
	}
	if a := s.call("operator-key", http.MethodGet, "/metrics", ""); a.StatusCode != http.StatusOK {
		t.Errorf("operator: %d", a.StatusCode)
	}
	h := api.New(s.fake, api.Options{})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("without metrics: %d", w.Code)
	}
}
