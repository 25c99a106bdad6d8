package servicebus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
)

// hungry makes a receiver ask for several messages at a time, and leaves it with
// some of them asked for.
func (d *double) hungry(r *Receiver) {
	d.Helper()
	r.appetite.now.Store(16)
	d.send(5)
	for got := 0; got < 5; {
		for _, m := range d.receive(r, 50) {
			got++
			if err := r.Complete(d.soon(), m); err != nil {
				d.Fatal(err)
			}
		}
	}
	if open, _, _ := r.call.state(); !open {
		d.Fatal("nothing is left asked for: this test shows nothing")
	}
}

func TestTrap3WhatIsLeftOfTheAskedForIsGotRidOf(t *testing.T) {
	t.Run("nobody comes back", func(t *testing.T) {
		d := start(t, nil)
		r := d.client.Receiver(queue, ReceiverOptions{})
		d.hungry(r)
		d.until("the link is closed", func() bool { _, open := r.links.current(); return !open })
		before := d.source().Totals()
		d.send(20)
		patient := quick()
		patient.linger = time.Hour
		other := d.dial(Config{ConnectionString: d.emu.ConnectionString()}, patient).Receiver(queue, ReceiverOptions{})
		for seen := 0; seen < 20; {
			for _, m := range d.receive(other, 20) {
				if m.DeliveryCount != 1 {
					t.Errorf("%s was delivered %d times", m.MessageID, m.DeliveryCount)
				}
				seen++
			}
		}
		// The other may have bounced some, once, between two calls of the SDK.
		got := d.source().Totals()
		if got.Delivered-got.Released-before.Delivered != 20 || got.Released > 20 || got.Abandoned != before.Abandoned {
			t.Errorf("the queue saw %+v, then %+v", before, got)
		}
	})
	t.Run("a message comes and nobody comes back", func(t *testing.T) {
		d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.linger = 500 * time.Millisecond })
		r := d.client.Receiver(queue, ReceiverOptions{})
		d.hungry(r)
		before := d.source().Totals()
		d.send(1)
		d.until("it is given back", func() bool { return d.source().Totals().Abandoned > before.Abandoned })
		d.until("it is there for everybody", func() bool { return d.source().Counts().Active == 1 })
		if got := d.source().Totals(); got.Delivered-before.Delivered != 1+got.Released || got.Released > 1 {
			t.Errorf("bounced: the queue saw %+v, then %+v", before, got)
		}
	})
	t.Run("somebody comes back", func(t *testing.T) {
		d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.linger = time.Hour })
		r := d.client.Receiver(queue, ReceiverOptions{})
		d.hungry(r)
		d.send(1)
		if m := d.receive(r, 1)[0]; m.DeliveryCount != 1 {
			t.Errorf("delivered %d times", m.DeliveryCount)
		}
		if got := d.client.number.Load(); got != 1 {
			t.Errorf("%d connections", got)
		}
	})
	t.Run("a receive ends", func(t *testing.T) {
		d := start(t, nil)
		r := d.client.Receiver(queue, ReceiverOptions{})
		d.hungry(r)
		ctx, cancel := context.WithCancel(d.soon())
		ended := make(chan error)
		go func() { _, err := r.Receive(ctx, 50); ended <- err }()
		d.until("it waits", func() bool { return len(r.turn) == 1 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		before := d.source().Totals()
		d.send(10)
		time.Sleep(20 * time.Millisecond) // for what must not happen
		if got := d.source(); got.Counts().Active != 10 || got.Totals().Delivered != before.Delivered {
			t.Errorf("%+v: the queue saw %+v, then %+v", got.Counts(), before, got.Totals())
		}
	})
}

// Whatever the moments at which Receives end, nothing is lost, and nothing stays
// locked that was not handed out.
func TestTrap3NothingStaysLockedWhenReceivesEndAnyTime(t *testing.T) {
	d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.linger = 3 * time.Millisecond })
	r := d.client.Receiver(queue, ReceiverOptions{})
	const n = 300
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range n / 3 {
			if err := d.client.Sender(queue).Send(d.soon(), messages(3*i, 3)); err != nil {
				t.Error(err)
			}
		}
	})
	seen := map[string]int{}
	guard := d.soon()
	for i := 0; len(seen) < n && guard.Err() == nil; i++ {
		ctx, cancel := context.WithTimeout(guard, time.Duration(i%7)*time.Millisecond)
		got, err := r.Receive(ctx, 1+i%40)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for _, m := range got {
			seen[m.MessageID]++
			if err := r.Complete(d.soon(), m); err != nil {
				t.Errorf("%s: %v", m.MessageID, err)
			}
		}
	}
	sending.Wait()
	guard = d.soon()
	for d.source().Counts().Locked != 0 && guard.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
	got := d.source()
	t.Logf("%d seen of %d: %+v %+v", len(seen), n, got.Counts(), got.Totals())
	if c := got.Counts(); len(seen) != n || c.Active != 0 || got.Totals().Completed != n || got.Totals().LockLost != 0 {
		t.Errorf("received %d of %d: %+v, %+v", len(seen), n, c, got.Totals())
	}
}

