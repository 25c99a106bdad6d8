package erp_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

func frappeError(class, words string, said ...string) string {
	messages := make([]string, len(said))
	for i, text := range said {
		inner, _ := json.Marshal(map[string]any{"message": text, "title": "Message", "indicator": "red", "raise_exception": 1})
		messages[i] = string(inner)
	}
	outer, _ := json.Marshal(messages)
	whole := map[string]any{
		"exc_type": class, "exception": "frappe.exceptions." + class + ": " + words,
		"exc": `["Traceback (most recent call last):\n  File \"apps/frappe/frappe/app.py\", line 114"]`,
	}
	if len(said) > 0 {
		whole["_server_messages"] = string(outer)
	}
	body, _ := json.Marshal(whole)
	return string(body)
}

const none, maybe, done = ferry.EffectNone, ferry.EffectMaybe, ferry.EffectDone

// What Frappe answers, and what it comes to.
func TestFrappeFacts(t *testing.T) {
	link := "Could not find Supplier: Contoso, Row #1: Item: A-1"
	checkFacts(t, adapters.DestinationConfig{Dialect: "frappe"},
		adapters.RouteConfig{Entity: "Purchase Invoice", KeyField: "custom_ferry_key", Map: ".", Lookup: &adapters.LookupConfig{}},
		"POST", reply{status: 200, body: `{"data":[]}`},
		[]fact{
			{"created", reply{status: 200, body: `{"data":{"name":"ACC-PINV-1","docstatus":0}}`}, ferry.Delivered, done, "", "", "", 0},
			{
				"417 ValidationError is the message's fault, its words are JSON in JSON in JSON with HTML in them",
				reply{status: 417, body: frappeError("ValidationError", "x", "Posting date <b>2026-01-01</b> is &lt; closed", "Second line")},
				ferry.Rejected, none, "ValidationError", "Posting date 2026-01-01 is < closed; Second line", "", 0,
			},
			{
				"417 MandatoryError names the fields",
				reply{status: 417, body: frappeError("MandatoryError", "[Purchase Invoice, new-1]: supplier, bill_no", "Error: Value missing for Purchase Invoice: Supplier")},
				ferry.Rejected, none, "MandatoryError", "Value missing", "supplier: a value is missing; bill_no: a value is missing", 0,
			},
			{
				"417 LinkValidationError names what is not there",
				reply{status: 417, body: frappeError("LinkValidationError", link, link)},
				ferry.Rejected, none, "LinkValidationError", "Could not find", "Supplier: there is no Contoso; Row #1: Item: there is no A-1", 0,
			},
			{
				"417 TimestampMismatchError is tried again",
				reply{status: 417, body: frappeError("TimestampMismatchError", "x", "Document has been modified after you have opened it")},
				ferry.Failed, none, "TimestampMismatchError", "has been modified", "", 0,
			},
			{
				"417 DocumentLockedError is tried again",
				reply{status: 417, body: frappeError("DocumentLockedError", "Document is locked")},
				ferry.Failed, none, "DocumentLockedError", "locked", "", 0,
			},
			{
				"417 UniqueValidationError is a duplicate to be looked for",
				reply{status: 417, body: frappeError("UniqueValidationError", "must be unique")},
				ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "UniqueValidationError: must be unique", "", 0,
			},
			{
				"409 DuplicateEntryError is a duplicate to be looked for",
				reply{status: 409, body: frappeError("DuplicateEntryError", "('Purchase Invoice', 'X')")},
				ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "Purchase Invoice", "", 0,
			},
			{
				"500 QueryDeadlockError was rolled back",
				reply{status: 500, body: frappeError("QueryDeadlockError", "(1213, 'Deadlock found')")},
				ferry.Failed, none, "QueryDeadlockError", "Deadlock", "", 0,
			},
			{
				"500 QueryTimeoutError was rolled back",
				reply{status: 500, body: frappeError("QueryTimeoutError", "(1205, 'Lock wait timeout')")},
				ferry.Failed, none, "QueryTimeoutError", "Lock wait", "", 0,
			},
			{
				"500 with another exception may have been written",
				reply{status: 500, body: frappeError("OperationalError", "gone away")},
				ferry.Unknown, maybe, "OperationalError", "gone away", "", 0,
			},
			{
				"429 in plain words, with Retry-After",
				reply{status: 429, header: map[string]string{"Retry-After": "17"}, body: "Too Many Requests"},
				ferry.Throttled, none, "", "Too Many Requests", "", 17 * time.Second,
			},
			{
				"429 that counts down its window",
				reply{status: 429, header: map[string]string{"X-RateLimit-Reset": "9"}, body: "Too Many Requests"},
				ferry.Throttled, none, "", "", "", 9 * time.Second,
			},
			{
				"417 RateLimitExceededError is a throttle",
				reply{status: 417, body: frappeError("RateLimitExceededError", "You hit the rate limit")},
				ferry.Throttled, none, "RateLimitExceededError", "rate limit", "", 0,
			},
			{"503 while the site is updated", reply{status: 503, body: "<html><title>Updating</title><p>Please wait</p></html>"}, ferry.Unavailable, none, "", "Updating", "", 0},
			{"401 AuthenticationError", reply{status: 401, body: frappeError("AuthenticationError", "")}, ferry.Unauthorized, none, "AuthenticationError", "", "", 0},
			{"403 PermissionError", reply{status: 403, body: frappeError("PermissionError", "Insufficient Permission")}, ferry.Unauthorized, none, "PermissionError", "Insufficient", "", 0},
			{"404 for a DocType that is not there", reply{status: 404, body: frappeError("DoesNotExistError", "DocType X not found")}, ferry.Rejected, none, "DoesNotExistError", "not found", "", 0},
			{
				"errors of version 2",
				reply{status: 417, body: `{"errors":[{"type":"ValidationError","message":"No <b>way</b>","exception":"Traceback (most recent call last)"}]}`},
				ferry.Rejected, none, "ValidationError", "No way", "", 0,
			},
			{"502 of a proxy may have been written", reply{status: 502, body: "<html>Bad Gateway</html>"}, ferry.Unknown, maybe, "", "Bad Gateway", "", 0},
		})
}

