package erp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/config"
)

const foActivity = "6D31E09F-0249-459F-94F0-AAD9C2C47B64"

func foQueueRoute() adapters.RouteConfig {
	return adapters.RouteConfig{Entity: "Customer Groups", Activity: foActivity}
}

const foStatusPath = "/data/DataManagementDefinitionGroups/Microsoft.Dynamics.DataEntities."

// TestD365FOQueueTakesAFile: the body goes as it is, or as the map makes it; the
// answer names the message in the queue, and its address is to be asked.
func TestD365FOQueueTakesAFile(t *testing.T) {
	csv := "CUSTOMERGROUPID,DESCRIPTION\r\n10,Wholesale\r\n"
	for name, c := range map[string]struct {
		mapped, body, contentType string
		sent, sentType            string
	}{
		"as it is":   {"", csv, "text/csv", csv, "text/csv"},
		"mapped":     {`{Document: {CustomerGroupId: .id}}`, `{"id":10.50}`, "application/json", `{"Document":{"CustomerGroupId":10.50}}`, "application/json"},
		"mapped CSV": {`"CUSTOMERGROUPID\r\n\(.id)\r\n"`, `{"id":10}`, "application/json", "CUSTOMERGROUPID\r\n10\r\n", "application/json"},
	} {
		route := foQueueRoute()
		route.Map = c.mapped
		s, adapter := tell(t, foDest(), route, response{200, "", `"` + rowGUID + `"`})
		call := letter("A-1", c.body)
		call.ContentType = c.contentType
		v := adapter.Deliver(t.Context(), call)
		got := s.asked[0]
		if want := "/api/connector/enqueue/" + foActivity + "?entity=Customer%20Groups&company=usmf"; got.method != "POST" || got.uri != want {
			t.Errorf("%s: asked %s %s", name, got.method, got.uri)
		}
		if got.body != c.sent || got.header.Get("Content-Type") != c.sentType || got.header.Get("X-Ms-Dyn-Externalidentifier") != "A-1" {
			t.Errorf("%s: sent %q, %v", name, got.body, got.header)
		}
		if v.Kind != ferry.InProgress || v.Effect != ferry.EffectMaybe || !strings.HasSuffix(v.StatusURL, foStatusPath+"GetMessageStatus?messageId="+rowGUID) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	// The id of the message, as several versions give it; an answer without one is
	// no proof that the file was not taken.
	for body, kind := range map[string]ferry.VerdictKind{
		`"` + rowGUID + `"`:                     ferry.InProgress,
		`"{` + strings.ToUpper(rowGUID) + `}"`:  ferry.InProgress,
		rowGUID:                                 ferry.InProgress,
		`{"value":"` + rowGUID + `"}`:           ferry.InProgress,
		`{"@odata.context":"x","value":"soon"}`: ferry.Unknown,
		``:                                      ferry.Unknown,
		`<html>Sign in</html>`:                  ferry.Unknown,
	} {
		_, adapter := tell(t, foDest(), foQueueRoute(), response{200, "", body})
		if v := adapter.Deliver(t.Context(), letter("A-1", "x")); v.Kind != kind || v.Effect != ferry.EffectMaybe {
			t.Errorf("%s: %+v", body, v)
		}
	}
	for name, c := range map[string]verdictCase{
		"429": {response{429, "Retry-After: 12", ""}, ferry.Throttled, ferry.EffectNone, "", "", 12 * time.Second},
		"400": {response{400, "", foError("The activity is not enabled")}, ferry.Rejected, ferry.EffectNone, "", "not enabled", 0},
		"500": {response{500, "", foError("x")}, ferry.Unknown, ferry.EffectMaybe, "", "", 0},
	} {
		_, adapter := tell(t, foDest(), foQueueRoute(), c.said)
		t.Run(name, func(t *testing.T) { c.check(t, adapter.Deliver(t.Context(), letter("A-1", "x"))) })
	}
}

func pollAt(t *testing.T, adapter adapters.Adapter, status string) ferry.Verdict {
	t.Helper()
	call := letter("A-1", "x")
	call.Awaiting, call.StatusURL = true, status
	return adapter.(adapters.Poller).Poll(t.Context(), call)
}

// TestD365FOQueueStates: what became of a message, in the system's words. What is
// not known says nothing.
func TestD365FOQueueStates(t *testing.T) {
	for state, want := range map[string]ferry.VerdictKind{
		"Enqueued": ferry.InProgress, "Queued": ferry.InProgress, "Dequeued": ferry.InProgress, "Acked": ferry.InProgress,
		"Preprocessing": ferry.InProgress, "PreProcessing": ferry.InProgress, "Processing": ferry.InProgress, "InProcess": ferry.InProgress,
		"Processed": ferry.Delivered, "PreProcessingError": ferry.Rejected, "ProcessedWithErrors": ferry.Rejected, "PostProcessingFailed": ferry.Rejected,
		"Failed": ferry.Rejected, "": ferry.Failed, "done": ferry.Failed, "running": ferry.Failed, "Lunch": ferry.Failed,
	} {
		s, adapter := tell(t, foDest(), foQueueRoute(), response{200, "", `"` + rowGUID + `"`}, response{200, "", `{"@odata.context":"x#Edm.String","value":"` + state + `"}`}, response{404, "", ""})
		status := adapter.Deliver(t.Context(), letter("A-1", "x")).StatusURL
		v := pollAt(t, adapter, status)
		if v.Kind != want {
			t.Errorf("%q: %s (%s)", state, v.Kind, v.Text)
		}
		if asked := s.asked[1]; asked.method != "POST" || asked.uri != foStatusPath+"GetMessageStatus" || asked.body != `{"messageId":"`+rowGUID+`"}` {
			t.Errorf("asked %+v", asked)
		}
		if want == ferry.Delivered && (v.Reference != rowGUID || v.Effect != ferry.EffectDone) {
			t.Errorf("%+v", v)
		}
	}
}

// TestD365FOQueueTellsWhyItFailed: behind a failure the import's log is asked for,
// and no answer to that takes back that it failed.
func TestD365FOQueueTellsWhyItFailed(t *testing.T) {
	execution := strings.Replace(rowGUID, "7eb", "8ec", 1)
	log := `{"value":"[{\"RecordId\":\"479625\",\"Field\":\"\",\"ErrorMessage\":\"\\n The color Blue has not been assigned\\r\\n Validations failed\\r\\n\"},` +
		`{\"RecordId\":\"479626\",\"Field\":\"SITEID\",\"ErrorMessage\":\"is mandatory\"}]"}`
	failed := response{200, "", `{"value":"ProcessedWithErrors"}`}
	for name, c := range map[string]struct {
		answers []response
		text    string
		fields  []ferry.FieldError
		acts    string
	}{
		"with its log": {
			[]response{failed, {200, "", `{"value":"` + execution + `"}`}, {200, "", log}},
			"the import ended with errors; records without any may have been imported: The color Blue has not been assigned Validations failed; SITEID: is mandatory",
			[]ferry.FieldError{{Text: "The color Blue has not been assigned Validations failed"}, {Field: "SITEID", Text: "is mandatory"}},
			`GetMessageStatus{"messageId":"` + rowGUID + `"} GetExecutionIdByMessageId{"_messageId":"` + rowGUID + `"} GetExecutionErrors{"executionId":"` + execution + `"}`,
		},
		"with an empty log":      {[]response{failed, {200, "", `{"value":"` + execution + `"}`}, {200, "", `{"value":"[]"}`}}, "log of errors is empty", nil, ""},
		"before it began":        {[]response{failed, {200, "", `{"value":"00000000-0000-0000-0000-000000000000"}`}}, "log of errors is empty", nil, ""},
		"without the right":      {[]response{failed, {403, "", foError("Access denied to GetExecutionErrors")}}, "why cannot be read", nil, ""},
		"with an act not known":  {[]response{failed, {404, "", ``}}, "", nil, ""},
		"with an act that fails": {[]response{failed, {500, "", foError("x")}}, "why cannot be read", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, adapter := tell(t, foDest(), foQueueRoute(), append([]response{{200, "", `"` + rowGUID + `"`}}, c.answers...)...)
			v := pollAt(t, adapter, adapter.Deliver(t.Context(), letter("A-1", "x")).StatusURL)
			if v.Kind != ferry.Rejected || !strings.Contains(v.Text, c.text) {
				t.Errorf("%+v", v)
			}
			if diff := cmp.Diff(c.fields, v.Fields); diff != "" {
				t.Error(diff)
			}
			acts := make([]string, 0, len(s.asked))
			for _, a := range s.asked[1:] {
				acts = append(acts, strings.TrimPrefix(a.uri, foStatusPath)+a.body)
			}
			if c.acts != "" && strings.Join(acts, " ") != c.acts {
				t.Errorf("asked %s", acts)
			}
		})
	}
	// An outage meanwhile proves nothing: it is asked again from the beginning.
	_, adapter := tell(t, foDest(), foQueueRoute(), response{200, "", `"` + rowGUID + `"`}, failed, response{503, "", ""})
	if v := pollAt(t, adapter, adapter.Deliver(t.Context(), letter("A-1", "x")).StatusURL); v.Kind != ferry.Unavailable {
		t.Errorf("%+v", v)
	}
}

