package sbqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/queue"
)

// TestForgedReceiptsAreDropped: who has the right to send receipts has it for every
// name. What is not signed by the worker that it names is removed, counts for
// nothing, and does not fill the log.
func TestForgedReceiptsAreDropped(t *testing.T) {
	w := newWorld(t)
	log := w.log()
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	_, seed := login(t)
	stranger, err := newSigner("worker-one", seed)
	if err != nil {
		t.Fatal(err)
	}
	name := w.b.names.receipts()
	var forged []*azservicebus.Message
	for range 20 {
		m := &azservicebus.Message{MessageID: new(rand.Text()), Body: []byte("secret content of a receipt")}
		stranger.sign(name, m)
		forged = append(forged, m, &azservicebus.Message{MessageID: new(rand.Text()), Body: []byte("secret content of a receipt")})
	}
	if err := w.client.Sender(name).Send(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Publish(t.Context(), queue.AllReceipts(), []queue.Packet{{ID: "true", Data: []byte("true")}}); err != nil {
		t.Fatal(err)
	}
	items, err := w.b.Receive(t.Context(), queue.AllReceipts(), 10)
	if err != nil || len(items) != 1 || items[0].From != "worker-one" || string(items[0].Data) != "true" {
		t.Fatalf("receive: %+v, %v", items, err)
	}
	if err := w.b.Settle(t.Context(), queue.AllReceipts(), items[0], queue.Complete); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is empty", func() bool { return len(w.messages(t, name)) == 0 })
	if n := log.count("queue.unsigned"); n != 1 {
		t.Errorf("%d lines tell of 40 forged receipts, want 1", n)
	}
	if log.count("secret") > 0 {
		t.Error("the log tells what was in them")
	}
}

// TestQuestionsOfStrangersAreNotAnswered: the handler hears of a worker only what it
// signed; who was revoked is told so, and of an unknown name nothing comes.
func TestQuestionsOfStrangersAreNotAnswered(t *testing.T) {
	w := newWorld(t)
	w.log()
	var heard atomic.Int64
	stop, err := w.b.Serve(t.Context(), func(_ context.Context, from string, data []byte) []byte {
		heard.Add(1)
		return []byte(from + " asked " + string(data))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	if answer, err := one.Request(t.Context(), []byte("the way")); err != nil || string(answer) != "worker-one asked the way" {
		t.Fatalf("request: %q, %v", answer, err)
	}
	asked := heard.Load()

	// Service Bus lets it in still: the broker does not.
	w.b.directory.set([]WorkerAuth{{Name: "worker-one", Revoked: true}})
	if _, err := one.Request(t.Context(), []byte("the way")); !errors.Is(err, queue.ErrUnauthorized) {
		t.Errorf("request of a revoked worker: %v, want ErrUnauthorized", err)
	}
	// Another installation's worker, or an attacker: nothing is made for its name.
	_, seed := login(t)
	unknown := &Worker{conn: one.conn}
	if unknown.signer, err = newSigner("nobody-known", seed); err != nil {
		t.Fatal(err)
	}
	m := &azservicebus.Message{MessageID: new("q"), Body: []byte("hello"), ReplyTo: new("ferry.worker.worker-one")}
	unknown.signer.sign(w.b.names.questions(), m)
	if err := w.client.Sender(w.b.names.questions()).Send(t.Context(), []*azservicebus.Message{m}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the question is taken", func() bool { return len(w.messages(t, w.b.names.questions())) == 0 })
	if heard.Load() != asked {
		t.Error("the handler heard of somebody who was not proven")
	}
	if _, err := w.double.Namespace().Queue(w.b.names.worker("nobody-known")); err == nil {
		t.Error("a queue was made for a stranger")
	}
}

// TestAnswersReachOnlyWhoAsked: a repeat of somebody's question, by whoever has it,
// brings the answer to the one that signed it.
func TestAnswersReachOnlyWhoAsked(t *testing.T) {
	w := newWorld(t)
	one, two := w.worker("worker-one", "a"), w.worker("worker-two", "a")
	defer w.close(t, one)
	defer w.close(t, two)
	m := &azservicebus.Message{MessageID: new("q1"), Body: []byte("what is mine?")}
	name := w.b.names.questions()
	one.signer.sign(name, m)
	// Worker two sends it, and asks for an answer to itself.
	m.ReplyTo = new(w.b.names.worker("worker-two"))
	if err := two.client.Sender(name).Send(t.Context(), []*azservicebus.Message{m}); err != nil {
		t.Fatal(err)
	}
	stop, err := w.b.Serve(t.Context(), func(_ context.Context, from string, _ []byte) []byte { return []byte("for " + from) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	eventually(t, "it is answered", func() bool { return len(w.messages(t, w.b.names.worker("worker-one"))) == 1 })
	if got := w.messages(t, w.b.names.worker("worker-two")); len(got) != 0 {
		t.Errorf("worker two got %v", got)
	}
}

// TestAWorkerIsToldWhatItsAnswersNeed: the queue with its answers is missing, and the
// error says so instead of only that nobody answers.
func TestAWorkerIsToldWhatItsAnswersNeed(t *testing.T) {
	w := newWorld(t)
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	if err := w.double.Namespace().Delete(w.b.names.worker("worker-one")); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Request(t.Context(), []byte("hello")); !errors.Is(err, queue.ErrNotFound) || !strings.Contains(err.Error(), "ferry.worker.worker-one") {
		t.Errorf("request: %v, want ErrNotFound that names the queue", err)
	}
}

// TestWhatNobodyHearsExpires: signals and questions of yesterday are of no use.
func TestWhatNobodyHearsExpires(t *testing.T) {
	w := newWorld(t)
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	if err := w.b.Signal(t.Context(), "worker-one", []byte("signal")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := one.Request(ctx, []byte("question")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("request: %v", err)
	}
	for name, most := range map[string]time.Duration{w.b.names.worker("worker-one"): signalLife, w.b.names.questions(): answerTimeout} {
		q, err := w.double.Namespace().Queue(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range q.Main().Messages() {
			if left := m.ExpiresAt.Sub(m.EnqueuedAt); m.ExpiresAt.IsZero() || left > most {
				t.Errorf("%s: a message stays for %s, want at most %s", name, left, most)
			}
		}
	}
}

// TestTheQueueIsAwayForAWhile: the connection comes back by itself, at the broker and
// at the worker, with everything that listens.
func TestTheQueueIsAwayForAWhile(t *testing.T) {
	w := newWorld(t)
	stop, err := w.b.Serve(t.Context(), func(_ context.Context, _ string, data []byte) []byte { return data })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	var signals atomic.Int64
	stopListening, err := one.Listen(t.Context(), func([]byte) { signals.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer stopListening()
	if _, err := one.Request(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	w.publish(t, "a", 2)

	w.double.SetAway(true)
	if _, err := w.b.Publish(t.Context(), queue.MessagesOf("a"), []queue.Packet{{ID: "y"}}); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("publish while it is away: %v, want ErrUnavailable", err)
	}
	if _, err := w.b.Progress(t.Context(), queue.MessagesOf("a")); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("progress while it is away: %v, want ErrUnavailable", err)
	}
	if _, err := one.Request(t.Context(), []byte("x")); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("request while it is away: %v, want ErrUnavailable", err)
	}
	w.double.SetAway(false)

	eventually(t, "questions are answered again", func() bool {
		_, err := one.Request(t.Context(), []byte("x"))
		return err == nil
	})
	eventually(t, "signals come again", func() bool {
		_ = w.b.Signal(t.Context(), "worker-one", []byte("again"))
		return signals.Load() > 0
	})
	items, err := one.Receive(t.Context(), queue.MessagesOf("a"), 10)
	if err != nil || len(items) == 0 {
		t.Fatalf("receive: %d, %v", len(items), err)
	}
	if p := w.progress(t, queue.MessagesOf("a")); p.Settled >= items[0].Position {
		t.Errorf("progress is %+v", p)
	}
}

// TestBrokersOwnPartOnly: the broker neither reports nor asks, and a stranger's item
// is none.
func TestBrokersOwnPartOnly(t *testing.T) {
	w := newWorld(t)
	if _, err := w.b.Publish(t.Context(), queue.AllReceipts(), []queue.Packet{{ID: "x"}}); !errors.Is(err, queue.ErrUnauthorized) {
		t.Errorf("publish a receipt: %v, want ErrUnauthorized", err)
	}
	if _, err := w.b.Request(t.Context(), nil); err == nil {
		t.Error("the broker asked itself")
	}
	if _, err := w.b.Listen(t.Context(), func([]byte) {}); err == nil {
		t.Error("the broker listens to itself")
	}
	if err := w.b.Settle(t.Context(), queue.AllReceipts(), queue.Item{Token: "x"}, queue.Complete); !errors.Is(err, queue.ErrLockLost) {
		t.Errorf("settle an item of another driver: %v, want ErrLockLost", err)
	}
	if err := w.b.Signal(t.Context(), "../receipts", nil); err == nil {
		t.Error("a signal to a name that is none")
	}
}
