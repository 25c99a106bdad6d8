package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
)

// fuzzed is what must hold of every answer, whatever was sent: never a 500, a
// refusal is a whole problem, and nothing is kept that was not answered so.
func fuzzed(t *testing.T, path, query, header, value, body string) {
	t.Helper()
	f := newFake()
	h := api.New(f, api.Options{Log: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequest(http.MethodPost, "http://b"+path, strings.NewReader(body))
	r.URL = &url.URL{Scheme: "http", Host: "b", Path: path, RawQuery: query}
	r.Header.Set("Authorization", "Bearer admin-key")
	if header != "" {
		r.Header[http.CanonicalHeaderKey(header)] = []string{value}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	answer, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(answer) {
		t.Fatalf("%d is not JSON: %q", w.Code, answer)
	}
	if w.Code >= 300 {
		var p api.Problem
		if err := json.Unmarshal(answer, &p); err != nil {
			t.Fatal(err)
		}
		if w.Code >= 500 || p.Status != w.Code || api.Status(p.Code) != w.Code || p.Detail == "" || len(f.order) != 0 {
			t.Fatalf("%d with %d messages kept: %s", w.Code, len(f.order), answer)
		}
		return
	}
	if strings.HasPrefix(path, "/v1/routes/") && len(f.order) == 0 {
		t.Fatalf("%d and no message kept", w.Code)
	}
	for _, id := range f.order {
		m := f.messages[id].msg
		if m.Validate() != nil || m.Route != "orders" || len(m.Body) == 0 || len(m.Body) > ferry.DefaultMaxBody {
			t.Fatalf("kept %+v", m)
		}
	}
}

func FuzzSend(f *testing.F) {
	f.Add("idempotencyKey=a&deliverAt=2026-11-23T10:00:00Z", "Ferry-Properties", `{"a":"b"}`, `{}`)
	f.Add("timeToLive=PT5M&orderingKey=%ff", "Idempotency-Key", `"a\"`, ``)
	f.Add("messageId=1;2", "Traceparent", "00-x", "\x00")
	f.Add("callbackUrl=https://h/%zz", "Ferry-Property-A", "\xff", "x")
	f.Fuzz(func(t *testing.T, query, header, value, body string) {
		fuzzed(t, "/v1/routes/orders/messages", query, header, value, body)
	})
}

func FuzzBatch(f *testing.F) {
	f.Add("", `[{"body":{}},{"bodyBase64":"eA==","contentType":"text/plain"}]`)
	f.Add("partial=true", `[{"body":"x","contentType":"a/b"},{"idempotencyKey":null,"body":1}]`)
	f.Add("partial=true", `[[],7,{"properties":{"a":1}}]`)
	f.Fuzz(func(t *testing.T, query, body string) {
		if !strings.Contains(query, "partial") {
			fuzzed(t, "/v1/routes/orders/messages/batch", query, "", "", body)
			return
		}
		// With partial a 200 may keep none.
		h := api.New(newFake(), api.Options{Log: slog.New(slog.DiscardHandler)})
		r := httptest.NewRequest(http.MethodPost, "http://b/v1/routes/orders/messages/batch?partial=true", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer admin-key")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}

func FuzzBulk(f *testing.F) {
	f.Add(`{"filter":{"route":"orders","since":"2026-11-23T10:00:00Z"},"expect":3}`)
	f.Add(`{"all":true,"dryRun":true,"ids":[]}`)
	f.Fuzz(func(t *testing.T, body string) {
		fuzzed(t, "/v1/dead-letters/replay", "", "", "", body)
	})
}

// FuzzRange: whatever is asked for, what comes is the part that the answer names,
// or the whole.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-3", "bytes=-3", "bytes=8-", "bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes= 1 - 2"} {
		f.Add(seed)
	}
	body, broker := strings.Repeat("0123456789", 12), newFake()
	h := api.New(broker, api.Options{Log: slog.New(slog.DiscardHandler)})
	a, err := broker.Accept(f.Context(), ferry.Message{Route: "orders", Body: []byte(body)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wanted string) {
		r := httptest.NewRequest(http.MethodGet, "http://b/v1/messages/"+a.ID.String()+"/body", nil)
		r.Header.Set("Authorization", "Bearer admin-key")
		r.Header["Range"] = []string{wanted}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := w.Body.String()
		switch w.Code {
		case http.StatusOK:
			if got != body {
				t.Errorf("%q: the whole has %d bytes instead of %d", wanted, len(got), len(body))
			}
		case http.StatusPartialContent:
			var from, to, all int
			if _, err := fmt.Sscanf(w.Header().Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &all); err != nil ||
				all != len(body) || from > to || to >= all || got != body[from:to+1] {
				t.Errorf("%q: %q with %d bytes of %d", wanted, w.Header().Get("Content-Range"), len(got), len(body))
			}
		case http.StatusRequestHeaderFieldsTooLarge:
		default:
			t.Errorf("%q: status %d", wanted, w.Code)
		}
	})
}
