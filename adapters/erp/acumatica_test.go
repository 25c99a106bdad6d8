package erp_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

func acumaticaError(kind, text, inner string) string {
	body := `{"message":"An error has occurred.","exceptionMessage":"` + text + `","exceptionType":"` + kind + `","stackTrace":"   at PX.Data.PXCache.Persist"`
	if inner != "" {
		body += `,"innerException":{"message":"An error has occurred.","exceptionMessage":"` + inner + `","stackTrace":" at PX.Data.X"}`
	}
	return body + "}"
}

// What Acumatica answers, and what it comes to.
func TestAcumaticaFacts(t *testing.T) {
	checkFacts(t, adapters.DestinationConfig{Dialect: "acumatica", Version: "24.200.001"},
		adapters.RouteConfig{Entity: "Bill", KeyField: "VendorRef", Map: ".", Lookup: &adapters.LookupConfig{}},
		"PUT", reply{status: 200, body: `[]`},
		[]fact{
			{"PUT creates", reply{status: 200, body: `{"id":"g","ReferenceNbr":{"value":"000123"}}`}, ferry.Delivered, done, "", "", "", 0},
			{
				"422 has the errors beside the values, in lines as well",
				reply{status: 422, body: `{"id":"g","error":"Bill is not valid","Vendor":{"value":"X","error":"'Vendor' cannot be found"},"Details":[{"InventoryID":{"value":"A","error":"no <b>such</b> item"}}]}`},
				ferry.Rejected, none, "", "Bill is not valid", "Details[0].InventoryID: no such item; Vendor: 'Vendor' cannot be found", 0,
			},
			{
				"422 without a text of its own",
				reply{status: 422, body: `{"Vendor":{"value":"X","error":"'Vendor' cannot be found"}}`},
				ferry.Rejected, none, "", "the record is not valid", "Vendor: 'Vendor' cannot be found", 0,
			},
			{"400 with a message", reply{status: 400, body: `{"message":"The request is invalid."}`}, ferry.Rejected, none, "", "The request is invalid.", "", 0},
			{"406 for POST on an entity", reply{status: 406, body: `{"message":"not supported"}`}, ferry.Rejected, none, "", "not supported", "", 0},
			{
				"500 that may mean anything is looked up",
				reply{status: 500, body: acumaticaError("System.InvalidOperationException", "Sequence contains no elements", "")},
				ferry.Unknown, maybe, "InvalidOperationException", "Sequence contains no elements", "", 0,
			},
			{
				"500 OutcomeEntityHasErrorsException: there already, or not valid",
				reply{status: 500, body: acumaticaError("PX.Api.ContractBased.OutcomeEntityHasErrorsException", "PX.Data.PXException: Error: used", "")},
				ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "OutcomeEntityHasErrorsException: PX.Data.PXException: Error: used", "", 0,
			},
			{
				"500 PXOuterException tells what is within",
				reply{status: 500, body: acumaticaError("PX.Data.PXOuterException", "Inserting 'Customer' record raised at least one error.", "'Customer Class' cannot be empty.")},
				ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "raised at least one error.; 'Customer Class' cannot be empty.", "", 0,
			},
			{
				"500 of a record that another process changed wrote nothing",
				reply{status: 500, body: acumaticaError("PX.Data.PXLockViolationException", "Error: Another process has updated the 'APInvoice' record. Your changes will be lost.", "")},
				ferry.Failed, none, "PXLockViolationException", "Another process", "", 0,
			},
			{"429", reply{status: 429, header: map[string]string{"Retry-After": "60"}, body: `{"message":"too many"}`}, ferry.Throttled, none, "", "too many", "", time.Minute},
			{
				"the license's requests are in use",
				reply{status: 500, body: acumaticaError("PX.Data.PXException", "The maximum number of concurrent requests is reached", "")},
				ferry.Throttled, none, "PXException", "maximum number", "", 0,
			},
			{"401", reply{status: 401, body: `{"message":"You are not logged in."}`}, ferry.Unauthorized, none, "", "not logged in", "", 0},
			{"403", reply{status: 403, body: `{"message":"no rights"}`}, ferry.Unauthorized, none, "", "no rights", "", 0},
			{"404 for an entity that is not there", reply{status: 404, body: `{"message":"No HTTP resource was found"}`}, ferry.Rejected, none, "", "No HTTP resource", "", 0},
			{"503", reply{status: 503}, ferry.Unavailable, none, "", "", "", 0},
		})
}

