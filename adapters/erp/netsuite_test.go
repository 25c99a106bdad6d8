package erp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

func netsuiteError(status, details string) string {
	return `{"type":"https://www.rfc-editor.org/rfc/rfc9110.html#section-15","title":"T","status":` + status + `,"o:errorDetails":[` + details + `]}`
}

// What NetSuite answers, and what it comes to.
func TestNetSuiteFacts(t *testing.T) {
	checkFacts(t, adapters.DestinationConfig{Dialect: "netsuite"},
		adapters.RouteConfig{Entity: "vendorBill", KeyField: "externalId", Map: ".", Lookup: &adapters.LookupConfig{}},
		"POST", reply{status: 404, body: netsuiteError("404", `{"detail":"The record instance does not exist. Provide a valid record instance ID.","o:errorCode":"NONEXISTENT_ID"}`)},
		[]fact{
			{"204 is created", reply{status: 204, header: map[string]string{"Location": "/services/rest/record/v1/vendorBill/647"}}, ferry.Delivered, done, "", "", "", 0},
			{
				"400 INVALID_CONTENT names the field",
				reply{status: 400, body: netsuiteError("400", `{"detail":"Invalid Field Value 9999 for the following field: item","o:errorCode":"INVALID_CONTENT","o:errorPath":"item.items[0].item"}`)},
				ferry.Rejected, none, "INVALID_CONTENT", "Invalid Field Value", "item.items[0].item: Invalid Field Value 9999 for the following field: item", 0,
			},
			{
				"several errors are all told",
				reply{status: 400, body: netsuiteError("400", `{"detail":"one","o:errorCode":"INVALID_CONTENT","o:errorPath":"a"},{"detail":"two","o:errorCode":"USER_ERROR","o:errorQueryParam":"b"}`)},
				ferry.Rejected, none, "INVALID_CONTENT", "one; two", "a: one; b: two", 0,
			},
			{
				"400 SSS_REQUEST_LIMIT_EXCEEDED of a RESTlet is a throttle",
				reply{status: 400, body: `{"error":{"code":"SSS_REQUEST_LIMIT_EXCEEDED","message":"Request limit exceeded."}}`},
				ferry.Throttled, none, "SSS_REQUEST_LIMIT_EXCEEDED", "limit", "", 0,
			},
			{
				"429 with Retry-After",
				reply{status: 429, header: map[string]string{"Retry-After": "5"}, body: netsuiteError("429", `{"detail":"Concurrent request limit exceeded.","o:errorCode":"CONCURRENCY_LIMIT_EXCEEDED"}`)},
				ferry.Throttled, none, "CONCURRENCY_LIMIT_EXCEEDED", "limit", "", 5 * time.Second,
			},
			{
				"401 INVALID_LOGIN",
				reply{status: 401, body: netsuiteError("401", `{"detail":"Invalid login attempt.","o:errorCode":"INVALID_LOGIN"}`)},
				ferry.Unauthorized, none, "INVALID_LOGIN", "Invalid login", "", 0,
			},
			{"403", reply{status: 403, body: netsuiteError("403", `{"detail":"Permission violation","o:errorCode":"INSUFFICIENT_PERMISSION"}`)}, ferry.Unauthorized, none, "INSUFFICIENT_PERMISSION", "", "", 0},
			{"404 for a type of record that is not there", reply{status: 404, body: netsuiteError("404", `{"detail":"Record type 'x' does not exist","o:errorCode":"NONEXISTENT_RECORD_TYPE"}`)}, ferry.Rejected, none, "NONEXISTENT_RECORD_TYPE", "does not exist", "", 0},
			{
				"an external id that is taken is looked for",
				reply{status: 400, body: netsuiteError("400", `{"detail":"This record already exists","o:errorCode":"USER_ERROR"}`)},
				ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "already exists", "", 0,
			},
			{
				"DUP_RCRD is looked for",
				reply{status: 400, body: netsuiteError("400", `{"detail":"x","o:errorCode":"DUP_RCRD"}`)},
				ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "DUP_RCRD", "", 0,
			},
			{
				"a record that was changed meanwhile is written again",
				reply{status: 400, body: netsuiteError("400", `{"detail":"Record has been changed","o:errorCode":"RCRD_HAS_BEEN_CHANGED"}`)},
				ferry.Failed, none, "RCRD_HAS_BEEN_CHANGED", "", "", 0,
			},
			{"500 may have been written", reply{status: 500, body: netsuiteError("500", `{"detail":"An unexpected error occurred.","o:errorCode":"UNEXPECTED_ERROR"}`)}, ferry.Unknown, maybe, "UNEXPECTED_ERROR", "", "", 0},
			{"503", reply{status: 503}, ferry.Unavailable, none, "", "", "", 0},
			{"302 to another data centre", reply{status: 302, header: map[string]string{"Location": "https://other.example/"}}, ferry.Rejected, none, "", "host name", "", 0},
			{
				"IDEMPOTENCY_ERROR is no refusal, also where nothing can be asked",
				reply{status: 400, body: netsuiteError("400", `{"detail":"already submitted","o:errorCode":"IDEMPOTENCY_ERROR"}`)},
				ferry.Unknown, maybe, "IDEMPOTENCY_ERROR", "took it before", "", 0,
			},
		})
}

