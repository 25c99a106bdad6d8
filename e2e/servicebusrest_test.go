package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
)

const (
	pulled = "erp-orders" // the route that receivers read
	sasKey = "ZTJlIHRlc3Qga2V5LCBub3QgYSBzZWNyZXQgYXQgYWxsIQ=="
)

// newPullWorld is a world whose broker has a route for receivers beside that of the
// worker, and a policy.
func newPullWorld(t *testing.T, lines ...string) *world {
	t.Helper()
	w := newWorld(t, options{routes: []string{invoices, pulled}, broker: map[string][]string{pulled: append([]string{"workers: pull"}, lines...)}})
	w.write("sas.key", sasKey+"\n")
	text := fmt.Sprintf("listen: %s\ndataDir: ./data\nqueue: %s\n", w.api, w.brokerQueue("30s"))
	text += "sas:\n  - {name: flows, key: file:./sas.key, rights: [send]}\n  - {name: erp, key: file:./sas.key, rights: [listen], routes: [" + pulled + "]}\n"
	text += "routes:\n  - name: " + invoices + "\n  - name: " + pulled + "\n    workers: pull\n"
	for _, line := range lines {
		text += "    " + line + "\n"
	}
	w.write("broker.yaml", text)
	w.write("worker.yaml", w.workerYAML("erp-worker", options{routes: []string{invoices}, lock: "30s"}))
	return w
}

// sas signs a token as a client of Service Bus does.
func (w *world) sas(policy, route string) string {
	return signSAS("http://"+w.api+"/"+route, policy, sasKey)
}

// signSAS signs a token for an address with a policy's key.
func signSAS(address, policy, key string) string {
	sr, se := url.QueryEscape(address), strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(sr + "\n" + se))
	return "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))) + "&se=" + se + "&skn=" + policy
}

// busAnswer is an answer of the Service Bus calls.
type busAnswer struct {
	status int
	header http.Header
	body   string
	props  struct {
		MessageID     string `json:"MessageId"`
		LockToken     string
		DeliveryCount int
		Sequence      int    `json:"SequenceNumber"`
		SessionID     string `json:"SessionId"`
		Label         string
	}
}

// bus makes a call; an answer that never comes has the status 0.
func (w *world) bus(method, target, authorization, body string, header ...string) busAnswer {
	w.t.Helper()
	if !strings.HasPrefix(target, "http") {
		target = "http://" + w.api + target
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return busAnswer{}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return busAnswer{}
	}
	a := busAnswer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if p := resp.Header.Get("BrokerProperties"); p != "" {
		if err := json.Unmarshal([]byte(p), &a.props); err != nil {
			w.t.Errorf("BrokerProperties %q: %v", p, err)
		}
	}
	return a
}

