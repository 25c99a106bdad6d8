package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
	"ferry/queue"
	"ferry/queue/sbqueue"
)

// busTransport is the queue on the Service Bus double, for a broker that has no
// right to manage it.
type busTransport struct {
	driver *sbqueue.Broker
	q      *queue.Queue
}

func (b busTransport) Queue() *queue.Queue { return b.q }

func (b busTransport) NewLogin() (public, seed string, err error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return "", "", err
	}
	public, err1 := key.PublicKey()
	text, err2 := key.Seed()
	return public, string(text), errors.Join(err1, err2)
}

func (b busTransport) SetWorkers(workers []ferry.WorkerInfo) error {
	return b.driver.SetWorkers(context.Background(), busWorkers(workers))
}

func (b busTransport) Close(ctx context.Context) error { return b.q.Close(ctx) }

func busWorkers(workers []ferry.WorkerInfo) []sbqueue.WorkerAuth {
	var list []sbqueue.WorkerAuth
	for _, w := range workers {
		list = append(list, sbqueue.WorkerAuth{Name: w.Name, PublicKey: w.PublicKey, Routes: w.Routes, Revoked: w.RevokedAt != nil})
	}
	return list
}

// bus is a broker over the double, in real time.
type bus struct {
	t      *testing.T
	double *sbemu.Server
	b      *Broker
	q      *queue.Queue // worker one's
	inbox  string
}

