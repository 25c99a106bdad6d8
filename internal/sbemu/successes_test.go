package sbemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/google/go-cmp/cmp"

	"ferry/internal/sbemu/entity"
)

func ptr[T any](v T) *T { return &v }

func counts(t testing.TB, s *Server, queue string) entity.Counts {
	t.Helper()
	q, err := s.Namespace().Queue(queue)
	must(t, err)
	c := q.Counts()
	c.Bytes = 0
	return c
}

func TestSendKeepsEverythingOfAMessage(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	sent := &azservicebus.Message{
		Body: []byte("{}"), MessageID: ptr("m-1"), CorrelationID: ptr("c-1"), ContentType: ptr("application/json"), Subject: ptr("invoice"),
		To: ptr("erp"), ReplyTo: ptr("answers"), ReplyToSessionID: ptr("s-2"), PartitionKey: ptr("p-1"), TimeToLive: ptr(time.Hour),
		ApplicationProperties: map[string]any{"a": "text", "b": int64(7), "c": true, "d": 1.5},
	}
	before := time.Now().Add(-time.Second)
	send(t, sender(t, c, "orders"), sent)
	m := receive(t, receiver(t, c, "orders", nil))
	got := azservicebus.Message{
		Body: m.Body, MessageID: &m.MessageID, CorrelationID: m.CorrelationID, ContentType: m.ContentType, Subject: m.Subject, To: m.To,
		ReplyTo: m.ReplyTo, ReplyToSessionID: m.ReplyToSessionID, PartitionKey: m.PartitionKey, TimeToLive: m.TimeToLive, ApplicationProperties: m.ApplicationProperties,
	}
	if d := cmp.Diff(*sent, got); d != "" {
		t.Error(d)
	}
	if m.SequenceNumber == nil || *m.SequenceNumber < 1 || m.EnqueuedTime == nil || m.EnqueuedTime.Before(before) {
		t.Errorf("sequence number %v, enqueued at %v", m.SequenceNumber, m.EnqueuedTime)
	}
	if m.LockedUntil == nil || !m.LockedUntil.After(time.Now()) || m.LockToken == [16]byte{} {
		t.Errorf("locked until %v by %v", m.LockedUntil, m.LockToken)
	}
}

func TestNamesAreOfAnyCase(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "ORDERS"), &azservicebus.Message{Body: []byte("x")})
	receive(t, receiver(t, c, "Orders", nil))
}

func TestBatch(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	batch, err := from.NewMessageBatch(within(t), nil)
	must(t, err)
	const n = 50
	for i := range n {
		must(t, batch.AddMessage(&azservicebus.Message{Body: fmt.Appendf(nil, "%d", i), ApplicationProperties: map[string]any{"n": int32(i)}}, nil))
	}
	must(t, from.SendMessageBatch(within(t), batch, nil))
	r := receiver(t, c, "orders", nil)
	for i := range n {
		m := receive(t, r)
		if string(m.Body) != fmt.Sprint(i) || m.ApplicationProperties["n"] != int32(i) || m.MessageID == "" {
			t.Fatalf("message %d is %q with %v and the id %q", i, m.Body, m.ApplicationProperties, m.MessageID)
		}
	}
}

func TestBatchSizeIsTheQueues(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", MaxMessageBytes: 64 << 10, MaxBatchBytes: 8 << 10}}})
	c := client(t, s)
	batch, err := sender(t, c, "orders").NewMessageBatch(within(t), nil)
	must(t, err)
	if err := batch.AddMessage(&azservicebus.Message{Body: make([]byte, 9<<10)}, nil); !errors.Is(err, azservicebus.ErrMessageTooLarge) {
		t.Errorf("9 KiB into a batch of 8: %v", err)
	}
	must(t, batch.AddMessage(&azservicebus.Message{Body: make([]byte, 7<<10)}, nil))
}