func TestTrap4ABrokenLinkIsNoEmptyQueue(t *testing.T) {
	for name, breaks := range map[string]func(*double){
		"detached":           func(d *double) { d.emu.DetachLinks(queue, nil) },
		"the connection cut": func(d *double) { d.emu.DropConnections() },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, nil)
			r := d.client.Receiver(queue, ReceiverOptions{})
			type result struct {
				msgs []*azservicebus.ReceivedMessage
				err  error
			}
			got := make(chan result)
			go func() { m, err := r.Receive(d.soon(), 10); got <- result{m, err} }()
			d.until("it waits", func() bool { _, open := r.links.current(); return open && len(r.turn) == 1 })
			breaks(d)
			other := d.dial(Config{ConnectionString: d.emu.ConnectionString()}, quick())
			if err := other.Sender(queue).Send(d.soon(), messages(0, 1)); err != nil {
				t.Fatal(err)
			}
			if res := <-got; res.err != nil || len(res.msgs) != 1 {
				t.Errorf("received %d: %v", len(res.msgs), res.err)
			}
		})
	}
}

func TestTrap5ClosingAReceiverLeavesOnlyLockedWhatIsInHand(t *testing.T) {
	d := start(t, func(_ *sbemu.Options, _ *Config, limits *timing) { limits.linger = time.Hour })
	r := d.client.Receiver(queue, ReceiverOptions{})
	d.hungry(r)
	d.send(3)
	inHand := d.receive(r, 1)
	d.until("more came than was taken", func() bool { return d.source().Counts().Locked > 1 })
	if err := r.Close(d.soon()); err != nil {
		t.Fatal(err)
	}
	if got := d.source().Counts(); got.Locked != 1 || got.Active != 2 {
		t.Errorf("after closing: %+v", got)
	}
	// What is in hand can still be settled, and that takes no further messages.
	if err := r.Complete(d.soon(), inHand[0]); err != nil {
		t.Fatal(err)
	}
	if got := d.source().Counts(); got.Locked != 0 || got.Active != 2 {
		t.Errorf("after settling: %+v", got)
	}
	if got := len(d.receive(r, 5)); got < 1 {
		t.Errorf("opened anew, it received %d", got)
	}
}

func TestTrap5AReceiveUnderWayEndsWithClose(t *testing.T) {
	d := start(t, nil)
	r := d.client.Receiver(queue, ReceiverOptions{})
	ended := make(chan error)
	go func() { _, err := r.Receive(d.soon(), 1); ended <- err }()
	d.until("it waits", func() bool { return len(r.turn) == 1 })
	if err := r.Close(d.soon()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestTrap8WhatHangsIsMadeAnew(t *testing.T) {
	impatient := func(_ *sbemu.Options, _ *Config, limits *timing) {
		limits.receive, limits.grace, limits.close = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
		limits.send, limits.settle, limits.open = 300*time.Millisecond, 300*time.Millisecond, 2*time.Second
	}
	t.Run("a receiver", func(t *testing.T) {
		d := start(t, impatient)
		r := d.client.Receiver(queue, ReceiverOptions{})
		d.hungry(r)
		d.emu.Freeze(true)
		d.emu.Freeze(false) // the connection that is there stays frozen
		other := d.dial(Config{ConnectionString: d.emu.ConnectionString()}, quick())
		if err := other.Sender(queue).Send(d.soon(), messages(0, 1)); err != nil {
			t.Fatal(err)
		}
		d.receive(r, 1)
	})
	t.Run("a sender", func(t *testing.T) {
		d := start(t, impatient)
		d.send(1)
		d.emu.Freeze(true)
		d.emu.Freeze(false)
		failures := 0
		d.until("a send goes through", func() bool {
			err := d.client.Sender(queue).Send(context.Background(), messages(failures, 1))
			if err != nil && !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			failures++
			return err == nil
		})
		if failures > tooManyFailures+1 {
			t.Errorf("%d sends failed", failures)
		}
	})
	t.Run("an idle receiver is opened anew", func(t *testing.T) {
		d := start(t, impatient)
		r := d.client.Receiver(queue, ReceiverOptions{})
		got := make(chan error)
		go func() { _, err := r.Receive(d.soon(), 1); got <- err }()
		d.until("its first link", func() bool { _, open := r.links.current(); return open })
		first, _ := r.links.current()
		d.until("another link", func() bool { now, open := r.links.current(); return open && now != first })
		d.send(1)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if n := d.client.number.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}
