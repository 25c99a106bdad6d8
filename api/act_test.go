package api

import (
	"net/http"
	"testing"
)

// Every call that changes something is an act, and in the audit log; or a sender's
// message, which says who sent it; or one of these, each for a reason.
func noActs() map[string]string {
	return map[string]string{
		"receiveFromQueue": "the message says who received it",
		"receiveAndDelete": "the message says who received it",
		"completeMessage":  "the message says who received it",
		"unlockMessage":    "the message says who received it",
		"renewMessageLock": "the message says who received it",

		"unsubscribe": "an act with a key; with the token of its address nobody is known",
	}
}

func TestEveryChangeIsAnActOrHasAReason(t *testing.T) {
	reasons := noActs()
	for _, ep := range new(api).endpoints() {
		why, free := reasons[ep.id]
		delete(reasons, ep.id)
		free = free || ep.sends
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