func TestScheduledSend(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	due := time.Now().Add(300 * time.Millisecond)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("later"), ScheduledEnqueueTime: &due})
	m := receive(t, receiver(t, c, "orders", nil))
	if m.ScheduledEnqueueTime == nil || !m.ScheduledEnqueueTime.Equal(due.Truncate(time.Millisecond)) {
		t.Errorf("scheduled for %v, want %s", m.ScheduledEnqueueTime, due)
	}
	if time.Now().Before(due.Add(-time.Millisecond)) {
		t.Error("received before it was due")
	}
}

func TestScheduleAndCancel(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	due := time.Now().Add(time.Hour)
	numbers, err := from.ScheduleMessages(within(t), []*azservicebus.Message{{Body: []byte("a")}, {Body: []byte("b")}, {Body: []byte("c")}}, due, nil)
	must(t, err)
	if len(numbers) != 3 {
		t.Fatalf("sequence numbers %v", numbers)
	}
	peeked, err := receiver(t, c, "orders", nil).PeekMessages(within(t), 10, nil)
	must(t, err)
	if len(peeked) != 3 || peeked[0].State != azservicebus.MessageStateScheduled || *peeked[0].SequenceNumber != numbers[0] {
		t.Errorf("peeked %d messages", len(peeked))
	}
	must(t, from.CancelScheduledMessages(within(t), numbers[:2], nil))
	if got := counts(t, s, "orders"); got != (entity.Counts{Scheduled: 1}) {
		t.Errorf("the queue holds %+v", got)
	}
	var sdk *azservicebus.Error
	if err := from.CancelScheduledMessages(within(t), numbers[:1], nil); !errors.As(err, &sdk) || sdk.Code != azservicebus.CodeNotFound {
		t.Errorf("cancelled twice: %v", err)
	}
}

