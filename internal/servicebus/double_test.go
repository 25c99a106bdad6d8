package servicebus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"go.uber.org/goleak"

	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

func TestMain(m *testing.M) {
	if code := m.Run(); code != 0 {
		os.Exit(code)
	}
	// The SDK (azservicebus v1.11.0) opens a link twice when two calls find it closed at
	// the same moment, and never ends the renewer of the first claim.
	renewer := goleak.IgnoreTopFunction(
		"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/internal.(*Namespace).startNegotiateClaimRenewer.func3")
	if err := goleak.Find(renewer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const queue = "orders"

// double is a running double with one queue, and a client of it.
type double struct {
	*testing.T
	emu    *sbemu.Server
	client *Client
	logs   *logs
}

// quick shortens what a test would have to wait for.
func quick() timing {
	t := defaultTiming()
	t.paceFirst, t.paceMost, t.busy = 10*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
	return t
}

func start(t *testing.T, tune func(*sbemu.Options, *Config, *timing)) *double {
	t.Helper()
	d := &double{T: t, logs: &logs{}}
	options := sbemu.Options{Queues: []entity.Config{{Name: queue}}}
	cfg, limits := Config{Log: d.logs.logger()}, quick()
	if tune != nil {
		tune(&options, &cfg, &limits)
	}
	var err error
	if d.emu, err = sbemu.Start(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.emu.Close() })
	if cfg.ConnectionString == "" && cfg.Namespace == "" {
		cfg.ConnectionString = d.emu.ConnectionString()
	}
	if options.TLS != nil {
		cfg.Endpoint = d.emu.Addr()
	}
	d.client = d.dial(cfg, limits)
	return d
}

// dial makes a further client, and closes it with the test.
func (d *double) dial(cfg Config, limits timing) *Client {
	d.Helper()
	c, err := dial(cfg, limits)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if err := c.Close(d.soon()); err != nil {
			d.Errorf("close: %v", err)
		}
	})
	return c
}

// soon is a guard against hanging, and no measure of anything.
func (d *double) soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	d.Cleanup(cancel)
	return ctx
}

func (d *double) source() *entity.Source { return d.named(queue).Main() }

func (d *double) named(name string) *entity.Queue {
	d.Helper()
	q, err := d.emu.Namespace().Queue(name)
	if err != nil {
		d.Fatal(err)
	}
	return q
}

func messages(from, n int) []*azservicebus.Message {
	list := make([]*azservicebus.Message, n)
	for i := range list {
		id := fmt.Sprintf("m-%05d", from+i)
		list[i] = &azservicebus.Message{MessageID: &id, Body: []byte("body of " + id)}
	}
	return list
}

func (d *double) send(n int) {
	d.Helper()
	if err := d.client.Sender(queue).Send(d.soon(), messages(0, n)); err != nil {
		d.Fatal(err)
	}
}

func (d *double) receive(r *Receiver, most int) []*azservicebus.ReceivedMessage {
	d.Helper()
	got, err := r.Receive(d.soon(), most)
	if err != nil || len(got) == 0 {
		d.Fatalf("received %d messages: %v", len(got), err)
	}
	return got
}

// until waits for a condition to come true; it fails a test that would wait for ever.
func (d *double) until(what string, ok func() bool) {
	d.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.Fatalf("never: %s", what)
		}
	}
}

func TestEveryMessageGoesThroughOnce(t *testing.T) {
	d := start(t, nil)
	const n = 2500 // more than one batch
	d.send(n)
	if sent := d.source().Messages(); len(sent) != n || sent[0].MessageID != "m-00000" || sent[n-1].MessageID != "m-02499" {
		t.Fatalf("%d messages in the queue", len(sent))
	}
	r := d.client.Receiver(queue, ReceiverOptions{})
	var settling sync.WaitGroup
	defer settling.Wait()
	seen := map[string]bool{}
	for len(seen) < n {
		for _, m := range d.receive(r, 400) {
			if seen[m.MessageID] || string(m.Body) != "body of "+m.MessageID || m.DeliveryCount != 1 {
				t.Fatalf("%s came again, or delivered %d times: %q", m.MessageID, m.DeliveryCount, m.Body)
			}
			seen[m.MessageID] = true
			settling.Go(func() {
				if err := r.Complete(d.soon(), m); err != nil {
					t.Error(err)
				}
			})
		}
	}
	settling.Wait()
	t.Logf("%+v", d.source().Totals())
	if got := d.source().Totals(); got.Sent != n || got.Completed != n || got.Abandoned != 0 {
		t.Errorf("the queue saw %+v", got)
	}
}

func TestAReceiveEndsWithItsContext(t *testing.T) {
	d := start(t, nil)
	r := d.client.Receiver(queue, ReceiverOptions{})
	for range 3 {
		ctx, cancel := context.WithTimeout(d.soon(), 20*time.Millisecond)
		if got, err := r.Receive(ctx, 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d messages, %v", len(got), err)
		}
		cancel()
	}
	d.send(1)
	if m := d.receive(r, 10)[0]; m.DeliveryCount != 1 {
		t.Errorf("delivered %d times", m.DeliveryCount)
	}
	if got := d.source().Totals(); got.Delivered != 1 || got.Abandoned != 0 || got.Released != 0 {
		t.Errorf("the queue saw %+v", got)
	}
}
