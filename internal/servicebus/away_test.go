package servicebus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry/internal/sbemu"
)

// The service is away for a while under load. Nothing that was confirmed is lost,
// what is tried again meanwhile is tried at a pace, and afterwards everything works.
func TestTheServiceIsAwayForAWhile(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, limits *timing) {
		// What the cut took from the wire is locked, and comes again after that.
		o.Queues[0].LockDuration = 2 * time.Second
		limits.paceFirst, limits.paceMost = 20*time.Millisecond, 200*time.Millisecond
	})
	ctx, stop := context.WithCancel(d.soon())
	var work sync.WaitGroup
	var confirmed, tries atomic.Int64
	seen := make(map[string]int)
	var mu sync.Mutex
	for i := range 8 {
		work.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				for ctx.Err() == nil { // the same message, until it is confirmed
					tries.Add(1)
					err := d.client.Sender(queue).Send(context.Background(), messages(i*1_000_000+n, 1))
					if err == nil {
						confirmed.Add(1)
						break
					}
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("send: %v", err)
					}
				}
			}
		})
	}
	r := d.client.Receiver(queue, ReceiverOptions{})
	work.Go(func() {
		for {
			got, err := r.Receive(d.soon(), 100)
			switch {
			case errors.Is(err, ErrClosed):
				return
			case err != nil && !errors.Is(err, ErrUnavailable):
				t.Errorf("receive: %v", err)
			}
			for _, m := range got {
				work.Go(func() {
					// Its lock may be lost, or be settled at the service and not here.
					if err := r.Complete(d.soon(), m); err != nil && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrLockLost) {
						t.Errorf("complete: %v", err)
					}
					mu.Lock()
					defer mu.Unlock()
					seen[m.MessageID]++
				})
			}
		}
	})
	d.until("it flows", func() bool { return confirmed.Load() > 100 })
	attempts, before := d.client.number.Load(), confirmed.Load()
	d.emu.SetAway(true)
	away := time.Now()
	time.Sleep(time.Second) // it is away, as long as that is
	took, dials := time.Since(away), d.client.number.Load()-attempts
	d.emu.SetAway(false)
	at := confirmed.Load()
	d.until("it flows again", func() bool { return confirmed.Load() > at+100 })
	stop()
	d.until("everything has come", func() bool { c := d.source().Counts(); return c.Active == 0 && c.Locked == 0 })
	if err := r.Close(d.soon()); err != nil {
		t.Error(err)
	}
	work.Wait()

	// 200 ms apart at last, with some jitter.
	if most := uint64(20 + took/(100*time.Millisecond)); dials > most || dials == 0 {
		t.Errorf("%d attempts to connect in %v", dials, took)
	}
	if int64(len(seen)) < confirmed.Load() {
		t.Errorf("%d sends were confirmed, %d messages came", confirmed.Load(), len(seen))
	}
	t.Logf("%d before, %d in all, %d tries; %d attempts to connect while away", before, confirmed.Load(), tries.Load(), dials)
	log := d.logs.String()
	if lost, again := strings.Count(log, "cannot be reached"), strings.Count(log, "can be reached again"); lost != 1 || again != 1 {
		t.Errorf("told %d times that it is lost, and %d times that it is back:\n%s", lost, again, log)
	}
}

func TestAServiceThatWasNeverThere(t *testing.T) {
	d := start(t, nil)
	d.emu.SetAway(true)
	for range 3 {
		if err := d.client.Sender(queue).Send(d.soon(), messages(0, 1)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("send: %v", err)
		}
	}
	r := d.client.Receiver(queue, ReceiverOptions{})
	if _, err := r.Receive(d.soon(), 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("receive: %v", err)
	}
	if _, err := r.Peek(d.soon(), 0, 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("peek: %v", err)
	}
	ctx, cancel := context.WithTimeout(d.soon(), 50*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := r.Receive(ctx, 1); err == nil {
			t.Fatal("received")
		}
	}
	d.emu.SetAway(false)
	d.send(1)
	d.receive(r, 1)
}

func TestAClosedClientSaysSo(t *testing.T) {
	d := start(t, nil)
	d.send(3)
	r := d.client.Receiver(queue, ReceiverOptions{})
	m := d.receive(r, 1)[0]
	waiting := d.client.Receiver(queue, ReceiverOptions{DeadLetter: true})
	ended := make(chan error)
	go func() { _, err := waiting.Receive(d.soon(), 1); ended <- err }()
	d.until("it waits", func() bool { _, open := waiting.links.current(); return open && len(waiting.turn) == 1 })
	for range 2 {
		if err := d.client.Close(d.soon()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("waiting: %v", err)
	}
	for name, err := range map[string]error{
		"send":     d.client.Sender(queue).Send(d.soon(), messages(0, 1)),
		"complete": r.Complete(d.soon(), m),
		"close":    r.Close(d.soon()),
	} {
		if name != "close" && !errors.Is(err, ErrClosed) || name == "close" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Receive(d.soon(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if _, err := d.client.Admin().Queue(d.soon(), queue); !errors.Is(err, ErrClosed) {
		t.Errorf("look: %v", err)
	}
	if got := d.source().Counts(); got.Locked != 1 || got.Active != 2 {
		t.Errorf("the queue holds %+v", got)
	}
}

// Closing while everything is under way ends everything, and hangs nowhere.
func TestCloseUnderLoad(t *testing.T) {
	d := start(t, nil)
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			for {
				if err := d.client.Sender(queue).Send(d.soon(), messages(i, 5)); errors.Is(err, ErrClosed) {
					return
				}
			}
		})
		r := d.client.Receiver(queue, ReceiverOptions{})
		work.Go(func() {
			for {
				got, err := r.Receive(d.soon(), 50)
				for _, m := range got {
					_ = r.Complete(d.soon(), m)
				}
				if d.client.closing() && errors.Is(err, ErrClosed) {
					return
				}
			}
		})
	}
	d.until("it flows", func() bool { return d.source().Totals().Completed > 200 })
	if err := d.client.Close(d.soon()); err != nil {
		t.Error(err)
	}
	work.Wait()
}
