package memqueue

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"ferry/queue"
)

// Bounds of what may wait between broker and workers, as the contract has them.
const (
	signalsWaiting = 256
	servedAtOnce   = 64
)

// listener is one Listen.
type listener struct {
	signals chan []byte
	quit    chan struct{}
	done    chan struct{}
}

// server is the broker's Serve.
type server struct {
	fn     func(ctx context.Context, from string, data []byte) []byte
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	group  sync.WaitGroup
}

// Signal drops what the worker does not take quickly enough, and what nobody
// listens for: signals may be lost.
func (c *conn) Signal(ctx context.Context, worker string, data []byte) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if err := c.check(ctx, toManage, queue.Address{}); err != nil {
		return err
	}
	if c.b.revoked[worker] {
		return nil
	}
	for _, l := range c.b.listeners[worker] {
		select {
		case l.signals <- slices.Clone(data):
		default:
		}
	}
	return nil
}

func (c *conn) Listen(ctx context.Context, fn func(data []byte)) (func(), error) {
	l := &listener{signals: make(chan []byte, signalsWaiting), quit: make(chan struct{}), done: make(chan struct{})}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if err := c.checkTalk(ctx); err != nil {
		return nil, err
	}
	c.b.listeners[c.worker] = append(c.b.listeners[c.worker], l)
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.quit:
				return
			case data := <-l.signals:
				fn(data)
			}
		}
	}()
	stop := sync.OnceFunc(func() {
		c.b.mu.Lock()
		c.b.listeners[c.worker] = slices.DeleteFunc(c.b.listeners[c.worker], func(other *listener) bool { return other == l })
		c.b.mu.Unlock()
		close(l.quit)
		<-l.done
	})
	c.onClose(stop)
	return stop, nil
}

// checkTalk refuses closed connections and revoked workers; b.mu is held.
func (c *conn) checkTalk(ctx context.Context) error {
	select {
	case <-c.closed:
		return queue.ErrClosed
	default:
	}
	if c.b.revoked[c.worker] {
		return fmt.Errorf("worker %s: %w", c.worker, queue.ErrUnauthorized)
	}
	return ctx.Err()
}

func (c *conn) Request(ctx context.Context, data []byte) ([]byte, error) {
	c.b.mu.Lock()
	err := c.checkTalk(ctx)
	s := c.b.server
	if err == nil && s == nil {
		err = fmt.Errorf("no broker answers: %w", queue.ErrUnavailable)
	}
	if err == nil {
		s.group.Add(1)
	}
	c.b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	answer := make(chan []byte, 1)
	go func() {
		defer s.group.Done()
		select {
		case s.slots <- struct{}{}:
			answer <- s.fn(s.ctx, c.worker, slices.Clone(data))
			<-s.slots
		case <-s.ctx.Done():
		}
	}()
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closed:
		return nil, queue.ErrClosed
	case <-s.ctx.Done():
		return nil, fmt.Errorf("the broker stopped: %w", queue.ErrUnavailable)
	}
}

func (c *conn) Serve(ctx context.Context, fn func(ctx context.Context, from string, data []byte) []byte) (func(), error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if err := c.check(ctx, toManage, queue.Address{}); err != nil {
		return nil, err
	}
	s := &server{fn: fn, slots: make(chan struct{}, servedAtOnce)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.b.server = s
	stop := sync.OnceFunc(func() {
		c.b.mu.Lock()
		if c.b.server == s {
			c.b.server = nil
		}
		c.b.mu.Unlock()
		s.cancel()
		s.group.Wait()
	})
	c.onClose(stop)
	return stop, nil
}
