package queuetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferry"
	"ferry/queue"
)

// message is number n of a route, the same whenever it is asked for but for its id.
func message(route string, n int) ferry.HandOut {
	body := fmt.Appendf(nil, `{"number":%d}`, n)
	return ferry.HandOut{
		ID: ferry.NewID(time.Now()), Route: route, Turn: 1, Revision: 1, Attempt: 1, Inbox: "inbox",
		ExternalKey: fmt.Sprint("key-", n), ContentType: "application/json", Body: body, Size: int64(len(body)),
		CreatedAt: time.Now().UTC(), PublishedAt: time.Now().UTC(),
	}
}

func messages(route string, n int) []ferry.HandOut {
	list := make([]ferry.HandOut, n)
	for i := range list {
		list[i] = message(route, i)
	}
	return list
}

func (s *suite) publish(q *queue.Queue, list []ferry.HandOut, suffix string) []uint64 {
	s.Helper()
	positions, err := q.Publish(s.ctx, list[0].Route, list, suffix)
	if err != nil {
		s.Fatalf("publish: %v", err)
	}
	if len(positions) != len(list) {
		s.Fatalf("publish returned %d positions for %d messages", len(positions), len(list))
	}
	return positions
}

// receive waits until n messages of the route came.
func (s *suite) receive(q *queue.Queue, route string, n int) []*queue.Delivery {
	s.Helper()
	var all []*queue.Delivery
	for len(all) < n {
		got, err := q.ReceiveMessages(s.ctx, route, n-len(all))
		if err != nil {
			s.Fatalf("receive after %d of %d: %v", len(all), n, err)
		}
		if len(got) == 0 || len(got) > n-len(all) {
			s.Fatalf("asked for at most %d messages, %d came", n-len(all), len(got))
		}
		all = append(all, got...)
	}
	return all
}

func (s *suite) complete(all ...*queue.Delivery) {
	s.Helper()
	for _, d := range all {
		if err := d.Complete(s.ctx); err != nil {
			s.Fatalf("complete: %v", err)
		}
	}
}

// nothing comes on the route for a while.
func (s *suite) nothing(q *queue.Queue, route string) {
	s.Helper()
	ctx, cancel := s.soon()
	defer cancel()
	got, err := q.ReceiveMessages(ctx, route, 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		s.Fatalf("%d messages came and error %v, want none and the end of the wait", len(got), err)
	}
}

func sendReceiveComplete(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	sent := message(routeA, 1)
	s.publish(broker, []ferry.HandOut{sent}, "1")
	got := s.receive(worker, routeA, 1)[0]
	if diff := cmp.Diff(sent, got.HandOut); diff != "" {
		s.Fatalf("what came is not what was sent (-sent +came):\n%s", diff)
	}
	if until := time.Until(got.LockedUntil()); until <= 0 || until > s.h.Lock {
		s.Errorf("locked for %s, want up to %s", until, s.h.Lock)
	}
	s.complete(got)
	time.Sleep(s.h.Lock + s.h.Lock/2)
	s.nothing(worker, routeA)
}

func oldestFirst(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	sent := messages(routeA, 50)
	positions := s.publish(broker, sent, "1")
	for i := 1; i < len(positions); i++ {
		if positions[i] <= positions[i-1] {
			s.Fatalf("position %d follows %d", positions[i], positions[i-1])
		}
	}
	for i := range sent {
		d := s.receive(worker, routeA, 1)[0]
		if d.HandOut.ID != sent[i].ID {
			s.Fatalf("message %s came as number %d, want %s", d.HandOut.ID, i, sent[i].ID)
		}
		if d.Position() != positions[i] {
			s.Errorf("it says position %d, publish said %d", d.Position(), positions[i])
		}
		s.complete(d)
	}
}

func manyAtOnce(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	const count = 2500
	sent := messages(routeA, count)
	s.publish(broker, sent, "1")
	seen := make(map[ferry.ID]int)
	for len(seen) < count {
		got, err := worker.ReceiveMessages(s.ctx, routeA, 400)
		if err != nil {
			s.Fatalf("receive after %d: %v", len(seen), err)
		}
		for _, d := range got {
			seen[d.HandOut.ID]++
			s.complete(d)
		}
	}
	for _, h := range sent {
		if seen[h.ID] != 1 {
			s.Fatalf("message %s came %d times", h.ID, seen[h.ID])
		}
	}
}