// The document is asked for before it is written, by the field that bears the key;
// a space is %20, and the key stands in the document.
func TestFrappeRequests(t *testing.T) {
	s := &answering{answers: map[string][]reply{
		"GET": {{status: 200, body: `{"data":[]}`}}, "POST": {{status: 200, body: `{"data":{"name":"ACC-PINV-1","docstatus":0}}`}},
	}}
	a := open(t, s, adapters.DestinationConfig{Dialect: "frappe"}, adapters.RouteConfig{
		Entity: "Purchase Invoice", KeyField: "custom_ferry_key", Map: "{bill_no: .invoice.number}",
		Lookup: &adapters.LookupConfig{Where: `[["company", "=", "Contoso AG"]]`},
	})
	v := a.Deliver(t.Context(), call())
	if v.Kind != ferry.Delivered || v.Reference != "ACC-PINV-1" {
		t.Fatalf("%+v", v)
	}
	wantGet := "GET /api/resource/Purchase%20Invoice?filters=%5B%5B%22custom_ferry_key%22%2C%22%3D%22%2C%22PO%207%2F%C3%A4%2B%26%3F%23%22%5D%2C%5B%22company%22%2C%22%3D%22%2C%22Contoso%20AG%22%5D%5D" +
		"&fields=%5B%22name%22%2C%22docstatus%22%2C%22modified%22%2C%22custom_ferry_key%22%5D&order_by=creation%20asc&limit_page_length=10"
	if len(s.asked) != 2 || s.asked[0] != wantGet || s.asked[1] != "POST /api/resource/Purchase%20Invoice" || s.bodies[1] != `{"bill_no":"A-1","custom_ferry_key":"PO 7/ä+&?#"}` {
		t.Errorf("%q\n%q", s.asked, s.bodies)
	}
	if s.headers[1].Get("Idempotency-Key") != "" {
		t.Error("a header that Frappe does not honour, and that makes net/http send again, is set")
	}
}

