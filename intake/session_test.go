package intake

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

func withSessions(_ *world, o *sbemu.Options) {
	o.Queues[0].RequiresSession, o.Queues[0].LockDuration = true, 5*time.Second
}

// inSessions sends n messages to each of so many sessions, in turn.
func (w *world) inSessions(sessions, from, n int) {
	w.Helper()
	var msgs []*azservicebus.Message
	for i := from; i < from+n; i++ {
		for s := range sessions {
			msgs = append(msgs, message(fmt.Sprintf("s%d-%03d", s, i), fmt.Sprintf(`{"s":%d,"n":%d}`, s, i), func(m *azservicebus.Message) {
				m.SessionID = new(fmt.Sprint("s", s))
			}))
		}
	}
	w.send(msgs...)
}

// wantInOrder wants each session's messages to have been accepted in their order,
// each once.
func (w *world) wantInOrder(sessions, n int) {
	w.Helper()
	for s := range sessions {
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("s%d-%03d", s, i))
		}
		if got := w.fault.accepted(fmt.Sprint("s", s)); !slices.Equal(got, want) {
			w.Errorf("session %d: %v", s, got)
		}
	}
}

// A queue with sessions is noticed, and each session's messages get their session
// for ordering key and are taken in one after the other.
func TestSessionsAreTakenInTurnAndInOrder(t *testing.T) {
	w := start(t, withSessions)
	w.inSessions(12, 0, 20) // more sessions than are in hand at a time
	w.drained()
	w.wantInOrder(12, 20)
	if info := w.in.Info(invoices); info.Taken != 240 || info.State != ferry.IntakeRunning || info.Duplicates != 0 {
		t.Errorf("%+v", info)
	}
	w.inSessions(1, 20, 1) // a session that was given back
	w.drained()
	if got := w.fault.accepted("s0"); len(got) != 21 {
		t.Errorf("%d of the first session", len(got))
	}
}

// Cut connections, and a ledger that refuses for a while: the order holds.
func TestSessionsKeepTheirOrderThroughFaults(t *testing.T) {
	w := start(t, withSessions, func(_ *world, o *sbemu.Options) { o.Queues[0].MaxDelivery = 100 })
	w.inSessions(4, 0, 50)
	w.until("it has begun", func() bool { return w.in.Info(invoices).Taken > 10 })
	w.emu.DropConnections()
	w.inSessions(4, 50, 50)
	w.until("it goes on", func() bool { return w.in.Info(invoices).Taken > 220 })
	w.fault.refuse.Store(ferry.Errorf(ferry.CodeNoSpace, "the disk is full"))
	w.inSessions(4, 100, 20)
	w.until("it pauses", func() bool {
		info := w.in.Info(invoices)
		return info.State == ferry.IntakePaused && info.InHand == 0
	})
	w.fault.refuse.Store(nil)
	w.drained()
	w.wantInOrder(4, 120)
	w.balanced()
}

// A session that is busy for longer than its lock lasts is not lost.
func TestASessionsLockIsRenewed(t *testing.T) {
	w := start(t, withSessions)
	w.inSessions(1, 0, 1)
	w.drained()
	for i := 1; i < 9; i++ { // a message a second, of one session, for longer than its lock
		time.Sleep(time.Second)
		w.inSessions(1, i, 1)
	}
	w.drained()
	w.wantInOrder(1, 9)
	if lost := w.queue(flowQueue).Main().Totals().LockLost; lost != 0 {
		t.Errorf("%d locks were lost", lost)
	}
	if info := w.in.Info(invoices); info.Duplicates != 0 {
		t.Errorf("%+v", info)
	}
}

// A queue that is made anew, without sessions, is taken from even so.
func TestAQueueThatHadSessions(t *testing.T) {
	w := start(t, withSessions)
	w.inSessions(2, 0, 1)
	w.drained()
	if err := w.emu.Namespace().Delete(flowQueue); err != nil {
		t.Fatal(err)
	}
	w.emu.DetachLinks(flowQueue, nil)
	if _, err := w.emu.Namespace().Create(entity.Config{Name: flowQueue}); err != nil {
		t.Fatal(err)
	}
	w.emu.DropConnections() // what waits for a session hears of nothing else
	w.send(message("plain", `{}`))
	w.until("it is taken in", func() bool { return w.in.Info(invoices).Taken == 3 })
}
