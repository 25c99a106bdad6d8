package erp_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"ferry"
	"ferry/adapters"
)

// elsewhere makes a call whose body is not in memory; opens counts its readers.
func elsewhere(c adapters.Call, body string, opens *atomic.Int64) adapters.Call {
	c.Body, c.Size = nil, int64(len(body))
	c.Open = func() (io.ReadSeekCloser, error) {
		opens.Add(1)
		return ferry.NewBodyReader([]byte(body)), nil
	}
	return c
}

func TestLargeBodyHasItsLength(t *testing.T) {
	a := &answerer{status: 201}
	adapter := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in"})
	var opens atomic.Int64
	body := strings.Repeat("large ", 100_000)
	if v := adapter.Deliver(t.Context(), elsewhere(call(), body, &opens)); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	r := a.last(t)
	if r.ContentLength != int64(len(body)) || len(r.TransferEncoding) != 0 || a.sent != body || opens.Load() != 1 {
		t.Errorf("length %d, encoding %v, %d bytes came, opened %d times", r.ContentLength, r.TransferEncoding, len(a.sent), opens.Load())
	}
}

// The one repeat after a refused token opens the body again.
func TestOneFreshTokenForALargeBody(t *testing.T) {
	e, _, a := openTokenERP(t)
	var opens atomic.Int64
	body := strings.Repeat("large ", 100_000)
	e.goodFrom.Store(2)
	if v := a.Deliver(t.Context(), elsewhere(call(), body, &opens)); v.Kind != ferry.Delivered {
		t.Fatalf("after a fresh token: %+v", v)
	}
	if got := e.bodies.Load(); got != body || opens.Load() != 2 || e.calls.Load() != 2 {
		t.Errorf("%d bytes came, opened %d times, %d calls", len(got.(string)), opens.Load(), e.calls.Load())
	}
}

// What jq has to see is bounded: a larger body is nobody's passing fault.
func TestBodyTooLargeForJQ(t *testing.T) {
	var opens atomic.Int64
	most := `"` + strings.Repeat("x", ferry.MaxMapped-2) + `"`
	a := &answerer{status: 201}
	mapped := open(t, a, adapters.DestinationConfig{}, adapters.RouteConfig{URL: "/in", Map: "type"})
	if v := mapped.Deliver(t.Context(), elsewhere(call(), most, &opens)); v.Kind != ferry.Delivered || a.sent != `"string"` {
		t.Errorf("the largest: %+v, sent %q", v, a.sent)
	}
	asked := len(a.asked)
	v := mapped.Deliver(t.Context(), elsewhere(call(), most+" ", &opens))
	if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Code != adapters.CodeMappingFailed || !strings.Contains(v.Text, "8388608") {
		t.Errorf("a byte more: %+v", v)
	}
	if len(a.asked) != asked || opens.Load() != 1 {
		t.Errorf("it was asked %d times more, and the body opened %d times", len(a.asked)-asked, opens.Load())
	}
}

func TestLookupSameOfALargeBody(t *testing.T) {
	answer := &answerer{status: http.StatusOK, body: `{"id":"7","text":"a document"}`}
	adapter := open(t, answer, adapters.DestinationConfig{}, adapters.RouteConfig{
		URL: "/in", Lookup: &adapters.LookupConfig{URL: "/in/{externalKey}", Reference: ".id", Same: `.payload.text == .answer.text`},
	})
	var opens atomic.Int64
	same := `{"text":"a document"` + strings.Repeat(" ", 1<<20) + `}`
	if r := adapter.Lookup(t.Context(), elsewhere(call(), same, &opens)); r.State != adapters.Found || r.Different {
		t.Errorf("the same: %+v", r)
	}
	other := `{"text":"another"` + strings.Repeat(" ", 1<<20) + `}`
	if r := adapter.Lookup(t.Context(), elsewhere(call(), other, &opens)); r.State != adapters.Found || !r.Different || r.Verdict.Text != "" {
		t.Errorf("another: %+v", r)
	}
	// Nobody can tell: a person has to look, with the reference at hand.
	vast := same + strings.Repeat(" ", ferry.MaxMapped)
	r := adapter.Lookup(t.Context(), elsewhere(call(), vast, &opens))
	if r.State != adapters.Found || !r.Different || r.Reference != "7" || r.Verdict.Code != adapters.CodeMappingFailed || !strings.Contains(r.Verdict.Text, "cannot be told") {
		t.Errorf("too large: %+v", r)
	}
	if opens.Load() != 2 {
		t.Errorf("opened %d times, want 2", opens.Load())
	}
}
