package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/api"
	"ferry/client"
)

// fakeToken is what the fake gives out; the broker's are tested with the broker.
func (f *fake) ResultToken(id ferry.ID, until ferry.WaitFor) string {
	return string(until) + "_" + id.String() + "_" + "0123456789abcdefghijklmnopqrstuvwxyz"
}

func (f *fake) ResultOf(token string) (ferry.ID, ferry.WaitFor, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, until := range ferry.WaitFors() {
		for _, id := range f.order {
			if f.ResultToken(id, until) == token {
				return id, until, true
			}
		}
	}
	return ferry.ID{}, "", false
}

func (f *fake) MessageHead(ctx context.Context, id ferry.ID) (ferry.Envelope, error) {
	e, err := f.Message(ctx, id)
	e.Attempts = nil
	return e, err
}

const waitPath = "/v1/routes/invoices/messages/wait"

// end gives a message of the fake another state.
func (f *fake) end(id ferry.ID, state ferry.State, acts ...ferry.Act) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &f.messages[id].envelope
	e.State, e.DeadLetter, e.Acts = state, nil, append(e.Acts, acts...)
}

// waits calls the endpoints of who waits, for TestClientAndDescription.
func (s *surface) waits(ctx context.Context, c *client.Client) {
	s.t.Helper()
	m := ferry.Message{Body: []byte(`{"w":1}`), ContentType: "application/json", IdempotencyKey: "waits"}
	w := try(c.SendAndWait(ctx, "invoices", m, ferry.WaitCompleted))(s.t)
	if w.ID.IsZero() || w.StatusURL == "" || w.After != 5*time.Second {
		s.t.Errorf("sent: %+v", w)
	}
	if again := try(c.SendAndWait(ctx, "invoices", m, ferry.WaitCompleted))(s.t); again.Location != w.Location || !again.Duplicate {
		s.t.Errorf("again: %+v", again)
	}
	_, done, after, err := s.client("").ResultAt(ctx, w.Location)
	if err != nil || done || after < 5*time.Second {
		s.t.Errorf("pending: %t %s %v", done, after, err)
	}
	s.fake.kill(w.ID)
	if _, done, _, err := s.client("").ResultAt(ctx, w.Location); err != nil || done {
		s.t.Errorf("dead-lettered, completed is awaited: %t %v", done, err)
	}
	if _, done, err := c.Result(ctx, w.ID.String(), ferry.WaitCompleted); err != nil || done {
		s.t.Errorf("dead-lettered, completed is awaited: %t %v", done, err)
	}
	s.fake.end(w.ID, ferry.StateCompleted)
	if e, done, _, err := s.client("").ResultAt(ctx, w.Location); err != nil || !done || e.State != ferry.StateCompleted {
		s.t.Errorf("completed: %+v %t %v", e, done, err)
	}
	if _, err := c.SendAndWait(ctx, "invoices", m, "never"); ferry.CodeOf(err) != ferry.CodeBadRequest {
		s.t.Errorf("no such end: %v", err)
	}
	if _, _, _, err := c.ResultAt(ctx, w.Location+"x"); ferry.CodeOf(err) != ferry.CodeNotFound {
		s.t.Errorf("a wrong address: %v", err)
	}
}

// at is the path of an absolute URL of the broker.
func (s *surface) at(location string) string {
	s.t.Helper()
	path, ok := strings.CutPrefix(location, "http://broker.test")
	if !ok {
		s.t.Fatalf("the Location %q is not absolute, or leads elsewhere", location)
	}
	return path
}