func routesAreApart(s *suite) {
	broker := s.broker()
	one, two := s.worker("worker-one", routeA), s.worker("worker-two", routeB)
	s.publish(broker, messages(routeA, 3), "1")
	s.nothing(two, routeB)
	s.publish(broker, messages(routeB, 1), "1")
	s.complete(s.receive(two, routeB, 1)...)
	s.complete(s.receive(one, routeA, 3)...)
}

func envelopeRoundTrip(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	at := time.Date(2026, 11, 23, 8, 30, 15, 123456789, time.UTC)
	body := []byte{0, 0xff, 0xfe, '{', 0x80, '\n', 0}
	sum := sha256.Sum256(body)
	sent := ferry.HandOut{
		ID: ferry.NewID(at), Route: routeA, Turn: 1 << 40, Revision: 3, Generation: 2, Inbox: "inbox-1", Spent: 4, Attempt: 9,
		Doubt: true, Elsewhere: true, NotBefore: at.Add(time.Minute), OpenRevision: true, RiskAccepted: true,
		ExternalKey: "ext", IdempotencyKey: "key", CorrelationID: "korrelation-ü", OrderingKey: "order\x00\xff",
		ContentType: "application/octet-stream", Properties: map[string]string{"a": "1", "ü": "\xff", "empty": "", "": "unnamed"},
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Tracestate: "vendor=1,other=a b",
		LastTraceparent: "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
		CreatedAt:       at, ExpiresAt: at.Add(time.Hour), PublishedAt: at.Add(time.Second),
		Body: body, Size: int64(len(body)), SHA256: sum[:],
	}
	empty := ferry.HandOut{ID: ferry.NewID(at), Route: routeA, Turn: 1, PublishedAt: at}
	largest := message(routeA, 1)
	largest.Body = bytes.Repeat([]byte{0xab}, broker.InlineMax())
	largest.Size = int64(len(largest.Body))
	large := message(routeA, 2)
	large.Body = append(bytes.Clone(largest.Body), 1)
	large.Size = 0 // it is told by the body

	s.publish(broker, []ferry.HandOut{sent, empty, largest, large}, "1")
	got := s.receive(worker, routeA, 4)
	apart := large
	apart.Body, apart.Size = nil, int64(len(large.Body))
	largeSum := sha256.Sum256(large.Body)
	apart.SHA256 = largeSum[:]
	for i, want := range []ferry.HandOut{sent, empty, largest, apart} {
		if diff := cmp.Diff(want, got[i].HandOut, cmpopts.EquateEmpty()); diff != "" {
			s.Errorf("message %d (-sent +came):\n%s", i, diff)
		}
	}
}

func tooLarge(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	fits, vast := message(routeA, 1), message(routeA, 2)
	vast.ExternalKey = string(make([]byte, broker.Properties().MaxData))
	_, err := broker.Publish(s.ctx, routeA, []ferry.HandOut{fits, vast}, "1")
	var large *queue.TooLargeError
	if !errors.Is(err, queue.ErrTooLarge) || !errors.As(err, &large) || large.ID != vast.ID {
		s.Fatalf("publish: %v, want ErrTooLarge that names %s", err, vast.ID)
	}
	s.nothing(worker, routeA)

	d := s.bare(s.env.Broker())
	data := make([]byte, d.Properties().MaxData+1)
	if _, err := d.Publish(s.ctx, queue.MessagesOf(routeA), []queue.Packet{{ID: "vast", Data: data}}); !errors.Is(err, queue.ErrTooLarge) {
		s.Fatalf("publish %d bytes: %v, want ErrTooLarge", len(data), err)
	}
	if _, err := d.Publish(s.ctx, queue.MessagesOf(routeA), []queue.Packet{{ID: "full", Data: data[1:]}}); err != nil {
		s.Fatalf("publish %d bytes, the most: %v", len(data)-1, err)
	}
}

func duplicateIDDropped(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	if broker.Properties().DuplicateWindow == 0 {
		s.Skip("the driver drops no duplicates")
	}
	sent := messages(routeA, 2)
	s.publish(broker, sent, "1")
	s.publish(broker, sent, "1")
	s.complete(s.receive(worker, routeA, 2)...)
	s.publish(broker, sent, "1")
	s.nothing(worker, routeA)
}

func otherSuffixNeverDropped(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	sent := message(routeA, 1)
	for _, suffix := range []string{"1", "2", "3"} {
		s.publish(broker, []ferry.HandOut{sent}, suffix)
		s.complete(s.receive(worker, routeA, 1)...)
	}
	for turn := uint64(2); turn < 5; turn++ { // a retry, within any window
		sent.Turn = turn
		s.publish(broker, []ferry.HandOut{sent}, "3")
		if got := s.receive(worker, routeA, 1)[0]; got.HandOut.Turn != turn {
			s.Fatalf("turn %d came, want %d", got.HandOut.Turn, turn)
		} else {
			s.complete(got)
		}
	}
}