func TestReceiveAndDelete(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x")})
	r := receiver(t, c, "orders", &azservicebus.ReceiverOptions{ReceiveMode: azservicebus.ReceiveModeReceiveAndDelete})
	if m := receive(t, r); string(m.Body) != "x" {
		t.Errorf("received %q", m.Body)
	}
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestAbandonWithProperties(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x"), ApplicationProperties: map[string]any{"a": "1", "b": "2"}})
	r := receiver(t, c, "orders", nil)
	must(t, r.AbandonMessage(within(t), receive(t, r), &azservicebus.AbandonMessageOptions{PropertiesToModify: map[string]any{"b": "3", "n": int32(4)}}))
	m := receive(t, r)
	if d := cmp.Diff(map[string]any{"a": "1", "b": "3", "n": int32(4)}, m.ApplicationProperties); d != "" {
		t.Error(d)
	}
	if m.DeliveryCount != 2 {
		t.Errorf("delivery %d", m.DeliveryCount)
	}
}

func TestDeadLetterWithReason(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x"), MessageID: ptr("m-1")})
	r := receiver(t, c, "orders", nil)
	must(t, r.DeadLetterMessage(within(t), receive(t, r), &azservicebus.DeadLetterOptions{
		Reason: ptr("Rejected"), ErrorDescription: ptr("no such account"), PropertiesToModify: map[string]any{"code": "E7"},
	}))
	dead := receiver(t, c, "orders", &azservicebus.ReceiverOptions{SubQueue: azservicebus.SubQueueDeadLetter})
	peeked, err := dead.PeekMessages(within(t), 5, nil)
	must(t, err)
	if len(peeked) != 1 || peeked[0].DeadLetterReason == nil || *peeked[0].DeadLetterReason != "Rejected" {
		t.Errorf("peeked %+v", peeked)
	}
	m := receive(t, dead)
	if *m.DeadLetterReason != "Rejected" || *m.DeadLetterErrorDescription != "no such account" || m.ApplicationProperties["code"] != "E7" || m.MessageID != "m-1" {
		t.Errorf("dead-lettered as %v, %v, %v", *m.DeadLetterReason, *m.DeadLetterErrorDescription, m.ApplicationProperties)
	}
	must(t, dead.CompleteMessage(within(t), m, nil))
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestDeferAndReceiveDeferred(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x")})
	r := receiver(t, c, "orders", nil)
	m := receive(t, r)
	must(t, r.DeferMessage(within(t), m, &azservicebus.DeferMessageOptions{PropertiesToModify: map[string]any{"why": "later"}}))
	if got := counts(t, s, "orders"); got != (entity.Counts{Deferred: 1}) {
		t.Errorf("the queue holds %+v", got)
	}
	ms, err := r.ReceiveDeferredMessages(within(t), []int64{*m.SequenceNumber}, nil)
	must(t, err)
	if len(ms) != 1 || ms[0].State != azservicebus.MessageStateDeferred || ms[0].ApplicationProperties["why"] != "later" {
		t.Fatalf("received deferred %+v", ms)
	}
	must(t, r.CompleteMessage(within(t), ms[0], nil))
	var sdk *azservicebus.Error
	if _, err := r.ReceiveDeferredMessages(within(t), []int64{*m.SequenceNumber}, nil); !errors.As(err, &sdk) || sdk.Code != azservicebus.CodeNotFound {
		t.Errorf("received again: %v", err)
	}
}

func TestRenew(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x")})
	r := receiver(t, c, "orders", nil)
	m := receive(t, r)
	for range 3 {
		before := *m.LockedUntil
		time.Sleep(2 * time.Millisecond) // so that the end of the lock moves by what a timestamp shows
		must(t, r.RenewMessageLock(within(t), m, nil))
		if !m.LockedUntil.After(before) {
			t.Fatalf("renewed from %s to %s", before, m.LockedUntil)
		}
	}
	must(t, r.CompleteMessage(within(t), m, nil))
}

func TestLockExpires(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", LockDuration: 300 * time.Millisecond}}})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x")})
	r := receiver(t, c, "orders", nil)
	m := receive(t, r)
	again := receive(t, r)
	if again.DeliveryCount != 2 {
		t.Errorf("delivery %d", again.DeliveryCount)
	}
	var sdk *azservicebus.Error
	if err := r.CompleteMessage(within(t), m, nil); !errors.As(err, &sdk) || sdk.Code != azservicebus.CodeLockLost {
		t.Errorf("completed after the lock: %v", err)
	}
	if err := r.RenewMessageLock(within(t), m, nil); !errors.As(err, &sdk) || sdk.Code != azservicebus.CodeLockLost {
		t.Errorf("renewed after the lock: %v", err)
	}
}

func TestPeek(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	for i := range 5 {
		send(t, from, &azservicebus.Message{Body: fmt.Appendf(nil, "%d", i)})
	}
	r := receiver(t, c, "orders", nil)
	var bodies []string
	for range 3 {
		ms, err := r.PeekMessages(within(t), 2, nil)
		must(t, err)
		for _, m := range ms {
			bodies = append(bodies, string(m.Body))
			if m.LockToken != [16]byte{} {
				t.Errorf("a peeked message has the lock %v", m.LockToken)
			}
		}
	}
	if d := cmp.Diff([]string{"0", "1", "2", "3", "4"}, bodies); d != "" {
		t.Error(d)
	}
}

func TestMaxDelivery(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", MaxDelivery: 2}}})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x")})
	r := receiver(t, c, "orders", nil)
	for range 2 {
		must(t, r.AbandonMessage(within(t), receive(t, r), nil))
	}
	dead := receive(t, receiver(t, c, "orders", &azservicebus.ReceiverOptions{SubQueue: azservicebus.SubQueueDeadLetter}))
	if *dead.DeadLetterReason != "MaxDeliveryCountExceeded" {
		t.Errorf("dead-lettered for %q", *dead.DeadLetterReason)
	}
}