// Values are wrapped unless they are already; questions write a space as %20, and
// double an apostrophe.
func TestAcumaticaRequests(t *testing.T) {
	s := &answering{answers: map[string][]reply{
		"GET": {{status: 200, body: `[]`}}, "PUT": {{status: 200, body: `{"id":"g-1","ReferenceNbr":{"value":"000123"}}`}},
	}}
	m := call()
	m.ExternalKey = "O'Neill 7"
	m.Body = []byte(`{"Vendor":"V1","Amount":100.00,"Hold":false,"Date":{"value":"2026-01-02"},"Memo":null,"note":"n","rowNumber":1,
		"custom":{"Document":{"UsrX":{"type":"CustomStringField","value":"x"}}},"Details":[{"InventoryID":"A","id":"l-1","Qty":{"value":2}}],"Address":{"City":"Bonn"}}`)
	dest := adapters.DestinationConfig{Dialect: "acumatica", URL: "/Acme", Version: "Own/24.200.001"}
	route := adapters.RouteConfig{Entity: "Bill", KeyField: "VendorRef", Map: ".", Lookup: &adapters.LookupConfig{Where: "Type eq 'Bill'"}}
	v := open(t, s, dest, route).Deliver(t.Context(), m)
	if v.Kind != ferry.Delivered || v.Reference != "000123" {
		t.Fatalf("%+v", v)
	}
	want := `{"Address":{"City":{"value":"Bonn"}},"Amount":{"value":100.00},"Date":{"value":"2026-01-02"},` +
		`"Details":[{"InventoryID":{"value":"A"},"Qty":{"value":2},"id":"l-1"}],"Hold":{"value":false},"Memo":{"value":null},` +
		`"Vendor":{"value":"V1"},"VendorRef":{"value":"O'Neill 7"},"custom":{"Document":{"UsrX":{"type":"CustomStringField","value":"x"}}},"note":{"value":"n"},"rowNumber":1}`
	if s.bodies[1] != want {
		t.Errorf("body %s\nwant %s", s.bodies[1], want)
	}
	if s.asked[0] != "GET /Acme/entity/Own/24.200.001/Bill?$filter=VendorRef%20eq%20%27O%27%27Neill%207%27%20and%20%28Type%20eq%20%27Bill%27%29&$top=10" || s.asked[1] != "PUT /Acme/entity/Own/24.200.001/Bill" {
		t.Errorf("%q", s.asked)
	}
	// SQL Server finds other cases of a letter as well; capitals alone are the field's doing.
	for has, found := range map[string]bool{"O'Neill 7": true, "O'NEILL 7": true, "o'neill 7": false, "O'Neill 7 ": true} {
		s.answers["GET"] = []reply{{status: 200, body: `[{"id":"g","ReferenceNbr":{"value":"1"},"VendorRef":{"value":"` + has + `"}}]`}}
		if r := open(t, s, dest, route).Lookup(t.Context(), m); (r.State == adapters.Found) != found {
			t.Errorf("%q: %+v", has, r)
		}
	}
	s.answers["GET"] = []reply{{status: 200, body: `{"message":"?"}`}}
	if r := open(t, s, dest, route).Lookup(t.Context(), m); r.State != adapters.Unanswered {
		t.Errorf("no list proves nothing: %+v", r)
	}
}

// Many deliveries share one session; a new one is made when it is over, once, and it
// is given back at the end.
func TestAcumaticaSession(t *testing.T) {
	p := openPractice(t, "acumatica", practice.Settings{}, nil)
	many := func() {
		var wg sync.WaitGroup
		for range 8 {
			c := p.call(`{"number":"1"}`)
			wg.Go(func() {
				if v := p.adapter.Deliver(t.Context(), c); v.Kind != ferry.Delivered {
					t.Errorf("%+v", v)
				}
			})
		}
		wg.Wait()
	}
	many()
	if n := p.Calls(practice.OpLogon); n != 1 || p.Sessions() != 1 {
		t.Errorf("%d logons, %d sessions", n, p.Sessions())
	}
	p.EndSessions()
	many()
	if n := p.Calls(practice.OpLogon); n != 2 || p.Sessions() != 1 || len(p.Documents("")) != 16 {
		t.Errorf("%d logons, %d sessions, %d documents", n, p.Sessions(), len(p.Documents("")))
	}
	if err := p.dest.Close(); err != nil || p.Sessions() != 0 {
		t.Errorf("%v, %d sessions", err, p.Sessions())
	}
	// What is only checked logs out as well.
	q := openPractice(t, "acumatica", practice.Settings{}, nil)
	if err := q.dest.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := q.dest.Close(); err != nil || q.Sessions() != 0 || q.Calls(practice.OpLogon) != 1 {
		t.Errorf("%v, %d sessions, %d logons", err, q.Sessions(), q.Calls(practice.OpLogon))
	}
}

