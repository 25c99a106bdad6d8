package erp_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// odooException is one as Odoo writes it, with a traceback that holds data.
func odooException(name, message string) string {
	return fmt.Sprintf(`{"name":%q,"message":%q,"arguments":[%q],"context":{},"debug":"Traceback (most recent call last): {'iban': 'DE1'}"}`, name, message, message)
}

// odooRow is an exception and what it comes to, however it is called.
type odooRow struct {
	exception, message string
	status             int // of JSON-2
	kind               ferry.VerdictKind
	effect             ferry.Effect
	says               string
}

// odooRows are Odoo's exceptions: odoo/exceptions.py, psycopg and werkzeug, with
// the statuses that JSON-2 gives them.
func odooRows() map[string]odooRow {
	const none, maybe = ferry.EffectNone, ferry.EffectMaybe
	return map[string]odooRow{
		"UserError":       {"odoo.exceptions.UserError", "You need to add a line before posting.", 422, ferry.Rejected, none, "You need to add a line before posting."},
		"ValidationError": {"odoo.exceptions.ValidationError", "The partner is missing.", 422, ferry.Rejected, none, "The partner is missing."},
		"MissingError":    {"odoo.exceptions.MissingError", "Record does not exist or has been deleted.", 404, ferry.Rejected, none, "Record does not exist"},
		"RedirectWarning": {"odoo.exceptions.RedirectWarning", "Go and set up a journal.", 500, ferry.Rejected, none, "Go and set up"},
		"AccessError of one record is this message's": {
			"odoo.exceptions.AccessError", "Due to security restrictions, you are not allowed to modify 'Journal Entry' (account.move) records.", 403, ferry.Rejected, none, "security restrictions",
		},
		"AccessError of the model stops the route": {
			"odoo.exceptions.AccessError", "You are not allowed to create 'Journal Entry' (account.move) records.\n\nThis operation is allowed for the following groups:", 403,
			ferry.Unauthorized, none, "groups do not let it",
		},
		"AccessDenied":         {"odoo.exceptions.AccessDenied", "Access Denied", 403, ferry.Unauthorized, none, ""},
		"SerializationFailure": {"psycopg2.errors.SerializationFailure", "could not serialize access due to concurrent update", 500, ferry.Failed, none, "busy"},
		"deadlock":             {"psycopg2.errors.DeadlockDetected", "deadlock detected", 500, ferry.Failed, none, "busy"},
		"older versions":       {"psycopg2.extensions.TransactionRollbackError", "could not serialize access", 500, ferry.Failed, none, "busy"},
		"LockError":            {"odoo.exceptions.LockError", "Cannot grab a lock.", 409, ferry.Failed, none, "busy"},
		"OperationalError":     {"psycopg2.OperationalError", "could not connect to server: Connection refused", 500, ferry.Unavailable, none, "cannot reach its database"},
		"the database went away, perhaps while it committed": {
			"psycopg2.OperationalError", "server closed the connection unexpectedly", 500, ferry.Unknown, maybe, "closed the connection",
		},
		"unknown database": {
			"psycopg2.OperationalError", `connection to server failed: FATAL:  database "nowhere" does not exist`, 500, ferry.Unauthorized, none, "check the destination's database",
		},
		"IntegrityError is a duplicate, perhaps": {"psycopg2.IntegrityError", "duplicate key value", 500, ferry.Unknown, maybe, "duplicate key"},
		"UniqueViolation": {
			"psycopg2.errors.UniqueViolation", `duplicate key value violates unique constraint "account_move_x_uniq"`, 500, ferry.Unknown, maybe, "duplicate key",
		},
		"psycopg 3":                        {"psycopg.errors.UniqueViolation", "duplicate key value", 500, ferry.Unknown, maybe, "duplicate key"},
		"a constraint in Odoo's own words": {"odoo.exceptions.ValidationError", "The reference must be unique.", 422, ferry.Unknown, maybe, "must be unique"},
		"a vendor bill that was entered twice": {
			"odoo.exceptions.ValidationError", "Duplicated vendor reference detected. You probably encoded twice the same vendor bill/credit note:", 422, ferry.Unknown, maybe, "encoded twice",
		},
		"a field that does not exist": {"builtins.ValueError", "Invalid field 'nome' on model 'account.move'", 500, ferry.Rejected, none, "Invalid field"},
		"a crash":                     {"builtins.AttributeError", "'NoneType' object has no attribute 'id'", 500, ferry.Failed, maybe, "the program of the server failed"},
		"unknown model":               {"werkzeug.exceptions.NotFound", "the model 'account.mov' does not exist", 404, ferry.Unauthorized, none, "entity"},
		"wrong arguments":             {"werkzeug.exceptions.UnprocessableEntity", "missing a required argument: 'vals_list'", 422, ferry.Rejected, none, "vals_list"},
	}
}

