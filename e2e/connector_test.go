package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/connector"
	"ferry/internal/logicapps"
	"ferry/notify"
	"ferry/queue"
	"ferry/queue/memqueue"
)

// made is a connector in use: its definition, and the broker that it is of.
type made struct {
	t    *testing.T
	doc  *openapi3.T
	url  string
	key  string
	seen map[string]bool // operation and status
}

// useConnector starts a broker in this process, whose routes are read by receivers,
// and takes the definition that it serves.
func useConnector(t *testing.T) *made {
	t.Helper()
	const schema = `{"type":"object","required":["number"],"properties":{"number":{"type":"string"},"total":{"type":"number"}}}`
	mem := memqueue.New(memqueue.Options{Lock: 30 * time.Second})
	caller, err := notify.New(notify.Options{Allow: []string{"127.0.0.1"}, Encode: func(e ferry.Envelope) []byte { return api.EnvelopeJSON(e, "http://broker.test") }})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(t.Context(), broker.Options{
		DataDir: t.TempDir(), Version: "test", Environment: "test",
		Caller: caller, Tellers: map[string]broker.Teller{ferry.ReplyCallback: caller, ferry.ReplySubscription: caller},
		Routes: []ferry.Route{{
			Name: invoices, Schema: json.RawMessage(schema), Pull: true, Lock: time.Minute, MaxDeliveries: 3,
			Owner: &ferry.Owner{Name: "Accounts payable", Email: "ap@contoso.com"},
		}, {
			Name: "orders", Pull: true, Lock: time.Minute, MaxDeliveries: 3,
			Versions: []ferry.RouteVersion{{Name: "1", Default: true}, {Name: "2", Form: ferry.Form{Schema: json.RawMessage(schema)}}},
		}},
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (broker.Transport, error) {
			return memTransport{queue.New(mem.Broker(), queue.Options{})}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	key, err := b.CreateKey(t.Context(), ferry.KeySpec{Name: "test", Role: ferry.RoleAdmin}, "test")
	if err != nil {
		t.Fatal(err)
	}
	surface := httptest.NewUnstartedServer(api.New(b, api.Options{Environment: "test", Version: "test"}))
	surface.Config = api.Server("", surface.Config.Handler)
	surface.Start()
	t.Cleanup(surface.Close)
	m := &made{t: t, url: surface.URL, key: key.Secret, seen: map[string]bool{}}
	_, text := m.call(http.MethodGet, "/connector/"+connector.DefinitionFile, "")
	var two openapi2.T
	if err := json.Unmarshal(text, &two); err != nil {
		t.Fatal(err)
	}
	if m.doc, err = openapi2conv.ToV3(&two); err != nil {
		t.Fatal(err)
	}
	if err := openapi3.NewLoader().ResolveRefsIn(m.doc, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *made) call(method, target, body string) (*http.Response, []byte) {
	m.t.Helper()
	if !strings.HasPrefix(target, "http") {
		target = m.url + target
	}
	req, err := http.NewRequestWithContext(m.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Ocp-Apim-Subscription-Key", m.key) // as a connection sends it
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp, text
}

// do makes the call of an operation as the definition has it, and holds the answer
// against what the definition says of it. as is the status that describes it.
func (m *made) do(id, status, as string, fill map[string]string, body string) (*http.Response, map[string]any) {
	m.t.Helper()
	for path, item := range m.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.OperationID != id {
				continue
			}
			query := ""
			for name, value := range fill {
				if p := op.Parameters.GetByInAndName("query", name); p != nil {
					query += "&" + name + "=" + value
				} else if p := op.Parameters.GetByInAndName("path", name); p != nil {
					path = strings.ReplaceAll(path, "{"+name+"}", value)
				} else {
					m.t.Fatalf("%s has no parameter %s", id, name)
				}
			}
			resp, text := m.call(method, path+strings.Replace(query, "&", "?", 1), body)
			if got := resp.Status[:3]; got != status {
				m.t.Fatalf("%s is answered %s, want %s: %s", id, got, status, text)
			}
			return resp, m.holds(id, op.Responses.Value(as), text)
		}
	}
	m.t.Fatalf("there is no operation %s", id)
	return nil, nil
}

// holds holds an answer against a response of the definition.
func (m *made) holds(id string, described *openapi3.ResponseRef, text []byte) (answer map[string]any) {
	m.t.Helper()
	m.seen[id] = true
	if described == nil {
		m.t.Fatalf("%s: the answer is not described: %s", id, text)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			m.t.Fatalf("%s: %v: %s", id, err, text)
		}
	}
	if media := described.Value.Content.Get("application/json"); media != nil {
		if err := media.Schema.Value.VisitJSON(any(answer)); err != nil {
			m.t.Errorf("%s is not answered as the definition says: %v\n%s", id, err, text)
		}
		m.none(id, media.Schema.Value, answer)
	}
	return answer
}

// none wants at least half of what is described in the answer: a schema of other
// names would be true to everything.
func (m *made) none(id string, schema *openapi3.Schema, answer map[string]any) {
	m.t.Helper()
	there := 0
	for name := range schema.Properties {
		if _, ok := answer[name]; ok {
			there++
		}
	}
	if 3*there < len(schema.Properties) {
		m.t.Errorf("%s: of %d fields that are described only %d are answered", id, len(schema.Properties), there)
	}
}

// end receives the first message as the ERP's script does, and ends it.
func (m *made) end(how string) {
	m.t.Helper()
	resp, text := m.call(http.MethodPost, "/"+invoices+"/messages/head?timeout=10", "")
	if resp.StatusCode != http.StatusCreated {
		m.t.Fatalf("receive: %d %s", resp.StatusCode, text)
	}
	if resp, text := m.call(http.MethodDelete, resp.Header.Get("Location")+how, ""); resp.StatusCode != http.StatusOK {
		m.t.Fatalf("end: %d %s", resp.StatusCode, text)
	}
}

// TestConnectorAnswersAreTrue: what the broker answers to the connector's actions is
// what the definition says, for each of them.
func TestConnectorAnswersAreTrue(t *testing.T) {
	t.Parallel()
	m := useConnector(t)
	const body, other = `{"number":"INV-1","total":10}`, `{"number":"INV-1","total":11}`

	_, sent := m.do("SendToSupplierInvoices", "201", "201", map[string]string{"messageId": "INV-1", "correlationId": "case-1"}, body)
	id := sent["id"].(string)
	if sent["duplicate"] != false || sent["state"] != "accepted" {
		t.Errorf("sent: %v", sent)
	}
	// A repeat has the shape of the first answer.
	if _, again := m.do("SendToSupplierInvoices", "200", "201", map[string]string{"messageId": "INV-1", "correlationId": "case-1"}, body); again["id"] != id || again["duplicate"] != true {
		t.Errorf("again: %v", again)
	}
	if _, problem := m.do("SendToSupplierInvoices", "409", "409", map[string]string{"messageId": "INV-1"}, other); problem["code"] != "keyReused" || problem["id"] != id {
		t.Errorf("problem: %v", problem)
	}
	m.do("SendMessage", "200", "201", map[string]string{"route": invoices, "messageId": "INV-1"}, body)
	m.do("SendMessage", "201", "201", map[string]string{"route": invoices, "messageId": "INV-2", "timeToLive": "12h", "sessionId": "s"}, body)

	waiting, _ := m.do("SendAndWaitToSupplierInvoices", "202", "202", map[string]string{"messageId": "INV-1", "waitFor": "ended"}, body)
	generic, _ := m.do("SendMessageAndWait", "202", "202", map[string]string{"route": invoices, "messageId": "INV-2"}, body)
	wait := m.doc.Paths.Value("/v1/routes/" + invoices + "/messages/wait").Post

	m.end("?reference=DOC-7")
	m.end("?outcome=rejected&code=E42&text=no+such+supplier")
	key := m.key
	m.key = "" // the engine polls without it
	completed := m.poll(wait, waiting)
	if completed["state"] != "completed" || completed["reference"] != "DOC-7" {
		t.Errorf("completed: %v", completed)
	}
	dead := m.poll(wait, generic)
	if letter, _ := dead["deadLetter"].(map[string]any); dead["state"] != "deadLettered" || letter["reason"] != "Rejected" || letter["code"] != "E42" {
		t.Errorf("dead letter: %v", dead)
	}
	if _, refused := m.do("GetConnection", "401", "401", nil, ""); refused["code"] != "unauthenticated" {
		t.Errorf("without a key: %v", refused)
	}
	m.key = key

	if _, read := m.do("GetMessage", "200", "200", map[string]string{"id": id}, ""); read["idempotencyKey"] != "INV-1" || read["correlationId"] != "case-1" {
		t.Errorf("read: %v", read)
	}
	m.do("GetMessage", "404", "404", map[string]string{"id": "0199c0de-0000-7000-8000-000000000000"}, "")
	if _, me := m.do("GetConnection", "200", "200", nil, ""); me["role"] != "admin" || me["environment"] != "test" {
		t.Errorf("connection: %v", me)
	}
	_, routes := m.do("ListRoutes", "200", "200", nil, "")
	if first := routes["items"].([]any)[0].(map[string]any); first["name"] != invoices || first["title"] != "Supplier invoices" {
		t.Errorf("routes: %v", routes)
	}
	_, schema := m.do("GetRouteSchema", "200", "200", map[string]string{"route": invoices}, "")
	if fields := schema["schema"].(map[string]any)["properties"].(map[string]any); fields["number"].(map[string]any)["x-ms-summary"] != "Number" {
		t.Errorf("schema: %v", schema)
	}
	for i, id := range []string{"SendToOrders", "SendV1ToOrders", "SendV2ToOrders"} {
		if _, sent := m.do(id, "201", "201", map[string]string{"messageId": id}, body); sent["version"] != []string{"1", "1", "2"}[i] {
			t.Errorf("%s: %v", id, sent)
		}
		m.do(strings.Replace(id, "ToOrders", "AndWaitToOrders", 1), "202", "202", map[string]string{"messageId": id}, body)
	}
	if _, refused := m.do("SendV2ToOrders", "422", "default", nil, `{"total":1}`); refused["code"] != "invalid" {
		t.Errorf("version 2 takes what is none: %v", refused)
	}

	for _, item := range m.doc.Paths.Map() {
		for _, op := range item.Operations() {
			hook := strings.HasPrefix(op.OperationID, "When") || op.OperationID == "Unsubscribe" // TestConnectorTriggersAreTrue
			if !hook && !m.seen[op.OperationID] {
				t.Errorf("%s was not called in this test", op.OperationID)
			}
		}
	}
}

// poll asks the Location of an answer as the engine does.
func (m *made) poll(wait *openapi3.Operation, answer *http.Response) map[string]any {
	m.t.Helper()
	if answer.Header.Get("Retry-After") == "" {
		m.t.Error("no Retry-After")
	}
	resp, text := m.call(http.MethodGet, answer.Header.Get("Location"), "")
	return m.holds("the end of "+wait.OperationID, wait.Responses.Value(resp.Status[:3]), text)
}

// TestConnectorTriggersAreTrue: a flow is turned on with each trigger, is called with
// what the definition says, and is turned off without the key.
func TestConnectorTriggersAreTrue(t *testing.T) {
	t.Parallel()
	m := useConnector(t)
	var two openapi2.T
	_, text := m.call(http.MethodGet, "/connector/"+connector.DefinitionFile, "")
	if err := json.Unmarshal(text, &two); err != nil {
		t.Fatal(err)
	}
	calls := logicapps.NewCallbacks()
	flows := httptest.NewServer(calls)
	t.Cleanup(flows.Close)
	calls.Base = flows.URL
	flow := logicapps.New(logicapps.Options{}).Flow("Post invoices")
	on := map[string]*logicapps.Subscription{}
	for path, state := range map[string]string{"/v1/subscriptions/completed": "completed", "/v1/subscriptions/dead-lettered": "deadLettered"} {
		op := m.doc.Paths.Value(path).Post
		sub, err := flow.Subscribe(t.Context(), logicapps.Trigger{
			Name: op.OperationID, URI: m.url + path, Headers: map[string]string{"Ocp-Apim-Subscription-Key": m.key},
			Body: func(url string) []byte {
				body := map[string]any{"callbackUrl": url, "route": invoices}
				if err := op.RequestBody.Value.Content.Get("application/json").Schema.Value.VisitJSON(body); err != nil {
					t.Errorf("%s: %v", op.OperationID, err)
				}
				text, err := json.Marshal(body)
				if err != nil {
					t.Error(err)
				}
				return text
			},
		}, calls)
		if err != nil {
			t.Fatal(err)
		}
		if sub.Answer.Status != http.StatusCreated {
			t.Errorf("%s is answered %d", op.OperationID, sub.Answer.Status)
		}
		m.holds(op.OperationID, op.Responses.Value("201"), sub.Answer.Body)
		on[state] = sub
	}
	m.do("SendToSupplierInvoices", "201", "201", map[string]string{"messageId": "INV-1"}, `{"number":"INV-1"}`)
	m.do("SendToSupplierInvoices", "201", "201", map[string]string{"messageId": "INV-2"}, `{"number":"INV-2"}`)
	m.end("?reference=DOC-7")
	m.end("?outcome=rejected&code=E42&text=no+such+supplier")
	unsubscribe := m.doc.Paths.Value("/v1/subscriptions/{id}").Delete
	message := m.doc.Components.Schemas["Message"].Value
	for state, sub := range on {
		called, err := calls.Await(t.Context(), sub.CallbackURL, 1)
		if err != nil {
			t.Fatal(err)
		}
		var told map[string]any
		if err := json.Unmarshal(called[0].Body, &told); err != nil || told["state"] != state {
			t.Errorf("%s: told %s: %v", state, called[0].Body, err)
		}
		if err := message.VisitJSON(any(told)); err != nil {
			t.Errorf("%s: %v", state, err)
		}
		m.none(state, message, told)
		end, err := sub.Unsubscribe(t.Context())
		if err != nil || unsubscribe.Responses.Status(end.Status) == nil {
			t.Errorf("unsubscribe: %d, %v", end.Status, err)
		}
	}
	for _, path := range []string{"/v1/subscriptions/completed", "/v1/subscriptions/dead-lettered"} {
		var item struct {
			Content struct {
				Schema struct {
					Ref string `json:"$ref"`
				} `json:"schema"`
			} `json:"x-ms-notification-content"`
		}
		text, err := json.Marshal(two.Paths[path])
		if err == nil {
			err = json.Unmarshal(text, &item)
		}
		if err != nil || item.Content.Schema.Ref != "#/definitions/Message" {
			t.Errorf("%s tells of %q: %v", path, item.Content.Schema.Ref, err)
		}
	}
}

// TestConnectorFieldsExist: every field that makers see of an answer is one that the
// broker has under this name, of this kind.
func TestConnectorFieldsExist(t *testing.T) {
	t.Parallel()
	m := useConnector(t)
	for name, of := range map[string]reflect.Type{
		"Message": reflect.TypeFor[ferry.Envelope](), "AcceptedMessage": reflect.TypeFor[ferry.Accepted](), "Connection": reflect.TypeFor[api.Me](),
		"RouteList": reflect.TypeFor[api.List[ferry.RouteInfo]](), "RouteSchema": reflect.TypeFor[api.RouteSchema](),
		"Problem": reflect.TypeFor[api.Problem](), "Subscription": reflect.TypeFor[ferry.NewSubscription](),
	} {
		schema := m.doc.Components.Schemas[name]
		if schema == nil || len(schema.Value.Properties) == 0 {
			t.Fatalf("no definition %s", name)
		}
		fieldsExist(t, name, schema.Value, of)
	}
}

func fieldsExist(t *testing.T, at string, schema *openapi3.Schema, of reflect.Type) {
	t.Helper()
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	kind := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Slice: "array", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer", reflect.String: "string",
	}[of.Kind()]
	if text := reflect.TypeFor[interface{ MarshalText() ([]byte, error) }](); of.Implements(text) {
		kind = "string"
	}
	if of == reflect.TypeFor[json.RawMessage]() {
		return // any
	}
	if got := schema.Type; got == nil || !got.Is(kind) {
		t.Errorf("%s is said to be %v, and is %s", at, got, kind)
		return
	}
	switch kind {
	case "array":
		fieldsExist(t, at+"[]", schema.Items.Value, of.Elem())
	case "object":
		for name, p := range schema.Properties {
			f, ok := fieldOf(of, name)
			if !ok {
				t.Errorf("%s has no field %s", at, name)
				continue
			}
			fieldsExist(t, at+"."+name, p.Value, f)
		}
	}
}

// fieldOf finds the field of a struct by its name in JSON.
func fieldOf(of reflect.Type, name string) (reflect.Type, bool) {
	for _, f := range reflect.VisibleFields(of) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type, true
		}
	}
	return nil, false
}