// A wrong password is answered with 500: the credentials are refused, and the
// system is not down. The password shows nowhere.
func TestAcumaticaRefusedLogon(t *testing.T) {
	t.Setenv("ACU", "wrong-s3cret-password")
	p := openPractice(t, "acumatica", practice.Settings{}, func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) {
		d.Auth.Password, d.Company = "env:ACU", "Contoso"
	})
	v := p.deliver(t, p.call(`{"number":"1"}`), ferry.Unauthorized, none)
	if v.Code != "tokenRefused" || !strings.Contains(v.Text, "Invalid credentials") || strings.Contains(fmt.Sprintf("%+v", v), "s3cret") {
		t.Errorf("%+v", v)
	}
	if err := p.dest.Probe(t.Context()); !errors.Is(err, adapters.ErrRefused) {
		t.Errorf("probe: %v", err)
	}
	if err := p.dest.Check(t.Context()); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("check: %v", err)
	}
	preview, err := p.adapter.Preview(t.Context(), p.call(`{"number":"1"}`))
	if err != nil || preview.Header["Cookie"] != "***" || strings.Contains(fmt.Sprintf("%+v", preview), "s3cret") {
		t.Errorf("%+v %v", preview, err)
	}
}

// All who wait for one logon are told what it came to.
func TestAcumaticaOneRefusedLogonForAllWhoWait(t *testing.T) {
	t.Setenv("ACU", "wrong-s3cret-password")
	synctest.Test(t, func(t *testing.T) {
		answer, logons := make(chan struct{}), 0
		network := roundTrip(func(r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, "/entity/auth/login") {
				t.Errorf("asked for %s", r.URL.Path)
			}
			logons++ // one at a time
			<-answer
			body := acumaticaError("PX.Data.PXException", "Error: Invalid credentials. Please try again.", "")
			return &http.Response{StatusCode: 500, Header: http.Header{}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		d, err := erp.New(secret.Resolver{}, network)(adapters.DestinationConfig{
			Dialect: "acumatica", Version: "24.200.001", URL: "https://acme.example",
			Auth: httpauth.Config{Type: "basic", Username: "u", Password: "env:ACU"},
		})
		if err != nil {
			t.Fatal(err)
		}
		a, err := d.Route(adapters.RouteConfig{Entity: "Bill"})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { wantVerdict(t, "", a.Deliver(t.Context(), call()), ferry.Unauthorized, none) })
		}
		synctest.Wait() // one has asked, and the others wait for it
		close(answer)
		wg.Wait()
		if logons != 1 {
			t.Errorf("%d logons", logons)
		}
	})
}

