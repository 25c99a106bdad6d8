package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/api"
	"ferry/internal/hostile"
)

// FuzzSurface: whatever bytes come over a connection, what can be read of them as a
// request is answered, never with 500, and a refusal is a whole problem.
func FuzzSurface(f *testing.F) {
	g := hostile.New(1, hostile.Target{
		Calls: []hostile.Call{
			{Method: "POST", Path: "/v1/routes/{route}/messages"},
			{Method: "GET", Path: "/v1/messages/{id}/body"},
			{Method: "POST", Path: "/v1/routes/{route}/messages/batch", Query: []string{"partial"}},
			{Method: "POST", Path: "/{route}/messages"},
			{Method: "GET", Path: "/v1/dead-letters", Query: []string{"q", "limit"}},
		},
		Routes: []string{"orders", "small", "pings"}, Keys: []string{"admin-key", "sender-key", "receiver-key"}, MaxBody: 64 << 10,
	})
	for range 200 {
		req := g.Next()
		if raw := bytes.Join(req.Parts, nil); len(raw) < 64<<10 {
			f.Add(raw)
		}
	}
	f.Add([]byte("GET /%C8%BA%C8%BA/v1/subscriptions/x HTTP/1.1\r\nHost: b\r\n\r\n"))
	h := api.New(newFake(), api.Options{Log: slog.New(slog.DiscardHandler), Origins: []string{"https://portal.example"}, Limits: api.Limits{
		PerKey: ferry.Limit{Rate: ferry.Rate{Calls: 100, Per: time.Second}, Quota: ferry.Rate{Calls: 10_000, Per: time.Hour}},
	}})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil || strings.Contains(r.URL.Path, "/head") || strings.Contains(r.URL.Path, "/result") { // these wait
			return
		}
		r.RemoteAddr = "192.0.2.1:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code >= 400 && r.Method != http.MethodHead {
			var p api.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || api.Status(p.Code) != w.Code || p.Detail == "" {
				t.Fatalf("%d is no problem: %v: %s", w.Code, err, w.Body)
			}
		}
	})
}
