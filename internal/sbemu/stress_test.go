package sbemu

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu/entity"
)

// Every send of very many at once is answered, and what is received meanwhile is
// settled, over one connection.
func TestManyAtOnce(t *testing.T) {
	const messages, senders = 10_000, 64
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	ctx := within(t)
	var left atomic.Int64
	left.Store(messages)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := from.SendMessage(ctx, &azservicebus.Message{Body: make([]byte, 100)}, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := receiver(t, c, "orders", nil)
	for got := 0; got < messages && !t.Failed(); {
		ms, err := r.ReceiveMessages(ctx, min(200, messages-got), nil)
		if err != nil {
			t.Fatal(err)
		}
		got += len(ms)
		var settled sync.WaitGroup
		for _, m := range ms {
			settled.Go(func() {
				if err := r.CompleteMessage(ctx, m, nil); err != nil {
					t.Error(err)
				}
			})
		}
		settled.Wait()
	}
	wg.Wait()
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}
