package notify

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"ferry"
)

// TestOperatorEvent: signed as every callback, with its own type and body.
func TestOperatorEvent(t *testing.T) {
	h := &heard{}
	opts, url := subscriber(t, h)
	opts.Operator = func(e *ferry.OperatorEvent, format string) []byte { return []byte(format + ": " + e.Text) }
	n := notifier(t, opts)
	e := ferry.Ending{
		Notice: ferry.Notice{Event: ferry.NewID(time.Now()), URL: url, Operator: &ferry.OperatorEvent{Type: ferry.EventDiskLow, Text: "little room"}},
		Format: "text", Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
	}
	if errs := n.Tell(t.Context(), ferry.NoticeTarget{Kind: ferry.ReplyOperator, Target: "on-call"}, []ferry.Ending{e}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	r := h.list[0]
	want := http.Header{}
	sign(want, e.Secrets, e.EventID(), time.Now(), h.body[0])
	if string(h.body[0]) != "text: little room" || r.Header.Get("Ferry-Event") != "diskLow" || r.Header.Get("Webhook-Id") != e.EventID() ||
		!strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") || r.Header.Get("Ferry-Message-Id") != "" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v", h.body[0], r.Header)
	}
}
