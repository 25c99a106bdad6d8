package sbqueue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
	"ferry/queue"
)

const (
	// peekAtOnce and peekPages bound how far the head of a queue is looked for,
	// behind what others put in front of it.
	peekAtOnce = 100
	peekPages  = 20
	// bornAgain is how long it is believed when a queue was made.
	bornAgain = 30 * time.Second
	// adminTimeout bounds one look at a queue's settings.
	adminTimeout = 10 * time.Second
)

// chain of a route's messages.
func (b *Broker) chain(of queue.Address) *chain {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := b.chains[of]
	if ch == nil {
		ch = newChain(time.Now())
		b.chains[of] = ch
	}
	return ch
}

// Progress looks at the head of the queue: what lies there first was not completed,
// all before it was. An empty queue is asked again only when something was
// published since.
func (b *Broker) Progress(ctx context.Context, of queue.Address) (queue.Progress, error) {
	during, end, err := b.begin(ctx)
	if err != nil {
		return queue.Progress{}, err
	}
	defer end()
	p := queue.Progress{}
	if p.Incarnation, err = b.incarnation(during, b.names.of(of)); err != nil {
		return queue.Progress{}, b.wrap(ctx, err)
	}
	if of.Kind == queue.Receipts {
		p.Last, p.Settled, err = b.receiptsSettled(during)
	} else {
		p.Last, p.Settled, err = b.messagesSettled(during, of)
	}
	if err != nil {
		b.missed(b.names.of(of), err)
		return queue.Progress{}, b.wrap(ctx, err)
	}
	return p, nil
}

// messagesSettled errs to the low side: what is on its way into the queue while it
// is looked at does not count as settled, even when it cannot be seen.
func (b *Broker) messagesSettled(ctx context.Context, of queue.Address) (last, settled uint64, err error) {
	ch := b.chain(of)
	ch.mu.Lock()
	before, quiet := ch.ended, ch.quiet != 0 && ch.quiet == ch.given
	ch.mu.Unlock()
	if quiet {
		return before, before, nil
	}
	head, err := b.head(ctx, b.names.of(of), func(m *azservicebus.ReceivedMessage) (uint64, bool) { return positionIn(m) })
	if err != nil {
		return 0, 0, err
	}
	last, settled = ch.see(before, head)
	return last, settled, nil
}

// see judges what lay first in the queue, when before was the last position whose
// publication was over.
func (ch *chain) see(before uint64, head head) (last, settled uint64) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case head.beyond:
		settled = ch.first - 1 // nobody can say
	case head.position == 0:
		settled = before
		if ch.given == before {
			ch.quiet = before
		}
	case head.position > ch.given:
		// Of a run before this one whose clock was ahead: where this run's are is not
		// known.
		settled = ch.first - 1
	default:
		settled = min(head.position-1, before)
	}
	return ch.ended, settled
}

// receipts is how far those of all workers are, by the queue's own numbers.
type receipts struct {
	mu       sync.Mutex
	last     uint64
	searched bool // what came before this run is counted in last
}

func (b *Broker) sawReceipts(items []queue.Item) {
	b.receipts.mu.Lock()
	defer b.receipts.mu.Unlock()
	for _, item := range items {
		b.receipts.last = max(b.receipts.last, item.Position)
	}
}

func (b *Broker) receiptsSettled(ctx context.Context) (last, settled uint64, err error) {
	if err := b.searchReceipts(ctx); err != nil {
		return 0, 0, err
	}
	b.receipts.mu.Lock()
	before := b.receipts.last
	b.receipts.mu.Unlock()
	head, err := b.head(ctx, b.names.receipts(), func(m *azservicebus.ReceivedMessage) (uint64, bool) { return sequenceOf(m), true })
	if err != nil {
		return 0, 0, err
	}
	b.receipts.mu.Lock()
	defer b.receipts.mu.Unlock()
	b.receipts.last = max(b.receipts.last, head.position)
	switch {
	case head.beyond:
		settled = 0
	case head.position == 0:
		settled = before
	default:
		settled = head.position - 1
	}
	return b.receipts.last, settled, nil
}

// searchReceipts finds, once in a run, the last of the receipts that wait already: a
// broker that starts wants to know when it has heard them all. Service Bus does not
// tell; but it tells whether there is any from a number on.
func (b *Broker) searchReceipts(ctx context.Context) error {
	b.receipts.mu.Lock()
	searched := b.receipts.searched
	b.receipts.mu.Unlock()
	if searched {
		return nil
	}
	last, none := uint64(0), uint64(0) // there is one at last, and none from none on
	for step := uint64(1); none == 0 || none-last > 1; step *= 2 {
		from := last + step
		if none != 0 {
			from = last + (none-last)/2
		}
		list, err := b.peek(ctx, b.names.receipts(), int64(from), 1)
		switch {
		case err != nil:
			return err
		case len(list) == 0 || sequenceOf(list[0]) < from || step >= 1<<50:
			none = from
		default:
			last = sequenceOf(list[0])
		}
	}
	b.receipts.mu.Lock()
	defer b.receipts.mu.Unlock()
	b.receipts.searched = true
	b.receipts.last = max(b.receipts.last, last)
	return nil
}