// The reference is the internal id in Location; a lookup asks by the external id,
// and believes a 404 only where it speaks of the record.
func TestNetSuiteExternalIDs(t *testing.T) {
	s := &answering{answers: map[string][]reply{
		"POST":  {{status: 204, header: map[string]string{"Location": "https://1234567.suitetalk.api.netsuite.com/services/rest/record/v1/vendorBill/647"}}},
		"PUT":   {{status: 204, header: map[string]string{"Location": "/services/rest/record/v1/vendorBill/648"}}},
		"PATCH": {{status: 204}},
		"GET":   {{status: 200, body: `{"id":"647","externalId":"PO-7"}`}},
	}}
	m := call()
	m.ExternalKey = "PO-7"
	dest := adapters.DestinationConfig{Dialect: "netsuite", URL: "/services/rest"}
	route := adapters.RouteConfig{Entity: "vendorBill", KeyField: "externalId", Map: "{tranId: .invoice.number}", Lookup: &adapters.LookupConfig{}}
	a := open(t, s, dest, route)
	if v := a.Deliver(t.Context(), m); v.Kind != ferry.Delivered || v.Reference != "647" || v.Text != "" {
		t.Errorf("%+v", v)
	}
	if r := a.Lookup(t.Context(), m); r.State != adapters.Found || r.Reference != "647" {
		t.Errorf("%+v", r)
	}
	upsert := route
	upsert.Write, upsert.KeyField, upsert.Lookup = "upsert", "", nil
	if v := open(t, s, dest, upsert).Deliver(t.Context(), m); v.Kind != ferry.Delivered || v.Reference != "648" {
		t.Errorf("%+v", v)
	}
	update := route
	update.Write = "update"
	if v := open(t, s, dest, update).Deliver(t.Context(), m); v.Kind != ferry.Delivered || v.Reference != "647" {
		t.Errorf("%+v", v)
	}
	m.ExternalKey = "PO 7/ä" // what an address could not hold is shaped, always alike
	if v := open(t, s, dest, upsert).Deliver(t.Context(), m); v.Kind != ferry.Delivered {
		t.Errorf("%+v", v)
	}
	want := []string{
		"POST /services/rest/record/v1/vendorBill", "GET /services/rest/record/v1/vendorBill/eid:PO-7", "PUT /services/rest/record/v1/vendorBill/eid:PO-7",
		"GET /services/rest/record/v1/vendorBill/eid:PO-7", "PATCH /services/rest/record/v1/vendorBill/647", "PUT /services/rest/record/v1/vendorBill/eid:PO-7-",
	}
	for i, line := range s.asked {
		if i >= len(want) || !strings.HasPrefix(line, want[i]) || strings.ContainsAny(line[strings.Index(line, "/"):], " %") {
			t.Errorf("%d: %s", i, line)
		}
	}
	if s.bodies[0] != `{"externalId":"PO-7","tranId":"A-1"}` || s.bodies[2] != `{"tranId":"A-1"}` {
		t.Errorf("%q", s.bodies)
	}
	for code, state := range map[string]adapters.LookupState{"NONEXISTENT_ID": adapters.Absent, "NONEXISTENT_RECORD_TYPE": adapters.Unanswered} {
		s.answers["GET"] = []reply{{status: 404, body: netsuiteError("404", `{"detail":"x","o:errorCode":"`+code+`"}`)}}
		if r := a.Lookup(t.Context(), m); r.State != state {
			t.Errorf("%s: %+v", code, r)
		}
	}
}

