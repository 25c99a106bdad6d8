package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/api"
)

const (
	flowGUID  = "0c4a2c1d-9d4b-4c59-8f8c-2a4c5e6f7a8b"
	flowRun   = "08584653536760200319026785874CU62"
	flowAgent = "azure-logic-apps/1.0 (workflow 5d3c2b1a; version 08584653) microsoft-flow/1.0"
)

// flowHeaders are those of an HTTP action of Power Automate.
func flowHeaders(more ...string) []string {
	return append([]string{
		"User-Agent: " + flowAgent, "x-ms-workflow-id: 5d3c2b1a", "x-ms-workflow-name: " + flowGUID, "x-ms-workflow-run-id: " + flowRun,
		"x-ms-workflow-operation-name: Post_invoice", "x-ms-action-tracking-id: act-1", "x-ms-client-tracking-id: " + flowRun,
	}, more...)
}

// The lineage is the same on every way in.
func TestFlowOnEveryWayIn(t *testing.T) {
	want := ferry.Flow{
		Name: flowGUID, WorkflowID: "5d3c2b1a", RunID: flowRun, Operation: "Post_invoice", TrackingID: "act-1", ClientTrackingID: flowRun,
		Environment: "env-of-the-call", Platform: ferry.PlatformPowerAutomate,
	}
	const queueBatch = "Content-Type: application/vnd.microsoft.servicebus.json"
	for name, tc := range map[string]struct {
		target, body string
		header       []string
	}{
		"alone":                    {invoices, `{"n":1}`, nil},
		"batch":                    {batch, `[{"body":{"n":1}}]`, nil},
		"Service Bus REST":         {"/invoices/messages", `{"n":1}`, nil},
		"batch of Service Bus":     {"/invoices/messages", `[{"Body":"1"}]`, []string{queueBatch}},
		"waiting for it":           {invoices + "/wait", `{"n":1}`, nil},
		"with the key's own env":   {invoices, `{"n":1}`, []string{"x-ms-client-environment-id: env-of-the-call"}},
		"twice in the same header": {invoices, `{"n":1}`, []string{"x-ms-workflow-run-id: other"}},
	} {
		for key, environment := range map[string]string{"any-key": "", "maker-key": fakeEnvironment} {
			t.Run(name+" "+key, func(t *testing.T) {
				s := newSurface(t)
				want := want
				if !strings.Contains(strings.Join(tc.header, ""), "environment") {
					want.Environment = environment
				}
				if a := s.call(key, http.MethodPost, tc.target, tc.body, flowHeaders(tc.header...)...); a.StatusCode >= 300 {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				got := s.fake.messages[s.fake.order[0]].msg
				if diff := cmp.Diff(&want, got.Sender.Flow); diff != "" {
					t.Errorf("flow (-want +got):\n%s", diff)
				}
				if got.CorrelationID != "" || got.Properties != nil {
					t.Errorf("correlation %q, properties %v", got.CorrelationID, got.Properties)
				}
			})
		}
	}
}

// The environment of a key says nothing of who is no flow, or no flow of Power
// Automate.
func TestEnvironmentOfTheKey(t *testing.T) {
	s := newSurface(t)
	s.call("maker-key", http.MethodPost, invoices, "1", "User-Agent: curl/8")
	s.call("maker-key", http.MethodPost, invoices, "2", "User-Agent: azure-logic-apps/1.0 (workflow w; version v)", "x-ms-workflow-name: invoices")
	if f := s.fake.messages[s.fake.order[0]].msg.Sender.Flow; f != nil {
		t.Errorf("no flow sent it: %+v", f)
	}
	if f := s.fake.messages[s.fake.order[1]].msg.Sender.Flow; f == nil || f.Environment != "" || f.Name != "invoices" {
		t.Errorf("Logic Apps sent it: %+v", f)
	}
}

// What may be a repeat is taken, and the answer says so: alone, in a batch, and in
// the message.
func TestPossibleRepeatIsTold(t *testing.T) {
	s := newSurface(t)
	s.fake.possible = true
	first := s.send(`{"n":1}`)
	if !first.PossibleRepeatOf.IsZero() {
		t.Errorf("the first may repeat %s", first.PossibleRepeatOf)
	}
	a := s.call("sender-key", http.MethodPost, invoices, `{"n":1}`)
	got := read[ferry.Accepted](t, a, http.StatusCreated)
	if got.PossibleRepeatOf != first.ID || got.Duplicate || got.ID == first.ID || a.Header.Get("Location") == "" {
		t.Errorf("answered %s", a.body)
	}
	want := `"duplicate":false,"possibleRepeatOf":"` + first.ID.String() + `","statusUrl":`
	if !strings.Contains(string(a.body), want) {
		t.Errorf("%s has no %s", a.body, want)
	}
	of := read[api.BatchAnswer](t, s.call("sender-key", http.MethodPost, batch, `[{"body":1}]`), http.StatusOK)
	if of.Items[0].PossibleRepeatOf != got.ID || of.Items[0].Status != http.StatusCreated {
		t.Errorf("in a batch: %+v", of.Items[0])
	}
}

// An action with "Allow chunking" on first sends an empty request that says how
// much will come. Nothing may take it for an empty body: a replay without one
// would send the dead letter again as it is.
func TestChunkingIsRefusedEverywhere(t *testing.T) {
	s := newSurface(t)
	id := s.send(`{"n":1}`).ID
	s.fake.kill(id)
	dead := "/v1/dead-letters/" + id.String()
	for _, target := range []string{
		invoices, batch, invoices + "/wait", "/v1/routes/pings/messages", "/invoices/messages",
		dead + "/replay", dead + "/accept", dead + "/discard", "/v1/dead-letters/replay", "/v1/messages/" + id.String() + "/confirm",
		"/v1/routes/invoices/pause", "/v1/keys",
	} {
		for _, mode := range []string{"chunked", "Chunked"} {
			acts, messages := len(s.fake.acts), len(s.fake.order)
			p := s.refusal(s.call("admin-key", http.MethodPost, target, "", "x-ms-transfer-mode: "+mode, "x-ms-content-length: 5242880"), ferry.CodeChunkingNotSupported)
			if !strings.Contains(p.Hint, `"Allow chunking"`) || !strings.Contains(p.Hint, "turn off") {
				t.Errorf("%s: the hint is %q", target, p.Hint)
			}
			if len(s.fake.acts) != acts || len(s.fake.order) != messages {
				t.Errorf("%s: something was done", target)
			}
		}
	}
	// A download asks for its answer in parts; it has no body, and gets all of it.
	if a := s.call("sender-key", http.MethodGet, "/v1/messages/"+id.String(), "", "x-ms-transfer-mode: chunked"); a.StatusCode != http.StatusOK {
		t.Errorf("a read: %d %s", a.StatusCode, a.body)
	}
}

// A corrected message takes the place of a dead letter on every way in.
func TestReplaceOnEveryWayIn(t *testing.T) {
	const (
		queueBatch = "Content-Type: application/vnd.microsoft.servicebus.json"
		replace    = "Ferry-On-Conflict: replace"
		properties = `BrokerProperties: {"MessageId":"INV-1"}`
	)
	ways := map[string]struct {
		target, body string
		header       []string
		replaced     int
	}{
		"alone, query":         {invoices + "?onConflict=replace&idempotencyKey=INV-1", `{"n":2}`, nil, http.StatusOK},
		"alone, header":        {invoices, `{"n":2}`, []string{replace, "Idempotency-Key: INV-1"}, http.StatusOK},
		"batch":                {batch, `[{"body":{"n":2},"idempotencyKey":"INV-1","onConflict":"replace"}]`, nil, http.StatusOK},
		"Service Bus REST":     {"/invoices/messages", `{"n":2}`, []string{replace, properties}, http.StatusCreated},
		"batch of Service Bus": {"/invoices/messages", `[{"Body":{"n":2},"BrokerProperties":{"MessageId":"INV-1"}}]`, []string{queueBatch, replace}, http.StatusCreated},
	}
	for name, tc := range ways {
		t.Run(name, func(t *testing.T) {
			s := newSurface(t)
			s.wrong = true // headers of another operation's description
			id := s.send(`{"n":1}`, "Idempotency-Key: INV-1").ID
			// Pending: refused, and the answer says what has the key.
			a := s.call("sender-key", http.MethodPost, tc.target, tc.body, tc.header...)
			switch p := a.problem(t); {
			case strings.Contains(name, "batch"):
				if a.StatusCode != http.StatusUnprocessableEntity || len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Detail, "keyReused") || p.Errors[0].Pointer != "/0" {
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
			case a.StatusCode != http.StatusConflict || p.ID != id || p.State != ferry.StateAccepted || p.StatusURL != "http://broker.test/v1/messages/"+id.String():
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			s.fake.kill(id)
			a = s.call("sender-key", http.MethodPost, tc.target, tc.body, tc.header...)
			if h := s.fake.messages[id]; a.StatusCode != tc.replaced || len(s.fake.order) != 1 || h.envelope.Revision != 2 || string(h.msg.Body) != `{"n":2}` {
				t.Errorf("%d %s: %+v", a.StatusCode, a.body, h.envelope)
			}
			if tc.replaced == http.StatusOK && (!strings.Contains(string(a.body), `"duplicate":false`) || !strings.Contains(string(a.body), `"revision":2`) || a.Header.Get("Location") != "") {
				t.Errorf("answered %s", a.body)
			}
		})
	}
	s := newSurface(t)
	s.refusal(s.call("sender-key", http.MethodPost, "/invoices/messages", "1", properties, "Ferry-On-Conflict: overwrite"), ferry.CodeBadRequest)
}
