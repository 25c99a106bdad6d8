package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/internal/servicebus"
)

func ending(n byte, change ...func(*ferry.Ending)) ferry.Ending {
	e := ferry.Ending{
		Notice: ferry.Notice{
			Seq: uint64(n), To: ferry.NoticeTarget{Kind: ferry.ReplyServiceBus, Route: "invoices", Target: "replies"},
			ID: ferry.ID{15: n}, Generation: 1, State: ferry.StateCompleted,
			ReplyTo: ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "replies", CorrelationID: "INV-1"},
		},
		Envelope: ferry.Envelope{ID: ferry.ID{15: n}, Route: "invoices", State: ferry.StateCompleted, Reference: "DOC-1"},
	}
	for _, f := range change {
		f(&e)
	}
	return e
}

func inSession(id string) func(*ferry.Ending) {
	return func(e *ferry.Ending) { e.ReplyTo.SessionID = id }
}

func (f *fakeIntake) tell(ends ...ferry.Ending) []error {
	return f.in.Tell(context.Background(), ends[0].To, ends)
}

func TestAReplyTellsTheEnd(t *testing.T) {
	f := newFake()
	dead := ending(2, inSession("run-1"), func(e *ferry.Ending) {
		e.State, e.Generation, e.Envelope.State, e.Envelope.Reference = ferry.StateDeadLettered, 2, ferry.StateDeadLettered, ""
		e.Dead = &ferry.DeadLetter{Reason: ferry.ReasonRejected, Code: "E17", Description: "no such supplier"}
		e.Envelope.DeadLetter = e.Dead
		e.ReplyTo.CorrelationID = ""
	})
	for _, err := range f.tell(ending(1), dead) {
		if err != nil {
			t.Fatal(err)
		}
	}
	sent := f.bus.sent["replies"]
	want := []*azservicebus.Message{
		{
			MessageID: new("00000000-0000-0000-0000-000000000001.1.completed"), CorrelationID: new("INV-1"), Subject: new("ferry.completed"),
			ContentType: new("application/json"), Body: encodePlain(ending(1).Envelope),
			ApplicationProperties: map[string]any{
				"ferryId": "00000000-0000-0000-0000-000000000001", "route": "invoices", "state": "completed", "generation": int64(1), "reference": "DOC-1", "environment": "test",
			},
		},
		{
			MessageID: new("00000000-0000-0000-0000-000000000002.2.deadLettered"), SessionID: new("run-1"), Subject: new("ferry.deadLettered"),
			ContentType: new("application/json"), Body: encodePlain(dead.Envelope),
			ApplicationProperties: map[string]any{
				"ferryId": "00000000-0000-0000-0000-000000000002", "route": "invoices", "state": "deadLettered", "generation": int64(2), "reason": "Rejected", "code": "E17", "environment": "test",
			},
		},
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Error(diff)
	}
}

// A long story is told in fewer words rather than not at all.
func TestALongEndIsShortened(t *testing.T) {
	f := newFake()
	long := ending(1, func(e *ferry.Ending) {
		for i := range 100 {
			e.Envelope.Attempts = append(e.Envelope.Attempts, ferry.Attempt{Number: i + 1, Text: strings.Repeat("x", ferry.MaxAttemptText)})
		}
		e.Envelope.AttemptsTotal = 100
	})
	longer := ending(2, func(e *ferry.Ending) {
		e.Envelope.Result = json.RawMessage(`"` + strings.Repeat("x", 200<<10) + `"`)
	})
	f.tell(long, longer)
	for i, want := range []int{attemptsShown, 0} {
		m := f.bus.sent["replies"][i]
		var e ferry.Envelope
		if err := json.Unmarshal(m.Body, &e); err != nil || len(m.Body) > largestReply || len(e.Attempts) != want || e.Reference != "DOC-1" {
			t.Errorf("reply %d: %d bytes, %d attempts, %v", i, len(m.Body), len(e.Attempts), err)
		}
		if want > 0 && e.Attempts[want-1].Number != 100 {
			t.Errorf("the last attempt shown is %d", e.Attempts[want-1].Number)
		}
	}
}

func texts(errs []error) (list []string) {
	for _, err := range errs {
		if err == nil {
			list = append(list, "")
		} else {
			list = append(list, err.Error())
		}
	}
	return list
}

func TestWhatFailsOfATelling(t *testing.T) {
	ends := []ferry.Ending{ending(1), ending(2, inSession("s")), ending(3), ending(4, inSession("s"))}
	for what, c := range map[string]struct {
		send func(queue string, msgs []*azservicebus.Message) error
		want []string
		sent int
	}{
		"the queue is missing": {func(string, []*azservicebus.Message) error {
			return &servicebus.SendError{Err: servicebus.ErrNotFound}
		}, slices.Repeat([]string{"there is no such queue in the namespace"}, 4), 0},
		"no right": {func(string, []*azservicebus.Message) error {
			return &servicebus.SendError{Err: servicebus.ErrUnauthorized}
		}, slices.Repeat([]string{servicebus.ErrUnauthorized.Error() + ": the broker needs the right Send on it"}, 4), 0},
		"cut in the middle": {func(_ string, msgs []*azservicebus.Message) error {
			return &servicebus.SendError{Sent: 1, Err: servicebus.ErrUnavailable}
		}, append([]string{""}, slices.Repeat([]string{servicebus.ErrUnavailable.Error() + " (after 1 were sent)"}, 3)...), 1},
		"a queue that wants sessions": {func(_ string, msgs []*azservicebus.Message) error {
			if msgs[0].SessionID == nil {
				return &servicebus.SendError{Err: servicebus.ErrRefused}
			}
			return nil
		}, []string{servicebus.ErrRefused.Error(), "", servicebus.ErrRefused.Error(), ""}, 2},
		"the first too large": {func(_ string, msgs []*azservicebus.Message) error {
			if *msgs[0].CorrelationID == "INV-1" && *msgs[0].MessageID == ends[0].ID.String()+".1.completed" && len(msgs) > 1 {
				return &servicebus.SendError{Err: servicebus.ErrTooLarge}
			}
			return nil
		}, []string{"", "", "", ""}, 4},
		"the first too large even in few words": {func(_ string, msgs []*azservicebus.Message) error {
			if *msgs[0].MessageID == ends[0].ID.String()+".1.completed" {
				return &servicebus.SendError{Err: servicebus.ErrTooLarge}
			}
			return nil
		}, []string{"it can never be told: too large for the queue", "", "", ""}, 3},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFake()
			f.bus.send = c.send
			errs := f.tell(ends...)
			if diff := cmp.Diff(c.want, texts(errs)); diff != "" || len(f.bus.sent["replies"]) != c.sent {
				t.Errorf("%s\n%d sent", diff, len(f.bus.sent["replies"]))
			}
			if what == "the first too large even in few words" && !errors.Is(errs[0], ferry.ErrUntellable) {
				t.Error("it would be tried for a day")
			}
		})
	}
}

func TestRepliesOfARouteThatHasNoIntakeAnyMore(t *testing.T) {
	f := newFake()
	gone := ending(1)
	gone.To.Route = "other"
	if errs := f.tell(gone); !strings.Contains(fmt.Sprint(errs), "takes nothing in from Service Bus any more") {
		t.Error(errs)
	}
	off := newFake(func(o *Source) { o.Replies = false })
	if errs := off.tell(ending(1)); !strings.Contains(fmt.Sprint(errs), "replies is false") {
		t.Error(errs)
	}
}
