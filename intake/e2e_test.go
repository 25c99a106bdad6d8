package intake

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
)

// A thousand messages, fifty of them twice: each is accepted once.
func TestAThousandMessagesOfWhichFiftyComeTwice(t *testing.T) {
	w := start(t)
	w.send(numbered(0, 1000)...)
	w.send(numbered(100, 50)...)
	w.drained()
	all := w.list()
	if len(all) != 1000 {
		t.Fatalf("%d messages", len(all))
	}
	// Ids of one millisecond have no order.
	slices.SortFunc(all, func(a, b ferry.Envelope) int { return strings.Compare(a.IdempotencyKey, b.IdempotencyKey) })
	for i, e := range all {
		if want := fmt.Sprintf("INV-%04d", i); e.IdempotencyKey != want || e.Sender.Name != "servicebus:flow-invoices" || e.ContentType != "application/json" {
			t.Fatalf("message %d: %+v", i, e)
		}
	}
	body, err := w.b.OpenBody(t.Context(), all[123].ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	if text, err := io.ReadAll(body); err != nil || string(text) != `{"n":123}` {
		t.Errorf("body %s, %v", text, err)
	}
	totals := w.queue(flowQueue).Main().Totals()
	if info := w.in.Info(invoices); info.Taken != 1000 || info.Duplicates != 50 || info.DeadLettered != 0 || totals.Completed != 1050 || totals.DeadLetter != 0 {
		t.Errorf("%+v, %+v", info, totals)
	}
	w.balanced()
}

// deadLetters are the messages in the dead-letter sub-queue of the flow's queue.
func (w *world) deadLetters(n int) []*azservicebus.ReceivedMessage {
	w.Helper()
	w.until(fmt.Sprint(n, " dead letters"), func() bool { return w.queue(flowQueue).Counts().Dead == int64(n) })
	ctx, cancel := w.soon()
	defer cancel()
	list, err := w.bus.Receiver(flowQueue, servicebus.ReceiverOptions{DeadLetter: true}).Peek(ctx, 0, n)
	if err != nil || len(list) != n {
		w.Fatalf("%d dead letters of %d: %v", len(list), n, err)
	}
	return list
}

// What can never be taken in lies in the dead letters of its own queue, and says
// why. Corrected and sent again, it is taken in.
func TestTheDeadLettersOfTheQueueSayWhy(t *testing.T) {
	w := start(t, func(w *world, o *sbemu.Options) {
		w.route.MaxBytes, w.route.OrderBy = 4096, ".customer"
		o.Queues[0].MaxMessageBytes = 1 << 20
	})
	fine := func(id string) *azservicebus.Message { return message(id, `{"customer":"c"}`) }
	many := map[string]any{}
	for i := range 100 {
		many[fmt.Sprint("p", i)] = int64(i)
	}
	w.send(fine("ok-1"))
	w.send(
		message("empty", ""),
		message("large", `{"customer":"`+strings.Repeat("x", 4096)+`"}`),
		message("ok-1", `{"customer":"another"}`),
		message("no-order", `no JSON`),
		message("order-long", `{"customer":"`+strings.Repeat("x", 200)+`"}`),
		message("props", `{"customer":"c"}`, func(m *azservicebus.Message) { m.ApplicationProperties = many }),
	)
	w.send(fine("ok-2"))
	w.drained()
	first := w.list()[0].ID.String()
	got := map[string]string{}
	for _, m := range w.deadLetters(6) {
		got[m.MessageID] = *m.DeadLetterReason + ": " + *m.DeadLetterErrorDescription
		if m.ApplicationProperties["FerryEnvironment"] != "test" || m.ApplicationProperties["FerryRoute"] != invoices {
			t.Errorf("properties of %s: %v", m.MessageID, m.ApplicationProperties)
		}
	}
	for id, want := range map[string]string{
		"empty":      "emptyBody: the body is empty; route invoices does not take",
		"large":      "tooLarge: the body has 4111 bytes; route invoices takes up to 4096",
		"ok-1":       "keyReused: this MessageId was used before with another body, by message " + first,
		"no-order":   "badOrderingKey: ",
		"order-long": "badOrderingKey: the ordering key in this body has 200 bytes",
		"props":      "tooManyProperties: 100 custom properties",
	} {
		if !strings.HasPrefix(got[id], want) {
			t.Errorf("%s: %q, want %q", id, got[id], want)
		}
	}
	if all := w.list(); len(all) != 2 {
		t.Errorf("%d messages in the ledger", len(all))
	}
	w.send(message("no-order", `{"customer":"c","n":1}`))
	w.drained()
	if all := w.list(); len(all) != 3 || all[2].IdempotencyKey != "no-order" || all[2].OrderingKey != "c" {
		t.Errorf("the corrected one: %+v", all)
	}
}

// The ledger takes nothing for a while: nothing is lost, nothing set aside, and the
// messages' deliveries are not used up.
func TestTheLedgerRefusesAndRecovers(t *testing.T) {
	w := start(t)
	w.send(numbered(0, 100)...)
	w.drained()
	w.fault.refuse.Store(ferry.Errorf(ferry.CodeNoSpace, "the disk is full"))
	w.send(numbered(100, 100)...)
	w.until("it pauses", func() bool {
		info := w.in.Info(invoices)
		return info.State == ferry.IntakePaused && info.InHand == 0
	})
	report, err := w.b.Status(t.Context())
	if err != nil || !slices.ContainsFunc(report.Problems, func(p string) bool {
		return strings.HasPrefix(p, "route invoices takes nothing in from the queue flow-invoices since ") && strings.HasSuffix(p, "the disk is full")
	}) {
		t.Errorf("problems %q, %v", report.Problems, err)
	}
	if c := w.queue(flowQueue).Counts(); c.Active+c.Locked != 100 || c.Dead != 0 {
		t.Errorf("%+v", c)
	}
	w.fault.refuse.Store(nil)
	w.drained()
	if all := w.list(); len(all) != 200 || w.queue(flowQueue).Counts().Dead != 0 {
		t.Errorf("%d messages, %+v", len(all), w.queue(flowQueue).Counts())
	}
	w.balanced()
}

// Answers to completions are lost, connections cut, links detached: each message is
// accepted once, and none stays.
func TestCutConnections(t *testing.T) {
	w := start(t, func(_ *world, o *sbemu.Options) {
		o.Queues[0].LockDuration, o.Queues[0].MaxDelivery = 5*time.Second, 100
	})
	n := 0
	w.emu.OnSettle(func(queue, outcome string) sbemu.SettleFault {
		if queue != flowQueue || outcome != "completed" {
			return sbemu.SettleFault{}
		}
		n++ // one after the other
		switch n % 20 {
		case 3:
			return sbemu.SettleFault{Drop: true}
		case 9:
			return sbemu.SettleFault{Lose: true}
		}
		return sbemu.SettleFault{}
	})
	for i := range 5 {
		w.send(numbered(100*i, 100)...)
		w.emu.DropConnections()
		w.send(numbered(100*i, 5)...)
		w.emu.DetachLinks(flowQueue, nil)
	}
	w.until("500 are accepted", func() bool { return w.in.Info(invoices).Taken >= 500 })
	w.emu.OnSettle(nil)
	w.drained()
	seen := map[string]int{}
	for _, e := range w.list() {
		seen[e.IdempotencyKey]++
	}
	if len(seen) != 500 || w.queue(flowQueue).Counts().Dead != 0 {
		t.Errorf("%d keys, %+v", len(seen), w.queue(flowQueue).Counts())
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s was accepted %d times", key, n)
		}
	}
	w.balanced()
}

