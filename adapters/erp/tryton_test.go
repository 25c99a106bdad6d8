package erp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// TestTrytonAnswers: what Tryton 6.0.29 answers to a create, word for word, and
// what it comes to. Business errors come with status 200.
func TestTrytonAnswers(t *testing.T) {
	const none, maybe = ferry.EffectNone, ferry.EffectMaybe
	failed := func(text string) string { return fmt.Sprintf(`{"id":1,"error":[%q,""]}`, text) }
	for name, c := range map[string]struct {
		answer told
		kind   ferry.VerdictKind
		effect ferry.Effect
		code   string
		says   string
	}{
		"a business error in a 200 is rejected": {
			told{200, `{"id":1,"error":["UserError",["A value is required for field \"Account\" in \"Invoice\".","","null"]]}`},
			ferry.Rejected, none, "UserError", `A value is required for field "Account" in "Invoice".`,
		},
		"with a description": {told{200, `{"id":1,"error":["UserError",["No.","Because.",null]]}`}, ferry.Rejected, none, "UserError", "No.: Because."},
		"must be unique is a duplicate, perhaps": {
			told{200, `{"id":1,"error":["UserError",["The code on party must be unique.","",null]]}`},
			ferry.Unknown, maybe, adapters.CodeMaybeDuplicate, "The code on party must be unique.",
		},
		"a warning is rejected, with a hint how to answer it": {
			told{200, `{"id":1,"error":["UserWarning",["invoice_similar_7","There is a similar invoice.",""]]}`},
			ferry.Rejected, none, "UserWarning", "res.user.warning",
		},
		"somebody changed it meanwhile": {
			told{200, `{"id":1,"error":["ConcurrencyException","This record has been modified while you were editing it."]}`},
			ferry.Failed, none, "ConcurrencyException", "has been modified",
		},
		"a second factor is asked for": {
			told{200, `{"id":1,"error":["LoginException",["sms","Enter the code.","char"]]}`}, ferry.Unauthorized, none, "LoginException", "Enter the code.",
		},
		"an error without a class is for people: never tried again": {told{200, failed("'nome'")}, ferry.Rejected, none, "noClass", "'nome'"},
		"the traceback of a server with --dev is not kept": {
			told{200, `{"id":1,"error":["'nome'","Traceback (most recent call last): {'iban': 'DE1'}"]}`}, ferry.Rejected, none, "noClass", "'nome'",
		},
		"an error without words": {told{200, `{"id":1,"error":[]}`}, ferry.Rejected, none, "noClass", "no more than that"},
		"an unknown database comes with 200": {
			told{200, failed("Database '/var/lib/tryton/nowhere.sqlite' doesn't exist!")}, ferry.Unauthorized, none, "noClass", "check the destination's database",
		},
		"an unknown database at PostgreSQL": {
			told{200, failed(`FATAL:  database "nowhere" does not exist`)}, ferry.Unauthorized, none, "noClass", "check the destination's database",
		},
		"the database stayed locked":                         {told{200, failed("database is locked")}, ferry.Failed, none, "noClass", "the database was busy"},
		"two transactions met":                               {told{200, failed("could not serialize access due to concurrent update")}, ferry.Failed, none, "noClass", "busy"},
		"the database is away":                               {told{200, failed("could not connect to server: Connection refused")}, ferry.Unavailable, none, "noClass", "cannot reach its database"},
		"the database went away, perhaps while it committed": {told{200, failed("server closed the connection unexpectedly")}, ferry.Unknown, maybe, "noClass", "closed the connection"},
		"401: password or session":                           {told{401, ""}, ferry.Unauthorized, none, "", ""},
		"403: unknown method or no access":                   {told{403, "<!doctype html><title>403 Forbidden</title><p>no permission"}, ferry.Unauthorized, none, "", "check entity and finish"},
		"429: too many log-ons":                              {told{429, "<title>429 Too Many Requests</title>"}, ferry.Throttled, none, "", "Too Many"},
		"500: a body that is no JSON, or anything else": {
			told{500, "<title>500 Internal Server Error</title><p>Value after * must be an iterable, not NoneType"}, ferry.Unknown, maybe, "", "iterable",
		},
		"503":                      {told{503, ""}, ferry.Unavailable, none, "", ""},
		"another address":          {told{404, "<title>404 Not Found</title>"}, ferry.Unauthorized, none, "", "url"},
		"without the slash: 308":   {told{308, "<title>Redirecting...</title>"}, ferry.Unauthorized, none, "", "redirects are not followed"},
		"a page of somebody else":  {told{200, "<html>please log in</html>"}, ferry.Unknown, maybe, "", "not that of a JSON-RPC call"},
		"neither result nor error": {told{200, `{"id":1}`}, ferry.Unknown, maybe, "noResult", "neither a result nor an error"},
		"success":                  {told{200, `{"id":1,"result":[42]}`}, ferry.Delivered, ferry.EffectDone, "", ""},
	} {
		s := &teller{answers: map[string][]told{
			".search_read": {{200, `{"id":1,"result":[]}`}}, ".create": {c.answer},
		}}
		o := openAs(t, "tryton", s, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finish, r.Reference = "", "" })
		v := o.adapter.Deliver(t.Context(), rpcCall("R-1", `{"invoice":{}}`))
		wantRPC(t, name, v, c.kind, c.effect, c.says)
		if v.Code != c.code || s.called(".create") != 1 {
			t.Errorf("%s: code %q, %d creates", name, v.Code, s.called(".create"))
		}
		if !strings.HasSuffix(v.Request, "/practice/ model.account.invoice.create") {
			t.Errorf("%s: the attempt's request does not name the method: %q", name, v.Request)
		}
		if v.Kind == ferry.Delivered && v.Reference != "42" {
			t.Errorf("%s: reference %q", name, v.Reference)
		}
	}
}

