package natsqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"ferry/queue"
)

// Bounds of one pull request.
const (
	pullAtOnce      = 1000
	pullBytesAtOnce = 16 << 20
	pullWait        = 5 * time.Second        // how long the server keeps a request that finds nothing
	pullSlack       = 2 * time.Second        // and how much later its word of that may come
	pullGather      = 100 * time.Millisecond // for the rest, once something came
	pullRetry       = 5 * time.Millisecond   // after "others are waiting before you"
	pullersIdle     = 8                      // kept per address
)

// puller asks for packets on a subject of its own, one request at a time. A
// request is "whatever there is, at once, or the first that comes".
type puller struct {
	link    *link
	names   channelNames
	inbox   string
	sub     *nats.Subscription
	arrived chan *nats.Msg
	request uint64
}

func (d *driver) Receive(ctx context.Context, from queue.Address, most int) ([]queue.Item, error) {
	if from.Kind == queue.Receipts {
		if err := d.onlyBroker(); err != nil {
			return nil, err
		}
	}
	most = min(max(most, 1), pullAtOnce)
	for {
		down, err := d.link.ready(ctx)
		if err != nil {
			return nil, err
		}
		if err := d.learnLock(ctx, from); err != nil {
			return nil, err
		}
		p, err := d.takePuller(from)
		if err != nil {
			return nil, err
		}
		messages, clean, err := p.pull(ctx, most, down)
		if clean {
			d.givePuller(from, p)
		} else {
			messages = p.abandon(messages, err != nil)
		}
		if errors.Is(err, errNobodyServes) {
			err = d.whyNobodyServes(ctx, from)
		}
		if err != nil {
			return nil, err
		}
		if len(messages) > 0 {
			return items(messages, d.lockOf(from)), nil
		}
	}
}

// errNobodyServes: no consumer listens where a request for messages went. Either
// there is none, or its server is starting or going down.
var errNobodyServes = errors.New("nobody serves the channel")

// whyNobodyServes tells a channel that does not exist from one whose server is
// starting or going down.
func (d *driver) whyNobodyServes(ctx context.Context, from queue.Address) error {
	d.mu.Lock()
	delete(d.locks, from)
	d.mu.Unlock()
	if err := d.learnLock(ctx, from); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w: %w", namesOf(from, d.worker).subject, errNobodyServes, queue.ErrUnavailable)
}

func items(messages []*nats.Msg, lock time.Duration) []queue.Item {
	until := lockedUntil(time.Now(), lock)
	list := make([]queue.Item, 0, len(messages))
	for _, m := range messages {
		item := queue.Item{LockedUntil: until, Token: m.Reply, Position: positionOf(m.Reply)}
		item.Data = m.Data
		if len(m.Header) > 0 {
			item.ID = m.Header.Get(idHeader)
		}
		item.From = senderOf(m.Subject)
		list = append(list, item)
	}
	return list
}

// senderOf is the worker whose receipt lies on the subject.
func senderOf(subject string) string {
	if strings.HasPrefix(subject, receiptSubject) {
		return lastToken(subject)
	}
	return ""
}

// positionOf reads the stream's sequence from an acknowledgement's subject:
// $JS.ACK.<stream>.<consumer>.<count>.<sequence>.…, or the longer form with
// domain and account after ACK.
func positionOf(reply string) uint64 {
	tokens := strings.Split(reply, ".")
	at := 5
	if len(tokens) > 9 {
		at = 7
	}
	if len(tokens) <= at {
		return 0
	}
	position, err := strconv.ParseUint(tokens[at], 10, 64)
	if err != nil {
		return 0
	}
	return position
}

func (d *driver) takePuller(from queue.Address) (*puller, error) {
	d.mu.Lock()
	idle := d.pullers[from]
	if n := len(idle); n > 0 {
		p := idle[n-1]
		d.pullers[from] = idle[:n-1]
		d.mu.Unlock()
		return p, nil
	}
	d.mu.Unlock()
	p := &puller{
		link: d.link, names: namesOf(from, d.worker), inbox: d.link.nc.NewInbox(),
		arrived: make(chan *nats.Msg, pullAtOnce+16),
	}
	var err error
	if p.sub, err = d.link.nc.ChanSubscribe(p.inbox+".*", p.arrived); err != nil {
		return nil, d.link.wrap(err)
	}
	return p, nil
}