// Killed between accept and complete: the message comes again to the next broker,
// which knows it.
func TestARestartBetweenAcceptAndComplete(t *testing.T) {
	w := start(t, func(_ *world, o *sbemu.Options) { o.Queues[0].LockDuration = 5 * time.Second })
	w.emu.OnSettle(func(_, outcome string) sbemu.SettleFault { return sbemu.SettleFault{Lose: outcome == "completed"} })
	w.send(message("INV-1", `{}`), message("", `{"unnamed":1}`))
	w.until("both are on disk", func() bool { return w.in.Info(invoices).Taken == 2 })
	w.emu.DropConnections() // as a kill does: no answer comes
	w.restart()
	w.emu.OnSettle(nil)
	w.drained()
	if info := w.in.Info(invoices); info.Taken != 0 || info.Duplicates < 2 || len(w.list()) != 2 {
		t.Errorf("%+v, %d messages", info, len(w.list()))
	}
}

// The flow's side of it: what came of the message arrives as a message, with what
// the flow needs to find its run.
func TestRepliesTellTheEnd(t *testing.T) {
	w := start(t, func(_ *world, o *sbemu.Options) { o.Queues[1].DuplicateWindow = time.Minute })
	mended := false
	w.deliver(func(h ferry.HandOut) ferry.Receipt {
		if h.IdempotencyKey == "INV-2" && !mended {
			return rejected("E17", "no such supplier")
		}
		return delivered("DOC-" + h.IdempotencyKey)
	})
	asks := func(m *azservicebus.Message) {
		m.ReplyTo, m.ReplyToSessionID, m.CorrelationID = new(replyQueue), new("run-"+*m.MessageID), new("case-1")
	}
	w.send(message("INV-1", `{"n":1}`, asks), message("INV-2", `{"n":2}`, asks), message("INV-3", `{"n":3}`))
	got := map[string]*azservicebus.ReceivedMessage{}
	for _, m := range w.replies(2) {
		got[*m.CorrelationID] = m
	}
	done, dead := got["INV-1"], got["INV-2"]
	if done == nil || dead == nil {
		t.Fatalf("replies %v", got)
	}
	e := envelopeOf(t, done)
	if *done.Subject != "ferry.completed" || *done.SessionID != "run-INV-1" || *done.ContentType != "application/json" ||
		e.State != ferry.StateCompleted || e.Reference != "DOC-INV-1" || e.CorrelationID != "case-1" || len(e.Attempts) != 1 || e.Environment != "test" ||
		done.MessageID != e.ID.String()+".1.completed" || done.ApplicationProperties["reference"] != "DOC-INV-1" || done.ApplicationProperties["ferryId"] != e.ID.String() {
		t.Errorf("completed: %+v %v\n%+v", done, done.ApplicationProperties, e)
	}
	e = envelopeOf(t, dead)
	if *dead.Subject != "ferry.deadLettered" || e.DeadLetter == nil || e.DeadLetter.Code != "E17" || dead.ApplicationProperties["reason"] != "Rejected" {
		t.Errorf("dead-lettered: %+v %v\n%+v", dead, dead.ApplicationProperties, e)
	}
	// A replay has an end of its own.
	mended = true
	if _, err := w.b.Replay(t.Context(), e.ID, nil, "", "", "ann"); err != nil {
		t.Fatal(err)
	}
	again := w.replies(1)[0]
	if again.MessageID != e.ID.String()+".2.completed" || *again.CorrelationID != "INV-2" || again.ApplicationProperties["generation"] != int64(2) {
		t.Errorf("after the replay: %+v", again)
	}
	if c := w.queue(replyQueue).Counts(); c.Active+c.Locked != 0 {
		t.Errorf("more replies: %+v", c)
	}
	// A run that was resubmitted sends the same, and waits for an answer of its own.
	w.send(message("INV-3", `{"n":3}`, func(m *azservicebus.Message) { m.ReplyTo, m.ReplyToSessionID = new(replyQueue), new("run-4") }))
	if m := w.replies(1)[0]; *m.CorrelationID != "INV-3" || *m.SessionID != "run-4" || envelopeOf(t, m).Reference != "DOC-INV-3" {
		t.Errorf("the answer to a repeat: %+v", m)
	}
}