func newBus(t *testing.T, deliveries int) *bus {
	t.Helper()
	names, err := sbqueue.Queues("", []string{orders}, []string{"one"})
	if err != nil {
		t.Fatal(err)
	}
	var queues []entity.Config
	for _, name := range names {
		queues = append(queues, entity.Config{Name: name, MaxDelivery: deliveries, LockDuration: 5 * time.Second})
	}
	double, err := sbemu.Start(sbemu.Options{Queues: queues, Policies: map[string]sbemu.Policy{
		"no-manage": {Keys: []string{"key"}, Rights: sbemu.Listen | sbemu.Send},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := &bus{t: t, double: double, inbox: "inbox-of-one"}
	config := servicebus.Config{ConnectionString: double.ConnectionString(), AdminURL: "http://" + double.Addr()}
	w.b, err = New(t.Context(), Options{
		DataDir: t.TempDir(), Version: "test", MinFree: -1, Routes: []ferry.Route{{Name: orders, Window: 100}}, SilentAfter: time.Second,
		OpenTransport: func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error) {
			driver, err := sbqueue.ConnectBroker(ctx, sbqueue.BrokerOptions{
				Client: config, Lock: 5 * time.Second, Routes: []string{orders}, Workers: busWorkers(workers),
			})
			if err != nil {
				return nil, err
			}
			return busTransport{driver, queue.New(driver, queue.Options{})}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.b.Start(); err != nil {
		t.Fatal(err)
	}
	made, err := w.b.AddWorker(t.Context(), "one", []string{orders}, "", "test")
	if err != nil {
		t.Fatal(err)
	}
	driver, err := sbqueue.Connect(t.Context(), sbqueue.WorkerOptions{
		Client: config, Worker: "one", Seed: []byte(made.Seed), Lock: 5 * time.Second, Routes: []string{orders},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.q = queue.New(driver, queue.Options{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := errors.Join(w.q.Close(ctx), w.b.Stop(ctx), double.Close()); err != nil {
			t.Error(err)
		}
	})
	w.hello()
	return w
}

func (w *bus) hello() {
	w.t.Helper()
	w.eventually("the worker is granted its route", func() bool {
		welcome, err := w.q.Hello(w.t.Context(), queue.Hello{
			Worker: "one", Inbox: w.inbox, Version: "test", Routes: []queue.RouteHello{{Name: orders, Bound: 90 * time.Second}},
		})
		return err == nil && welcome.Routes[orders].Granted
	})
}

func (w *bus) eventually(what string, ask func() bool) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ask(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("it never happened: %s", what)
		}
	}
}

func (w *bus) send(n int) ferry.ID {
	w.t.Helper()
	a, err := w.b.Accept(w.t.Context(), ferry.Message{Route: orders, Body: fmt.Appendf(nil, `{"n":%d}`, n), ContentType: "application/json"})
	if err != nil {
		w.t.Fatal(err)
	}
	return a.ID
}

func (w *bus) state(id ferry.ID) ferry.State {
	w.t.Helper()
	e, err := w.b.Message(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e.State
}

// deliver works until ctx ends: each message is delivered at once.
func (w *bus) deliver(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		list, err := w.q.ReceiveMessages(ctx, orders, 50)
		if err != nil {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		receipts := make([]ferry.Receipt, len(list))
		for i, d := range list {
			receipts[i] = ferry.Receipt{
				ID: d.HandOut.ID, Route: orders, Turn: d.HandOut.Turn, Revision: 1, Generation: d.HandOut.Generation, Worker: "one", Inbox: w.inbox,
				Verdict: ferry.Delivered, Effect: ferry.EffectDone, Reference: "DOC-" + d.HandOut.ID.Short(), Next: done(),
			}
		}
		if w.q.SendReceipts(ctx, receipts, fmt.Sprint("r", n)) != nil {
			for _, d := range list {
				_ = d.Release(ctx) // else its lock ends
			}
			continue
		}
		for _, d := range list {
			_ = d.Complete(ctx) // else it comes again
		}
	}
}

// TestServiceBusAwayUnderLoad: senders are answered as ever, nothing is lost, and
// everything is delivered after.
func TestServiceBusAwayUnderLoad(t *testing.T) {
	w := newBus(t, 2000)
	ctx, cancel := context.WithCancel(t.Context())
	working := make(chan struct{})
	go func() { defer close(working); w.deliver(ctx) }()
	defer func() { cancel(); <-working }()
	var ids []ferry.ID
	for i := range 150 {
		if i == 50 {
			w.double.SetAway(true)
		}
		ids = append(ids, w.send(i))
	}
	w.double.SetAway(false)
	for _, id := range ids {
		w.eventually("message "+id.Short()+" is completed", func() bool { return w.state(id) == ferry.StateCompleted })
	}
}

// TestServiceBusLosesItsMessages: without the right Manage nobody tells that a queue
// was made anew; the turns are silent, and are handed out again.
func TestServiceBusLosesItsMessages(t *testing.T) {
	w := newBus(t, 2000)
	id := w.send(1)
	name := "ferry.messages." + orders
	w.eventually("it is in the queue", func() bool {
		q, err := w.double.Namespace().Queue(name)
		return err == nil && q.Counts().Active == 1
	})
	q, err := w.double.Namespace().Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	config := q.Config()
	if err := w.double.Namespace().Delete(name); err != nil {
		t.Fatal(err)
	}
	if _, err := w.double.Namespace().Create(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var list []*queue.Delivery
	for len(list) == 0 && ctx.Err() == nil {
		if list, err = w.q.ReceiveMessages(ctx, orders, 1); err != nil {
			sleep(ctx, 50*time.Millisecond)
		}
	}
	if len(list) != 1 || list[0].HandOut.ID != id || list[0].HandOut.Turn != 1 {
		t.Fatalf("handed out again: %d, %v", len(list), err)
	}
}

// TestServiceBusSetsAsideIntoTheLedger: its count is used up by releases, and what it
// put aside is a dead letter with its words; a replay looks first.
func TestServiceBusSetsAsideIntoTheLedger(t *testing.T) {
	w := newBus(t, 3)
	id := w.send(1)
	for range 3 {
		list, err := w.q.ReceiveMessages(t.Context(), orders, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := list[0].Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("it is a dead letter", func() bool { return w.state(id) == ferry.StateDeadLettered })
	e, err := w.b.Message(t.Context(), id)
	if err != nil || e.DeadLetter.Reason != ferry.ReasonUndeliverable || e.DeadLetter.Code != "MaxDeliveryCountExceeded" {
		t.Fatalf("dead letter %+v, %v", e.DeadLetter, err)
	}
	q, err := w.double.Namespace().Queue("ferry.messages." + orders)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("nothing lies there any more", func() bool { return q.Counts() == entity.Counts{} })
	if _, err := w.b.Replay(t.Context(), id, nil, "", "again", "op"); err != nil {
		t.Fatal(err)
	}
	list, err := w.q.ReceiveMessages(t.Context(), orders, 1)
	if err != nil || !list[0].HandOut.Doubt {
		t.Fatalf("handed out again: %+v, %v", list, err)
	}
}
