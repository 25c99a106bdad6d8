package servicebus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
)

func TestReceivedAndDeletedMessagesAreNeverLostHere(t *testing.T) {
	d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.linger = 5 * time.Millisecond })
	r := d.client.Receiver(queue, ReceiverOptions{Delete: true})
	const n = 200
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range n {
			if err := d.client.Sender(queue).Send(d.soon(), messages(i, 1)); err != nil {
				t.Error(err)
			}
		}
	})
	seen, guard := map[string]bool{}, d.soon()
	for i := 0; len(seen) < n && guard.Err() == nil; i++ {
		if i%10 == 9 {
			if err := r.Close(guard); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(guard, time.Duration(1+i%9)*time.Millisecond)
		got, err := r.Receive(ctx, 1+i%30)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for _, m := range got {
			if seen[m.MessageID] {
				t.Errorf("%s came twice", m.MessageID)
			}
			seen[m.MessageID] = true
		}
	}
	sending.Wait()
	if got := d.source().Totals(); len(seen) != n || got.Deleted != n {
		t.Errorf("received %d: the queue saw %+v; %s", len(seen), got, d.logs)
	}
}

func TestPeekTakesNothing(t *testing.T) {
	d := start(t, nil)
	d.send(30)
	r := d.client.Receiver(queue, ReceiverOptions{})
	var seen []string
	for from := int64(0); ; {
		got, err := r.Peek(d.soon(), from, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			break
		}
		for _, m := range got {
			seen = append(seen, m.MessageID)
			from = *m.SequenceNumber + 1
		}
	}
	if len(seen) != 30 || seen[29] != "m-00029" {
		t.Errorf("peeked %v", seen)
	}
	d.emu.DropConnections()
	if got, err := r.Peek(d.soon(), 0, 5); err != nil || len(got) != 5 {
		t.Errorf("after a cut: %d, %v", len(got), err)
	}
	if got := d.source(); got.Counts().Active != 30 || got.Totals().Delivered != 0 {
		t.Errorf("%+v %+v", got.Counts(), got.Totals())
	}
}

func TestAbandonedMessagesComeAgainAndAreCounted(t *testing.T) {
	d := start(t, nil)
	d.send(1)
	r := d.client.Receiver(queue, ReceiverOptions{})
	for n := range uint32(10) {
		m := d.receive(r, 1)[0]
		if m.DeliveryCount != n+1 {
			t.Fatalf("delivery %d has the count %d", n+1, m.DeliveryCount)
		}
		if err := r.Abandon(d.soon(), m); err != nil {
			t.Fatal(err)
		}
	}
	dead := d.client.Receiver(queue, ReceiverOptions{DeadLetter: true})
	if m := d.receive(dead, 1)[0]; *m.DeadLetterReason != "MaxDeliveryCountExceeded" {
		t.Errorf("dead-lettered as %s", *m.DeadLetterReason)
	}
}

func TestReceivesOfOneReceiverTakeTurns(t *testing.T) {
	d := start(t, nil)
	r := d.client.Receiver(queue, ReceiverOptions{})
	const n = 8
	got := make(chan []*azservicebus.ReceivedMessage)
	for range n {
		go func() {
			m, err := r.Receive(d.soon(), 1)
			if err != nil {
				t.Error(err)
			}
			got <- m
		}()
	}
	waits, stop := context.WithTimeout(d.soon(), 10*time.Millisecond)
	defer stop()
	if _, err := r.Receive(waits, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	d.send(n)
	seen := map[string]bool{}
	for range n {
		for _, m := range <-got {
			seen[m.MessageID] = true
		}
	}
	if len(seen) != n {
		t.Errorf("received %d", len(seen))
	}
}

func TestSeveralReceiversShareAQueue(t *testing.T) {
	d := start(t, nil)
	const n = 400
	d.send(n)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	ctx, stop := context.WithCancel(d.soon())
	defer stop()
	for range 4 {
		r := d.client.Receiver(queue, ReceiverOptions{})
		all.Go(func() {
			for {
				got, err := r.Receive(ctx, 20)
				if err != nil {
					return
				}
				for _, m := range got {
					if err := r.Complete(d.soon(), m); err != nil {
						t.Error(err)
					}
				}
				mu.Lock()
				for _, m := range got {
					seen[m.MessageID]++
				}
				full := len(seen) == n
				mu.Unlock()
				if full {
					stop()
				}
			}
		})
	}
	all.Wait()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s came %d times", id, times)
		}
	}
	if len(seen) != n {
		t.Errorf("received %d", len(seen))
	}
}

// A policy that is taken away ends what works with it, and is named for it. The SDK
// closes the whole connection then; what works with it goes on over the next one.
func TestARevokedPolicyIsNamed(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) {
		o.Policies = map[string]sbemu.Policy{
			sbemu.RootPolicy: {Keys: []string{"root"}, Rights: sbemu.Manage},
			"worker":         {Keys: []string{"workers-key"}, Rights: sbemu.Listen | sbemu.Send},
		}
	})
	c := d.dial(Config{ConnectionString: d.emu.ConnectionStringOf("worker"), Log: d.logs.logger()}, quick())
	if err := c.Sender(queue).Send(d.soon(), messages(0, 1)); err != nil {
		t.Fatal(err)
	}
	r := c.Receiver(queue, ReceiverOptions{})
	d.receive(r, 1)
	ended := make(chan error)
	go func() { _, err := r.Receive(d.soon(), 1); ended <- err }()
	d.until("it waits", func() bool { return len(r.turn) == 1 })
	d.emu.Revoke("worker")
	if err := <-ended; !errors.Is(err, ErrUnauthorized) {
		t.Errorf("receive: %v", err)
	}
	d.until("a send is refused", func() bool {
		return errors.Is(c.Sender(queue).Send(d.soon(), messages(0, 1)), ErrUnauthorized)
	})
	before := c.number.Load()
	for range 5 {
		if _, err := r.Receive(d.soon(), 1); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("receive: %v", err)
		}
	}
	if n := c.number.Load(); n != before {
		t.Errorf("%d further connections for an answer that the service gave", n-before)
	}
}

// The key is in nothing that is said, whatever goes wrong.
func TestSecretsAreInNoErrorAndNoLog(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) {
		o.Policies = map[string]sbemu.Policy{sbemu.RootPolicy: {Keys: []string{theKey}, Rights: sbemu.Manage}}
	})
	var said []error
	note := func(err error) { said = append(said, err) }
	note(d.client.Sender("missing").Send(d.soon(), messages(0, 1)))
	d.emu.RejectToken(func(entity, policy string) error {
		return fmt.Errorf("policy %s with the key %s may not have %s", policy, theKey, entity)
	})
	note(d.client.Sender(queue).Send(d.soon(), messages(0, 1)))
	_, err := d.client.Receiver(queue, ReceiverOptions{}).Receive(d.soon(), 1)
	note(err)
	d.emu.SetAway(true)
	note(d.client.Sender(queue).Send(d.soon(), messages(0, 1)))
	_, err = d.client.Admin().Queue(d.soon(), queue)
	note(err)
	for _, err := range said {
		if err == nil {
			t.Error("nothing went wrong")
			continue
		}
		for _, e := range causes(err) {
			if containsSecret(e.Error()) {
				t.Errorf("the key is shown: %v", e)
			}
		}
	}
	if containsSecret(d.logs.String()) {
		t.Errorf("the key is logged: %s", d.logs)
	}
}