func wantOdooRow(t *testing.T, name string, c odooRow, v ferry.Verdict) {
	t.Helper()
	wantRPC(t, name, v, c.kind, c.effect, c.says)
	code := c.exception
	if c.kind == ferry.Unknown && !strings.Contains(c.message, "closed") {
		code = adapters.CodeMaybeDuplicate
	}
	if v.Code != code {
		t.Errorf("%s: code %q", name, v.Code)
	}
}

// TestOdooJSONRPCAnswers: every error has status 200, and its name tells.
func TestOdooJSONRPCAnswers(t *testing.T) {
	deliver := func(t *testing.T, answer told) (ferry.Verdict, *teller) {
		t.Helper()
		s := &teller{answers: map[string][]told{
			`"login"`: {{200, `{"jsonrpc":"2.0","id":1,"result":7}`}}, `"search_read"`: {{200, `{"jsonrpc":"2.0","id":1,"result":[]}`}}, `"create"`: {answer},
		}}
		o := openAs(t, "odoo-jsonrpc", s, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finish, r.Reference = "", "" })
		v := o.adapter.Deliver(t.Context(), rpcCall("R-1", `{"invoice":{}}`))
		if !strings.HasSuffix(v.Request, "/jsonrpc account.move.create") {
			t.Errorf("the attempt's request does not name the method: %q", v.Request)
		}
		return v, s
	}
	for name, c := range odooRows() {
		v, _ := deliver(t, told{200, `{"jsonrpc":"2.0","id":1,"error":{"code":200,"message":"Odoo Server Error","data":` + odooException(c.exception, c.message) + `}}`})
		wantOdooRow(t, name, c, v)
	}
	for name, c := range map[string]struct {
		answer told
		kind   ferry.VerdictKind
		effect ferry.Effect
		says   string
	}{
		"deprecated calls are switched off": {
			told{200, `{"jsonrpc":"2.0","id":1,"error":{"code":404,"message":"404: Not Found","data":{"name":"werkzeug.exceptions.NotFound","message":"404 Not Found"}}}`},
			ferry.Unauthorized, ferry.EffectNone, "no such address",
		},
		"an error without data":  {told{200, `{"jsonrpc":"2.0","id":1,"error":{"code":200,"message":"Odoo Server Error"}}`}, ferry.Failed, ferry.EffectMaybe, "Odoo Server Error"},
		"a page of somebody":     {told{200, `<html>`}, ferry.Unknown, ferry.EffectMaybe, "not one of Odoo's"},
		"JSON of somebody":       {told{200, `{"ok":true}`}, ferry.Unknown, ferry.EffectMaybe, "not one of Odoo's"},
		"a proxy that gives up":  {told{502, `<title>502 Bad Gateway</title>`}, ferry.Unknown, ferry.EffectMaybe, "Bad Gateway"},
		"a proxy that throttles": {told{429, `<title>429</title>`}, ferry.Throttled, ferry.EffectNone, ""},
		"success":                {told{200, `{"jsonrpc":"2.0","id":1,"result":42}`}, ferry.Delivered, ferry.EffectDone, ""},
	} {
		v, _ := deliver(t, c.answer)
		wantRPC(t, name, v, c.kind, c.effect, c.says)
		if v.Kind == ferry.Delivered && v.Reference != "42" {
			t.Errorf("%s: reference %q", name, v.Reference)
		}
	}
}

