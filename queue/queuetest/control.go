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

	"ferry"
	"ferry/queue"
)

func receipt(worker string, n int) ferry.Receipt {
	at := time.Date(2026, 11, 23, 9, 0, 0, n, time.UTC)
	return ferry.Receipt{
		ID: ferry.NewID(at), Route: routeA, Turn: uint64(n + 1), Revision: 1, Generation: 1, Worker: worker, Inbox: "inbox",
		Verdict: ferry.Rejected, Effect: ferry.EffectNone, Reference: "R-1", Result: []byte(`{"a":1.10}`), Code: "E1", Text: "no \xff",
		Attempts: []ferry.Attempt{{
			Number: n + 1, Turn: uint64(n + 1), Revision: 1, Generation: 1, StartedAt: at, DurationMS: 12,
			Verdict: ferry.Rejected, Effect: ferry.EffectNone, Status: 400, Code: "E1", Text: "no",
			Fields:    []ferry.FieldError{{Field: "lines[0].price", Text: "is missing"}, {Field: "", Text: "other"}},
			Reference: "R-1", Worker: worker, Request: "POST https://erp.example/invoices", RemoteCorrelationID: "corr",
		}},
		Next: ferry.Next{Do: ferry.DoDeadLetter, After: time.Second, Reason: ferry.ReasonRejected, Spends: 1 - 3*(n%2), Doubt: true}, // odd ones give two back
	}
}

func (s *suite) receiveReceipts(q *queue.Queue, n int) []*queue.ReceiptDelivery {
	s.Helper()
	var all []*queue.ReceiptDelivery
	for len(all) < n {
		got, err := q.ReceiveReceipts(s.ctx, n-len(all))
		if err != nil {
			s.Fatalf("receive receipts after %d of %d: %v", len(all), n, err)
		}
		all = append(all, got...)
	}
	return all
}

func receiptRoundTrip(s *suite) {
	broker := s.broker()
	one, two := s.worker("worker-one", routeA), s.worker("worker-two", routeB)
	sent := map[ferry.ID]ferry.Receipt{}
	from := map[ferry.ID]string{}
	for i, q := range []*queue.Queue{one, two} {
		name := []string{"worker-one", "worker-two"}[i]
		list := []ferry.Receipt{receipt(name, 1), receipt(name, 2), {ID: ferry.NewID(time.Now()), Turn: 1, Verdict: ferry.Delivered}}
		if err := q.SendReceipts(s.ctx, list, "1"); err != nil {
			s.Fatalf("send: %v", err)
		}
		for _, r := range list {
			sent[r.ID], from[r.ID] = r, name
		}
	}
	for _, d := range s.receiveReceipts(broker, len(sent)) {
		if diff := cmp.Diff(sent[d.Receipt.ID], d.Receipt); diff != "" {
			s.Errorf("a receipt (-sent +came):\n%s", diff)
		}
		if d.From != from[d.Receipt.ID] {
			s.Errorf("the receipt of %s is said to be from %q", from[d.Receipt.ID], d.From)
		}
		delete(sent, d.Receipt.ID)
		if err := d.Complete(s.ctx); err != nil {
			s.Errorf("complete: %v", err)
		}
	}
	if len(sent) > 0 {
		s.Errorf("%d receipts did not come", len(sent))
	}
}

func receiptSentAgain(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	r := receipt("worker-one", 1)
	for i := range 3 {
		if err := worker.SendReceipts(s.ctx, []ferry.Receipt{r}, fmt.Sprint(i)); err != nil {
			s.Fatalf("send: %v", err)
		}
		d := s.receiveReceipts(broker, 1)[0]
		if d.Receipt.ID != r.ID {
			s.Fatalf("the receipt of %s came, want %s", d.Receipt.ID, r.ID)
		}
		if i == 0 { // the commit failed: it is given back and comes again
			if err := d.Release(s.ctx); err != nil {
				s.Fatalf("release: %v", err)
			}
			d = s.receiveReceipts(broker, 1)[0]
		}
		if err := d.Complete(s.ctx); err != nil {
			s.Fatalf("complete: %v", err)
		}
	}
}