// Replies that cannot be sent wait over a restart; a queue that is missing holds up
// no other.
func TestRepliesWaitForTheirQueue(t *testing.T) {
	w := start(t)
	w.deliver(func(h ferry.HandOut) ferry.Receipt { return delivered("DOC-" + h.IdempotencyKey) })
	asks := func(queue string) func(*azservicebus.Message) {
		return func(m *azservicebus.Message) { m.ReplyTo = &queue }
	}
	w.send(message("INV-1", `{"n":1}`, asks("not-yet")), message("INV-2", `{"n":2}`, asks(replyQueue)))
	if m := w.replies(1)[0]; *m.CorrelationID != "INV-2" {
		t.Fatalf("%+v", m)
	}
	w.until("the missing queue is told of", func() bool {
		report, err := w.b.Status(t.Context())
		return err == nil && slices.ContainsFunc(report.Problems, func(p string) bool {
			return strings.HasPrefix(p, "replies to not-yet on route invoices cannot be sent") && strings.Contains(p, "there is no such queue")
		})
	})
	w.restart()
	if _, err := w.emu.Namespace().Create(entity.Config{Name: "not-yet"}); err != nil {
		t.Fatal(err)
	}
	w.until("the reply arrives", func() bool { return w.queue("not-yet").Counts().Active == 1 })
	w.until("the outbox is empty", func() bool {
		info, err := w.b.RouteInfos(t.Context())
		return err == nil && info[0].Replies == 0
	})
}

