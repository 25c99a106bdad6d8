package servicebus

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// maxHeld bounds how many messages a link remembers to have brought. Those that
// it forgets are settled another way.
const maxHeld = 20_000

// receiverLink is an open link from a queue.
type receiverLink struct {
	conn     *connection
	sdk      *azservicebus.Receiver
	settling *inflight

	mu   sync.Mutex
	held map[[16]byte]struct{} // lock tokens of what it brought and was not settled
}

func (r *Receiver) link(ctx context.Context) (*receiverLink, error) { return r.links.get(ctx) }

// open opens a link. It asks for no messages yet.
func (r *Receiver) open(ctx context.Context) (*receiverLink, error) {
	c := r.client
	conn, err := c.conns.get(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	options := &azservicebus.ReceiverOptions{}
	if r.opts.Delete {
		options.ReceiveMode = azservicebus.ReceiveModeReceiveAndDelete
	}
	if r.opts.DeadLetter {
		options.SubQueue = azservicebus.SubQueueDeadLetter
	}
	sdk, err := conn.sdk.NewReceiverForQueue(r.queue, options)
	if err != nil {
		return nil, c.notOpened(conn, r.queue, began, err)
	}
	within, stop := context.WithTimeout(conn.ctx, c.timing.open)
	defer stop()
	// A look at where no message can be opens the link, and with a limit of time.
	// The call for messages, which would open it too, must not be ended by one.
	last := int64(math.MaxInt64)
	if _, err := sdk.PeekMessages(within, 1, &azservicebus.PeekMessagesOptions{FromSequenceNumber: &last}); err != nil {
		r.links.failed()
		c.closeLink(sdk)
		return nil, c.notOpened(conn, r.queue, began, err)
	}
	conn.worked()
	link := &receiverLink{conn: conn, sdk: sdk, held: map[[16]byte]struct{}{}, settling: newInflight()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receivers[r] = struct{}{}
	return link, nil
}

func (l *receiverLink) alive() bool { return !l.settling.isClosed() && l.conn.alive() }

// broken gives up a link that failed in what had begun then.
func (r *Receiver) broken(link *receiverLink, began time.Time, err error) {
	if link == nil || !r.links.drop(link) {
		return
	}
	link.settling.close()
	r.links.failed()
	r.client.lastly(link.close)
	if passing(err) {
		link.conn.failed(began, err)
	}
}

// close closes the link when nothing is being settled on it any more, and waits for
// the service to know.
func (l *receiverLink) close() {
	t := l.conn.client.timing
	l.settling.close()
	l.settling.wait(l.conn.ctx.Done(), t.settle)
	ctx, stop := context.WithTimeout(l.conn.ctx, t.close)
	defer stop()
	_ = l.sdk.Close(ctx)
}

// leftOver gives what a closed link had received, when messages are gone from the
// queue with that.
func (l *receiverLink) leftOver() []*azservicebus.ReceivedMessage {
	var all []*azservicebus.ReceivedMessage
	for {
		got, err := l.sdk.ReceiveMessages(context.Background(), maxReceive, nil)
		if err != nil || len(got) == 0 {
			return all
		}
		all = append(all, got...)
	}
}

func (l *receiverLink) hold(msgs []*azservicebus.ReceivedMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.held)+len(msgs) > maxHeld {
		clear(l.held)
	}
	for _, m := range msgs {
		l.held[m.LockToken] = struct{}{}
	}
}

// begin says whether a message can be settled on the link: whether the link brought
// it and is open. It is forgotten with that.
func (l *receiverLink) begin(token [16]byte) bool {
	l.mu.Lock()
	_, held := l.held[token]
	delete(l.held, token)
	l.mu.Unlock()
	return held && l.settling.begin()
}
