package api_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ferry"
	"ferry/api"
)

// quick accepts without keeping, so that a benchmark measures the surface alone.
type quick struct {
	*fake
	id ferry.ID
}

func (q quick) Accept(context.Context, ferry.Message) (ferry.Accepted, error) {
	return ferry.Accepted{ID: q.id, Route: "invoices", State: ferry.StateAccepted}, nil
}

func (q quick) ObserveAccept(time.Duration) {}

func (q quick) Used(*ferry.Use) {}

// nowhere is a ResponseWriter that costs nothing of its own.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(status int)      { w.status = status }

func BenchmarkSend(b *testing.B) {
	h := api.New(quick{newFake(), ferry.NewID(now)}, api.Options{
		Log: slog.New(slog.DiscardHandler), PublicURL: "http://broker.test",
	})
	body := bytes.Repeat([]byte("x"), 1024)
	reader := bytes.NewReader(body)
	r := httptest.NewRequest(http.MethodPost, "http://broker.test/v1/routes/invoices/messages", http.NoBody)
	r.Header.Set("Authorization", "Bearer sender-key")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "INV-2026-000123")
	r.ContentLength, r.Body = int64(len(body)), io.NopCloser(reader)
	w := &nowhere{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		clear(w.header)
		h.ServeHTTP(w, r)
	}
	if w.status != http.StatusCreated {
		b.Fatalf("status %d", w.status)
	}
}
