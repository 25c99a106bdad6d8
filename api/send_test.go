package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

const invoices = "/v1/routes/invoices/messages"

func (s *surface) send(body string, header ...string) ferry.Accepted {
	s.t.Helper()
	return read[ferry.Accepted](s.t, s.call("sender-key", http.MethodPost, invoices, body, header...), http.StatusCreated)
}

func TestSend(t *testing.T) {
	s := newSurface(t)
	a := s.call("sender-key", http.MethodPost, invoices, `{"n": 1.10}`, "Content-Type: application/json", "Idempotency-Key: A-1")
	got := read[ferry.Accepted](t, a, http.StatusCreated)
	want := ferry.Accepted{ID: s.fake.order[0], Route: "invoices", State: ferry.StateAccepted}
	want.StatusURL = "http://broker.test/v1/messages/" + want.ID.String()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if loc := a.Header.Get("Location"); loc != want.StatusURL {
		t.Errorf("Location %q", loc)
	}
	if body := string(s.fake.messages[got.ID].msg.Body); body != `{"n": 1.10}` {
		t.Errorf("body %q", body)
	}
	if s.fake.observed != 1 {
		t.Errorf("%d accepts observed", s.fake.observed)
	}
}

func TestSendAgain(t *testing.T) {
	s := newSurface(t)
	first := s.send(`{"n":1}`, "Idempotency-Key: A-1")

	a := s.call("sender-key", http.MethodPost, invoices, `{"n":1}`, `Idempotency-Key: "A-1"`)
	got := read[ferry.Accepted](t, a, http.StatusOK)
	if !got.Duplicate || got.ID != first.ID || a.Header.Get("Location") != "" {
		t.Errorf("repeat: %+v, Location %q", got, a.Header.Get("Location"))
	}

	p := s.refusal(s.call("sender-key", http.MethodPost, invoices, `{"n":2}`, "Idempotency-Key: A-1"), ferry.CodeKeyReused)
	if p.ID != first.ID || p.State != ferry.StateAccepted || p.StatusURL != first.StatusURL {
		t.Errorf("keyReused tells %+v", p)
	}

	s.fake.kill(first.ID)
	a = s.call("sender-key", http.MethodPost, invoices+"?onConflict=replace", `{"n":2}`, "Idempotency-Key: A-1")
	if got := read[ferry.Accepted](t, a, http.StatusOK); got.Duplicate || got.Revision != 2 {
		t.Errorf("replace: %+v", got)
	}
}