func TestTimeToLiveEndsInDeadLetters(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", DeadLetterOnExpiry: true}}})
	c := client(t, s)
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x"), TimeToLive: ptr(100 * time.Millisecond)})
	dead := receive(t, receiver(t, c, "orders", &azservicebus.ReceiverOptions{SubQueue: azservicebus.SubQueueDeadLetter}))
	if *dead.DeadLetterReason != "TTLExpiredException" {
		t.Errorf("dead-lettered for %q", *dead.DeadLetterReason)
	}
}

func TestDuplicateDetection(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", DuplicateWindow: time.Minute}}})
	c := client(t, s)
	from := sender(t, c, "orders")
	for range 3 {
		send(t, from, &azservicebus.Message{Body: []byte("x"), MessageID: ptr("same")})
	}
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 1}) {
		t.Errorf("the queue holds %+v", got)
	}
	numbers, err := from.ScheduleMessages(within(t), []*azservicebus.Message{{MessageID: ptr("same")}}, time.Now().Add(time.Hour), nil)
	if err != nil || len(numbers) != 0 {
		t.Errorf("a repeated message was scheduled as %v, %v", numbers, err)
	}
}

func TestMessagesOfManyFrames(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", MaxMessageBytes: 3 << 20}}})
	c := client(t, s)
	from, r := sender(t, c, "orders"), receiver(t, c, "orders", nil)
	for _, size := range []int{0, 1, 65_000, 65_536, 200 << 10, 2 << 20} {
		body := bytes.Repeat([]byte{0xa5, byte(size), 0x00, 0x53}, size/4+1)[:size]
		send(t, from, &azservicebus.Message{Body: body})
		m := receive(t, r)
		if !bytes.Equal(m.Body, body) {
			t.Errorf("%d bytes came back as %d others", size, len(m.Body))
		}
		must(t, r.CompleteMessage(within(t), m, nil))
	}
}

func TestOversizeIsRefused(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	if err := from.SendMessage(within(t), &azservicebus.Message{Body: make([]byte, 300<<10)}, nil); !errors.Is(err, azservicebus.ErrMessageTooLarge) {
		t.Errorf("300 KiB of 256: %v", err)
	}
	send(t, from, &azservicebus.Message{Body: []byte("small")})
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 1}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestSettleByLockToken(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from, r := sender(t, c, "orders"), receiver(t, c, "orders", nil)
	for _, settle := range []func(m *azservicebus.ReceivedMessage) error{
		func(m *azservicebus.ReceivedMessage) error {
			return r.AbandonMessage(within(t), m, &azservicebus.AbandonMessageOptions{PropertiesToModify: map[string]any{"k": "v"}})
		},
		func(m *azservicebus.ReceivedMessage) error { return r.CompleteMessage(within(t), m, nil) },
	} {
		if counts(t, s, "orders").Active == 0 {
			send(t, from, &azservicebus.Message{Body: []byte("x")})
		}
		m := receive(t, r)
		must(t, settle(&azservicebus.ReceivedMessage{LockToken: m.LockToken}))
	}
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestCloseKeepsLocks(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	for range 10 {
		send(t, from, &azservicebus.Message{Body: []byte("x")})
	}
	r := receiver(t, c, "orders", nil)
	ctx := within(t)
	got := 0
	for got < 4 {
		ms, err := r.ReceiveMessages(ctx, 4-got, nil)
		must(t, err)
		got += len(ms)
	}
	must(t, r.Close(ctx))
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 6, Locked: 4}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestCancelledReceiveReleasesWithoutCount(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	r := receiver(t, c, "orders", nil)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.ReceiveMessages(ctx, 10, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	// The credit is still there: the SDK takes the message and gives it back.
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: []byte("x")})
	if m := receive(t, receiver(t, client(t, s), "orders", nil)); m.DeliveryCount != 1 {
		t.Errorf("delivery %d", m.DeliveryCount)
	}
}
