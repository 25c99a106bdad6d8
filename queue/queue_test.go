package queue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
)

const route = "invoices"

// fixture is a broker and a worker over one queue in memory.
type fixture struct {
	*testing.T
	mem            *memqueue.Broker
	driver         *stubborn
	broker, worker *queue.Queue
	log            *bytes.Buffer
}

// stubborn is a driver whose Extend can be made to fail.
type stubborn struct {
	queue.Driver
	mu      sync.Mutex
	err     error
	extends int
}

func (d *stubborn) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *stubborn) Extend(ctx context.Context, from queue.Address, item queue.Item) (time.Time, error) {
	d.mu.Lock()
	d.extends++
	err := d.err
	d.mu.Unlock()
	if err != nil {
		return time.Time{}, err
	}
	return d.Driver.Extend(ctx, from, item)
}

func (d *stubborn) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.extends
}

const lock = time.Minute

func setup(t *testing.T) *fixture {
	f := &fixture{T: t, mem: memqueue.New(memqueue.Options{Lock: lock, MaxData: 64 << 10}), log: new(bytes.Buffer)}
	f.driver = &stubborn{Driver: f.mem.Worker("worker-one")}
	f.broker = queue.New(f.mem.Broker(), queue.Options{})
	f.worker = queue.New(f.driver, queue.Options{Log: slog.New(slog.NewTextHandler(f.log, nil))})
	if _, err := f.broker.Ensure(t.Context(), []string{route}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) close() {
	for _, q := range []*queue.Queue{f.worker, f.broker} {
		if err := q.Close(context.Background()); err != nil {
			f.Error(err)
		}
	}
}

func (f *fixture) publish(n int) {
	f.Helper()
	list := make([]ferry.HandOut, n)
	for i := range list {
		list[i] = ferry.HandOut{ID: ferry.NewID(time.Now()), Route: route, Turn: 1}
	}
	if _, err := f.broker.Publish(f.Context(), route, list, "1"); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) receive(n int) []*queue.Delivery {
	f.Helper()
	got, err := f.worker.ReceiveMessages(f.Context(), route, n)
	if err != nil || len(got) != n {
		f.Fatalf("received %d, %v, want %d", len(got), err, n)
	}
	return got
}

func TestRenewalAtHalfTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		f.publish(3)
		held := f.receive(3)
		time.Sleep(lock/2 - time.Second)
		if n := f.driver.count(); n != 0 {
			t.Errorf("%d renewals before half the lock", n)
		}
		time.Sleep(2 * time.Second)
		if n := f.driver.count(); n != 3 {
			t.Errorf("%d renewals after half the lock, want 3", n)
		}
		if err := held[0].Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := held[1].Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lock / 2)
		if n := f.driver.count(); n != 4 {
			t.Errorf("%d renewals, want 4: settled deliveries are left alone", n)
		}
		time.Sleep(100 * lock)
		if err := held[2].Context().Err(); err != nil {
			t.Errorf("the delivery held for long ended: %v", err)
		}
		if until := held[2].LockedUntil(); !until.After(time.Now()) {
			t.Errorf("locked until %s, now %s", until, time.Now())
		}
	})
}

func TestLostLockEndsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		f.publish(2)
		held := f.receive(2)
		f.mem.ExpireLocks()
		time.Sleep(lock/2 + time.Second)
		for _, d := range held {
			if cause := context.Cause(d.Context()); !errors.Is(cause, queue.ErrLockLost) {
				t.Fatalf("the context's cause is %v, want ErrLockLost", cause)
			}
		}
		if err := held[0].Release(t.Context()); !errors.Is(err, queue.ErrLockLost) {
			t.Errorf("release: %v, want ErrLockLost", err)
		}
		if err := held[1].Complete(t.Context()); !errors.Is(err, queue.ErrLockLost) {
			t.Errorf("complete: %v, want ErrLockLost", err)
		}
		if err := held[1].Complete(t.Context()); !errors.Is(err, queue.ErrSettled) {
			t.Errorf("complete again: %v, want ErrSettled", err)
		}
		f.receive(2)
	})
}

func TestPassingFaultOfRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		f.publish(1)
		d := f.receive(1)[0]
		f.driver.fail(queue.ErrUnavailable)
		time.Sleep(lock * 3 / 4)
		if err := d.Context().Err(); err != nil {
			t.Fatalf("the context ended while the lock holds: %v", context.Cause(d.Context()))
		}
		if f.driver.count() < 2 {
			t.Errorf("%d attempts to renew, want several", f.driver.count())
		}
		f.driver.fail(nil)
		time.Sleep(lock)
		if err := d.Context().Err(); err != nil {
			t.Fatalf("the context ended after the fault had passed: %v", context.Cause(d.Context()))
		}

		f.driver.fail(queue.ErrUnavailable)
		ended := d.LockedUntil()
		<-d.Context().Done()
		if cause := context.Cause(d.Context()); !errors.Is(cause, queue.ErrLockLost) {
			t.Errorf("the cause is %v, want ErrLockLost", cause)
		}
		if now := time.Now(); now.Before(ended) || now.After(ended.Add(time.Second)) {
			t.Errorf("the context ended at %s, the lock at %s", now, ended)
		}
		if f.driver.count() > 40 {
			t.Errorf("%d attempts to renew: a storm", f.driver.count())
		}
	})
}

func TestCloseEndsContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		f.publish(1)
		d := f.receive(1)[0]
		f.close()
		if cause := context.Cause(d.Context()); !errors.Is(cause, queue.ErrClosed) {
			t.Errorf("the cause is %v, want ErrClosed", cause)
		}
		if err := d.Complete(t.Context()); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("complete: %v, want ErrClosed", err)
		}
	})
}

func TestUndecodableNeverLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		secret := "IBAN DE02 1203"
		raw := f.mem.Broker()
		packets := []queue.Packet{{ID: "a", Data: []byte(secret)}, {ID: "b", Data: nil}, {ID: "c", Data: []byte{9, 'm'}}}
		if _, err := raw.Publish(t.Context(), queue.MessagesOf(route), packets); err != nil {
			t.Fatal(err)
		}
		f.publish(1)
		if err := f.receive(1)[0].Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := f.worker.Undecodable(); n != 3 {
			t.Errorf("%d undecodable packets counted, want 3", n)
		}
		if n := f.mem.Len(queue.MessagesOf(route)); n != 0 {
			t.Errorf("%d packets are left, want none", n)
		}
		if text := f.log.String(); strings.Contains(text, "IBAN") || strings.Count(text, "queue.undecodable") != 3 {
			t.Errorf("the log:\n%s", text)
		}

		if _, err := raw.Publish(t.Context(), queue.AllReceipts(), packets); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.broker.ReceiveReceipts(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("receive receipts: %v, want the end of the wait", err)
		}
		if n := f.broker.Undecodable(); n != 3 {
			t.Errorf("%d undecodable receipts counted, want 3", n)
		}
	})
}

func TestMessageOfAnotherRouteIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		if _, err := f.broker.Publish(t.Context(), route, []ferry.HandOut{{ID: ferry.NewID(time.Now()), Route: "others", Turn: 1}}, "1"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := f.worker.ReceiveMessages(ctx, route, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("received %d, %v", len(got), err)
		}
	})
}

func TestPublishFillsInTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		f.publish(1)
		if got := f.receive(1)[0].HandOut.PublishedAt; !got.Equal(time.Now()) {
			t.Errorf("published at %s, want now, %s", got, time.Now())
		}
	})
}

// A body that fits the limit by itself but not beside its properties goes apart.
func TestBodyGoesApartWhenTheRestIsLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		defer f.close()
		h := ferry.HandOut{
			ID: ferry.NewID(time.Now()), Route: route, Turn: 1,
			Properties: map[string]string{"p": strings.Repeat("x", 40<<10)}, Body: make([]byte, f.broker.InlineMax()),
		}
		if _, err := f.broker.Publish(t.Context(), route, []ferry.HandOut{h}, "1"); err != nil {
			t.Fatal(err)
		}
		got := f.receive(1)[0].HandOut
		if got.Body != nil || got.Size != int64(len(h.Body)) || len(got.SHA256) != 32 {
			t.Errorf("body of %d bytes, size %d, SHA-256 of %d bytes", len(got.Body), got.Size, len(got.SHA256))
		}
	})
}