// TestTrytonTellsFields: an error of validation may bring the fields of a domain.
func TestTrytonTellsFields(t *testing.T) {
	s := &teller{answers: map[string][]told{
		".search_read": {{200, `{"id":1,"result":[]}`}},
		".create":      {{200, `{"id":1,"error":["UserError",["Not valid.","",[[["party","!=",null]],{"party":{"string":"Party","type":"many2one"}}]]]}`}, {200, `{"id":1,"error":["UserWarning",["similar_7","Similar.",""]]}`}},
	}}
	o := openAs(t, "tryton", s, nil)
	v := o.adapter.Deliver(t.Context(), rpcCall("R-1", `{}`))
	if len(v.Fields) != 1 || v.Fields[0].Field != "party" || !strings.Contains(v.Fields[0].Text, "Party") {
		t.Errorf("fields %+v", v.Fields)
	}
	// The warning's name is what a person needs to answer it.
	v = o.adapter.Deliver(t.Context(), rpcCall("R-1", `{}`))
	if len(v.Fields) != 1 || v.Fields[0] != (ferry.FieldError{Field: "res.user.warning", Text: "similar_7"}) {
		t.Errorf("fields %+v", v.Fields)
	}
}

// TestTrytonRequests: three members and no more, or errors come by status; a slash
// after the database; the company in the context; what was put out of use is there.
func TestTrytonRequests(t *testing.T) {
	s := &teller{answers: map[string][]told{
		".search_read": {{200, `{"id":1,"result":[]}`}, {200, `{"id":1,"result":[{"id":42,"number":"7","state":"posted"}]}`}},
		".create":      {{200, `{"id":1,"result":[42]}`}}, ".post": {{200, `{"id":1,"result":null}`}},
	}}
	o := openAs(t, "tryton", s, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Map, r.Lookup.Where = `{lines: [["create", [{unit_price: (.price | trytondecimal)}]]], invoice_date: (.day | trytondate)}`, `["type", "=", "in"]`
		r.Key = map[string]string{"party": ".party"}
	})
	v := o.adapter.Deliver(t.Context(), rpcCall("R/1", `{"party":7,"price":100.00,"day":"2026-11-26"}`))
	if v.Kind != ferry.Delivered || v.Reference != "7" || !strings.HasSuffix(v.Request, ".post") {
		t.Errorf("%+v", v)
	}
	for part, want := range map[string]string{
		".search_read": `/practice/ {"id":1,"method":"model.account.invoice.search_read","params":[[["party","=",7],["reference","=","R/1"],[["type","=","in"]]],` +
			`0,2,[["id","ASC"]],["id","state","number"],{"active_test":false,"company":1}]}`,
		".create": `/practice/ {"id":1,"method":"model.account.invoice.create","params":[[{"invoice_date":{"__class__":"date","day":26,"month":11,"year":2026},` +
			`"lines":[["create",[{"unit_price":{"__class__":"Decimal","decimal":"100.00"}}]]],"reference":"R/1"}],{"company":1}]}`,
		".post": `/practice/ {"id":1,"method":"model.account.invoice.post","params":[[42],{"company":1}]}`,
	} {
		if got := s.sent(t, part); got != want {
			t.Errorf("%s:\n got %s\nwant %s", part, got, want)
		}
	}
}