func TestSendAndWait(t *testing.T) {
	const post, get = http.MethodPost, http.MethodGet
	s := newSurface(t)
	a := s.call("sender-key", post, waitPath, `{"n":1}`, "Idempotency-Key: INV-1")
	sent := read[ferry.Accepted](t, a, http.StatusAccepted)
	location := a.Header.Get("Location")
	if sent.ID.IsZero() || sent.State != ferry.StateAccepted || sent.StatusURL != "http://broker.test/v1/messages/"+sent.ID.String() ||
		sent.Duplicate || a.Header.Get("Retry-After") != "5" || !strings.HasPrefix(location, "http://broker.test/v1/results/") {
		t.Fatalf("%s %v", a.body, a.Header)
	}

	// Polls need no key, and a wrong one changes nothing.
	for _, key := range []string{"", "no-key", "sender-key"} {
		poll := s.call(key, get, s.at(location), "")
		if e := read[ferry.Envelope](t, poll, http.StatusAccepted); e.ID != sent.ID {
			t.Errorf("key %q: %s", key, poll.body)
		}
		if poll.Header.Get("Location") != location || poll.Header.Get("Retry-After") == "" {
			t.Errorf("a 202 that no engine follows: %v", poll.Header)
		}
	}
	head := s.call("", http.MethodHead, s.at(location), "")
	if head.StatusCode != http.StatusAccepted || head.Header.Get("Location") != location {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}

	// The same again: the same address, whatever became of the message meanwhile.
	for _, state := range []ferry.State{ferry.StateQueued, ferry.StateDeadLettered, ferry.StateCompleted, ferry.StateDiscarded} {
		s.fake.end(sent.ID, state)
		again := s.call("sender-key", post, waitPath, `{"n":1}`, "Idempotency-Key: INV-1")
		got := read[ferry.Accepted](t, again, http.StatusAccepted)
		if !got.Duplicate || got.ID != sent.ID || got.State != state || again.Header.Get("Location") != location || again.Header.Get("Retry-After") != "5" {
			t.Errorf("%s: %s %v", state, again.body, again.Header)
		}
	}

	// Another body under the key.
	p := s.refusal(s.call("sender-key", post, waitPath, `{"n":2}`, "Idempotency-Key: INV-1"), ferry.CodeKeyReused)
	if p.ID != sent.ID || p.StatusURL != sent.StatusURL {
		t.Errorf("%+v", p)
	}
	s.fake.kill(sent.ID)
	replaced := s.call("sender-key", post, waitPath+"?onConflict=replace", `{"n":2}`, "Idempotency-Key: INV-1")
	if got := read[ferry.Accepted](t, replaced, http.StatusAccepted); got.Revision != 2 || got.ID != sent.ID || replaced.Header.Get("Location") != location {
		t.Errorf("replaced: %s %v", replaced.body, replaced.Header)
	}
	read[ferry.Envelope](t, s.call("", get, s.at(location), ""), http.StatusAccepted) // it goes on there
}

// TestWaitEnds: what is the end, for whom.
func TestWaitEnds(t *testing.T) {
	for _, tc := range []struct {
		query, header string
		over          []ferry.State
	}{
		{"", "", []ferry.State{ferry.StateCompleted, ferry.StateDeadLettered, ferry.StateDiscarded}},
		{"?waitFor=ended", "", []ferry.State{ferry.StateCompleted, ferry.StateDeadLettered, ferry.StateDiscarded}},
		{"?waitFor=completed", "", []ferry.State{ferry.StateCompleted, ferry.StateDiscarded}},
		{"", "Ferry-Wait-For: completed", []ferry.State{ferry.StateCompleted, ferry.StateDiscarded}},
	} {
		s := newSurface(t)
		header := []string{"Content-Type: application/json"}
		if tc.header != "" {
			header = append(header, tc.header)
		}
		a := s.call("sender-key", http.MethodPost, waitPath+tc.query, `{}`, header...)
		id, location := read[ferry.Accepted](t, a, http.StatusAccepted).ID, a.Header.Get("Location")
		s.fake.messages[id].envelope.Attempts = []ferry.Attempt{{Number: 1, StartedAt: now, Verdict: ferry.Rejected, Text: "no such supplier"}}
		for _, state := range ferry.States() {
			s.fake.end(id, state)
			want := http.StatusAccepted
			if slices.Contains(tc.over, state) {
				want = http.StatusOK
			}
			keyed := s.call("sender-key", http.MethodGet, "/v1/messages/"+id.String()+"/result"+tc.query, "", header...)
			shown := s.call("sender-key", http.MethodGet, "/v1/messages/"+id.String(), "")
			if diff := cmp.Diff(string(shown.body), string(s.call("", http.MethodGet, s.at(location), "").body)); diff != "" && want == http.StatusOK {
				t.Errorf("the token shows another message than the sender's key: %s", diff)
			}
			for who, got := range map[string]answer{"with the token": s.call("", http.MethodGet, s.at(location), ""), "with the key": keyed} {
				if e := read[ferry.Envelope](t, got, want); e.State != state || e.StatusURL == "" || e.Environment != "test" {
					t.Errorf("%s, waiting for %s%s, %s: %s", state, tc.query, tc.header, who, got.body)
				}
				if got.StatusCode == http.StatusAccepted && got.Header.Get("Location") != location {
					// An engine does not send the key to the Location.
					t.Errorf("%s, %s: it goes on at %s, not at %s", state, who, got.Header.Get("Location"), location)
				}
				if got.StatusCode == http.StatusOK && (got.Header.Get("Location") != "" || got.Header.Get("Retry-After") != "") {
					t.Errorf("%s, %s: the end says to ask again: %v", state, who, got.Header)
				}
			}
		}
	}
}