func (w *world) want(a busAnswer, status int) busAnswer {
	w.t.Helper()
	if a.status != status {
		w.t.Fatalf("answered %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// TestAsServiceBusREST goes through the whole surface with the real broker: what a
// client of Service Bus sends reaches the worker's ERP on the one route, and the
// receivers of the other.
func TestAsServiceBusREST(t *testing.T) {
	t.Parallel()
	w := newPullWorld(t, "maxBytes: 20MiB")
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	w.startWorker()
	send, listen := w.sas("flows", ""), w.sas("erp", pulled)
	head, messages := "/"+pulled+"/messages/head", "/"+pulled+"/messages"

	// A route that a worker delivers.
	w.want(w.bus(http.MethodPost, "/"+invoices+"/messages?timeout=60", send, `{"number":"1"}`, "Content-Type: application/json", `BrokerProperties: {"MessageId":"BUS-1","Label":"L"}`), 201)
	w.want(w.bus(http.MethodPost, "/"+invoices+"/messages", send, `[{"Body":"{\"number\":\"2\"}","BrokerProperties":{"MessageId":"BUS-2","ContentType":"application/json"}}]`, "Content-Type: application/vnd.microsoft.servicebus.json"), 201)
	w.awaitDrained(30 * time.Second)
	w.document("BUS-1")
	w.document("BUS-2")
	w.want(w.bus(http.MethodPost, "/"+invoices+"/messages/head?timeout=0", "Bearer "+strings.TrimSpace(w.cli("keys", "create", "reader", "--role", "receiver")), ""), 409)

	// A route of receivers: send, receive, complete with the ERP's number.
	a := w.want(w.bus(http.MethodPost, messages, send, "one", `BrokerProperties: {"MessageId":"INV-1","SessionId":"s","Label":"invoice"}`, "Content-Type: text/plain", `Plant: "K1"`), 201)
	w.want(w.bus(http.MethodPost, messages, send, "one", `BrokerProperties: {"MessageId":"INV-1"}`), 201)
	w.want(w.bus(http.MethodPost, messages, send, "another", `BrokerProperties: {"MessageId":"INV-1"}`), 409)
	w.want(w.bus(http.MethodPost, messages, listen, "x"), 403)
	w.want(w.bus(http.MethodPost, head, send, ""), 403)
	w.want(w.bus(http.MethodPost, head, w.sas("erp", invoices), ""), 401)
	got := w.want(w.bus(http.MethodPost, head+"?timeout=5", listen, ""), 201)
	if got.body != "one" || got.props.MessageID != "INV-1" || got.props.DeliveryCount != 1 || got.props.SessionID != "s" || got.props.Label != "invoice" ||
		got.header.Get("Plant") != `"K1"` || got.header.Get("Content-Type") != "text/plain" || got.header.Get("Ferry-Message-Id") != a.header.Get("Ferry-Message-Id") {
		t.Errorf("received %+v", got)
	}
	w.want(w.bus(http.MethodPost, head+"?timeout=0", listen, ""), 204)
	w.want(w.bus(http.MethodPost, got.header.Get("Location"), listen, ""), 200) // renew
	w.want(w.bus(http.MethodPut, got.header.Get("Location"), listen, ""), 200)  // unlock
	w.want(w.bus(http.MethodDelete, got.header.Get("Location"), listen, ""), 404)
	got = w.want(w.bus(http.MethodPost, head+"?timeout=5", listen, ""), 201)
	if got.props.DeliveryCount != 2 {
		t.Errorf("received again %+v", got)
	}
	lock := fmt.Sprintf("%s/%d/%s", messages, got.props.Sequence, got.props.LockToken)
	for range 2 { // a repeat is the same word
		w.want(w.bus(http.MethodDelete, lock+"?reference=DOC-7", listen, ""), 200)
	}
	id, err := ferry.ParseID(got.header.Get("Ferry-Message-Id"))
	if err != nil {
		t.Fatal(err)
	}
	e := w.message(id)
	if e.State != ferry.StateCompleted || e.Reference != "DOC-7" || len(e.Attempts) != 1 || e.Attempts[0].Worker != "sas:erp" || e.Sender.Name != "sas:flows" {
		t.Errorf("completed: %+v", e)
	}

	// Receive and delete, and a message that the ERP does not want.
	w.want(w.bus(http.MethodPost, messages, send, "two"), 201)
	if got := w.want(w.bus(http.MethodDelete, head+"?timeout=5", listen, ""), 200); got.body != "two" || got.props.LockToken != "" {
		t.Errorf("received %+v", got)
	}
	w.want(w.bus(http.MethodPost, messages, send, "three"), 201)
	got = w.want(w.bus(http.MethodPost, head+"?timeout=5", listen, ""), 201)
	w.want(w.bus(http.MethodDelete, got.header.Get("Location"), listen, `{"outcome":"rejected","code":"E42","text":"no such supplier"}`), 200)
	if out := w.cli("dlq", "list"); !strings.Contains(out, "no such supplier") {
		t.Errorf("dlq list:\n%s", out)
	}
	if out := w.cli("routes", "list"); !strings.Contains(out, "sas:erp") {
		t.Errorf("routes list:\n%s", out)
	}

	// A body that lies in a file beside the ledger.
	large := strings.Repeat("0123456789abcdef", 5<<20/16)
	w.want(w.bus(http.MethodPost, messages, send, large), 201)
	got = w.want(w.bus(http.MethodPost, head+"?timeout=5", listen, ""), 201)
	if got.body != large {
		t.Errorf("of a large body %d bytes were received", len(got.body))
	}
	w.want(w.bus(http.MethodDelete, got.header.Get("Location"), listen, ""), 200)

	// One that waits is answered as soon as there is a message.
	answered := make(chan busAnswer, 1)
	go func() { answered <- w.bus(http.MethodPost, head, listen, "") }()
	eventually(t, 20*time.Second, func() string {
		select {
		case a := <-answered:
			if a.body != "four" {
				t.Fatalf("answered %+v", a)
			}
			w.want(w.bus(http.MethodDelete, a.header.Get("Location"), listen, ""), 200)
			return ""
		default:
		}
		w.want(w.bus(http.MethodPost, messages, send, "four", `BrokerProperties: {"MessageId":"FOUR"}`), 201)
		return "not answered yet"
	})
	sum := w.balance()
	if sum.Pending != 0 || sum.Accepted != 7 || sum.DeadLetters != 1 {
		t.Errorf("balance %+v", sum)
	}
	if code := w.broker.stop(t, 30*time.Second); code != 0 {
		t.Errorf("the broker ended with %d", code)
	}
	if strings.Contains(w.broker.out.String(), sasKey) || strings.Contains(w.broker.out.String(), "sig=") {
		t.Error("the broker's log shows a key or a signature")
	}
}

// TestReceiversOverKills: receivers read and complete while the broker is killed
// again and again. Nothing is lost, each message is completed, and those of one
// session come in order.
func TestReceiversOverKills(t *testing.T) {
	t.Parallel()
	const sent, sessions, receivers = 120, 8, 4
	w := newPullWorld(t, "lock: 5s", "maxDeliveries: 1000")
	w.startBroker()
	send, listen := w.sas("flows", ""), w.sas("erp", pulled)
	for i := range sent {
		props := fmt.Sprintf(`BrokerProperties: {"MessageId":"M-%d","SessionId":"s%d"}`, i, i%sessions)
		w.want(w.bus(http.MethodPost, "/"+pulled+"/messages", send, strconv.Itoa(i), props), 201)
	}
	var mu sync.Mutex
	done := map[string][]int{} // per session what was seen first, in its order
	seen := map[int]bool{}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range receivers {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := w.bus(http.MethodPost, "/"+pulled+"/messages/head?timeout=1", listen, "")
				if got.status != 201 {
					time.Sleep(20 * time.Millisecond) // away, or nothing there
					continue
				}
				n, err := strconv.Atoi(got.body)
				if err != nil {
					t.Errorf("received %q", got.body)
					return
				}
				mu.Lock()
				if !seen[n] {
					seen[n] = true
					done[got.props.SessionID] = append(done[got.props.SessionID], n)
				}
				mu.Unlock()
				w.bus(http.MethodDelete, got.header.Get("Location")+"?reference=R-"+got.body, listen, "")
			}
		})
	}
	for range 4 {
		time.Sleep(300 * time.Millisecond) // into the middle of it, wherever that is
		w.broker.kill()
		w.startBroker()
	}
	w.awaitDrained(120 * time.Second)
	close(stop)
	running.Wait()
	if sum := w.balance(); sum.Completed != sent || sum.Accepted != sent {
		t.Errorf("balance %+v", sum)
	}
	for session, list := range done {
		for i := 1; i < len(list); i++ {
			if list[i] < list[i-1] {
				t.Errorf("session %s was seen in the order %v", session, list)
			}
		}
	}
	page, err := w.client.Messages(t.Context(), ferry.MessageFilter{Route: pulled, Limit: 500})
	if err != nil || len(page.Items) != sent {
		t.Fatalf("%d messages, %v", len(page.Items), err)
	}
	for _, e := range page.Items {
		if e.State != ferry.StateCompleted || e.Reference != "R-"+strings.TrimPrefix(e.IdempotencyKey, "M-") {
			t.Errorf("message %s: %s %q", e.IdempotencyKey, e.State, e.Reference)
		}
	}
}

