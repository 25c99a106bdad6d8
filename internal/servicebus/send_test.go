package servicebus

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

func TestSendTellsHowFarItCame(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) {
		o.Queues = []entity.Config{{Name: queue, MaxMessageBytes: 4 << 10, MaxBatchBytes: 4 << 10}}
	})
	msgs := messages(0, 10)
	msgs[7].Body = make([]byte, 5<<10)
	err := d.client.Sender(queue).Send(d.soon(), msgs)
	how, ok := errors.AsType[*SendError](err)
	if !ok || how.Sent != 7 || !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "message 7 of 10") {
		t.Fatalf("%v", err)
	}
	sent := d.source().Messages()
	for i, m := range sent {
		if m.MessageID != fmt.Sprintf("m-%05d", i) {
			t.Errorf("message %d is %s", i, m.MessageID)
		}
	}
	if len(sent) != 7 {
		t.Errorf("%d messages in the queue", len(sent))
	}
	if err := d.client.Sender(queue).Send(d.soon(), nil); err != nil {
		t.Errorf("nothing to send: %v", err)
	}
}

func TestOneMessageMayBeLargerThanABatch(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) {
		o.Queues = []entity.Config{{Name: queue, MaxMessageBytes: 4 << 20, MaxBatchBytes: 64 << 10}}
	})
	msgs := messages(0, 4)
	msgs[1].Body = make([]byte, 3<<20)
	if err := d.client.Sender(queue).Send(d.soon(), msgs); err != nil {
		t.Fatal(err)
	}
	if got := d.source().Messages(); len(got) != 4 || got[1].Bytes < 3<<20 {
		t.Errorf("%+v", got)
	}
}

func TestManySendAtTheSameTimeEachInItsOrder(t *testing.T) {
	d := start(t, nil)
	const callers, each = 16, 50
	var sending sync.WaitGroup
	for i := range callers {
		sending.Go(func() {
			// A handle of its own, and the same link.
			if err := d.client.Sender(queue).Send(d.soon(), messages(i*each, each)); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	last := map[string]string{}
	for _, m := range d.source().Messages() {
		var n int
		if _, err := fmt.Sscanf(m.MessageID, "m-%d", &n); err != nil {
			t.Fatal(err)
		}
		caller := fmt.Sprint(n / each)
		if m.MessageID <= last[caller] {
			t.Errorf("%s came after %s", m.MessageID, last[caller])
		}
		last[caller] = m.MessageID
	}
	if got := d.source().Totals().Sent; got != callers*each {
		t.Errorf("%d messages in the queue", got)
	}
}

func TestABusyServiceIsGivenAPause(t *testing.T) {
	d := start(t, nil)
	d.send(1)
	d.emu.ServerBusy(busyAttempts - 1)
	if err := d.client.Sender(queue).Send(d.soon(), messages(1, 1)); err != nil {
		t.Error(err)
	}
	d.emu.ServerBusy(1000)
	if err := d.client.Sender(queue).Send(d.soon(), messages(2, 1)); !errors.Is(err, ErrThrottled) {
		t.Errorf("%v", err)
	}
	d.emu.ServerBusy(0)
	if err := d.client.Sender(queue).Send(d.soon(), messages(3, 1)); err != nil {
		t.Error(err)
	}
	if got := d.source().Totals().Sent; got != 3 || d.client.number.Load() != 1 {
		t.Errorf("%d messages in the queue, %d connections", got, d.client.number.Load())
	}
}

func TestSendersOfManyQueuesAreBounded(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) {
		o.Queues = nil
		for i := range 12 {
			o.Queues = append(o.Queues, entity.Config{Name: fmt.Sprintf("q%d", i)})
		}
	})
	d.client.maxSenders = 4
	for range 2 {
		for i := range 12 {
			if err := d.client.Sender(fmt.Sprintf("q%d", i)).Send(d.soon(), messages(0, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.client.mu.Lock()
	defer d.client.mu.Unlock()
	if n := len(d.client.senders); n != 4 {
		t.Errorf("%d senders are kept", n)
	}
}

func TestWhatAMQPCannotSayIsRefusedBeforeItIsSaid(t *testing.T) {
	d := start(t, nil)
	strange := map[string]any{"a": struct{}{}}
	bad := &azservicebus.Message{ApplicationProperties: strange}
	for _, list := range [][]*azservicebus.Message{{bad}, {bad, bad}, append(messages(0, 1), bad)} {
		err := d.client.Sender(queue).Send(d.soon(), list)
		if how, ok := errors.AsType[*SendError](err); !ok || how.Sent != len(list)-1 && how.Sent != 0 || !errors.Is(err, ErrRefused) {
			t.Errorf("%v", err)
		}
	}
	r := d.client.Receiver(queue, ReceiverOptions{})
	m := d.receive(r, 1)[0]
	if err := r.DeadLetter(d.soon(), m, "Rejected", "", strange); !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
	if err := r.Complete(d.soon(), m); err != nil || d.client.number.Load() != 1 {
		t.Errorf("%d connections: %v", d.client.number.Load(), err)
	}
}