// TestRetryAfterDoubles: 5, 10, 20, 40, 60 from when the message was last sent on
// its way.
func TestRetryAfterDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t)
		a := s.call("sender-key", http.MethodPost, waitPath+"?waitFor=completed", `{}`)
		id, location := read[ferry.Accepted](t, a, http.StatusAccepted).ID, s.at(a.Header.Get("Location"))
		s.fake.messages[id].envelope.CreatedAt = time.Now()
		pauses := func(n int) (list []string) {
			for range n {
				list = append(list, a.Header.Get("Retry-After"))
				seconds := try(strconv.Atoi(a.Header.Get("Retry-After")))(t)
				time.Sleep(time.Duration(seconds)*time.Second + 3*time.Millisecond) // an engine is never early
				a = s.call("", http.MethodGet, location, "")
			}
			return list
		}
		if diff := cmp.Diff([]string{"5", "10", "20", "40", "60", "60", "60"}, pauses(7)); diff != "" {
			t.Error(diff)
		}
		for _, act := range []string{"replay", "edit", "replace"} {
			s.fake.kill(id)
			time.Sleep(72 * time.Hour)
			s.fake.end(id, ferry.StateAccepted, ferry.Act{Act: act, By: "olga", At: time.Now()})
			a = s.call("", http.MethodGet, location, "")
			if diff := cmp.Diff([]string{"5", "10", "20"}, pauses(3)); diff != "" {
				t.Errorf("after %s: %s", act, diff)
			}
		}
	})
}

// TestResultTokens: who has not the whole token learns nothing, and no log or
// answer repeats one.
func TestResultTokens(t *testing.T) {
	const get = http.MethodGet
	s := newSurface(t)
	a := s.call("sender-key", http.MethodPost, waitPath, `{}`)
	id, path := read[ferry.Accepted](t, a, http.StatusAccepted).ID, s.at(a.Header.Get("Location"))
	token := strings.TrimPrefix(path, "/v1/results/")
	other := s.send(`{"other":1}`).ID

	var first api.Problem
	for name, bad := range map[string]string{
		"cut":         path[:len(path)-1],
		"longer":      path + "A",
		"other case":  "/v1/results/" + strings.ToUpper(token),
		"of nothing":  "/v1/results/" + strings.Replace(token, id.String(), ferry.NewID(time.Now()).String(), 1),
		"of none":     "/v1/results/x",
		"too long":    "/v1/results/" + strings.Repeat("x", 3000),
		"an id":       "/v1/results/" + other.String(),
		"with a dash": "/v1/results/%2d" + token,
	} {
		p := s.refusal(s.call("", get, bad, ""), ferry.CodeNotFound)
		if first.Detail == "" {
			first = p
		}
		p.RequestID, first.RequestID = "", ""
		if diff := cmp.Diff(first, p); diff != "" {
			t.Errorf("%s is told apart:\n%s", name, diff)
		}
	}
	for _, miswritten := range []string{"/v1/results/" + token + "/", "/v1/results/" + token + "/body", "//v1/results/" + token, "/V1/results/" + token, "/" + token, "/v1/results/"} {
		s.refusal(s.call("", get, miswritten, ""), ferry.CodeNotFound)
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodPatch} {
		s.refusal(s.call("", method, path, ""), ferry.CodeMethodNotAllowed)
	}

	// Retention: the token is good, the message is not there any more.
	s.fake.mu.Lock()
	delete(s.fake.messages, id)
	s.fake.mu.Unlock()
	p := s.refusal(s.call("", get, path, ""), ferry.CodeResultGone)
	if p.Status != http.StatusGone || p.Instance != "/v1/results/***" {
		t.Errorf("%+v", p)
	}
	// A ledger that cannot be read is worth another try.
	s.fake.err = ferry.Errorf(ferry.CodeLedgerUnavailable, "broken")
	if a := s.call("", get, path, ""); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	if text := s.log.String(); strings.Contains(text, token) || strings.Contains(strings.ToLower(text), strings.ToLower(token[:40])) {
		t.Errorf("a log line shows a token:\n%s", text)
	}
	if !strings.Contains(s.log.String(), "/v1/results/***") {
		t.Error("the polls are not logged at all")
	}
}