// TestD365FOQueueOverARestart: the address is all that has to be kept. Another
// worker asks it, and nothing is put into the queue again.
func TestD365FOQueueOverARestart(t *testing.T) {
	e, adapter := practise(t, foDest(), foQueueRoute(), practice.Settings{Later: practice.Later{Polls: 1}})
	v := adapter.Deliver(t.Context(), letter("A-1", "a,b\r\n"))
	if v.Kind != ferry.InProgress || len(e.Documents("")) != 0 {
		t.Fatalf("%+v", v)
	}
	// The same ERP at the same address, and an adapter that knows nothing.
	address := strings.SplitAfterN(v.StatusURL, "/", 4)
	dest := foDest()
	dest.Name, dest.URL = "erp", strings.Join(address[:3], "")
	again := openAt(t, dest, foQueueRoute())
	if v := pollAt(t, again, v.StatusURL); v.Kind != ferry.InProgress {
		t.Errorf("%+v", v)
	}
	done := pollAt(t, again, v.StatusURL)
	docs := e.Documents("A-1")
	if done.Kind != ferry.Delivered || len(docs) != 1 || docs[0].Text != "a,b\r\n" || e.Calls(practice.OpCreate) != 1 {
		t.Errorf("%+v, %+v, %d files", done, docs, e.Calls(practice.OpCreate))
	}
	// An import that fails.
	e.Set(practice.Settings{Later: practice.Later{Reject: true}, Dialect: "d365fo"})
	failed := pollAt(t, again, again.Deliver(t.Context(), letter("A-2", "x")).StatusURL)
	if failed.Kind != ferry.Rejected || !strings.Contains(failed.Text, "the supplier is blocked Validations failed") || len(e.Documents("A-2")) != 0 {
		t.Errorf("%+v", failed)
	}
	// A message that the queue no longer knows, and an address that is none of a queue.
	for _, address := range []string{v.StatusURL[:len(v.StatusURL)-3] + "999", dest.URL + "/data/Customers"} {
		if v := pollAt(t, again, address); v.Kind != ferry.Unknown || v.Code != adapters.CodeForgotten {
			t.Errorf("%s: %+v", address, v)
		}
	}
}