// MariaDB finds "po-1" for "PO-1"; a cancelled document counts only where there is
// no other.
func TestFrappeFindsByTheLetter(t *testing.T) {
	for name, c := range map[string]struct{ rows, want string }{
		"another case":         {`{"name":"A","docstatus":1,"k":"po-1"}`, ""},
		"blanks at the end":    {`{"name":"A","docstatus":1,"k":"PO-1 "}`, ""},
		"cancelled and anew":   {`{"name":"A","docstatus":2,"k":"PO-1"},{"name":"A-1","docstatus":0,"k":"PO-1"}`, "A-1"},
		"cancelled":            {`{"name":"A","docstatus":2,"k":"PO-1"}`, "A"},
		"first of several":     {`{"name":"A","docstatus":0,"k":"PO-1"},{"name":"B","docstatus":0,"k":"PO-1"}`, "A"},
		"nothing":              {``, ""},
		"no permission on key": {`{"name":"A","docstatus":1}`, "A"},
	} {
		s := &answering{answers: map[string][]reply{"GET": {{status: 200, body: `{"data":[` + c.rows + `]}`}}}}
		a := open(t, s, adapters.DestinationConfig{Dialect: "frappe"}, adapters.RouteConfig{Entity: "X", KeyField: "k", Lookup: &adapters.LookupConfig{}})
		m := call()
		m.ExternalKey = "PO-1"
		if r := a.Lookup(t.Context(), m); r.Reference != c.want || (r.State == adapters.Absent) != (c.want == "") || r.Different != strings.Contains(name, "several") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for name, answer := range map[string]reply{
		"a DocType that is not there": {status: 404, body: frappeError("DoesNotExistError", "DocType X not found")},
		"a field that is not there":   {status: 417, body: frappeError("DataError", "Field not permitted in query: k")},
		"no list":                     {status: 200, body: `{"message":"pong"}`},
	} {
		a := open(t, &answering{answers: map[string][]reply{"GET": {answer}}}, adapters.DestinationConfig{Dialect: "frappe"}, adapters.RouteConfig{Entity: "X", KeyField: "k", Lookup: &adapters.LookupConfig{}})
		if r := a.Lookup(t.Context(), call()); r.State != adapters.Unanswered {
			t.Errorf("%s proves nothing: %+v", name, r)
		}
	}
}

// A document is created as a draft and submitted; what kept it from that is made up
// for by the next delivery, without a second document.
func TestFrappeSubmits(t *testing.T) {
	p := openPractice(t, "frappe", practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finish = "submit" })
	c := p.call(`{"number":"1"}`)
	if v := p.deliver(t, c, ferry.Delivered, done); v.Reference != "INV-000001" || p.Documents(c.ExternalKey)[0].Status != "Submitted" {
		t.Errorf("%+v %+v", v, p.Documents(""))
	}
	if v := p.deliver(t, c, ferry.Duplicate, done); v.Reference != "INV-000001" {
		t.Errorf("%+v", v)
	}
	c = p.call(`{"number":"2"}`)
	if err := p.Fail(practice.Fault{On: practice.OpFinish, Kind: practice.FaultStatus, Status: 417, Code: "DocumentLockedError"}); err != nil {
		t.Fatal(err)
	}
	if v := p.deliver(t, c, ferry.Failed, none); !strings.Contains(v.Text, "document INV-000002 is there, and submit did not succeed") {
		t.Errorf("text %q", v.Text)
	}
	if r := p.adapter.Lookup(t.Context(), c); r.State != adapters.Absent {
		t.Errorf("a draft counts as finished: %+v", r)
	}
	c.Number = 2
	if v := p.deliver(t, c, ferry.Delivered, done); v.Reference != "INV-000002" || len(p.Documents(c.ExternalKey)) != 1 || p.Documents(c.ExternalKey)[0].Status != "Submitted" {
		t.Errorf("%+v %+v", v, p.Documents(c.ExternalKey))
	}
	// An edited message writes over the draft of its earlier body first.
	c = p.call(`{"number":"3"}`)
	if err := p.Fail(practice.Fault{On: practice.OpFinish, Kind: practice.FaultStatus, Status: 417, Code: "ValidationError", Text: "no such supplier"}); err != nil {
		t.Fatal(err)
	}
	p.deliver(t, c, ferry.Rejected, none)
	c.Body, c.Revision, c.Number = []byte(`{"number":"3b"}`), 2, 2
	p.deliver(t, c, ferry.Delivered, done)
	docs := p.Documents(c.ExternalKey)
	if len(docs) != 1 || docs[0].Status != "Submitted" || !strings.Contains(string(docs[0].Body), "3b") {
		t.Errorf("%+v", docs)
	}
}

// write: upsert finds the document and writes over it; one that somebody changed in
// between is read, and written, once more.
func TestFrappeUpsert(t *testing.T) {
	p := openPractice(t, "frappe", practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Write = "upsert" })
	c := p.call(`{"number":"1"}`)
	p.deliver(t, c, ferry.Delivered, done)
	c.Body = []byte(`{"number":"2"}`)
	if v := p.deliver(t, c, ferry.Delivered, done); v.Reference != "INV-000001" {
		t.Errorf("%+v", v)
	}
	if docs := p.Documents(c.ExternalKey); len(docs) != 1 || !strings.Contains(string(docs[0].Body), `"2"`) {
		t.Errorf("%+v", docs)
	}
	stale := practice.Fault{On: practice.OpFinish, Kind: practice.FaultStatus, Status: 417, Code: "TimestampMismatchError", Text: "modified"}
	if err := p.Fail(stale); err != nil {
		t.Fatal(err)
	}
	p.deliver(t, c, ferry.Delivered, done)
	stale.Times = -1
	if err := p.Fail(stale); err != nil {
		t.Fatal(err)
	}
	if v := p.deliver(t, c, ferry.Failed, none); !strings.Contains(v.Text, "somebody else") {
		t.Errorf("text %q", v.Text)
	}
}

func TestFrappeSettings(t *testing.T) {
	dest := adapters.DestinationConfig{Name: "books", Dialect: "frappe", URL: "https://erp.example"}
	checkBadRoutes(t, dest, map[string]adapters.RouteConfig{
		"entity is missing":     {},
		`there is no "post"`:    {Entity: "X", Finish: "post", KeyField: "k", Lookup: &adapters.LookupConfig{}},
		"no list of filters":    {Entity: "X", KeyField: "k", Lookup: &adapters.LookupConfig{Where: "a=b"}},
		"upsert needs a lookup": {Entity: "X", Write: "upsert"},
		"finish needs a lookup": {Entity: "X", Finish: "submit"},
		"takes no url":          {Entity: "X", URL: "/x"},
	})
}
