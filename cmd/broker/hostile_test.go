package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/client"
	"ferry/config"
	"ferry/internal/hostile"
)

// hostileConfig has a route of each kind, and everything at the door switched on.
const hostileConfig = `
dataDir: DIR/data
listen: 127.0.0.1:0
publicUrl: http://127.0.0.1
environment: hostile
queue: {nats: {listen: off}}
cors: {origins: ["https://portal.example"]}
limits:
  perKey: {rate: 1000000/s, quota: 1000000/d, reads: 1000000/s}
  perRoute: {rate: 1000000/s, quota: 1000000/d}
  failedLogins: 1000000/s
  connections: 500
  connectionsPerAddress: 400
sas:
  - {name: flows, key: "file:DIR/sas.key", rights: [send, listen]}
routes:
  - {name: orders, orderBy: .number, searchKeys: [.number, .invoice.number], mask: [iban]}
  - {name: notes, allowEmpty: true, maxBytes: 4KiB}
  - {name: large, maxBytes: 100MiB}
  - {name: pulled, workers: pull, lock: 5s}
  - {name: typed, schema: DIR/schema.json}
  - name: shaped
    accept: [json, xml, form]
    request: '{number: (.number // .invoice.number // "none"), lines: [.. | numbers?]}'
    versionBy: {field: .version}
    versions:
      - {name: v1, default: true}
      - {name: v2, schema: DIR/schema.json, request: ".", sunset: 2030-01-01}
`

const hostileSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["number"],"additionalProperties":false,
	"properties":{"number":{"type":"string","pattern":"^[A-Z]+-[0-9]+$"},"lines":{"type":"array","uniqueItems":true,"items":{"$ref":"#/$defs/line"}}},
	"$defs":{"line":{"type":"object","properties":{"of":{"$ref":"#/$defs/line"},"amount":{"type":"number","multipleOf":0.01}}}}}`

// syncBuffer is a log that may be written to from everywhere.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// besieged is a whole broker in this process, and what is thrown at it.
type besieged struct {
	t       *testing.T
	address string
	admin   *client.Client
	target  hostile.Target
	log     syncBuffer

	mu       sync.Mutex
	statuses map[int]int
	silent   int // whole requests without an answer in time
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"broker.yaml": strings.ReplaceAll(hostileConfig, "DIR", filepath.ToSlash(dir)), "sas.key": "a-key-of-some-length", "schema.json": hostileSchema,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.LoadBroker(filepath.Join(dir, "broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b := &besieged{t: t, statuses: map[int]int{}}
	s, err := startServer(t.Context(), cfg, slog.New(slog.NewTextHandler(&b.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the broker ended: %v", err)
		}
	})
	for _, role := range ferry.Roles() {
		key, err := s.broker.CreateKey(t.Context(), ferry.KeySpec{Name: "hostile-" + string(role), Role: role}, "test")
		if err != nil {
			t.Fatal(err)
		}
		b.target.Keys = append(b.target.Keys, key.Secret)
	}
	own, err := s.broker.CreateKey(t.Context(), ferry.KeySpec{Name: "own", Role: ferry.RoleAdmin}, "test")
	if err != nil {
		t.Fatal(err)
	}
	if b.admin, err = client.New("http://"+b.address, own.Secret, client.Options{}); err != nil {
		t.Fatal(err)
	}
	b.target.Routes, b.target.MaxBody = []string{"orders", "notes", "large", "pulled", "typed", "shaped", "shaped", "nowhere", "v1"}, 2<<20
	b.learn()
	return b
}

// learn takes every call from the surface's own description, and sends messages to
// have ids of.
func (b *besieged) learn() {
	b.t.Helper()
	resp, err := http.Get("http://" + b.address + "/openapi.json")
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		b.t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			call := hostile.Call{Method: strings.ToUpper(method), Path: path}
			for _, p := range op.Parameters {
				if p.In == "query" {
					call.Query = append(call.Query, p.Name)
				}
			}
			b.target.Calls = append(b.target.Calls, call)
		}
	}
	if len(b.target.Calls) < 40 {
		b.t.Fatalf("%d calls are described", len(b.target.Calls))
	}
	for i := range 20 {
		b.target.IDs = append(b.target.IDs, b.good(i))
	}
}

// good sends a message that nothing is wrong with, and reads it back.
func (b *besieged) good(n int) string {
	b.t.Helper()
	sent, err := b.admin.Send(b.t.Context(), "orders", ferry.Message{Body: fmt.Appendf(nil, `{"number":"GOOD-%d"}`, n), ContentType: "application/json", IdempotencyKey: fmt.Sprint("good-", n)})
	if err != nil {
		b.t.Fatalf("a good message is refused: %v", err)
	}
	if e, err := b.admin.Message(b.t.Context(), sent.ID.String()); err != nil || e.ID != sent.ID {
		b.t.Fatalf("a good message cannot be read: %v", err)
	}
	return sent.ID.String()
}

// throw gives a request a connection of its own, and looks at what comes back.
func (b *besieged) throw(req *hostile.Request) error {
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	for _, part := range req.Parts {
		if _, err := conn.Write(part); err != nil {
			break // it had enough of it: its answer may still be there
		}
		if req.Pause > 0 {
			time.Sleep(req.Pause)
		}
	}
	if req.Cut {
		return nil
	}
	wait := 3 * time.Second
	if first, _, _ := bytes.Cut(req.Parts[0], []byte("\r\n")); bytes.Contains(first, []byte("/head")) || bytes.Contains(first, []byte("/result")) {
		wait = 50 * time.Millisecond // these wait for something to happen
	}
	if !req.Whole {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if req.Whole && wait > time.Second && errors.Is(err, os.ErrDeadlineExceeded) {
			b.mu.Lock()
			b.silent++
			b.mu.Unlock()
		}
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // cut off: what came of it counts
	b.mu.Lock()
	b.statuses[resp.StatusCode]++
	b.mu.Unlock()
	switch ct := resp.Header.Get("Content-Type"); {
	case resp.StatusCode == http.StatusNotImplemented || resp.StatusCode == http.StatusHTTPVersionNotSupported:
		return nil // Go's server says so of Transfer-Encodings and versions
	case resp.StatusCode >= 500:
		return fmt.Errorf("answered %d %s", resp.StatusCode, text)
	case ct == "application/problem+json" && len(text) > 0:
		var p struct{ Status int }
		if err := json.Unmarshal(text, &p); err != nil || p.Status != resp.StatusCode {
			return fmt.Errorf("the refusal %d is %q: %w", resp.StatusCode, text, err)
		}
	}
	return nil
}

func envNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestHostileRequests throws ten thousand requests that nobody should send at the
// whole broker: none makes it panic, or say that it is to blame, or take memory
// without bound, or leaves anything running; and it goes on to take good ones.
// FERRY_HOSTILE_SEED and FERRY_HOSTILE_COUNT draw others.
func TestHostileRequests(t *testing.T) {
	count, seed := envNumber(t, "FERRY_HOSTILE_COUNT", 10_000), envNumber(t, "FERRY_HOSTILE_SEED", 1)
	if testing.Short() || raceEnabled {
		count = 1000
	}
	b := besiege(t)
	http.DefaultClient.CloseIdleConnections()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	const attackers = 32
	var thrown, peak atomic.Uint64
	var group sync.WaitGroup
	for i := range uint64(attackers) {
		group.Go(func() {
			g := hostile.New(seed+i, b.target)
			for thrown.Add(1) <= count && !t.Failed() {
				req := g.Next()
				if err := b.throw(&req); err != nil {
					t.Errorf("seed %d, %s: %v\n%.300q", seed+i, req.Kind, err, bytes.Join(req.Parts, nil))
				}
			}
		})
	}
	// Beside them, as many as may be open at once that only begin: they keep nobody out.
	var begun []net.Conn
	for range 100 {
		if conn, err := net.Dial("tcp", b.address); err == nil {
			_, _ = io.WriteString(conn, "POST /v1/routes/orders/messages HTTP/1.1\r\nHost: b\r\n")
			begun = append(begun, conn)
		}
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for watching := true; watching; {
		select {
		case <-done:
			watching = false
		case <-time.After(20 * time.Millisecond):
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapAlloc))
		}
	}

	for i := range 5 { // it goes on
		b.good(1000 + i)
	}
	if log := b.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		t.Errorf("a panic in the log:\n%s", around(log, "panic"))
	}
	lines, err := b.admin.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted := int64(0)
	for _, r := range lines {
		accepted += r.Accepted
		if !r.Balanced {
			t.Errorf("the ledger does not balance: %+v", r)
		}
	}
	t.Logf("answers by status: %v; %d whole requests had none in time; %d messages accepted; heap %d MiB before, %d at the most",
		b.statuses, b.silent, accepted, before.HeapAlloc>>20, peak.Load()>>20)
	if b.silent > int(count/100) {
		t.Errorf("%d whole requests had no answer in time", b.silent)
	}
	if b.statuses[201] < int(count/100) || b.statuses[400] < int(count/20) || b.statuses[401] < int(count/50) {
		t.Errorf("the requests do not get deep enough: %v", b.statuses)
	}
	if most := before.HeapAlloc + 256<<20; peak.Load() > most {
		t.Errorf("the heap grew to %d MiB", peak.Load()>>20)
	}
	for _, conn := range begun {
		_ = conn.Close()
	}
	b.settled(goroutines, before.HeapAlloc)
}

// settled waits until nothing of the attack runs any more, and its memory is free.
func (b *besieged) settled(goroutines int, heap uint64) {
	b.t.Helper()
	http.DefaultClient.CloseIdleConnections()
	var m runtime.MemStats
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) { // bounded
		runtime.GC()
		runtime.ReadMemStats(&m)
		if runtime.NumGoroutine() <= goroutines+10 && m.HeapAlloc <= heap+64<<20 {
			break
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			b.t.Fatalf("%d goroutines, %d before; heap %d MiB, %d before\n%.20000s", runtime.NumGoroutine(), goroutines, m.HeapAlloc>>20, heap>>20, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// around is the part of a text near a word.
func around(text, word string) string {
	i := max(strings.Index(text, word), 0)
	return text[max(i-500, 0):min(i+3000, len(text))]
}
