package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/queue"
)

// tellTimeout bounds one sending of receipts: an unreachable broker must not
// keep deliveries in hand for ever. They are told again later.
const tellTimeout = 20 * time.Second

// teller sends receipts. What waits goes out together, over all routes.
type teller struct {
	queue *queue.Queue
	in    chan *telling
	quit  chan struct{} // closed when nobody tells any more
	run   string        // of this process
	count atomic.Uint64 // of sendings
}

type telling struct {
	receipt ferry.Receipt
	done    chan error
}

func newTeller(q *queue.Queue) *teller {
	return &teller{queue: q, in: make(chan *telling, resendBatch), quit: make(chan struct{}), run: rand.Text()[:10]}
}

// loop sends until quit is closed. When ctx ends before, what waits is answered
// with an error: nobody is left waiting.
func (t *teller) loop(ctx context.Context) {
	batch := make([]*telling, 0, resendBatch)
	receipts := make([]ferry.Receipt, 0, resendBatch)
	for {
		batch, receipts = batch[:0], receipts[:0]
		select {
		case <-t.quit:
			return
		case first := <-t.in:
			batch = append(batch, first)
		}
	gather:
		for len(batch) < resendBatch {
			select {
			case next := <-t.in:
				batch = append(batch, next)
			default:
				break gather
			}
		}
		for _, b := range batch {
			receipts = append(receipts, b.receipt)
		}
		err := t.send(ctx, receipts)
		for i, b := range batch {
			if errors.Is(err, queue.ErrTooLarge) && len(batch) > 1 {
				b.done <- t.send(ctx, receipts[i:i+1]) // the others are not to blame
				continue
			}
			b.done <- err
		}
		clear(batch)
		clear(receipts)
	}
}

// send sends receipts under a suffix that was never used: the queue must take a
// repeat for a new packet, since the first may have been lost after it was taken.
func (t *teller) send(ctx context.Context, receipts []ferry.Receipt) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	return t.queue.SendReceipts(ctx, receipts, t.run+"."+strconv.FormatUint(t.count.Add(1), 36))
}

// begin hands a receipt over; end waits until the queue has it.
func (t *teller) begin(r ferry.Receipt) *telling {
	p := &telling{receipt: r, done: make(chan error, 1)}
	t.in <- p
	return p
}

func (t *teller) end(p *telling) error { return <-p.done }

// tell is begin and end.
func (t *teller) tell(r ferry.Receipt) error { return t.end(t.begin(r)) }
