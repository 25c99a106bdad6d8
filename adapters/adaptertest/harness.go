package adaptertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// Harness says how to make the adapter under test.
type Harness struct {
	// Open is the adapter's opener; it resolves file: references.
	Open adapters.Opener
	// Destination configures the practice ERP at url, with the API key that lies
	// in keyFile, and a health request to /ping.
	Destination func(url, keyFile string) adapters.DestinationConfig
	// Route delivers JSON to the practice ERP's invoices, taking the reference
	// from its answer, with a lookup by external key. Map must pass an object on.
	Route func() adapters.RouteConfig
	// CannotLookup leaves out what needs a lookup.
	CannotLookup bool

	// Mode is what the practice ERP speaks, one of practice.Dialects; empty: rest.
	Mode string
	// Expect is what is known to be different from a service that follows the standards.
	Expect Expect
	// Skip leaves cases out: name of the case -> why the adapter cannot have it.
	Skip map[string]string
}

// APIKey is what the practice ERP of a case asks for. It is what must not show.
const APIKey = "practice-s3cret-0123456789"

// timeout of a call in cases that let it run out. What comes before the call that
// hangs, such as logging on, has to fit into it on a slow machine.
const timeout = 500 * time.Millisecond

// fixture is one case's ERP and adapter.
type fixture struct {
	harness Harness
	erp     *practice.ERP
	server  *httptest.Server
	dest    adapters.Destination
	adapter adapters.Adapter
	keyFile string
	conns   atomic.Int64 // open connections
	seq     int
}

// setup opens the adapter on a practice ERP of its own.
func (h Harness) setup(t *testing.T, settings practice.Settings, change func(*adapters.DestinationConfig, *adapters.RouteConfig)) *fixture {
	t.Helper()
	settings.Dialect = h.Mode
	f := &fixture{harness: h, erp: practice.New(APIKey, settings), keyFile: filepath.Join(t.TempDir(), "key")}
	writeKey(t, f.keyFile, APIKey)
	f.server = httptest.NewUnstartedServer(f.erp)
	f.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			f.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			f.conns.Add(-1)
		}
	}
	f.server.Start()
	t.Cleanup(func() {
		f.erp.Close()
		f.server.CloseClientConnections()
		f.server.Close()
	})
	dest, route := h.Destination(f.server.URL, f.keyFile), h.Route()
	dest.Name, route.Route = "practice", "invoices"
	if change != nil {
		change(&dest, &route)
	}
	var err error
	if f.dest, err = h.Open(dest); err != nil {
		t.Fatalf("opening the destination: %v", err)
	}
	t.Cleanup(func() { _ = f.dest.Close() })
	if f.adapter, err = f.dest.Route(route); err != nil {
		t.Fatalf("making the route: %v", err)
	}
	return f
}

// call makes the call of a new message.
func (f *fixture) call(body string) adapters.Call {
	f.seq++
	now := time.Now()
	return adapters.Call{
		HandOut: ferry.HandOut{
			ID: ferry.NewID(now), Route: "invoices", Turn: 1, Revision: 1, Attempt: 1,
			ExternalKey: fmt.Sprintf("order %d/&+?#%%", f.seq),
			ContentType: "application/json", Body: []byte(body), Size: int64(len(body)), CreatedAt: now, PublishedAt: now,
		},
		Number: 1,
	}
}

// deliver delivers with a deadline that is far away.
func (f *fixture) deliver(t *testing.T, call adapters.Call) ferry.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return f.adapter.Deliver(ctx, call)
}

func (f *fixture) lookup(t *testing.T, call adapters.Call) adapters.LookupResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return f.adapter.Lookup(ctx, call)
}

func (f *fixture) fail(t *testing.T, faults ...practice.Fault) {
	t.Helper()
	if err := f.erp.Fail(faults...); err != nil {
		t.Fatalf("setting faults: %v", err)
	}
}

// written are the documents that a call left.
func (f *fixture) written(call adapters.Call) []practice.Document {
	return f.erp.Documents(f.harness.Expect.key(call))
}

// documents asserts how many documents a call left.
func (f *fixture) documents(t *testing.T, call adapters.Call, want int) {
	t.Helper()
	if got := len(f.written(call)); got != want {
		t.Errorf("the ERP has %d documents of the message, want %d", got, want)
	}
}

// warm delivers a message, so that what is done once, such as logging on, is done.
func (f *fixture) warm(t *testing.T) {
	t.Helper()
	want(t, f.deliver(t, f.call(`{"number":"0"}`)), ferry.Delivered, ferry.EffectDone)
}

// want asserts kind and effect.
func want(t *testing.T, v ferry.Verdict, kind ferry.VerdictKind, effect ferry.Effect) {
	t.Helper()
	if v.Kind != kind || v.Effect != effect {
		t.Errorf("verdict %s, effect %s (status %d, %s %s); want %s, %s", v.Kind, v.Effect, v.Status, v.Code, v.Text, kind, effect)
	}
}

func writeKey(t *testing.T, path, key string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok, at most 5 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
