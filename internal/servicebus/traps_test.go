package servicebus

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

// The traps that the SDK sets for its users, and the tests that hold this package
// out of them. All run the real SDK against the double, over TCP.
//
//	 1  settling ignores the retry options: 40 s on a dead link  TestTrap1…
//	 2  a lock that is lost may be a message that was completed  TestTrap2…
//	 3  credits left over bounce messages in the background      TestTrap3…
//	 4  a broken link looks like an empty queue: (nil, nil)      TestTrap4…
//	 5  closing a receiver leaves messages locked                TestTrap5…
//	 6  locks are not renewed, nothing is settled in batches     TestTrap6…
//	 7  a missing queue has two kinds of errors                  TestTrap7…
//	 8  receivers hang; older versions lose messages             TestTrap8…
//	 9  what is held or idle for long is cut by the service      TestTrap9…
//	10  errors of many types                                     TestTrap10… (errors_test.go)
//	11  a send is repeated when its link is detached under it    TestTrap11…

func TestTrap1SettlingIsBoundedAndTriedOnceMoreByLockToken(t *testing.T) {
	t.Run("the connection is cut", func(t *testing.T) {
		d := start(t, nil)
		d.send(1)
		r := d.client.Receiver(queue, ReceiverOptions{})
		m := d.receive(r, 1)[0]
		d.emu.DropConnections()
		// The SDK alone takes 40 s, and fails.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.Complete(ctx, m); err != nil {
			t.Fatal(err)
		}
		if got := d.source().Totals(); got.Completed != 1 {
			t.Errorf("the queue saw %+v", got)
		}
	})
	t.Run("the first try is lost", func(t *testing.T) {
		d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.settle = 300 * time.Millisecond })
		d.send(1)
		r := d.client.Receiver(queue, ReceiverOptions{})
		m := d.receive(r, 1)[0]
		var tries atomic.Int32
		d.emu.OnSettle(func(string, string) sbemu.SettleFault { return sbemu.SettleFault{Lose: tries.Add(1) == 1} })
		if err := r.Complete(context.Background(), m); err != nil {
			t.Fatal(err)
		}
		if got := d.source().Totals(); got.Completed != 1 || tries.Load() != 2 {
			t.Errorf("%d tries; the queue saw %+v", tries.Load(), got)
		}
	})
	t.Run("every try is lost", func(t *testing.T) {
		d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.settle = 100 * time.Millisecond })
		d.send(1)
		r := d.client.Receiver(queue, ReceiverOptions{})
		m := d.receive(r, 1)[0]
		d.emu.OnSettle(func(string, string) sbemu.SettleFault { return sbemu.SettleFault{Lose: true} })
		err := r.Complete(context.Background(), m)
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestTrap2ALostLockMayBeACompletedMessage(t *testing.T) {
	d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.settle = 300 * time.Millisecond })
	d.send(1)
	r := d.client.Receiver(queue, ReceiverOptions{})
	m := d.receive(r, 1)[0]
	var tries atomic.Int32
	d.emu.OnSettle(func(string, string) sbemu.SettleFault { return sbemu.SettleFault{Drop: tries.Add(1) == 1} })
	if err := r.Complete(context.Background(), m); !errors.Is(err, ErrLockLost) {
		t.Fatalf("%v", err)
	}
	if got := d.source().Totals(); got.Completed != 1 {
		t.Errorf("the queue saw %+v", got)
	}
}

func TestTrap6LocksLastAsLongAsTheyAreRenewed(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) { o.Queues[0].LockDuration = 2 * time.Second })
	d.send(1)
	r := d.client.Receiver(queue, ReceiverOptions{})
	m := d.receive(r, 1)[0]
	was := *m.LockedUntil
	d.until("the lock lasts longer", func() bool {
		until, err := r.Renew(d.soon(), m)
		if err != nil || until.Before(was) || !m.LockedUntil.Equal(was) {
			t.Fatalf("locked until %v, then %v (in the message: %v): %v", was, until, m.LockedUntil, err)
		}
		return until.After(was)
	})
	d.until("the lock ends", func() bool { return d.source().Totals().LockLost == 1 })
	if _, err := r.Renew(d.soon(), m); !errors.Is(err, ErrLockLost) {
		t.Errorf("%v", err)
	}
	if err := r.Complete(d.soon(), m); !errors.Is(err, ErrLockLost) {
		t.Errorf("%v", err)
	}
}

func TestTrap6ManyAreSettledAtTheSameTime(t *testing.T) {
	d := start(t, nil)
	const n = 64
	d.send(n)
	r := d.client.Receiver(queue, ReceiverOptions{})
	var all []*azservicebus.ReceivedMessage
	for len(all) < n {
		all = append(all, d.receive(r, n)...)
	}
	var arrived atomic.Int32
	d.emu.OnSettle(func(string, string) sbemu.SettleFault {
		arrived.Add(1)
		return sbemu.SettleFault{Delay: 200 * time.Millisecond}
	})
	var settling sync.WaitGroup
	least := atomic.Int32{}
	least.Store(n)
	for _, m := range all {
		settling.Go(func() {
			if err := r.Complete(d.soon(), m); err != nil {
				t.Error(err)
			}
			if now := arrived.Load(); now < least.Load() {
				least.Store(now)
			}
		})
	}
	settling.Wait()
	// Were they settled one after the other, the first would be answered when it
	// alone had arrived.
	if least.Load() < 2 || arrived.Load() != n {
		t.Errorf("the first was answered when %d had arrived of %d", least.Load(), arrived.Load())
	}
}