// TestTrytonIsAskedFirst: no constraint keeps a second invoice of the reference
// away, so that the question before the create does.
func TestTrytonIsAskedFirst(t *testing.T) {
	system := practice.New(rpcPassword, practice.Settings{Dialect: "tryton"})
	o := openAs(t, "tryton", system, nil)
	c := rpcCall("R-1", `{"invoice":{"number":"R-1"}}`)
	first := o.adapter.Deliver(t.Context(), c)
	wantRPC(t, "first", first, ferry.Delivered, ferry.EffectDone, "")
	second := o.adapter.Deliver(t.Context(), c)
	wantRPC(t, "second", second, ferry.Duplicate, ferry.EffectDone, "")
	docs := system.Documents("R-1")
	if len(docs) != 1 || docs[0].Status != "posted" || first.Reference != docs[0].ID || second.Reference != docs[0].ID {
		t.Errorf("%q, %q, documents %+v", first.Reference, second.Reference, docs)
	}
	// The practice ERP takes a second one as Tryton does, when it is not asked.
	s := &teller{answers: map[string][]told{
		".search_read": {{200, `{"id":1,"result":[{"id":1,"state":"posted","number":"7"},{"id":2,"state":"draft","number":null}]}`}},
	}}
	o = openAs(t, "tryton", s, nil)
	v := o.adapter.Deliver(t.Context(), c)
	wantRPC(t, "two of them", v, ferry.Unknown, ferry.EffectMaybe, "several documents bear the key: 1, 2")
	if r := o.adapter.Lookup(t.Context(), c); r.State != adapters.Found || !r.Different {
		t.Errorf("two of them: %+v", r)
	}
}

