package api

import (
	"net/http"
	"testing"
)

// Every call that changes something is either an act, and in the audit log, or one
// of these, each for a reason.
func noActs() map[string]string {
	return map[string]string{
		"sendMessage":        "messages have their sender",
		"sendBatch":          "messages have their sender",
		"sendMessageAndWait": "messages have their sender",
		"sendToQueue":        "messages have their sender",
		"receiveFromQueue":   "the message says who received it",
		"receiveAndDelete":   "the message says who received it",
		"completeMessage":    "the message says who received it",
		"unlockMessage":      "the message says who received it",
		"renewMessageLock":   "the message says who received it",

		"subscribeCompleted":    "a sender's own subscription",
		"subscribeDeadLettered": "a sender's own subscription",
		"unsubscribe":           "a sender's own subscription",
	}
}

func TestEveryChangeIsAnActOrHasAReason(t *testing.T) {
	reasons := noActs()
	for _, ep := range new(api).endpoints() {
		why, free := reasons[ep.id]
		delete(reasons, ep.id)
		switch changes := ep.method != http.MethodGet; {
		case changes && !ep.act && !free:
			t.Errorf("%s %s (%s) changes something and is neither an act nor excused", ep.method, ep.path, ep.id)
		case ep.act && !changes:
			t.Errorf("%s %s (%s) is an act that changes nothing", ep.method, ep.path, ep.id)
		case ep.act && free:
			t.Errorf("%s is an act, and excused: %s", ep.id, why)
		}
	}
	for id := range reasons {
		t.Errorf("there is no call %s", id)
	}
}