// TestOdooJSON2Answers: the status means something, and the name more.
func TestOdooJSON2Answers(t *testing.T) {
	deliver := func(t *testing.T, answer told) ferry.Verdict {
		t.Helper()
		s := &teller{answers: map[string][]told{"/search_read ": {{200, `[]`}}, "/create ": {answer}}}
		o := openAs(t, "odoo-json2", s, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Finish, r.Reference = "", "" })
		return o.adapter.Deliver(t.Context(), rpcCall("R-1", `{"invoice":{}}`))
	}
	for name, c := range odooRows() {
		wantOdooRow(t, name, c, deliver(t, told{c.status, odooException(c.exception, c.message)}))
	}
	for name, c := range map[string]struct {
		answer told
		kind   ferry.VerdictKind
		effect ferry.Effect
		says   string
	}{
		"401: the key":               {told{401, odooException("werkzeug.exceptions.Unauthorized", "Invalid apikey")}, ferry.Unauthorized, ferry.EffectNone, "Invalid apikey"},
		"400":                        {told{400, odooException("werkzeug.exceptions.BadRequest", "could not parse the body as json")}, ferry.Rejected, ferry.EffectNone, "parse"},
		"429":                        {told{429, `<title>429 Too Many Requests</title>`}, ferry.Throttled, ferry.EffectNone, ""},
		"503":                        {told{503, ``}, ferry.Unavailable, ferry.EffectNone, ""},
		"502 of a proxy":             {told{502, `<title>502 Bad Gateway</title>`}, ferry.Unknown, ferry.EffectMaybe, "Bad Gateway"},
		"500 without a name":         {told{500, `<title>500 Internal Server Error</title>`}, ferry.Unknown, ferry.EffectMaybe, "Internal"},
		"500 with a traceback alone": {told{500, `{"debug":"Traceback {'iban': 1}"}`}, ferry.Failed, ferry.EffectMaybe, ""},
		"404 of somebody else":       {told{404, `<title>404 Not Found</title>`}, ferry.Unauthorized, ferry.EffectNone, "no Odoo answers there"},
		"a page of somebody":         {told{200, `<html>please log in</html>`}, ferry.Unknown, ferry.EffectMaybe, "not one of Odoo's"},
		"success":                    {told{200, `[42]`}, ferry.Delivered, ferry.EffectDone, ""},
	} {
		v := deliver(t, c.answer)
		wantRPC(t, name, v, c.kind, c.effect, c.says)
		if v.Kind == ferry.Delivered && v.Reference != "42" {
			t.Errorf("%s: reference %q", name, v.Reference)
		}
	}
}

// TestOdooRequests: the password stands in the body of JSON-RPC and in no preview;
// what is archived is there; the company is that of the context.
func TestOdooRequests(t *testing.T) {
	change := func(d *adapters.DestinationConfig, r *adapters.RouteConfig) {
		d.Company, r.Lookup.Where, r.Map = "3", `["|", ["state", "=", "draft"], ["state", "=", "posted"]]`, `{partner_id: .partner, amount: .total}`
	}
	c := rpcCall("R-1", `{"partner":7,"total":1234567890123456.10}`)
	domain := `[["ref","=","R-1"],"|",["state","=","draft"],["state","=","posted"]]`
	values := `{"amount":1234567890123456.10,"partner_id":7,"ref":"R-1"}`

	rpc := func(result string) told { return told{200, `{"jsonrpc":"2.0","id":1,"result":` + result + `}`} }
	s := &teller{answers: map[string][]told{
		`"login"`: {rpc("7")}, `"search_read"`: {rpc("[]"), rpc(`[{"id":42,"name":"BILL/1","state":"posted"}]`)}, `"create"`: {rpc("42")},
		`"action_post"`: {{200, `{"jsonrpc":"2.0","id":1}`}}, // it gives None, which has no result
	}}
	o := openAs(t, "odoo-jsonrpc", s, change)
	if v := o.adapter.Deliver(t.Context(), c); v.Kind != ferry.Delivered || v.Reference != "BILL/1" {
		t.Errorf("%+v", v)
	}
	head := `/jsonrpc {"id":1,"jsonrpc":"2.0","method":"call","params":{"args":["practice",7,"` + rpcPassword + `","account.move",`
	tail := `],"method":"execute_kw","service":"object"}}`
	for part, want := range map[string]string{
		`"login"`: `/jsonrpc {"id":1,"jsonrpc":"2.0","method":"call","params":{"args":["practice","ferry","` + rpcPassword + `"],"method":"login","service":"common"}}`,
		`"search_read"`: head + `"search_read",[],{"context":{"active_test":false,"allowed_company_ids":[3]},"domain":` + domain +
			`,"fields":["id","state","name"],"limit":2,"order":"id"}` + tail,
		`"create"`:      head + `"create",[` + values + `],{"context":{"allowed_company_ids":[3]}}` + tail,
		`"action_post"`: head + `"action_post",[[42]],{"context":{"allowed_company_ids":[3]}}` + tail,
	} {
		if got := s.sent(t, part); got != want {
			t.Errorf("%s:\n got %s\nwant %s", part, got, want)
		}
	}
	p, err := o.adapter.Preview(t.Context(), c)
	if err != nil || strings.Contains(p.Body, rpcPassword) || !strings.Contains(p.Body, `["practice",0,"***","account.move","create"`) {
		t.Errorf("preview %v: %s", err, p.Body)
	}

	s = &teller{answers: map[string][]told{
		"/search_read ": {{200, "[]"}, {200, `[{"id":42,"name":"BILL/1","state":"posted"}]`}}, "/create ": {{200, "[42]"}}, "/action_post ": {{200, "false"}},
	}}
	o = openAs(t, "odoo-json2", s, change)
	if v := o.adapter.Deliver(t.Context(), c); v.Kind != ferry.Delivered || v.Reference != "BILL/1" {
		t.Errorf("%+v", v)
	}
	for part, want := range map[string]string{
		"/search_read ": `/json/2/account.move/search_read {"context":{"active_test":false,"allowed_company_ids":[3]},"domain":` + domain + `,"fields":["id","state","name"],"limit":2,"order":"id"}`,
		"/create ":      `/json/2/account.move/create {"context":{"allowed_company_ids":[3]},"vals_list":[` + values + `]}`,
		"/action_post ": `/json/2/account.move/action_post {"context":{"allowed_company_ids":[3]},"ids":[42]}`,
	} {
		if got := s.sent(t, part); got != want {
			t.Errorf("%s:\n got %s\nwant %s", part, got, want)
		}
	}
	p, err = o.adapter.Preview(t.Context(), c)
	if err != nil || p.Header["Authorization"] != "bearer ***" || p.Header["X-Odoo-Database"] != "practice" {
		t.Errorf("preview %v: %+v", err, p.Header)
	}
}