func TestSendOptions(t *testing.T) {
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	want := ferry.Message{
		Route: "invoices", Body: []byte("<x/>"), ContentType: "text/xml; charset=utf-8",
		IdempotencyKey: `a"b`, CorrelationID: "case-7", OrderingKey: "vendor 9", DeliverAt: at,
		TimeToLive: 90 * time.Minute, CallbackURL: "https://flow.example/cb?sig=1", OnConflict: "replace",
		Properties: map[string]string{"Plant": "Köln", "x": "1"}, Sender: ferry.Sender{Name: "flow", KeyID: "k3"},
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	common := []string{
		"Content-Type: text/xml; charset=utf-8", `Ferry-Properties: {"Plant":"K\u00f6ln"}`, "Ferry-Property-X: 1",
		"Traceparent: " + want.Traceparent,
	}
	for name, tc := range map[string]struct {
		query  string
		header []string
	}{
		"headers": {"", []string{
			`Idempotency-Key: "a\"b"`, "Ferry-Correlation-Id: case-7", "Ferry-Ordering-Key: vendor 9",
			"Ferry-Deliver-At: " + at.Format(time.RFC3339Nano), "Ferry-Time-To-Live: 1h30m",
			"Ferry-Callback-Url: https://flow.example/cb?sig=1", "Ferry-On-Conflict: replace",
		}},
		"query": {"?idempotencyKey=a%22b&correlationId=case-7&orderingKey=vendor+9&timeToLive=PT90M&deliverAt=" +
			at.Format(time.RFC3339Nano) + "&callbackUrl=https%3A%2F%2Fflow.example%2Fcb%3Fsig%3D1&onConflict=replace", nil},
		"aliases": {"?messageId=a%22b&sessionId=vendor%209&correlationId=case-7&timeToLive=90m&deliverAt=" +
			strings.ReplaceAll(at.In(time.FixedZone("", 7200)).Format(time.RFC3339Nano), "+", "%2B") +
			"&callbackUrl=https://flow.example/cb%3Fsig=1&onConflict=replace", nil},
		"both alike": {"?idempotencyKey=a%22b&correlationId=case-7&orderingKey=vendor%209&onConflict=replace", []string{
			`Idempotency-Key: a"b`, "Ferry-Ordering-Key: vendor 9", "Ferry-Deliver-At: " + at.Format(time.RFC3339Nano),
			"Ferry-Time-To-Live: PT1H30M", "Ferry-Callback-Url: https://flow.example/cb?sig=1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurface(t)
			a := s.call("sender-key", http.MethodPost, invoices+tc.query, "<x/>", append(tc.header, common...)...)
			got := s.fake.messages[read[ferry.Accepted](t, a, http.StatusCreated).ID].msg
			if age := time.Since(got.CreatedAt); age < 0 || age > time.Minute {
				t.Errorf("created %s ago", age)
			}
			got.ID, got.CreatedAt = ferry.ID{}, time.Time{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSendFlow(t *testing.T) {
	s := newSurface(t)
	a := s.send(`{}`, "x-ms-workflow-name: f-guid", "x-ms-workflow-run-id: 0858", "x-ms-workflow-operation-name: Post",
		"x-ms-action-tracking-id: act", "x-ms-client-tracking-id: PO-77", "x-ms-client-environment-id: env")
	got := s.fake.messages[a.ID].msg
	want := &ferry.Flow{Name: "f-guid", RunID: "0858", Operation: "Post", TrackingID: "act", ClientTrackingID: "PO-77", Environment: "env"}
	if diff := cmp.Diff(want, got.Sender.Flow); diff != "" {
		t.Errorf("flow (-want +got):\n%s", diff)
	}
	if got.CorrelationID != "PO-77" {
		t.Errorf("the maker's tracking id is not the correlation id, but %q", got.CorrelationID)
	}

	a = s.send(`{}`, "x-ms-workflow-name: f-guid", "x-ms-workflow-run-id: 0858", "x-ms-client-tracking-id: 0858")
	if got := s.fake.messages[a.ID].msg.CorrelationID; got != "" {
		t.Errorf("the run id became the correlation id %q", got)
	}
	a = s.send(`{}`, "x-ms-client-tracking-id: other", "Traceparent: 00-zz")
	if got := s.fake.messages[a.ID].msg; got.Sender.Flow != nil || got.CorrelationID != "" || got.Traceparent != "" {
		t.Errorf("no flow: %+v", got)
	}
}

func TestSendEmptyWhereAllowed(t *testing.T) {
	s := newSurface(t)
	if a := s.call("sender-key", http.MethodPost, "/v1/routes/pings/messages", ""); a.StatusCode != http.StatusCreated {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestKeysEverywhere(t *testing.T) {
	s := newSurface(t)
	for name, a := range map[string]answer{
		"bearer":       s.call("", http.MethodGet, "/v1/me", "", "Authorization: bearer  sender-key"),
		"header":       s.call("", http.MethodGet, "/v1/me", "", "Ocp-Apim-Subscription-Key: sender-key"),
		"query":        s.call("", http.MethodGet, "/v1/me?subscription-key=sender-key", ""),
		"beside basic": s.call("", http.MethodGet, "/v1/me", "", "Authorization: Basic eA==", "Ocp-Apim-Subscription-Key: sender-key"),
	} {
		if a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), `"name":"flow"`) {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	if log := s.log.String(); strings.Contains(log, "sender-key") {
		t.Errorf("the log has the key:\n%s", log)
	}
}