func TestTrap7AMissingQueueIsNamedHoweverItIsFound(t *testing.T) {
	d := start(t, nil)
	r := d.client.Receiver("missing", ReceiverOptions{})
	m := &azservicebus.ReceivedMessage{}
	for name, do := range map[string]func() error{
		"send":    func() error { return d.client.Sender("missing").Send(d.soon(), messages(0, 1)) },
		"receive": func() error { _, err := r.Receive(d.soon(), 1); return err },
		"peek":    func() error { _, err := r.Peek(d.soon(), 0, 1); return err },
		"settle":  func() error { return r.Complete(d.soon(), m) },
		"dead letters": func() error {
			_, err := d.client.Receiver("missing", ReceiverOptions{DeadLetter: true}).Receive(d.soon(), 1)
			return err
		},
	} {
		if err := do(); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "missing") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.emu.Namespace().Create(entity.Config{Name: "missing"}); err != nil {
		t.Fatal(err)
	}
	if err := d.client.Sender("missing").Send(d.soon(), messages(0, 1)); err != nil {
		t.Error(err)
	}
	d.receive(r, 1)
	if got := d.client.number.Load(); got != 1 {
		t.Errorf("%d connections for an answer that the service gave", got)
	}
}

func TestTrap8TheSDKHasTheKnownFaultsFixed(t *testing.T) {
	file, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`sdk/messaging/azservicebus v(\d+)\.(\d+)\.`).FindSubmatch(file)
	if found == nil {
		t.Fatal("the SDK is not among the dependencies")
	}
	major, _ := strconv.Atoi(string(found[1]))
	minor, _ := strconv.Atoi(string(found[2]))
	if major == 1 && minor < 11 {
		t.Errorf("%s: below 1.11, receiving and management hang or lose", found[0])
	}
}

func TestTrap9AnIdleSendersLinkIsMadeAnewBeforeItIsUsed(t *testing.T) {
	d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.idle = time.Nanosecond })
	for range 5 {
		d.send(1)
		// As the service does after ten minutes.
		d.emu.DetachLinks(queue, nil)
	}
	if got := d.source().Totals(); got.Sent != 5 {
		t.Errorf("the queue saw %+v", got)
	}
}

func TestTrap9ALockOutlivesItsConnection(t *testing.T) {
	d := start(t, nil)
	d.send(2)
	r := d.client.Receiver(queue, ReceiverOptions{})
	one, two := d.receive(r, 1)[0], d.receive(r, 1)[0]
	d.emu.DropConnections()
	if until, err := r.Renew(d.soon(), one); err != nil || until.Before(*one.LockedUntil) {
		t.Fatalf("locked until %v: %v", until, err)
	}
	if err := r.Complete(d.soon(), one); err != nil {
		t.Error(err)
	}
	if err := r.DeadLetter(d.soon(), two, "Rejected", "the ERP does not know the customer", map[string]any{"attempts": int64(3)}); err != nil {
		t.Error(err)
	}
	dead := d.client.Receiver(queue, ReceiverOptions{DeadLetter: true})
	m := d.receive(dead, 1)[0]
	if m.MessageID != two.MessageID || *m.DeadLetterReason != "Rejected" || m.ApplicationProperties["attempts"] != int64(3) {
		t.Errorf("dead letter %s: %v %v", m.MessageID, *m.DeadLetterReason, m.ApplicationProperties)
	}
}

func TestTrap11ASendIsNotRepeatedWhenItsLinkIsDetached(t *testing.T) {
	for name, n := range map[string]int{"one message": 1, "a batch": 3} {
		t.Run(name, func(t *testing.T) {
			d := start(t, nil)
			d.send(1)
			took := make(chan struct{}, 100)
			// It is taken, and the answer is lost with the link.
			d.emu.OnSend(func(string) sbemu.SendFault { took <- struct{}{}; return sbemu.SendFault{Drop: true} })
			var sending sync.WaitGroup
			for range 8 {
				sending.Go(func() {
					if err := d.client.Sender(queue).Send(d.soon(), messages(10, n)); !errors.Is(err, ErrUnavailable) {
						t.Errorf("%v", err)
					}
				})
			}
			for range 8 {
				<-took
			}
			d.emu.DetachLinks(queue, nil)
			sending.Wait()
			if got := d.source().Totals(); got.Sent != int64(1+8*n) {
				t.Errorf("%d messages in the queue", got.Sent)
			}
			d.emu.OnSend(nil)
			d.send(1)
		})
	}
}