// Other fields are asked for by a query, which only reads; text in it is quoted.
func TestNetSuiteSuiteQL(t *testing.T) {
	s := &answering{answers: map[string][]reply{"POST": {{status: 200, body: `{"links":[],"count":1,"hasMore":false,"items":[{"id":"12","tranid":"A'1"}]}`}}}}
	m := call()
	m.Body = []byte(`{"no":"A'1","vendor":7}`)
	route := adapters.RouteConfig{
		Entity: "vendorBill", Key: map[string]string{"tranid": ".no", "entity": ".vendor"}, Lookup: &adapters.LookupConfig{Where: "voided = 'F'"},
	}
	if r := open(t, s, adapters.DestinationConfig{Dialect: "netsuite"}, route).Lookup(t.Context(), m); r.State != adapters.Found || r.Reference != "12" {
		t.Errorf("%+v", r)
	}
	want := `{"q":"SELECT * FROM transaction WHERE type = 'VendBill' AND entity = 7 AND tranid = 'A''1' AND (voided = 'F') ORDER BY id"}`
	if s.asked[0] != "POST /services/rest/query/v1/suiteql?limit=2" || s.bodies[0] != want || s.headers[0].Get("Prefer") != "transient" {
		t.Errorf("%q %q", s.asked, s.bodies)
	}
	s.answers["POST"] = []reply{{status: 200, body: `{"count":0,"items":[]}`}}
	route.Entity = "vendor"
	if r := open(t, s, adapters.DestinationConfig{Dialect: "netsuite"}, route).Lookup(t.Context(), m); r.State != adapters.Absent || !strings.Contains(s.bodies[1], "FROM vendor WHERE entity = 7") {
		t.Errorf("%+v %q", r, s.bodies[1])
	}
	// Search before create, since nothing else keeps a second one away.
	p := openPractice(t, "netsuite", practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.KeyField = "tranId" })
	c := p.call(`{"number":"1"}`)
	p.deliver(t, c, ferry.Delivered, done)
	p.deliver(t, c, ferry.Duplicate, done)
	if n := len(p.Documents("")); n != 1 {
		t.Errorf("%d documents", n)
	}
}

func async(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Async = true }

// An asynchronous request is answered with a job, which is asked; its task's result
// is the answer.
func TestNetSuiteJob(t *testing.T) {
	p := openPractice(t, "netsuite", practice.Settings{Later: practice.Later{Polls: 1}}, async)
	c := p.call(`{"number":"1"}`)
	v := p.deliver(t, c, ferry.InProgress, maybe)
	if v.StatusURL != p.url+"/services/rest/async/v1/job/op-000001" || v.Status != 202 {
		t.Errorf("%+v", v)
	}
	if r := p.poll(t, c, v, ferry.InProgress); len(p.Documents("")) != 0 {
		t.Errorf("%+v", r)
	}
	if r := p.poll(t, c, v, ferry.Delivered); r.Reference != "INV-000001" || r.Text != "" || len(p.Documents(c.ExternalKey)) != 1 {
		t.Errorf("%+v", r)
	}
	// Forgotten by NetSuite: found by its external id.
	p.Set(practice.Settings{Dialect: "netsuite", Later: practice.Later{Forgotten: true}})
	if r := p.poll(t, c, v, ferry.Unknown); r.Code != adapters.CodeForgotten {
		t.Errorf("%+v", r)
	}
	p.Set(practice.Settings{Dialect: "netsuite"})
	if err := p.Fail(practice.Fault{On: practice.OpPoll, Kind: practice.FaultStatus, Status: 429, RetryAfter: "3"}); err != nil {
		t.Fatal(err)
	}
	if r := p.poll(t, c, v, ferry.Throttled); r.RetryAfter != 3*time.Second {
		t.Errorf("%+v", r)
	}
}

// A job that failed says why in its task's result.
func TestNetSuiteJobFails(t *testing.T) {
	p := openPractice(t, "netsuite", practice.Settings{Later: practice.Later{Reject: true}}, async)
	c := p.call(`{"number":"1"}`)
	r := p.poll(t, c, p.deliver(t, c, ferry.InProgress, maybe), ferry.Rejected)
	if r.Code != "INVALID_CONTENT" || !strings.Contains(r.Text, "the supplier is blocked") || len(r.Fields) != 1 || r.Fields[0].Field != "entity" {
		t.Errorf("%+v", r)
	}
}

// The same request, sent again, is answered with 400 and the job of the first: it is
// asked, and there is one document. An edited body is another request.
func TestNetSuiteRepeatIsFollowed(t *testing.T) {
	p := openPractice(t, "netsuite", practice.Settings{}, async)
	c := p.call(`{"number":"1"}`)
	if err := p.Fail(practice.Fault{Kind: practice.FaultCutAfter}); err != nil {
		t.Fatal(err)
	}
	p.deliver(t, c, ferry.Unknown, maybe)
	c.Number = 2
	v := p.deliver(t, c, ferry.InProgress, maybe)
	if v.Status != 400 || v.Code != "" || !strings.HasSuffix(v.StatusURL, "/job/op-000001") {
		t.Errorf("%+v", v)
	}
	if r := p.poll(t, c, v, ferry.Delivered); r.Reference != "INV-000001" || len(p.Documents("")) != 1 {
		t.Errorf("%+v %+v", r, p.Documents(""))
	}
	c.Revision = 2
	if v := p.deliver(t, c, ferry.InProgress, maybe); !strings.HasSuffix(v.StatusURL, "/job/op-000002") {
		t.Errorf("an edited body is answered with the old job: %+v", v)
	}
}