func releaseComesAgain(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	sent := messages(routeA, 2)
	s.publish(broker, sent, "1")
	first := s.receive(worker, routeA, 1)[0]
	began := time.Now()
	if err := first.Release(s.ctx); err != nil {
		s.Fatalf("release: %v", err)
	}
	got := map[ferry.ID]bool{}
	for _, d := range s.receive(worker, routeA, 2) {
		got[d.HandOut.ID] = true
		s.complete(d)
	}
	if !got[sent[0].ID] || !got[sent[1].ID] {
		s.Fatalf("came: %v, want both messages", got)
	}
	if took := time.Since(began); took >= s.h.Lock {
		s.Errorf("the released message took %s to come again, as long as a lost lock", took)
	}
}

func settleTwice(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	s.publish(broker, messages(routeA, 2), "1")
	got := s.receive(worker, routeA, 2)
	s.complete(got[0])
	if err := got[1].Release(s.ctx); err != nil {
		s.Fatalf("release: %v", err)
	}
	for i, d := range got {
		if err := d.Complete(s.ctx); !errors.Is(err, queue.ErrSettled) {
			s.Errorf("complete delivery %d again: %v, want ErrSettled", i, err)
		}
		if err := d.Release(s.ctx); !errors.Is(err, queue.ErrSettled) {
			s.Errorf("release delivery %d again: %v, want ErrSettled", i, err)
		}
	}
	again := s.receive(worker, routeA, 1)[0]
	if again.HandOut.ID != got[1].HandOut.ID {
		s.Errorf("%s came again, want the released %s", again.HandOut.ID, got[1].HandOut.ID)
	}
	s.complete(again)
	s.nothing(worker, routeA)
}

func lockExpires(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	careless := s.bare(s.env.Worker("worker-two", routeA)) // nobody renews its locks
	s.publish(broker, messages(routeA, 1), "1")
	items, err := careless.Receive(s.ctx, queue.MessagesOf(routeA), 1)
	if err != nil || len(items) != 1 {
		s.Fatalf("receive: %d items, %v", len(items), err)
	}
	until := items[0].LockedUntil
	d := s.receive(worker, routeA, 1)[0]
	if early := time.Until(until); early > 0 {
		s.Errorf("it came again %s before the lock's end", early)
	}
	s.complete(d)
}

func renewalKeepsLock(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	other := s.worker("worker-two", routeA)
	s.publish(broker, messages(routeA, 3), "1")
	held := s.receive(worker, routeA, 3)
	ctx, cancel := context.WithTimeout(s.ctx, 4*s.h.Lock)
	defer cancel()
	if got, err := other.ReceiveMessages(ctx, routeA, 3); !errors.Is(err, context.DeadlineExceeded) {
		s.Fatalf("%d held messages came elsewhere (%v)", len(got), err)
	}
	for _, d := range held {
		if err := d.Context().Err(); err != nil {
			s.Errorf("the delivery's context ended: %v", context.Cause(d.Context()))
		}
	}
	s.complete(held...)
	time.Sleep(s.h.Lock + s.h.Lock/2)
	s.nothing(other, routeA)
}

func concurrentReceiversNoDoubleLock(s *suite) {
	broker := s.broker()
	const count, receivers = 600, 6
	s.publish(broker, messages(routeA, count), "1")
	var mu sync.Mutex
	seen := make(map[ferry.ID]int)
	var done atomic.Int64
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var group sync.WaitGroup
	shared := s.worker("worker-one", routeA)
	for i := range receivers {
		q := shared
		if i%2 == 1 {
			q = s.worker(fmt.Sprint("worker-two-", i), routeA)
		}
		group.Go(func() {
			for {
				got, err := q.ReceiveMessages(ctx, routeA, 7)
				if err != nil {
					return
				}
				for _, d := range got {
					mu.Lock()
					seen[d.HandOut.ID]++
					mu.Unlock()
					if err := d.Complete(s.ctx); err != nil {
						s.Errorf("complete: %v", err)
					}
					done.Add(1)
				}
			}
		})
	}
	s.eventually("every message was received", func() bool { return done.Load() >= count })
	cancel()
	group.Wait()
	for id, times := range seen {
		if times != 1 {
			s.Errorf("message %s came %d times", id, times)
		}
	}
	if len(seen) != count {
		s.Errorf("%d messages came, want %d", len(seen), count)
	}
}