// roundTrip stands in for the network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// When all sessions of the license are in use the system is unavailable, and the
// credentials are not suspected.
func TestAcumaticaLicenseIsFull(t *testing.T) {
	p := openPractice(t, "acumatica", practice.Settings{}, nil)
	var others []adapters.Destination
	for range practice.AcumaticaSessions {
		dest, _ := loadExample(t, "acumatica", p.url, "file:"+p.keyFile)
		d, err := erp.New(secret.Resolver{}, nil)(dest)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		others = append(others, d)
	}
	if v := p.deliver(t, p.call(`{"number":"1"}`), ferry.Unavailable, none); v.Code != "tokenUnavailable" || !strings.Contains(v.Text, "API Login Limit") {
		t.Errorf("%+v", v)
	}
	for _, d := range others {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.deliver(t, p.call(`{"number":"1"}`), ferry.Delivered, done)
}

func release(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finish = "ReleaseBill" }

// An act runs on behind a 202: it is asked until 204, and the document's number is
// read by the lookup.
func TestAcumaticaReleases(t *testing.T) {
	p := openPractice(t, "acumatica", practice.Settings{Later: practice.Later{Polls: 1}}, release)
	c := p.call(`{"number":"1"}`)
	v := p.deliver(t, c, ferry.InProgress, maybe)
	if !strings.Contains(v.StatusURL, "/Bill/ReleaseBill/status/") || !strings.Contains(v.Text, "document INV-000001 is there, and ReleaseBill goes on") {
		t.Errorf("%+v", v)
	}
	if r := p.adapter.Lookup(t.Context(), c); r.State != adapters.Absent {
		t.Errorf("a bill that is not released counts as finished: %+v", r)
	}
	p.poll(t, c, v, ferry.InProgress)
	if r := p.poll(t, c, v, ferry.Delivered); r.Reference != "INV-000001" || r.Text != "" || p.Documents(c.ExternalKey)[0].Status != "Open" {
		t.Errorf("%+v %+v", r, p.Documents(""))
	}
	if v := p.deliver(t, c, ferry.Duplicate, done); v.Reference != "INV-000001" {
		t.Errorf("%+v", v)
	}
	p.Set(practice.Settings{Dialect: "acumatica", Later: practice.Later{Reject: true}})
	c = p.call(`{"number":"2"}`)
	r := p.poll(t, c, p.deliver(t, c, ferry.InProgress, maybe), ferry.Rejected)
	if !strings.Contains(r.Text, "the document is there, and ReleaseBill did not succeed: Error: The supplier is blocked.") || r.Code != "PXException" {
		t.Errorf("%+v", r)
	}
	p.Set(practice.Settings{Dialect: "acumatica"})
	c.Number = 2
	v = p.deliver(t, c, ferry.InProgress, maybe)
	if r := p.poll(t, c, v, ferry.Delivered); r.Reference != "INV-000002" || len(p.Documents(c.ExternalKey)) != 1 {
		t.Errorf("%+v %+v", r, p.Documents(c.ExternalKey))
	}
	// The session is over while it is asked: logged on once, and asked again.
	c = p.call(`{"number":"3"}`)
	v = p.deliver(t, c, ferry.InProgress, maybe)
	p.EndSessions()
	p.poll(t, c, v, ferry.Delivered)
}

// With write: upsert PUT goes by the entity's own key field, without a question.
func TestAcumaticaUpsert(t *testing.T) {
	p := openPractice(t, "acumatica", practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Entity, r.KeyField, r.Write = "Vendor", "VendorID", "upsert"
	})
	c := p.call(`{"number":"1"}`)
	p.deliver(t, c, ferry.Delivered, done)
	c.Body = []byte(`{"number":"2"}`)
	p.deliver(t, c, ferry.Delivered, done)
	if docs := p.Documents(c.ExternalKey); len(docs) != 1 || p.Calls(practice.OpLookup) != 0 {
		t.Errorf("%+v, %d questions", docs, p.Calls(practice.OpLookup))
	}
	u := openPractice(t, "acumatica", practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Write = "update" })
	c = u.call(`{"number":"1"}`)
	u.deliver(t, c, ferry.Rejected, none)
}

// A bearer token takes the place of the session.
func TestAcumaticaWithoutASession(t *testing.T) {
	p := openPractice(t, "acumatica", practice.Settings{}, func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) {
		d.Auth = httpauth.Config{Type: "apiKey", Header: "Authorization", Prefix: "Bearer ", Key: d.Auth.Password}
	})
	p.deliver(t, p.call(`{"number":"1"}`), ferry.Delivered, done)
	if p.Calls(practice.OpLogon) != 0 {
		t.Error("it logged on")
	}
}

func TestAcumaticaSettings(t *testing.T) {
	dest := adapters.DestinationConfig{Name: "books", Dialect: "acumatica", URL: "https://acme.example", Version: "24.200.001"}
	checkBadRoutes(t, dest, map[string]adapters.RouteConfig{
		"entity is missing":     {},
		"cannot be an action":   {Entity: "Bill", Finish: "../x", KeyField: "k", Lookup: &adapters.LookupConfig{}},
		"finish needs a lookup": {Entity: "Bill", Finish: "ReleaseBill"},
		"company belongs":       {Entity: "Bill", Company: "x"},
	})
	for want, change := range map[string]func(*adapters.DestinationConfig){
		"version is missing": func(d *adapters.DestinationConfig) { d.Version = "" },
		"cannot be read":     func(d *adapters.DestinationConfig) { d.Version = "latest" },
		"company is for":     func(d *adapters.DestinationConfig) { d.Company = "x" },
	} {
		bad := dest
		change(&bad)
		_, err := erp.New(secret.Resolver{}, nil)(bad)
		checkSetting(t, err, "destination books", want)
	}
}
