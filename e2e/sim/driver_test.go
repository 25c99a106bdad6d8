package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"ferry/queue"
)

// driver is a connection to the queue whose every step waits at a gate.
type driver struct {
	w     *world
	l     *life
	inner queue.Driver
}

// up is why this connection cannot be used now, or nil.
func (d *driver) up() error {
	switch {
	case d.l.isDead():
		return errDead
	case d.l.name != "B" && !d.w.cfg.outlives && !d.w.brokerUp.Load():
		return errDown
	}
	return nil
}

var (
	errDown = fmt.Errorf("the broker is down: %w", queue.ErrUnavailable)
	errDeaf = fmt.Errorf("nobody answers: %w", queue.ErrUnavailable)
)

// heard is why the broker does not hear this worker now, or nil.
func (d *driver) heard() error {
	switch {
	case d.l.isDead():
		return errDead
	case !d.w.brokerUp.Load():
		return errDown
	case d.l.isFrozen(), d.l.isDeaf() && d.w.cfg.outlives:
		return errDeaf
	}
	return nil
}

func (d *driver) Properties() queue.Properties {
	p := d.inner.Properties()
	p.Outlives = d.w.cfg.outlives
	return p
}

// names reads letters and turns from ids: "A.1", and for receipts "A.1 failed".
func (w *world) names(packets []queue.Packet) string {
	list := make([]string, len(packets))
	for i, p := range packets {
		parts := strings.Split(p.ID, ".")
		list[i] = w.letterOf(parts[0]) + "." + parts[1]
		if len(parts) > 4 {
			list[i] += " " + parts[3]
		}
	}
	return strings.Join(list, ", ")
}

func (d *driver) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	at := &gate{of: d.l, kind: "publish", ways: []way{ordinary, refused, answerLost}}
	at.words = d.l.name + " publishes " + d.w.names(packets)
	if to.Kind == queue.Receipts {
		at.kind, at.words = "tell", d.l.name+" tells "+d.w.names(packets)
		for _, p := range packets {
			d.w.inHand(d.l, p, ended)
		}
	}
	p, err := d.w.park(ctx, at)
	if err == nil {
		err = d.up()
	}
	if err != nil {
		return nil, err
	}
	if p.way == refused {
		d.w.tellf("%s: refused", at.words)
		return nil, queue.ErrUnavailable
	}
	if to.Kind == queue.Receipts {
		d.w.checkClaims(packets)
	}
	positions, err := d.inner.Publish(ctx, to, packets)
	switch {
	case err != nil:
		d.w.tellf("%s: %v", at.words, err)
	case p.way == answerLost:
		d.w.tellf("%s, answer lost", at.words)
		return nil, queue.ErrUnavailable
	default:
		d.w.tellf("%s", at.words)
	}
	return positions, err
}

// Receive hands over what the simulator picks of everything that is there.
func (d *driver) Receive(ctx context.Context, from queue.Address, most int) ([]queue.Item, error) {
	at := &gate{of: d.l, kind: "receive", ways: []way{ordinary}, words: d.l.name + " receives"}
	if from.Kind == queue.Receipts {
		at.kind, at.words = "hears", "B receives receipts"
	}
	at.ready = func() bool { return d.up() == nil && d.w.mem.Ready(from) > 0 }
	for {
		p, err := d.w.park(ctx, at)
		if err == nil {
			err = d.up()
		}
		if err != nil {
			return nil, err
		}
		there := d.w.mem.Ready(from)
		if there == 0 {
			continue
		}
		items, err := d.inner.Receive(ctx, from, there)
		if err != nil {
			return nil, err
		}
		// One message at a time; receipts in one batch as they are, or a single one.
		first, n := p.pick%len(items), 1
		if from.Kind == queue.Receipts && first == 0 {
			n = min(len(items), most)
		}
		for i, item := range items {
			if i < first || i >= first+n {
				_ = d.inner.Settle(ctx, from, item, queue.Release)
			}
		}
		items = items[first : first+n]
		packets := make([]queue.Packet, n)
		for i := range items {
			packets[i] = items[i].Packet
		}
		if from.Kind == queue.Messages {
			d.w.inHand(d.l, packets[0], received)
		}
		d.w.tellf("%s %s", at.words, d.w.names(packets))
		return items, nil
	}
}

func (d *driver) Settle(ctx context.Context, from queue.Address, item queue.Item, verb queue.Verb) error {
	words := map[queue.Verb]string{queue.Complete: " settles ", queue.Release: " gives back "}[verb]
	at := &gate{
		of: d.l, kind: "settle", words: d.l.name + words + d.w.names([]queue.Packet{item.Packet}),
		position: item.Position, ways: []way{ordinary, refused, answerLost},
	}
	if from.Kind == queue.Receipts {
		at.kind = "acknowledge"
	}
	p, err := d.w.park(ctx, at)
	if err == nil {
		err = d.up()
	}
	if err != nil {
		return err
	}
	if from.Kind == queue.Receipts && verb == queue.Complete {
		d.w.acknowledged(item.Packet)
	}
	if p.way == refused {
		d.w.tellf("%s: refused", at.words)
		return queue.ErrUnavailable
	}
	err = d.inner.Settle(ctx, from, item, verb)
	if from.Kind == queue.Messages {
		d.w.outOfHand(d.l, item.Packet)
	}
	switch {
	case err != nil:
		d.w.tellf("%s: its lock is gone", at.words)
	case p.way == answerLost:
		d.w.tellf("%s, answer lost", at.words)
		return queue.ErrUnavailable
	default:
		d.w.tellf("%s", at.words)
	}
	return err
}