// Where an answer leads off to another host, or is no answer, nothing is believed.
func TestNetSuiteJobLeadsNowhere(t *testing.T) {
	const job = "/services/rest/async/v1/job/1"
	for name, c := range map[string]struct {
		answers map[string][]reply
		kind    ferry.VerdictKind
	}{
		"task at another host": {map[string][]reply{
			"GET " + job:           {{status: 200, body: `{"completed":true,"progress":"succeeded"}`}},
			"GET " + job + "/task": {{status: 200, body: `{"items":[{"links":[{"rel":"self","href":"https://evil.example/task/1"}]}]}`}},
		}, ferry.InProgress},
		"no tasks": {map[string][]reply{
			"GET " + job: {{status: 200, body: `{"completed":true}`}}, "GET " + job + "/task": {{status: 200, body: `{"items":[]}`}},
		}, ferry.InProgress},
		"no JSON": {map[string][]reply{"GET": {{status: 200, body: `<html>`}}}, ferry.InProgress},
		"result cannot be had": {map[string][]reply{
			"GET " + job:                    {{status: 200, body: `{"completed":true}`}},
			"GET " + job + "/task":          {{status: 200, body: `{"items":[{"links":[{"rel":"self","href":"` + job + `/task/1"}]}]}`}},
			"GET " + job + "/task/1/result": {{status: 503}},
		}, ferry.Unavailable},
	} {
		s := &answering{answers: c.answers}
		s.answers["POST"] = []reply{{status: 202, header: map[string]string{"Location": job}}}
		a := open(t, s, adapters.DestinationConfig{Dialect: "netsuite"}, adapters.RouteConfig{Entity: "vendorBill", Async: true})
		m := call()
		v := a.Deliver(t.Context(), m)
		wantVerdict(t, name, v, ferry.InProgress, maybe)
		m.StatusURL = v.StatusURL
		if r := a.(adapters.Poller).Poll(t.Context(), m); r.Kind != c.kind {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestNetSuiteSettings(t *testing.T) {
	dest := adapters.DestinationConfig{Name: "books", Dialect: "netsuite", URL: "https://1234567.suitetalk.api.netsuite.com"}
	checkBadRoutes(t, dest, map[string]adapters.RouteConfig{
		"entity is missing": {},
		"for RESTlets":      {Entity: "customer", URL: "/x"},
		"goes by external":  {Entity: "customer", Write: "upsert", KeyField: "tranid"},
		"are for records":   {URL: "/app/site/hosting/restlet.nl", Async: true},
	})
	dest.URL = "https://1234567_SB1.suitetalk.api.netsuite.com"
	_, err := erp.New(secret.Resolver{}, nil)(dest)
	checkSetting(t, err, "destination books", "underscore")
}

// A RESTlet is called at its address, with JSON, and without headers that it does
// not honour.
func TestNetSuiteRESTlet(t *testing.T) {
	s := &answering{answers: map[string][]reply{"POST": {{status: 200, body: `{"id":5}`}}}}
	v := open(t, s, adapters.DestinationConfig{Dialect: "netsuite"}, adapters.RouteConfig{
		URL: "/app/site/hosting/restlet.nl?script=1&deploy=1", Reference: ".id",
	}).Deliver(t.Context(), call())
	if v.Kind != ferry.Delivered || v.Reference != "5" || s.headers[0].Get("Idempotency-Key") != "" || s.headers[0].Get("Content-Type") != "application/json" {
		t.Errorf("%+v %v", v, s.headers)
	}
}

// Token-based authentication signs queries and record calls alike.
func TestNetSuiteTokenBasedAuthentication(t *testing.T) {
	t.Setenv("NS_CONSUMER", "consumer-s3cret")
	t.Setenv("NS_TOKEN", "token-s3cret")
	s := &answering{answers: map[string][]reply{"POST": {{status: 204, header: map[string]string{"Location": "/x/1"}}}}}
	a := open(t, s, adapters.DestinationConfig{Dialect: "netsuite", Auth: httpauth.Config{
		Type: "oauth1", ClientID: "ck", ClientSecret: "env:NS_CONSUMER", TokenID: "tk", TokenSecret: "env:NS_TOKEN", Realm: "1234567_SB1",
	}}, adapters.RouteConfig{Entity: "customer"})
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	got := s.headers[0].Get("Authorization")
	if !strings.HasPrefix(got, `OAuth realm="1234567_SB1", oauth_consumer_key="ck"`) || !strings.Contains(got, `oauth_signature_method="HMAC-SHA256"`) || strings.Contains(got, "s3cret") {
		t.Errorf("%s", got)
	}
	p, err := a.Preview(t.Context(), call())
	if err != nil || p.Header["Authorization"] != "OAuth ***" || p.Method != http.MethodPost {
		t.Errorf("%+v %v", p, err)
	}
}