// head is the first packet of the driver in a queue.
type head struct {
	position uint64 // 0: there is none
	beyond   bool   // or it is further behind than was looked
}

// head looks past what others put there: without a position, deferred, or
// scheduled. What is deferred comes to nobody any more, whoever sent it.
func (b *Broker) head(ctx context.Context, queueName string, position func(*azservicebus.ReceivedMessage) (uint64, bool)) (head, error) {
	from, most := int64(0), 1
	for range peekPages {
		list, err := b.peek(ctx, queueName, from, most)
		if err != nil {
			return head{}, err
		}
		for _, m := range list {
			if p, ours := position(m); ours && m.State == azservicebus.MessageStateActive {
				return head{position: p}, nil
			}
			from = max(from, int64(sequenceOf(m))) + 1
		}
		if len(list) == 0 {
			return head{}, nil
		}
		most = peekAtOnce
	}
	return head{beyond: true}, nil
}

// peek looks into a queue. A link may be that to a queue of the same name which was
// deleted: only a fresh one tells that there is none.
func (b *Broker) peek(ctx context.Context, queueName string, from int64, most int) ([]*azservicebus.ReceivedMessage, error) {
	r := b.peeker(queueName)
	list, err := r.Peek(ctx, from, most)
	if errors.Is(err, servicebus.ErrNotFound) {
		closeReader(b.conn, r)
		list, err = r.Peek(ctx, from, most)
	}
	return list, err
}

// maxPeekers bounds the links that are only looked through.
const maxPeekers = 100

// peeker is a receiver that only looks.
type peeker struct {
	*servicebus.Receiver
	used time.Time
}

// peeker gives that of a queue; where there are too many, the one that was not used
// for longest is closed. Should somebody use it just then, it opens once more.
func (b *Broker) peeker(queueName string) *servicebus.Receiver {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peekers[queueName]
	if p == nil {
		if len(b.peekers) >= maxPeekers {
			b.closeOldestPeeker()
		}
		p = &peeker{Receiver: b.client.Receiver(queueName, servicebus.ReceiverOptions{})}
		b.peekers[queueName] = p
	}
	p.used = time.Now()
	return p.Receiver
}

// closeOldestPeeker makes room; b.mu is held.
func (b *Broker) closeOldestPeeker() {
	oldest := ""
	for name, p := range b.peekers {
		if oldest == "" || p.used.Before(b.peekers[oldest].used) {
			oldest = name
		}
	}
	r := b.peekers[oldest].Receiver
	delete(b.peekers, oldest)
	if !b.closed {
		b.group.Go(func() { closeReader(b.conn, r) })
	}
}

// births is when the queues were made, as far as the broker may ask.
type births struct {
	mu sync.Mutex
	of map[string]birth
}

type birth struct {
	text  string
	asked time.Time
}

// missed forgets when a queue was made that seems to be gone.
func (b *Broker) missed(queueName string, err error) {
	if errors.Is(err, servicebus.ErrNotFound) {
		b.forgetBirth(queueName)
	}
}

func (b *Broker) forgetBirth(queueName string) {
	b.births.mu.Lock()
	known := b.births.of[queueName]
	known.asked = time.Time{}
	b.births.of[queueName] = known
	b.births.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for address, ch := range b.chains {
		if b.names.of(address) == queueName {
			ch.mu.Lock()
			ch.quiet = 0
			ch.mu.Unlock()
		}
	}
}

// incarnation names the queue that is there now. Without the right Manage nobody
// can tell, and it stays empty: what is lost then is noticed by its silence.
func (b *Broker) incarnation(ctx context.Context, queueName string) (string, error) {
	if !b.manages.Load() {
		return "", nil
	}
	b.births.mu.Lock()
	known := b.births.of[queueName]
	b.births.mu.Unlock()
	if time.Since(known.asked) < bornAgain {
		return known.text, nil
	}
	info, err := b.settings(ctx, queueName)
	switch {
	case err == nil:
		return info.Created.UTC().Format(time.RFC3339Nano), nil
	case errors.Is(err, servicebus.ErrNotFound):
		b.forgetBirth(queueName)
		return "", err
	case ctx.Err() != nil:
		return "", ctx.Err()
	default:
		return known.text, nil // only the look failed: what was known stays believed
	}
}

func (b *Broker) noteBirth(queueName string, info servicebus.QueueInfo) {
	b.births.mu.Lock()
	defer b.births.mu.Unlock()
	b.births.of[queueName] = birth{text: info.Created.UTC().Format(time.RFC3339Nano), asked: time.Now()}
}