// Replies are told at least once when connections break while they are sent.
func TestRepliesUnderCuts(t *testing.T) {
	w := start(t, func(_ *world, o *sbemu.Options) {
		// What was on its way when a connection is cut stays locked.
		o.Queues[0].LockDuration, o.Queues[0].MaxDelivery, o.Queues[1].DuplicateWindow = 5*time.Second, 100, time.Minute
	})
	n := 0
	w.emu.OnSend(func(queue string) sbemu.SendFault {
		if queue != replyQueue {
			return sbemu.SendFault{}
		}
		if n++; n > 4 {
			return sbemu.SendFault{}
		}
		time.AfterFunc(20*time.Millisecond, w.emu.DropConnections) // else it would be waited for, for long
		return sbemu.SendFault{Drop: n%2 == 1, Lose: n%2 == 0}
	})
	w.deliver(func(h ferry.HandOut) ferry.Receipt { return delivered("DOC") })
	msgs := numbered(0, 200)
	for _, m := range msgs {
		m.ReplyTo = new(replyQueue)
	}
	w.send(msgs[:100]...)
	w.until("some are told", func() bool { return w.queue(replyQueue).Counts().Active > 0 })
	w.send(msgs[100:]...)
	w.until("all are told", func() bool { return w.queue(replyQueue).Counts().Active == 200 })
	seen := map[string]bool{}
	for _, m := range w.replies(200) {
		seen[*m.CorrelationID] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d of 200 were told", len(seen))
	}
}

// A queue that is missing at the start does not keep the broker from starting, and
// is taken from as soon as it is there; so is one without the right to listen.
func TestAQueueThatComesLater(t *testing.T) {
	w := start(t, func(_ *world, o *sbemu.Options) { o.Queues = o.Queues[1:] })
	w.until("it is told", func() bool {
		info := w.in.Info(invoices)
		return info.State == ferry.IntakeAway && strings.Contains(info.Reason, "there is no such queue")
	})
	if _, err := w.emu.Namespace().Create(entity.Config{Name: flowQueue}); err != nil {
		t.Fatal(err)
	}
	w.send(message("INV-1", `{}`))
	w.until("it is taken in", func() bool { return w.in.Info(invoices).Taken == 1 })
	if info := w.in.Info(invoices); info.State != ferry.IntakeRunning || info.Reason != "" {
		t.Errorf("%+v", info)
	}
}

func TestNoRightToListen(t *testing.T) {
	w := start(t, func(w *world, o *sbemu.Options) {
		o.Policies = map[string]sbemu.Policy{
			"flow":  {Keys: []string{"flowkey"}, Rights: sbemu.Manage},
			"ferry": {Keys: []string{"ferrykey"}, Rights: sbemu.Send},
		}
		w.source = func(s *Source) { s.Bus = BusOf(w.dial(w.emu.ConnectionStringOf("ferry"))) }
	})
	w.until("it is told", func() bool {
		info := w.in.Info(invoices)
		return info.State == ferry.IntakeAway && strings.Contains(info.Reason, servicebus.ErrUnauthorized.Error()) && strings.Contains(info.Hint, "the right Listen")
	})
}