// TestOdooLogsOn: the user's number is asked for once; a session that is over, and
// a password that was changed, have it asked for once more within the same attempt.
func TestOdooLogsOn(t *testing.T) {
	const expired = `{"jsonrpc":"2.0","id":1,"error":{"code":100,"message":"Odoo Session Expired","data":{"name":"odoo.http.SessionExpiredException","message":"Session expired"}}}`
	denied := `{"jsonrpc":"2.0","id":1,"error":{"code":200,"message":"Odoo Server Error","data":` + odooException("odoo.exceptions.AccessDenied", "Access Denied") + `}}`
	found := told{200, `{"jsonrpc":"2.0","id":1,"result":[{"id":42,"name":"BILL/1","state":"posted"}]}`}
	for name, c := range map[string]struct {
		login, search []told
		kind          ferry.VerdictKind
		logins        int
		says          string
	}{
		"once for many":         {[]told{{200, `{"jsonrpc":"2.0","id":1,"result":7}`}}, []told{found}, ferry.Duplicate, 1, ""},
		"code 100":              {[]told{{200, `{"jsonrpc":"2.0","id":1,"result":7}`}}, []told{{200, expired}, found}, ferry.Duplicate, 2, ""},
		"denied once":           {[]told{{200, `{"jsonrpc":"2.0","id":1,"result":7}`}}, []told{{200, denied}, found}, ferry.Duplicate, 2, ""},
		"denied for good":       {[]told{{200, `{"jsonrpc":"2.0","id":1,"result":7}`}}, []told{{200, denied}}, ferry.Unauthorized, 2, "Access Denied"},
		"false: wrong password": {[]told{{200, `{"jsonrpc":"2.0","id":1,"result":false}`}}, nil, ferry.Unauthorized, 1, "does not know user ferry of database practice"},
		"unknown database": {
			[]told{{200, `{"jsonrpc":"2.0","id":1,"error":{"code":200,"data":` + odooException("psycopg2.OperationalError", `FATAL:  database "practice" does not exist`) + `}}`}},
			nil, ferry.Unauthorized, 1, "check the destination's database",
		},
		"the server is down":    {[]told{{503, ""}}, nil, ferry.Unavailable, 1, "status 503"},
		"an answer of somebody": {[]told{{200, "<html>"}}, nil, ferry.Unavailable, 1, "status 200"},
	} {
		s := &teller{answers: map[string][]told{`"login"`: c.login}}
		if c.search != nil {
			s.answers[`"search_read"`] = c.search
		}
		o := openAs(t, "odoo-jsonrpc", s, nil)
		v := o.adapter.Deliver(t.Context(), rpcCall("R-1", `{}`))
		if v.Kind != c.kind || !strings.Contains(v.Text, c.says) || strings.Contains(v.Text, rpcPassword) {
			t.Errorf("%s: %+v", name, v)
		}
		if n := s.called(`"login"`); n != c.logins {
			t.Errorf("%s: %d log-ons", name, n)
		}
		if c.kind != ferry.Duplicate {
			continue
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { o.adapter.Deliver(t.Context(), rpcCall("R-1", `{}`)) })
		}
		all.Wait()
		if n := s.called(`"login"`); n != c.logins {
			t.Errorf("%s: %d log-ons in all", name, n)
		}
	}
	// The password is read for each request: a new one works at once.
	system := practice.New("first-key", practice.Settings{Dialect: "odoo-jsonrpc"})
	var file string
	o := openAs(t, "odoo-jsonrpc", system, func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) {
		file = strings.TrimPrefix(string(d.Auth.Password), "file:")
	})
	wantRPC(t, "the wrong password", o.adapter.Deliver(t.Context(), rpcCall("R-1", `{"invoice":{"number":"1"}}`)), ferry.Unauthorized, ferry.EffectNone, "")
	if err := os.WriteFile(file, []byte("first-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRPC(t, "the right one", o.adapter.Deliver(t.Context(), rpcCall("R-1", `{"invoice":{"number":"1"}}`)), ferry.Delivered, ferry.EffectDone, "")
}

// TestOdooDocuments: asked for first, posted, found; a post that failed is made up
// for; an edit writes over the draft and replaces its lines.
func TestOdooDocuments(t *testing.T) {
	for _, dialect := range []string{"odoo-jsonrpc", "odoo-json2"} {
		t.Run(dialect, func(t *testing.T) {
			system := practice.New(rpcPassword, practice.Settings{Dialect: dialect})
			o := openAs(t, dialect, system, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
				r.Map = `{number, invoice_line_ids: [[0, 0, {quantity: .quantity}]]}`
			})
			if err := errors.Join(o.dest.Probe(t.Context()), o.dest.Check(t.Context()), o.adapter.(adapters.Checker).Check(t.Context())); err != nil {
				t.Error(err)
			}
			c := rpcCall("R-1", `{"number":"1","quantity":1}`)
			if err := system.Fail(practice.Fault{Kind: practice.FaultStatus, On: practice.OpFinish, Status: 422, Text: "The bill date is missing."}); err != nil {
				t.Fatal(err)
			}
			wantRPC(t, "not posted", o.adapter.Deliver(t.Context(), c), ferry.Rejected, ferry.EffectNone, "action_post did not succeed: The bill date is missing.")
			if r := o.adapter.Lookup(t.Context(), c); r.State != adapters.Absent {
				t.Errorf("lookup of a draft: %+v", r)
			}
			c.Revision, c.Body = 2, []byte(`{"number":"1","quantity":2}`)
			v := o.adapter.Deliver(t.Context(), c)
			wantRPC(t, "edited", v, ferry.Delivered, ferry.EffectDone, "")
			docs := system.Documents("R-1")
			if len(docs) != 1 || docs[0].Status != "posted" || v.Reference != docs[0].ID ||
				!strings.Contains(string(docs[0].Body), `"invoice_line_ids":[[5,0,0],[0,0,{"quantity":2}]]`) {
				t.Errorf("reference %q, documents %+v", v.Reference, docs)
			}
			c.Revision = 1
			wantRPC(t, "once more", o.adapter.Deliver(t.Context(), c), ferry.Duplicate, ferry.EffectDone, "")
			if n := system.Calls(practice.OpCreate); n != 1 {
				t.Errorf("%d creates", n)
			}
			cases := rpcRefusals("account.move")
			if dialect == "odoo-jsonrpc" {
				cases["database is missing"] = func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Database = "" }
				cases["logs on with user and password"] = func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) {
					d.Auth.Type, d.Auth.Username, d.Auth.Password = "none", "", ""
				}
			}
			refusedSettings(t, dialect, cases)
		})
	}
}