// answers is a broker's Handler.
type answers struct {
	hello func(from string, h queue.Hello) queue.Welcome
	body  func(from string, r queue.BodyRequest) ([]byte, error)
	claim func(from string, r queue.ClaimRequest) (queue.ClaimAnswer, error)
}

func (a answers) Hello(_ context.Context, from string, h queue.Hello) queue.Welcome {
	return a.hello(from, h)
}

func (a answers) Body(_ context.Context, from string, r queue.BodyRequest) ([]byte, error) {
	return a.body(from, r)
}

func (a answers) Claim(_ context.Context, from string, r queue.ClaimRequest) (queue.ClaimAnswer, error) {
	return a.claim(from, r)
}

func (s *suite) serve(q *queue.Queue, a answers) (stop func()) {
	s.Helper()
	stop, err := q.Serve(s.ctx, a)
	if err != nil {
		s.Fatalf("serve: %v", err)
	}
	return stop
}

func helloAndWelcome(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	at := time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)
	sent := queue.Hello{
		Worker: "worker-one", Inbox: "inbox", Version: "v1",
		Routes: []queue.RouteHello{{
			Name: routeA, Bound: time.Minute, CanLookup: true, HonoursKey: true, InFlight: 3, NextProbe: &at,
			Conditions: []ferry.Condition{{Type: ferry.RouteUnavailable, Since: at, Reason: "refused"}},
		}},
	}
	answer := queue.Welcome{
		Start: "s1", Now: at,
		Routes: map[string]queue.RouteWelcome{routeA: {Granted: true, Paused: true, ResumedAt: at}, routeB: {Why: "another worker has it"}},
	}
	stop := s.serve(broker, answers{hello: func(from string, h queue.Hello) queue.Welcome {
		if from != "worker-one" {
			s.Errorf("the hello is from %q", from)
		}
		if diff := cmp.Diff(sent, h); diff != "" {
			s.Errorf("hello (-sent +came):\n%s", diff)
		}
		return answer
	}})
	for range 3 {
		got, err := worker.Hello(s.ctx, sent)
		if err != nil {
			s.Fatalf("hello: %v", err)
		}
		if diff := cmp.Diff(answer, got); diff != "" {
			s.Errorf("welcome (-sent +came):\n%s", diff)
		}
	}
	stop()
	ctx, cancel := s.soon()
	defer cancel()
	if _, err := worker.Hello(ctx, sent); err == nil {
		s.Error("somebody answered after stop")
	}
}

func bodyInParts(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	body := make([]byte, 3*queue.BodyChunk+17)
	for i := range body {
		body[i] = byte(i * 7 >> 3)
	}
	sum := sha256.Sum256(body)
	fault := errors.New("the disk is asleep")
	var parts atomic.Int64
	s.serve(broker, answers{body: func(from string, r queue.BodyRequest) ([]byte, error) {
		parts.Add(1)
		switch {
		case from != "worker-one":
			s.Errorf("the request is from %q", from)
		case r.Revision == 2:
			return nil, queue.ErrBodyMissing
		case r.Revision == 3:
			return nil, queue.ErrUnauthorized
		case r.Revision == 4:
			return nil, fault
		case r.Revision == 5: // it was cut short
			return body[r.Offset : r.Offset+int64(r.Length)-1], nil
		case r.Length > queue.BodyChunk:
			s.Errorf("a part of %d bytes was asked for", r.Length)
		}
		return body[r.Offset : r.Offset+int64(r.Length)], nil
	}})
	h := message(routeA, 1)
	h.Body, h.Size, h.SHA256 = nil, int64(len(body)), sum[:]
	got, err := FetchBody(s.ctx, worker, h)
	if err != nil || !bytes.Equal(got, body) {
		s.Fatalf("fetch: %d bytes, %v, want the %d of the body", len(got), err, len(body))
	}
	if parts.Load() < 4 {
		s.Errorf("it came in %d parts, want at least 4", parts.Load())
	}
	for revision, want := range map[int]error{2: queue.ErrBodyMissing, 3: queue.ErrUnauthorized, 5: queue.ErrBodyMissing} {
		h.Revision = revision
		if _, err := FetchBody(s.ctx, worker, h); !errors.Is(err, want) {
			s.Errorf("revision %d: %v, want %v", revision, err, want)
		}
	}
	h.Revision = 4
	if _, err := FetchBody(s.ctx, worker, h); err == nil || errors.Is(err, queue.ErrBodyMissing) {
		s.Errorf("after a passing fault: %v, want an error that does not say the body is missing", err)
	}
	h.Revision, h.SHA256 = 1, make([]byte, len(sum))
	if _, err := FetchBody(s.ctx, worker, h); !errors.Is(err, queue.ErrBodyMissing) {
		s.Errorf("altered body: %v, want ErrBodyMissing", err)
	}
}

