package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/sbemu"
)

// TestOnServiceBus runs tests of the whole system as they are, on Service Bus.
func TestOnServiceBus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"MainJob":          TestMainJob,
		"RejectedIsMended": TestRejectedIsMended,
		"Outage":           TestOutage,
		"WorkerStopped":    TestWorkerStopped,
		"KillLoops":        TestKillLoops,
		"KillWithCallsCut": TestKillWithCallsCut,
		"Order":            TestOrder,
		"SeveralWorkers":   TestSeveralWorkersOneDies,
		"AsServiceBusREST": TestAsServiceBusREST,
		"LargeBodies":      TestLargeBodies,
	} {
		t.Run(name, test)
	}
}

// busOptions are those of quick, on Service Bus.
func busOptions() options {
	return options{
		bus: true, lock: "5s",
		destination: []string{"timeout: 1s", "concurrency: 8"},
		route: []string{
			`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
			"settleTime: 1s",
			"retry: {attempts: 8, initialDelay: 100ms, maxDelay: 1s}",
		},
	}
}

// TestServiceBusAway: Service Bus is away under load. Senders are answered 201 all
// the while, and everything is delivered afterwards.
func TestServiceBusAway(t *testing.T) {
	t.Parallel()
	away := 8 * time.Second
	if os.Getenv(longOutages) != "" {
		away = 30 * time.Second
	}
	w := newWorld(t, busOptions())
	w.start()
	l := w.startLoad(4)
	l.awaitMore(20)
	w.double.SetAway(true)
	began, before := time.Now(), l.count()
	for time.Since(began) < away {
		l.awaitMore(10)
		if err := w.client.Ready(t.Context()); err != nil {
			t.Errorf("without Service Bus the broker is not ready: %v", err)
		}
	}
	during := l.count() - before
	w.double.SetAway(false)
	back := time.Now()
	accepted := l.end()
	w.wantOnce(accepted)
	t.Logf("away for %s: %d messages accepted meanwhile, all %d delivered %s after the return",
		time.Since(began).Round(time.Second), during, len(accepted), time.Since(back).Round(100*time.Millisecond))
}

// TestServiceBusHiccups: connections are cut, links detached, answers lost, and the
// namespace is busy, again and again, under load.
func TestServiceBusHiccups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, busOptions())
	w.start()
	rng, _ := chance(t)
	l := w.startLoad(4)
	for range 6 {
		l.awaitMore(15)
		switch rng.IntN(4) {
		case 0:
			w.double.DropConnections()
		case 1:
			w.double.DetachLinks("ferry.messages."+invoices, nil)
			w.double.DetachLinks("ferry.receipts", nil)
		case 2:
			w.double.ServerBusy(20)
		default:
			var settled atomic.Int64 // each connection calls it by itself
			w.double.OnSettle(func(string, string) sbemu.SettleFault {
				return sbemu.SettleFault{Drop: settled.Add(1)%3 == 0}
			})
			l.awaitMore(15)
			w.double.OnSettle(nil)
		}
	}
	w.wantOnce(l.end())
}

// TestServiceBusQueueDeleted: somebody deletes the queue with what is in it.
func TestServiceBusQueueDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, busOptions())
	w.start()
	l := w.startLoad(4)
	for _, queue := range []string{"ferry.messages." + invoices, "ferry.receipts"} {
		l.awaitMore(20)
		if err := w.double.Namespace().Delete(queue); err != nil {
			t.Fatal(err)
		}
	}
	l.awaitMore(20)
	w.wantOnce(l.end())
}

// TestBrokerAway: what is in the queue is delivered while the broker is away, much
// longer than a worker beside an embedded queue would go on; its receipts wait.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	const messages = 180
	o := busOptions()
	o.destination = []string{"timeout: 5s", "concurrency: 2"} // about six a second
	w := newWorld(t, o)
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: -1, Chance: 1, Delay: 300 * time.Millisecond})
	w.start()
	accepted := map[string]ferry.ID{}
	for i := range messages {
		key := fmt.Sprintf("away-%03d", i)
		accepted[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	queue, err := w.double.Namespace().Queue("ferry.messages." + invoices)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() string {
		if sent := queue.Main().Totals().Sent; sent < messages {
			return fmt.Sprintf("%d messages were handed to the queue", sent)
		}
		return ""
	})
	w.broker.kill()
	began, before := time.Now(), len(w.erp.Documents(""))
	eventually(t, 2*time.Minute, func() string {
		if n := len(w.erp.Documents("")); n < messages {
			return fmt.Sprintf("%d documents, %d when the broker went", n, before)
		}
		return ""
	})
	t.Logf("%d documents were written in %s without a broker", messages-before, time.Since(began).Round(time.Second))
	if took := time.Since(began); took < 20*time.Second {
		t.Errorf("it took %s: too short to prove that the worker goes on", took)
	}
	w.startBroker()
	w.wantOnce(accepted)
}

// TestServiceBusDeadLetterQueue: what ends in the dead-letter queue of Service Bus
// is a dead letter of the ledger, with the reason, and can be replayed.
func TestServiceBusDeadLetterQueue(t *testing.T) {
	t.Parallel()
	o := busOptions()
	w := newWorld(t, o)
	w.start()
	if code := w.worker.stop(t, 20*time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	id := w.send(invoices, "aside-1", kibibyte("aside-1")).ID
	sdk, err := azservicebus.NewClientFromConnectionString(w.double.ConnectionString(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	defer func() { _ = sdk.Close(ctx) }()
	receiver, err := sdk.NewReceiverForQueue("ferry.messages."+invoices, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := receiver.ReceiveMessages(ctx, 1, nil)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	reason, why := "byHand", "olga wanted it gone"
	if err := receiver.DeadLetterMessage(ctx, got[0], &azservicebus.DeadLetterOptions{Reason: &reason, ErrorDescription: &why}); err != nil {
		t.Fatal(err)
	}
	e := w.await(id, ferry.StateDeadLettered, 30*time.Second)
	if e.DeadLetter == nil || e.DeadLetter.Reason != ferry.ReasonUndeliverable || !strings.Contains(e.DeadLetter.Code+e.DeadLetter.Description, reason) || !strings.Contains(e.DeadLetter.Description, why) {
		t.Errorf("the dead letter is %+v", e.DeadLetter)
	}
	w.startWorker()
	w.awaitGranted()
	w.cli("dlq", "replay", id.Short(), "--yes")
	w.await(id, ferry.StateCompleted, 30*time.Second)
	w.document("aside-1")
}

// TestServiceBusWorkerRevoked: a revoked worker may still reach the namespace, but
// the broker hands it nothing, and it is told so.
func TestServiceBusWorkerRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, busOptions())
	w.start()
	w.await(w.send(invoices, "before", kibibyte("before")).ID, ferry.StateCompleted, 10*time.Second)
	r := w.cli("workers", "revoke", "erp-worker")
	if !strings.Contains(r, "hands it nothing") || !strings.Contains(r, "rights") {
		t.Errorf("`workers revoke` does not say what is left to do: %s", r)
	}
	a := w.send(invoices, "after", kibibyte("after"))
	eventually(t, 20*time.Second, func() string {
		if text := strings.ToLower(w.worker.out.String()); !strings.Contains(text, "refuses these credentials") {
			return "the worker does not say that it was refused"
		}
		return ""
	})
	if e := w.message(a.ID); e.State != ferry.StateAccepted || len(w.erp.Documents("after")) != 0 {
		t.Errorf("after the worker was revoked its message is %s with %d documents", e.State, len(w.erp.Documents("after")))
	}
}
