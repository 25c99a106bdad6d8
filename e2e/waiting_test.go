package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/logicapps"
)

// quickly has the engine of flows wait a hundredth of what it would.
func quickly(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d/100 + 20*time.Millisecond):
		return nil
	}
}

// TestAFlowWaits: the real programs and a flow that posts twice and waits, across a
// dead letter, kill -9 of the broker between polls, an edit and the delivery. One
// document, one id; nothing of it without the key but the polls.
func TestAFlowWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{erp: practice.Settings{Required: []string{"number"}}})
	w.start()
	key := strings.TrimSpace(w.cli("keys", "create", "flow", "--role", "sender", "--routes", invoices, "-o", "json"))
	var made ferry.NewKey
	if err := json.Unmarshal([]byte(key), &made); err != nil {
		t.Fatalf("%v: %s", err, key)
	}

	engine := logicapps.New(logicapps.Options{Sleep: quickly})
	ended := make(chan logicapps.Outcome, 1)
	go func() {
		out, err := engine.Flow("post-invoice").Run().HTTP(t.Context(), logicapps.Action{
			Name: "Send_and_wait", Method: http.MethodPost, URI: "http://" + w.api + "/v1/routes/" + invoices + "/messages/wait?waitFor=completed",
			Headers:        map[string]string{"Content-Type": "application/json", "Idempotency-Key": "INV-1"},
			Authentication: "Bearer " + made.Secret, Body: []byte(`{"supplier":"Contoso"}`),
			// The broker needs a second to start: what the engine calls 7 s here is 70 ms.
			Retry: logicapps.FixedRetry(90, time.Minute), Again: logicapps.Again{Twice: true, After: 4 * time.Minute},
		})
		if err != nil {
			t.Errorf("the flow: %v", err)
		}
		ended <- out
	}()

	var id ferry.ID
	eventually(t, 30*time.Second, func() string {
		page, err := w.client.Messages(t.Context(), ferry.MessageFilter{Route: invoices, State: ferry.StateDeadLettered})
		if err != nil || len(page.Items) != 1 {
			return "no dead letter yet"
		}
		id = page.Items[0].ID
		return ""
	})
	w.broker.kill()
	w.startBroker()
	w.awaitGranted()
	w.write("mended.json", `{"number":"INV-1","supplier":"Contoso"}`)
	select {
	case out := <-ended:
		t.Fatalf("the flow does not wait for a dead letter to be mended: %d %s", out.StatusCode, out.Body)
	default:
	}
	w.cli("dlq", "edit", id.String(), "-f", "mended.json", "--note", "the number was missing", "--yes")

	var out logicapps.Outcome
	select {
	case out = <-ended:
	case <-time.After(60 * time.Second):
		t.Fatal("the flow waits for ever")
	}
	var e ferry.Envelope
	if err := json.Unmarshal(out.Body, &e); err != nil || out.Status != logicapps.Succeeded || out.StatusCode != http.StatusOK {
		t.Fatalf("the flow ended %s %d: %v %s", out.Status, out.StatusCode, err, out.Body)
	}
	if d := w.document("INV-1"); e.State != ferry.StateCompleted || e.ID != id || e.Reference != d.ID || e.Revision != 2 {
		t.Errorf("the flow got %+v, the document is %s", e, d.ID)
	}
	var locations []string
	for _, x := range out.Exchanges {
		if x.Status == http.StatusAccepted {
			locations = append(locations, x.Header.Get("Location"))
		}
		if x.Poll && x.Sent.Get("Authorization") != "" {
			t.Error("a poll has the key")
		}
	}
	token := locations[0][strings.LastIndex(locations[0], "/")+1:]
	for _, l := range locations {
		if l != locations[0] || !strings.HasPrefix(l, "http://"+w.api+"/v1/results/") {
			t.Errorf("it goes on at %s, began at %s", l, locations[0])
		}
	}
	if page, err := w.client.Messages(t.Context(), ferry.MessageFilter{}); err != nil || len(page.Items) != 1 {
		t.Errorf("%d messages of one that was posted twice: %v", len(page.Items), err)
	}
	if text := w.broker.out.String(); strings.Contains(text, token) || strings.Contains(text, made.Secret) {
		t.Error("the broker's log has a token or a key")
	}
	w.balance()

	// Asked with another server's or a cut address it says nothing.
	for _, bad := range []string{locations[0][:len(locations[0])-1], locations[0] + "A"} {
		resp, err := http.Get(bad)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", bad, resp.StatusCode)
		}
	}
	// The commands wait so, too.
	r := w.try("send", invoices, "-f", "mended.json", "--key", "INV-1", "--on-conflict", "replace", "--wait", "--wait-for", "completed")
	if r.code != 0 || !strings.Contains(r.out, e.Reference) {
		t.Errorf("broker send --wait-for: %d %s%s", r.code, r.out, r.errOut)
	}
}
