package sbqueue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
	"ferry/queue"
)

// world is a broker over the double, with its own client beside it.
type world struct {
	*env
	b      *Broker
	client *servicebus.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	e := openEnv(t, t.TempDir())
	t.Cleanup(e.Stop)
	w := &world{env: e, b: e.broker(), client: e.client()}
	ctx := t.Context()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		if err := errors.Join(w.b.Close(ctx), w.client.Close(ctx)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	for _, address := range []queue.Address{queue.AllReceipts(), queue.MessagesOf("a"), queue.MessagesOf("b")} {
		if _, err := w.b.Ensure(ctx, address); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) publish(t *testing.T, route string, n int) []uint64 {
	t.Helper()
	packets := make([]queue.Packet, n)
	for i := range packets {
		packets[i] = queue.Packet{ID: time.Now().String() + string(rune('a'+i)), Data: []byte("data")}
	}
	positions, err := w.b.Publish(t.Context(), queue.MessagesOf(route), packets)
	if err != nil {
		t.Fatal(err)
	}
	return positions
}

func (w *world) progress(t *testing.T, of queue.Address) queue.Progress {
	t.Helper()
	p, err := w.b.Progress(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) messages(t *testing.T, queueName string) []string {
	t.Helper()
	q, err := w.double.Namespace().Queue(queueName)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range q.Main().Messages() {
		ids = append(ids, m.MessageID)
	}
	return ids
}

func (w *world) change(t *testing.T, queueName string, change func(*entity.Config)) {
	t.Helper()
	q, err := w.double.Namespace().Queue(queueName)
	if err != nil {
		t.Fatal(err)
	}
	c := q.Config()
	change(&c)
	if err := q.Update(c); err != nil {
		t.Fatal(err)
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (w *world) log() *lines {
	l := &lines{}
	w.b.log = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return l
}

// eventually waits for something that must come.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ask(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened: %s", what)
		}
	}
}

func (w *world) close(t *testing.T, d queue.Driver) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}
