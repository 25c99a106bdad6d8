package natsqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ferry/queue"
)

// How much of one Publish is under way at a time.
const (
	publishAtOnce      = 1000
	publishBytesAtOnce = 8 << 20
)

// publisher sends batches and collects the server's acknowledgements, one for
// each packet, on a subject that names batch and place.
type publisher struct {
	link  *link
	inbox string

	mu      sync.Mutex
	last    uint64
	batches map[uint64]*batch
}

// batch is some packets under way.
type batch struct {
	positions []uint64
	left      int
	err       error
	done      chan struct{}
}

func newPublisher(l *link) (*publisher, error) {
	p := &publisher{link: l, inbox: l.nc.NewInbox(), batches: make(map[uint64]*batch)}
	sub, err := l.nc.Subscribe(p.inbox+".*.*", p.onAck)
	if err != nil {
		return nil, l.wrap(err)
	}
	// Acknowledgements are small, and at most a few thousand are under way.
	return p, sub.SetPendingLimits(1<<20, 256<<20)
}

func (d *driver) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	names := namesOf(to, d.worker)
	for _, p := range packets {
		if len(p.Data) > d.props.MaxData {
			return nil, fmt.Errorf("packet %s of %d bytes: %w", p.ID, len(p.Data), queue.ErrTooLarge)
		}
	}
	positions := make([]uint64, 0, len(packets))
	for len(packets) > 0 {
		n, bytes := 0, 0
		for n < len(packets) && n < publishAtOnce && (n == 0 || bytes+len(packets[n].Data) <= publishBytesAtOnce) {
			bytes += len(packets[n].Data)
			n++
		}
		part, err := d.publisher.publish(ctx, names.subject, packets[:n], to.Kind == queue.Messages)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names.subject, err)
		}
		positions = append(positions, part...)
		packets = packets[n:]
	}
	return positions, nil
}

func (p *publisher) publish(ctx context.Context, subject string, packets []queue.Packet, withID bool) ([]uint64, error) {
	down, err := p.link.ready(ctx)
	if err != nil {
		return nil, err
	}
	number, b := p.begin(len(packets))
	defer p.end(number)
	denied := make(chan struct{})
	deny := sync.OnceFunc(func() { close(denied) })
	defer p.link.watchFor(subject, func(string) { deny() })()

	prefix := p.inbox + "." + strconv.FormatUint(number, 36) + "."
	for i := range packets {
		m := &nats.Msg{Subject: subject, Reply: prefix + strconv.Itoa(i), Data: packets[i].Data}
		if withID {
			m.Header = nats.Header{idHeader: {packets[i].ID}}
		}
		if err := p.link.nc.PublishMsg(m); err != nil {
			return nil, p.link.wrap(err)
		}
	}
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	select {
	case <-b.done:
		return b.positions, b.err
	case <-denied:
		return nil, queue.ErrUnauthorized
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.link.closed:
		return nil, queue.ErrClosed
	case <-down:
		return nil, fmt.Errorf("the connection was lost before the answer: %w", queue.ErrUnavailable)
	case <-timeout.C:
		return nil, fmt.Errorf("no answer within %s: %w", answerTimeout, queue.ErrUnavailable)
	}
}

func (p *publisher) begin(n int) (uint64, *batch) {
	b := &batch{positions: make([]uint64, n), left: n, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.batches[p.last] = b
	return p.last, b
}

func (p *publisher) end(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.batches, number)
}

// onAck takes one acknowledgement.
func (p *publisher) onAck(m *nats.Msg) {
	head, place, _ := cutLast(m.Subject)
	_, name, _ := cutLast(head)
	number, err1 := strconv.ParseUint(name, 36, 64)
	index, err2 := strconv.Atoi(place)
	if err1 != nil || err2 != nil {
		return
	}
	position, err := readAck(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.batches[number]
	if b == nil || index < 0 || index >= len(b.positions) || b.left == 0 {
		return
	}
	b.positions[index] = position
	if err != nil && b.err == nil {
		b.err = err
	}
	if b.left--; b.left == 0 {
		close(b.done)
	}
}

func cutLast(subject string) (head, last string, ok bool) {
	i := strings.LastIndexByte(subject, '.')
	if i < 0 {
		return "", subject, false
	}
	return subject[:i], subject[i+1:], true
}

// readAck is the position that the server gave a packet.
func readAck(m *nats.Msg) (uint64, error) {
	if status(m) == "503" {
		return 0, queue.ErrNotFound
	}
	var ack struct {
		Sequence uint64 `json:"seq"`
		Error    *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("an answer that cannot be read: %w", queue.ErrUnavailable)
	}
	if ack.Error != nil {
		return 0, fmt.Errorf("%s (%d): %w", ack.Error.Description, ack.Error.Code, queue.ErrUnavailable)
	}
	return ack.Sequence, nil
}
