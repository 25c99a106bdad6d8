package sbemu

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/google/go-cmp/cmp"

	"ferry/internal/sbemu/entity"
)

func sessionQueue(lock time.Duration) Options {
	return Options{Queues: []entity.Config{{Name: "orders", RequiresSession: true, LockDuration: lock}}}
}

func sendSessions(t *testing.T, c *azservicebus.Client, ids ...string) {
	t.Helper()
	from := sender(t, c, "orders")
	for _, id := range ids {
		send(t, from, &azservicebus.Message{Body: []byte(id), SessionID: ptr(id)})
	}
}

func receiveSession(t *testing.T, r *azservicebus.SessionReceiver) *azservicebus.ReceivedMessage {
	t.Helper()
	ms, err := r.ReceiveMessages(within(t), 1, nil)
	if err != nil || len(ms) != 1 {
		t.Fatalf("received %d messages, %v", len(ms), err)
	}
	return ms[0]
}

func TestSessionAcceptNamed(t *testing.T) {
	s := start(t, sessionQueue(0))
	c := client(t, s)
	sendSessions(t, c, "a", "b", "a")
	r, err := c.AcceptSessionForQueue(within(t), "orders", "a", nil)
	must(t, err)
	if r.SessionID() != "a" || time.Until(r.LockedUntil()) < 30*time.Second || time.Until(r.LockedUntil()) > 90*time.Second {
		t.Errorf("session %q until %s", r.SessionID(), r.LockedUntil())
	}
	for range 2 {
		m := receiveSession(t, r)
		if m.SessionID == nil || *m.SessionID != "a" {
			t.Errorf("a message of the session %v", m.SessionID)
		}
		must(t, r.CompleteMessage(within(t), m, nil))
	}
	var sdk *azservicebus.Error
	if _, err := client(t, s).AcceptSessionForQueue(within(t), "orders", "a", nil); err == nil {
		t.Error("a held session was given to another")
	} else if errors.As(err, &sdk) && sdk.Code == azservicebus.CodeTimeout {
		t.Errorf("a held session was waited for: %v", err)
	}
	must(t, r.Close(within(t)))
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 1}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestSessionAcceptNext(t *testing.T) {
	s := start(t, sessionQueue(0))
	c := client(t, s)
	sendSessions(t, c, "a", "b")
	var ids []string
	for range 2 {
		r, err := c.AcceptNextSessionForQueue(within(t), "orders", nil)
		must(t, err)
		ids = append(ids, r.SessionID())
	}
	if d := cmp.Diff([]string{"a", "b"}, ids); d != "" {
		t.Error(d)
	}
}

func TestSessionAcceptNextWaits(t *testing.T) {
	s := start(t, sessionQueue(0))
	c := client(t, s)
	type accepted struct {
		r   *azservicebus.SessionReceiver
		err error
	}
	ctx := within(t)
	got := make(chan accepted, 1)
	go func() {
		r, err := c.AcceptNextSessionForQueue(ctx, "orders", nil)
		got <- accepted{r, err}
	}()
	sendSessions(t, client(t, s), "late")
	a := <-got
	must(t, a.err)
	if a.r.SessionID() != "late" {
		t.Errorf("session %q", a.r.SessionID())
	}
}

func TestSessionAcceptTimesOut(t *testing.T) {
	s := start(t, sessionQueue(0))
	c := client(t, s)
	sendSessions(t, c) // connects
	ctx, cancel := contextIn(t, 300*time.Millisecond)
	defer cancel()
	// The SDK asks for an answer only just before its context ends: which of the two
	// comes first is open here. The answer itself is looked at frame by frame.
	var sdk *azservicebus.Error
	_, err := c.AcceptNextSessionForQueue(ctx, "orders", nil)
	if !errors.Is(err, context.DeadlineExceeded) && (!errors.As(err, &sdk) || sdk.Code != azservicebus.CodeTimeout) {
		t.Errorf("no session free: %v", err)
	}
	sendSessions(t, c, "a")
	if _, err := c.AcceptNextSessionForQueue(within(t), "orders", nil); err != nil {
		t.Errorf("a session that came later: %v", err)
	}
}

func TestSessionStateRenewAndList(t *testing.T) {
	s := start(t, sessionQueue(0))
	c := client(t, s)
	sendSessions(t, c, "a", "b")
	r, err := c.AcceptSessionForQueue(within(t), "orders", "a", nil)
	must(t, err)
	state, err := r.GetSessionState(within(t), nil)
	if err != nil || state != nil {
		t.Errorf("a new session has the state %q, %v", state, err)
	}
	must(t, r.SetSessionState(within(t), []byte("half"), nil))
	if state, err = r.GetSessionState(within(t), nil); err != nil || string(state) != "half" {
		t.Errorf("the state is %q, %v", state, err)
	}
	before := r.LockedUntil()
	time.Sleep(20 * time.Millisecond)
	must(t, r.RenewSessionLock(within(t), nil))
	if !r.LockedUntil().After(before) {
		t.Errorf("renewed from %s to %s", before, r.LockedUntil())
	}
	var ids []string
	for pager := c.NewListSessionsForQueuePager("orders", nil); pager.More(); {
		page, err := pager.NextPage(within(t))
		must(t, err)
		ids = append(ids, page.Sessions...)
	}
	if d := cmp.Diff([]string{"a", "b"}, ids); d != "" {
		t.Error(d)
	}
	must(t, r.SetSessionState(within(t), nil, nil))
	if state, err = r.GetSessionState(within(t), nil); err != nil || state != nil {
		t.Errorf("the state is %q after clearing, %v", state, err)
	}
}

func TestSessionLockExpires(t *testing.T) {
	s := start(t, sessionQueue(2*time.Second))
	c := client(t, s)
	sendSessions(t, c, "a")
	r, err := c.AcceptSessionForQueue(within(t), "orders", "a", nil)
	must(t, err)
	m := receiveSession(t, r)
	other, err := client(t, s).AcceptNextSessionForQueue(within(t), "orders", nil)
	must(t, err)
	again := receiveSession(t, other)
	if again.DeliveryCount < 1 {
		t.Errorf("delivery %d", again.DeliveryCount)
	}
	ctx, cancel := contextIn(t, time.Second)
	defer cancel()
	if err := r.CompleteMessage(ctx, m, nil); err == nil {
		t.Error("completed under a session that another holds")
	}
	if got := counts(t, s, "orders"); got.Active+got.Locked != 1 {
		t.Errorf("the queue holds %+v", got)
	}
}