// TestALockOutlivesAKill: the broker is killed while a message is locked. The lock
// holds, the receiver completes it; another's ends by its time.
func TestALockOutlivesAKill(t *testing.T) {
	t.Parallel()
	w := newPullWorld(t, "lock: 10s")
	w.startBroker()
	send, listen := w.sas("flows", ""), w.sas("erp", pulled)
	for _, body := range []string{"a", "b"} {
		w.want(w.bus(http.MethodPost, "/"+pulled+"/messages", send, body), 201)
	}
	head := "/" + pulled + "/messages/head?timeout=0"
	a := w.want(w.bus(http.MethodPost, head, listen, ""), 201)
	b := w.want(w.bus(http.MethodPost, head, listen, ""), 201)
	w.broker.kill()
	w.startBroker()
	w.want(w.bus(http.MethodDelete, a.header.Get("Location"), listen, ""), 200)
	again := w.want(w.bus(http.MethodPost, "/"+pulled+"/messages/head?timeout=55", listen, ""), 201)
	if again.body != "b" || again.props.DeliveryCount != 2 || again.header.Get("Ferry-Doubt") != "true" || again.props.LockToken == b.props.LockToken {
		t.Errorf("received %+v", again)
	}
	w.want(w.bus(http.MethodDelete, b.header.Get("Location"), listen, ""), 200) // late, and a fact
	w.want(w.bus(http.MethodDelete, again.header.Get("Location"), listen, ""), 404)
	if sum := w.balance(); sum.Completed != 2 {
		t.Errorf("balance %+v", sum)
	}
}