// TestWaitRefuses before anything is accepted.
func TestWaitRefuses(t *testing.T) {
	s := newSurface(t)
	s.wrong = true
	for name, tc := range map[string]struct {
		key, target, body string
		header            string
		code              ferry.Code
	}{
		"no key":              {"", waitPath, `{}`, "", ferry.CodeUnauthenticated},
		"operator":            {"operator-key", waitPath, `{}`, "", ferry.CodeForbidden},
		"not this route":      {"sender-key", "/v1/routes/orders/messages/wait", `{}`, "", ferry.CodeForbidden},
		"no such route":       {"any-key", "/v1/routes/nowhere/messages/wait", `{}`, "", ferry.CodeRouteNotFound},
		"no such end":         {"sender-key", waitPath + "?waitFor=never", `{}`, "", ferry.CodeBadRequest},
		"no end":              {"sender-key", waitPath + "?waitFor=", `{}`, "", ferry.CodeBadRequest},
		"two ends":            {"sender-key", waitPath + "?waitFor=ended", `{}`, "Ferry-Wait-For: completed", ferry.CodeBadRequest},
		"unknown query":       {"sender-key", waitPath + "?wait=60", `{}`, "", ferry.CodeBadRequest},
		"empty":               {"sender-key", waitPath, ``, "", ferry.CodeEmptyBody},
		"in chunks":           {"sender-key", waitPath, ``, "x-ms-transfer-mode: chunked", ferry.CodeChunkingNotSupported},
		"a batch has no wait": {"sender-key", "/v1/routes/invoices/messages/batch?waitFor=ended", `[]`, "", ferry.CodeBadRequest},
		"a batch to wait for": {"sender-key", "/v1/routes/invoices/messages/batch/wait", `[]`, "", ferry.CodeNotFound},
		"a send has no wait":  {"sender-key", "/v1/routes/invoices/messages?waitFor=ended", `{}`, "", ferry.CodeBadRequest},
	} {
		header := []string{"Content-Type: application/json"}
		if tc.header != "" {
			header = append(header, tc.header)
		}
		t.Run(name, func(t *testing.T) { s.refusal(s.call(tc.key, http.MethodPost, tc.target, tc.body, header...), tc.code) })
	}
	if len(s.fake.order) != 0 {
		t.Errorf("%d messages were accepted", len(s.fake.order))
	}
}

// TestLocationIsAbsolute: an engine follows no other.
func TestLocationIsAbsolute(t *testing.T) {
	f := newFake()
	for publicURL, want := range map[string]string{
		"https://broker.example":       "https://broker.example/v1/results/",
		"https://gateway.example/erp/": "https://gateway.example/erp/v1/results/", // behind a proxy, under a path
		"":                             "http://127.0.0.1:8080/v1/results/",
	} {
		handler := api.New(f, api.Options{PublicURL: publicURL})
		call := func(method, path string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(`{}`))
			r.Header.Set("Ocp-Apim-Subscription-Key", "sender-key")
			r.Header.Set("Idempotency-Key", "INV-1")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			return w
		}
		w := call(http.MethodPost, waitPath)
		location := w.Header().Get("Location")
		if w.Code != http.StatusAccepted || !strings.HasPrefix(location, want) {
			t.Errorf("publicUrl %q: %d, Location %q", publicURL, w.Code, location)
		}
		if poll := call(http.MethodGet, location[strings.Index(location, "/v1/results/"):]); poll.Code != http.StatusAccepted || poll.Header().Get("Location") != location {
			t.Errorf("publicUrl %q: a poll is answered %d, Location %q", publicURL, poll.Code, poll.Header().Get("Location"))
		}
	}
}
