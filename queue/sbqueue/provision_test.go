package sbqueue

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
	"ferry/queue"
)

func managed(s *sbemu.Server) servicebus.Config {
	return servicebus.Config{ConnectionString: s.ConnectionString(), AdminURL: "http://" + s.Addr()}
}

// TestProvision makes what is missing, once, and so that a start has nothing to say.
func TestProvision(t *testing.T) {
	s, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	public, _ := login(t)
	opts := BrokerOptions{
		Client: managed(s), Routes: []string{"orders", "notes"}, Lock: 2 * time.Minute,
		Workers: []WorkerAuth{{Name: "erp-1", PublicKey: public}, {Name: "erp-0", Revoked: true}},
	}
	want, err := Queues("", opts.Routes, []string{"erp-1"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := Provision(t.Context(), opts)
	if diff := cmp.Diff(want, made); diff != "" || err != nil {
		t.Fatalf("made, %v (-want +got):\n%s", err, diff)
	}
	if made, err := Provision(t.Context(), opts); err != nil || len(made) != 0 {
		t.Fatalf("made again: %v, %v", made, err)
	}
	q, err := s.Namespace().Queue("ferry.messages.orders")
	if err != nil {
		t.Fatal(err)
	}
	if c := q.Config(); c.LockDuration != 2*time.Minute || c.MaxDelivery != deliveries || c.DuplicateWindow != duplicateWindow || c.DeadLetterOnExpiry || c.RequiresSession {
		t.Errorf("it was made as %+v", c)
	}
	if findings, err := Check(t.Context(), opts); err != nil || len(findings) != 0 {
		t.Errorf("check: %+v, %v", findings, err)
	}
	var log strings.Builder
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	b, err := ConnectBroker(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.WithoutCancel(t.Context()))
	if log.Len() > 0 {
		t.Errorf("the start says:\n%s", &log)
	}
	if p := b.Properties(); p.DuplicateWindow != duplicateWindow || p.MaxData != 240<<10 || p.Lock != 2*time.Minute {
		t.Errorf("properties are %+v", p)
	}
}

// TestStartWithManage looks at the settings, and a missing queue is no fault where it
// will be made.
func TestStartWithManage(t *testing.T) {
	s := startDouble(t, nil, "ferry.messages.orders")
	opts := BrokerOptions{Client: managed(s), Routes: []string{"orders"}}
	_, err := ConnectBroker(t.Context(), opts)
	checkStartError(t, err, ferry.CodeQueueUnsuitable, queue.ErrNotFound, "has no queue ferry.messages.orders")
	opts.Provision = true
	b, err := ConnectBroker(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.Ensure(t.Context(), queue.MessagesOf("orders"))
	if err != nil || !made {
		t.Errorf("ensure: %v, %v", made, err)
	}
	// A worker that is added gets its queue.
	public, _ := login(t)
	if err := b.SetWorkers(t.Context(), []WorkerAuth{{Name: "erp-2", PublicKey: public}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Namespace().Queue("ferry.worker.erp-2"); err != nil {
		t.Error(err)
	}
	if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}

	q, err := s.Namespace().Queue("ferry.receipts")
	if err != nil {
		t.Fatal(err)
	}
	for text, change := range map[string]func(*entity.Config){
		"locks messages for 10s only":     func(c *entity.Config) { c.LockDuration = 10 * time.Second },
		"detects duplicates for 30s only": func(c *entity.Config) { c.DuplicateWindow = 30 * time.Second },
	} {
		before := q.Config()
		config := before
		change(&config)
		if err := s.Namespace().Delete("ferry.receipts"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Namespace().Create(config); err != nil {
			t.Fatal(err)
		}
		_, err := ConnectBroker(t.Context(), opts)
		if ferry.CodeOf(err) != ferry.CodeQueueUnsuitable || !strings.Contains(err.Error(), text) {
			t.Errorf("start: %v, want queueUnsuitable that says %q", err, text)
		}
		if err := s.Namespace().Delete("ferry.receipts"); err != nil {
			t.Fatal(err)
		}
		if q, err = s.Namespace().Create(before); err != nil {
			t.Fatal(err)
		}
	}
}