// TestTrytonBusyDatabase: a create that waits for the database is written after its
// call was given up. Asked again, there is a draft, which is posted: one invoice.
func TestTrytonBusyDatabase(t *testing.T) {
	system := practice.New(rpcPassword, practice.Settings{Dialect: "tryton"})
	o := openAs(t, "tryton", system, func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Timeout = 300 * time.Millisecond })
	if err := system.Fail(practice.Fault{Kind: practice.FaultWriteLate, Delay: 600 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	c := rpcCall("R-1", `{"invoice":{"number":"R-1"}}`)
	wantRPC(t, "given up", o.adapter.Deliver(t.Context(), c), ferry.Unknown, ferry.EffectMaybe, "")
	deadline := time.Now().Add(10 * time.Second)
	for len(system.Documents("R-1")) == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	// It is there and not posted, so that delivering again is right, and safe.
	if r := o.adapter.Lookup(t.Context(), c); r.State != adapters.Absent {
		t.Errorf("lookup of a draft: %+v", r)
	}
	c.Number = 2
	wantRPC(t, "again", o.adapter.Deliver(t.Context(), c), ferry.Delivered, ferry.EffectDone, "")
	if docs := system.Documents("R-1"); len(docs) != 1 || docs[0].Status != "posted" {
		t.Errorf("documents %+v", docs)
	}
	if r := o.adapter.Lookup(t.Context(), c); r.State != adapters.Found || r.Reference != "INV-000001" {
		t.Errorf("lookup: %+v", r)
	}
}

// TestTrytonPostThatFails: the draft stays, the verdict says so, and the next
// attempt posts it.
func TestTrytonPostThatFails(t *testing.T) {
	system := practice.New(rpcPassword, practice.Settings{Dialect: "tryton"})
	o := openAs(t, "tryton", system, nil)
	if err := system.Fail(practice.Fault{Kind: practice.FaultStatus, On: practice.OpFinish, Status: 400, Text: `To continue, you must create a period for the date "11/12/2009".`}); err != nil {
		t.Fatal(err)
	}
	c := rpcCall("R-1", `{"invoice":{"number":"R-1"}}`)
	wantRPC(t, "no period", o.adapter.Deliver(t.Context(), c), ferry.Rejected, ferry.EffectNone, "document 1 is there, and post did not succeed: To continue")
	if docs := system.Documents("R-1"); len(docs) != 1 || docs[0].Status != "draft" {
		t.Errorf("documents %+v", docs)
	}
	wantRPC(t, "with the period", o.adapter.Deliver(t.Context(), c), ferry.Delivered, ferry.EffectDone, "")
	if docs := system.Documents("R-1"); len(docs) != 1 || docs[0].Status != "posted" {
		t.Errorf("documents %+v", docs)
	}
}

// TestTrytonWritesOverADraft: an edited message writes over what its earlier
// revision left, lines and all, and reads it once more when somebody else was
// faster.
func TestTrytonWritesOverADraft(t *testing.T) {
	stale := told{200, `{"id":1,"error":["ConcurrencyException","This record has been modified while you were editing it."]}`}
	done := told{200, `{"id":1,"result":null}`}
	const draft = `{"id":1,"result":[{"id":42,"number":"7","state":"draft","lines":[5,6],"_timestamp":"%s"}]}`
	s := &teller{answers: map[string][]told{
		".search_read": {{200, fmt.Sprintf(draft, "100")}, {200, fmt.Sprintf(draft, "101")}},
		".write":       {stale, done}, ".post": {done},
	}}
	o := openAs(t, "tryton", s, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Map = `{lines: [["create", [{quantity: 1}]]]}`
	})
	c := rpcCall("R-1", `{}`)
	c.Revision, c.Number = 2, 3
	wantRPC(t, "written over", o.adapter.Deliver(t.Context(), c), ferry.Delivered, ferry.EffectDone, "")
	want := `/practice/ {"id":1,"method":"model.account.invoice.write","params":[[42],{"lines":[["delete",[5,6]],["create",[{"quantity":1}]]],"reference":"R-1"},` +
		`{"_timestamp":{"account.invoice,42":"101"},"company":1}]}`
	if got := s.sent(t, ".write"); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if s.called(".write") != 2 || s.called(".create\"") != 0 || s.called(".post") != 1 {
		t.Errorf("%q", s.asked)
	}
	// Changed all the time: failed, with nothing written, and tried again later.
	s = &teller{answers: map[string][]told{".search_read": {{200, fmt.Sprintf(draft, "100")}}, ".write": {stale}}}
	o = openAs(t, "tryton", s, nil)
	wantRPC(t, "always stale", o.adapter.Deliver(t.Context(), c), ferry.Failed, ferry.EffectNone, "changed by somebody else all the time")
	if s.called(".write") != 2 {
		t.Errorf("%q", s.asked)
	}
}

// TestTrytonUpserts: the document is asked for first as well, and written over.
func TestTrytonUpserts(t *testing.T) {
	system := practice.New(rpcPassword, practice.Settings{Dialect: "tryton"})
	o := openAs(t, "tryton", system, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Write, r.Finish, r.Reference, r.Map = "upsert", "", "", "."
	})
	for i, number := range []string{"1", "2", "3"} {
		v := o.adapter.Deliver(t.Context(), rpcCall("P-1", `{"number":"`+number+`"}`))
		if v.Kind != ferry.Delivered || v.Reference != "1" || v.Text != "" {
			t.Errorf("%d: %+v", i, v)
		}
		if docs := system.Documents("P-1"); len(docs) != 1 || !strings.Contains(string(docs[0].Body), `"number":"`+number+`"`) {
			t.Errorf("documents %+v", docs)
		}
	}
}