func nobodyAnswers(s *suite) {
	s.broker()
	worker := s.worker("worker-one", routeA)
	began := time.Now()
	if _, err := worker.Hello(s.ctx, queue.Hello{}); !errors.Is(err, queue.ErrUnavailable) {
		s.Errorf("hello: %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > s.h.patience()/4 {
		s.Errorf("it took %s to find out", took)
	}
}

func answersAtTheSameTime(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	const count = 200 // more than are answered at a time
	var now, most atomic.Int64
	stop := s.serve(broker, answers{hello: func(_ string, h queue.Hello) queue.Welcome {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(2 * time.Millisecond)
		now.Add(-1)
		return queue.Welcome{Start: h.Version}
	}})
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() {
			version := fmt.Sprint("v", i)
			if w, err := worker.Hello(s.ctx, queue.Hello{Version: version}); err != nil || w.Start != version {
				s.Errorf("hello %d: %q, %v", i, w.Start, err)
			}
		})
	}
	group.Wait()
	stop()
	if m := most.Load(); m < 2 || m > 64 {
		s.Errorf("%d were answered at the same time, want 2 to 64", m)
	}
}

func signals(s *suite) {
	broker := s.broker()
	one, two := s.worker("worker-one", routeA), s.worker("worker-two", routeA)
	var list []queue.Confirmed
	for i := range 5000 {
		list = append(list, queue.Confirmed{ID: ferry.NewID(time.Now()), Turn: uint64(i) << 7})
	}
	sent := queue.Signal{Confirmed: list, HelloAgain: true}
	var mu sync.Mutex
	var got queue.Signal
	again := 0
	inside := false
	stop, err := one.Listen(s.ctx, func(signal queue.Signal) {
		mu.Lock()
		defer mu.Unlock()
		if inside {
			s.Error("two signals at a time")
		}
		inside = true
		got.Confirmed = append(got.Confirmed, signal.Confirmed...)
		if signal.HelloAgain {
			again++
		}
		inside = false
	})
	if err != nil {
		s.Fatalf("listen: %v", err)
	}
	defer stop()
	stopTwo, err := two.Listen(s.ctx, func(queue.Signal) { s.Error("a signal went to another worker") })
	if err != nil {
		s.Fatalf("listen: %v", err)
	}
	defer stopTwo()
	if err := broker.Signal(s.ctx, "worker-one", sent); err != nil {
		s.Fatalf("signal: %v", err)
	}
	s.eventually("the signal came", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got.Confirmed) >= len(list)
	})
	stop()
	if err := broker.Signal(s.ctx, "worker-one", sent); err != nil {
		s.Errorf("signal to nobody: %v, want it to be lost in silence", err)
	}
	time.Sleep(s.h.Lock / 10)
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(list, got.Confirmed); diff != "" {
		s.Errorf("confirmed (-sent +came):\n%s", diff)
	}
	if again != 1 {
		s.Errorf("hello again came %d times, want once", again)
	}
}