func (d *driver) givePuller(from queue.Address, p *puller) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pullers[from]) >= pullersIdle {
		_ = p.sub.Unsubscribe() // fails only when the connection is closed
		return
	}
	d.pullers[from] = append(d.pullers[from], p)
}

// pull makes one request. clean says that the server is done with it: the puller
// can be used again. No messages and no error: nothing came in time.
func (p *puller) pull(ctx context.Context, most int, down <-chan struct{}) (got []*nats.Msg, clean bool, err error) {
	subject := p.names.next()
	denied := make(chan struct{}, 1)
	defer p.link.watchFor(subject, func(string) {
		select {
		case denied <- struct{}{}:
		default:
		}
	})()
	if err := p.ask(subject, most); err != nil {
		return nil, false, err
	}
	suffix := "." + strconv.FormatUint(p.request, 36)
	timer := time.NewTimer(pullWait + pullSlack)
	defer timer.Stop()
	for {
		select {
		case m := <-p.arrived:
			if code := p.word(m); code != "" {
				if !strings.HasSuffix(m.Subject, suffix) {
					continue // of an earlier request
				}
				clean, err = p.ended(ctx, code, m)
				return got, clean, err
			}
			if got = append(got, m); len(got) == most {
				return got, true, nil
			}
			timer.Reset(pullGather)
		case <-denied:
			return got, false, fmt.Errorf("%s: %w", p.names.subject, queue.ErrUnauthorized)
		case <-ctx.Done():
			return got, false, ctx.Err()
		case <-p.link.closed:
			return got, false, queue.ErrClosed
		case <-down:
			return got, false, nil
		case <-timer.C:
			return got, false, nil
		}
	}
}

func (p *puller) ask(subject string, most int) error {
	p.request++
	text, err := json.Marshal(struct {
		Batch    int           `json:"batch"`
		MaxBytes int           `json:"max_bytes"`
		Expires  time.Duration `json:"expires"`
		NoWait   bool          `json:"no_wait"`
	}{most, pullBytesAtOnce, pullWait, true})
	if err != nil {
		return err
	}
	return p.link.wrap(p.link.nc.PublishRequest(subject, p.inbox+"."+strconv.FormatUint(p.request, 36), text))
}

// word is the code of the server's word on a request; empty for a packet. The
// server's words come on the request's own subject and packets keep theirs, so
// that no header which a sender sets makes a packet look like a word.
func (p *puller) word(m *nats.Msg) string {
	if !strings.HasPrefix(m.Subject, p.inbox+".") {
		return ""
	}
	return status(m)
}

// ended judges the server's word that a request is over.
func (p *puller) ended(ctx context.Context, code string, m *nats.Msg) (clean bool, err error) {
	text := m.Header.Get("Description")
	switch {
	case code == "503":
		return true, errNobodyServes
	case code == "409" && (strings.Contains(text, "Deleted") || strings.Contains(text, "deleted")):
		return true, fmt.Errorf("%s: %w", p.names.subject, queue.ErrNotFound)
	case code == "408" && strings.Contains(text, "Requests Pending"):
		timer := time.NewTimer(pullRetry)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true, nil
		case <-ctx.Done():
			return true, ctx.Err()
		}
	case code == "404", code == "408", code == "409":
		return true, nil
	default:
		return false, fmt.Errorf("%s: the server says %s %s: %w", p.names.subject, code, text, queue.ErrUnavailable)
	}
}

// abandon ends a request that the server may still answer. When giveBack is set
// nothing is kept; what arrives meanwhile is given back in any case.
func (p *puller) abandon(got []*nats.Msg, giveBack bool) []*nats.Msg {
	back := got
	if !giveBack {
		back = nil
	}
	// Drain ends the server's interest and keeps the channel fed: after the flush
	// the server has seen it, and everything that it sent before has arrived here.
	if p.sub.Drain() == nil {
		if p.link.nc.FlushTimeout(closeTimeout) == nil {
			back = p.drain(back)
		}
	}
	for _, m := range back {
		if err := p.link.nc.Publish(m.Reply, []byte("-NAK")); err != nil {
			break // its lock ends by itself
		}
	}
	if giveBack {
		return nil
	}
	return got
}

func (p *puller) drain(into []*nats.Msg) []*nats.Msg {
	for {
		select {
		case m := <-p.arrived:
			if p.word(m) == "" {
				into = append(into, m)
			}
		default:
			return into
		}
	}
}
