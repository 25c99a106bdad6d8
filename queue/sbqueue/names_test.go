package sbqueue

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/queue"
)

func TestNames(t *testing.T) {
	got, err := Queues("", []string{"orders"}, []string{"erp-1"})
	if diff := cmp.Diff([]string{"ferry.receipts", "ferry.questions", "ferry.messages.orders", "ferry.worker.erp-1"}, got); diff != "" || err != nil {
		t.Errorf("the queues, %v (-want +got):\n%s", err, diff)
	}
	got, err = Queues("acme.prod", []string{"orders"}, nil)
	if diff := cmp.Diff([]string{"acme.prod.receipts", "acme.prod.questions", "acme.prod.messages.orders"}, got); diff != "" || err != nil {
		t.Errorf("the queues, %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"a/b", "-a", "a b", "ä", strings.Repeat("a", 51), "$a"} {
		if _, err := Queues(bad, nil, nil); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("the prefix %q: %v, want badConfiguration", bad, err)
		}
	}
	n := names{"ferry"}
	if n.of(queue.AllReceipts()) != "ferry.receipts" || n.of(queue.MessagesOf("a-b")) != "ferry.messages.a-b" {
		t.Errorf("the channels: %s, %s", n.of(queue.AllReceipts()), n.of(queue.MessagesOf("a-b")))
	}
}

// TestMessageIDs: Service Bus takes 128 characters. What is longer must stay apart
// from what begins alike: a duplicate window would take the two for one.
func TestMessageIDs(t *testing.T) {
	short := strings.Repeat("x", maxID)
	if got := messageID(short); got != short {
		t.Errorf("%q became %q", short, got)
	}
	seen := map[string]string{}
	for _, end := range []string{"1", "2", "1.1", strings.Repeat("3", 500)} {
		id := short + end
		got := messageID(id)
		if len(got) > maxID || !strings.HasPrefix(got, short[:60]) {
			t.Errorf("%d characters became %d: %q", len(id), len(got), got)
		}
		if messageID(id) != got {
			t.Errorf("%q is not always the same", id)
		}
		if other, known := seen[got]; known {
			t.Errorf("%q and %q become the same", id, other)
		}
		seen[got] = id
	}
}

// TestRights: a worker may not read what is another's, nor speak as the broker.
func TestRights(t *testing.T) {
	got, err := WorkerRights("", WorkerAuth{Name: "erp-1", Routes: []string{"orders"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Right{
		{Queue: "ferry.receipts", Send: true},
		{Queue: "ferry.questions", Send: true},
		{Queue: "ferry.worker.erp-1", Listen: true},
		{Queue: "ferry.messages.orders", Listen: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("of a worker (-want +got):\n%s", diff)
	}
	if got, err = BrokerRights("", []string{"orders"}, []string{"erp-1"}); err != nil {
		t.Fatal(err)
	}
	want = []Right{
		{Queue: "ferry.receipts", Listen: true},
		{Queue: "ferry.questions", Listen: true},
		{Queue: "ferry.messages.orders", Listen: true, Send: true},
		{Queue: "ferry.worker.erp-1", Send: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("of the broker (-want +got):\n%s", diff)
	}
}
