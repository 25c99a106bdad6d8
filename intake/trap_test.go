package intake

import (
	"fmt"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
)

// A sender's property of the name that the service gives reasons in, and no
// string: the SDK panics on it. It ends neither the process nor the intake, and in
// the end lies in the dead letters of its queue, alone.
func TestAMessageThatTheSDKCannotRead(t *testing.T) {
	w := start(t, func(_ *world, o *sbemu.Options) { o.Queues[0].LockDuration, o.Queues[0].MaxDelivery = 5*time.Second, 3 })
	w.send(numbered(0, 20)...)
	w.send(message("bad", `{}`, func(m *azservicebus.Message) { m.ApplicationProperties = map[string]any{"DeadLetterReason": int64(5)} }))
	w.send(numbered(20, 20)...)
	w.until("the others are taken in", func() bool { return w.in.Info(invoices).Taken == 40 })
	w.until("the bad one is set aside", func() bool { return w.queue(flowQueue).Counts().Dead == 1 })
	for _, m := range w.queue(flowQueue).DeadLetters().Messages() {
		if m.MessageID != "bad" {
			t.Errorf("dead-lettered: %+v", m)
		}
	}
	if all := w.list(); len(all) != 40 {
		t.Errorf("%d messages: %v", len(all), fmt.Sprint(all))
	}
}