func TestD365FOQueueSettings(t *testing.T) {
	for says, change := range map[string]func(*adapters.RouteConfig){
		"no id of a recurring data job": func(r *adapters.RouteConfig) { r.Activity = "orders" },
		"no keyField, key or lookup":    func(r *adapters.RouteConfig) { r.KeyField = "x" },
		"no write: update":              func(r *adapters.RouteConfig) { r.Write = "update" },
		"confirm: poll":                 func(r *adapters.RouteConfig) { r.Confirm = "callback" },
		"no poll.state":                 func(r *adapters.RouteConfig) { r.Confirm, r.Poll = "poll", &adapters.PollConfig{State: "."} },
	} {
		route := foQueueRoute()
		change(&route)
		refusesRoute(t, foDest(), route, says)
	}
	// Imports of one entity that run at a time fail with deadlocks.
	load := func(concurrency string) (*config.Worker, error) {
		file := filepath.Join(t.TempDir(), "worker.yaml")
		text := "name: worker-1\nqueue: {nats: {url: \"nats://127.0.0.1:4222\", nkey: env:LOGIN}}\n" +
			"destinations:\n  erp: {adapter: erp, dialect: d365fo, url: \"https://c.operations.dynamics.com\"" + concurrency + "}\n" +
			"routes:\n  - {name: groups, destination: erp, entity: Customer groups, activity: " + foActivity + ", write: upsert}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.LoadWorker(file)
	}
	w, err := load("")
	if err != nil || w.Destinations["erp"].Concurrency != 1 || w.Routes[0].Confirm != adapters.ConfirmPoll || w.Routes[0].ConfirmWithin != 24*time.Hour || !w.Routes[0].HonoursKey {
		t.Errorf("%v, %+v", err, w)
	}
	if _, err := load(", concurrency: 1"); err != nil {
		t.Error(err)
	}
	if _, err := load(", concurrency: 2"); err == nil || !strings.Contains(err.Error(), "imports of one entity") {
		t.Errorf("%v", err)
	}
}
