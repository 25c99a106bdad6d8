package servicebus

import (
	"context"
	"sync"
	"testing"
	"time"

	"ferry/internal/sbemu"
)

// A link that is closed while the service still sends, a long way off: what is on
// its way then must not stay locked with nobody who has it.
func TestTrap3NothingStaysLockedOnTheWay(t *testing.T) {
	d := start(t, func(o *sbemu.Options, _ *Config, limits *timing) {
		o.Delay = 20 * time.Millisecond
		limits.linger = 3 * time.Millisecond
	})
	sending, stop := context.WithCancel(d.soon())
	var senders sync.WaitGroup
	for i := range 8 {
		senders.Go(func() {
			for n := 0; sending.Err() == nil; n++ {
				if err := d.client.Sender(queue).Send(d.soon(), messages(1000*n+10*i, 10)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	r := d.client.Receiver(queue, ReceiverOptions{})
	complete := func(most int) {
		var all sync.WaitGroup
		for _, m := range d.receive(r, most) {
			all.Go(func() {
				if err := r.Complete(d.soon(), m); err != nil {
					t.Errorf("complete: %v", err)
				}
			})
		}
		all.Wait()
	}
	for range 5 {
		for range 5 { // the link comes to be asked for many
			complete(500)
		}
		time.Sleep(50 * time.Millisecond) // nobody comes back: the link is closed
	}
	stop()
	senders.Wait()
	if err := r.Close(d.soon()); err != nil {
		t.Fatal(err)
	}
	d.until("nothing is locked", func() bool { return d.source().Counts().Locked == 0 })
	if got := d.source().Totals(); got.LockLost != 0 {
		t.Errorf("%+v", got)
	}
}