// TestTrytonReadsTheNumber: a create answers with the id, and posting with nothing:
// the number is read afterwards. That it cannot be read takes nothing back.
func TestTrytonReadsTheNumber(t *testing.T) {
	system := practice.New(rpcPassword, practice.Settings{Dialect: "tryton"})
	o := openAs(t, "tryton", system, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Result, r.Lookup.Fields = "{number, state}", []string{"number", "state"}
	})
	v := o.adapter.Deliver(t.Context(), rpcCall("R-1", `{"invoice":{"number":"1"}}`))
	if v.Reference != "INV-000001" || string(v.Result) != `{"number":"INV-000001","state":"posted"}` || v.Text != "" {
		t.Errorf("%+v %s", v, v.Result)
	}
	s := &teller{answers: map[string][]told{
		".search_read": {{200, `{"id":1,"result":[]}`}, {503, ""}}, ".create": {{200, `{"id":1,"result":[42]}`}}, ".post": {{200, `{"id":1,"result":null}`}},
	}}
	v = openAs(t, "tryton", s, nil).adapter.Deliver(t.Context(), rpcCall("R-1", `{}`))
	wantRPC(t, "not read", v, ferry.Delivered, ferry.EffectDone, "could not be read once more")
	if v.Reference != "42" {
		t.Errorf("reference %q", v.Reference)
	}
	// Somebody else made one of the same key meanwhile: it is not told for ours.
	s.answers[".search_read"] = []told{{200, `{"id":1,"result":[]}`}, {200, `{"id":1,"result":[{"id":41,"number":"6","state":"posted"},{"id":42,"number":"7","state":"posted"}]}`}}
	v = openAs(t, "tryton", s, nil).adapter.Deliver(t.Context(), rpcCall("R-1", `{}`))
	wantRPC(t, "two of them now", v, ferry.Delivered, ferry.EffectDone, "could not be read once more")
	if v.Reference != "42" {
		t.Errorf("reference %q", v.Reference)
	}
}

// TestTrytonQuestions: a question that is not answered proves nothing, whatever the
// status, and nothing is written.
func TestTrytonQuestions(t *testing.T) {
	for name, c := range map[string]struct {
		answer told
		kind   ferry.VerdictKind
	}{
		"a field that does not exist": {told{200, `{"id":1,"error":["'nix'",""]}`}, ferry.Failed},
		"a business error":            {told{200, `{"id":1,"error":["UserError",["must be unique","",null]]}`}, ferry.Failed},
		"an unknown database":         {told{200, `{"id":1,"error":["Database 'x' doesn't exist!",""]}`}, ferry.Unauthorized},
		"the database is away":        {told{200, `{"id":1,"error":["could not connect to server",""]}`}, ferry.Unavailable},
		"no list":                     {told{200, `{"id":1,"result":null}`}, ferry.Failed},
		"no result":                   {told{200, `{"id":1}`}, ferry.Failed},
		"no JSON":                     {told{200, `<html>`}, ferry.Failed},
		"not found":                   {told{404, ``}, ferry.Unauthorized},
	} {
		s := &teller{answers: map[string][]told{".search_read": {c.answer}}}
		o := openAs(t, "tryton", s, nil)
		wantRPC(t, name, o.adapter.Deliver(t.Context(), rpcCall("R-1", `{}`)), c.kind, ferry.EffectNone, "not answered")
		if r := o.adapter.Lookup(t.Context(), rpcCall("R-1", `{}`)); r.State != adapters.Unanswered || r.Verdict.Kind != c.kind {
			t.Errorf("%s: %+v", name, r)
		}
		if len(s.asked) != s.called(".search_read") {
			t.Errorf("%s: %q", name, s.asked)
		}
	}
}

// TestTrytonProbe proves password and database without writing.
func TestTrytonProbe(t *testing.T) {
	system := practice.New(rpcPassword, practice.Settings{Dialect: "tryton"})
	o := openAs(t, "tryton", system, nil)
	if err := errors.Join(o.dest.Probe(t.Context()), o.dest.Check(t.Context())); err != nil {
		t.Error(err)
	}
	if err := o.adapter.(adapters.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
	o = openAs(t, "tryton", system, func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Database = "nowhere" })
	if err := o.dest.Probe(t.Context()); !errors.Is(err, adapters.ErrRefused) {
		t.Errorf("unknown database: %v", err)
	}
	if err := o.dest.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("unknown database: %v", err)
	}
	o = openAs(t, "tryton", practice.New("another", practice.Settings{Dialect: "tryton"}), nil)
	if err := o.dest.Probe(t.Context()); !errors.Is(err, adapters.ErrRefused) {
		t.Errorf("wrong password: %v", err)
	}
	if n := system.Calls(practice.OpCreate); n != 0 {
		t.Errorf("%d creates", n)
	}
	// A page of somebody else is no Tryton, whatever its status.
	o = openAs(t, "tryton", &teller{answers: map[string][]told{"get_preferences": {{200, "<html>please log in</html>"}}}}, nil)
	if err := o.dest.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "please log in") {
		t.Errorf("a page of somebody else: %v", err)
	}
}

func TestTrytonSettings(t *testing.T) {
	cases := rpcRefusals("account.invoice")
	cases["database is missing"] = func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Database = "" }
	refusedSettings(t, "tryton", cases)
}