func (d *driver) Extend(ctx context.Context, from queue.Address, item queue.Item) (time.Time, error) {
	if err := d.up(); err != nil {
		return time.Time{}, err
	}
	if d.l.isFrozen() {
		return time.Now().Add(lockTime), nil // it will learn of it when it goes on
	}
	return d.inner.Extend(ctx, from, item)
}

func (d *driver) Progress(ctx context.Context, of queue.Address) (queue.Progress, error) {
	if err := d.up(); err != nil {
		return queue.Progress{}, err
	}
	return d.inner.Progress(ctx, of)
}

func (d *driver) Ensure(ctx context.Context, address queue.Address) (bool, error) {
	if err := d.up(); err != nil {
		return false, err
	}
	return d.inner.Ensure(ctx, address)
}

func (d *driver) Signal(ctx context.Context, worker string, data []byte) error {
	if err := d.up(); err != nil {
		return err
	}
	return d.inner.Signal(ctx, worker, data)
}

// shortSignal is how long a signal without confirmations is at the most: a hello
// is asked for, which waits at no gate.
const shortSignal = 8

func (d *driver) Listen(ctx context.Context, fn func(data []byte)) (func(), error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop, err := d.inner.Listen(ctx, func(data []byte) {
		if len(data) <= shortSignal {
			if d.heard() == nil {
				fn(data)
			}
			return
		}
		if d.l.isDeaf() && d.w.cfg.outlives {
			return
		}
		at := &gate{of: d.l, kind: "confirm", words: d.l.name + " hears what is committed", ways: []way{ordinary, refused}}
		p, err := d.w.park(ctx, at)
		switch {
		case err != nil:
		case p.way == refused:
			d.w.tellf("%s: lost", at.words)
		default:
			d.w.tellf("%s", at.words)
			fn(data)
		}
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return sync.OnceFunc(func() { cancel(); stop() }), nil
}

// Clear empties a channel where the world's queue can.
func (d *driver) Clear(ctx context.Context, address queue.Address) error {
	if err := d.up(); err != nil || d.w.cfg.keeps {
		return err
	}
	return d.inner.(queue.Clearer).Clear(ctx, address)
}

// Request waits at gates, but for hellos: they are many and change little.
func (d *driver) Request(ctx context.Context, data []byte) ([]byte, error) {
	if len(data) > 1 && data[1] == 'h' {
		return d.hello(ctx, data)
	}
	words := " asks the broker"
	var r queue.ClaimRequest
	claim := len(data) > 2 && data[1] == 'c' && json.Unmarshal(data[2:], &r) == nil
	if claim {
		words = fmt.Sprintf(" claims %s.%d", d.w.letterOf(r.ID.String()), r.Turn)
	}
	at := &gate{of: d.l, kind: "ask", words: d.l.name + words, ways: []way{ordinary, refused}}
	p, err := d.w.park(ctx, at)
	if err == nil {
		err = d.heard()
	}
	if err != nil {
		return nil, err
	}
	if p.way == refused {
		d.w.tellf("%s: lost", at.words)
		return nil, queue.ErrUnavailable
	}
	d.w.tellf("%s", at.words)
	if claim {
		d.w.claims(&r)
	}
	answer, err := d.inner.Request(ctx, data)
	if err != nil {
		return nil, err
	}
	words = "the broker answers " + d.l.name
	var granted queue.ClaimAnswer
	if claim && len(answer) > 2 && json.Unmarshal(answer[2:], &granted) == nil {
		words = fmt.Sprintf("%s's claim of %s.%d is %s", d.l.name, d.w.letterOf(r.ID.String()), r.Turn, granted.State)
	}
	p, err = d.w.park(ctx, &gate{of: d.l, kind: "answer", words: words, ways: []way{ordinary, refused}, arrived: true})
	if err != nil {
		return nil, err
	}
	if p.way == refused {
		d.w.tellf("%s: the answer is lost", words)
		return nil, queue.ErrUnavailable
	}
	d.w.tellf("%s", words)
	if granted.State == queue.ClaimGranted {
		d.w.holds(d.l, &r)
		d.w.inHand(d.l, queue.Packet{ID: fmt.Sprintf("%s.%d", r.ID, r.Turn)}, calling)
	}
	return answer, nil
}

func (d *driver) hello(ctx context.Context, data []byte) ([]byte, error) {
	// Two that were refused in one moment ask again in one moment: in the order of
	// their names.
	time.Sleep(time.Duration(d.l.name[1]) * time.Microsecond)
	if err := d.heard(); err != nil {
		return nil, err
	}
	d.w.keepHello(d.l, data)
	answer, err := d.inner.Request(ctx, data)
	if heard := d.heard(); heard != nil {
		return nil, heard
	}
	var welcome queue.Welcome
	if err == nil && len(answer) > 2 && json.Unmarshal(answer[2:], &welcome) == nil {
		d.l.grant.Store(map[bool]int32{true: grantGiven, false: grantRefused}[welcome.Routes[route].Granted])
	}
	return answer, err
}

func (d *driver) Serve(ctx context.Context, fn func(ctx context.Context, from string, data []byte) []byte) (func(), error) {
	return d.inner.Serve(ctx, func(ctx context.Context, from string, data []byte) []byte {
		answer := fn(ctx, from, data)
		if d.l.isDead() { // nobody hears what it still says
			<-ctx.Done()
			return nil
		}
		return answer
	})
}

func (d *driver) Close(ctx context.Context) error { return d.inner.Close(ctx) }
