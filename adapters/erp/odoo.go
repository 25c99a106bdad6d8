package erp

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// odooSettings are what both dialects of Odoo take.
func odooSettings() []string {
	return []string{"database", "company", "entity", "write", "key", "finish", "lookup.where", "lookup.fields"}
}

// odooForm makes the form of a route; caller says how a method is called.
func odooForm(r *route, cfg *adapters.RouteConfig, caller odooCaller) (form, error) {
	company, err := companyOf(r, cfg)
	if err != nil {
		return nil, err
	}
	return newRPC(r, cfg, &odooAPI{caller: caller, company: company}, `.state != "draft" and .state != "sent"`)
}

// odooErrors judges Odoo's exceptions by their names, which JSON-RPC and JSON-2
// give alike: classes of odoo/exceptions.py, of psycopg and of werkzeug. What
// Odoo raises on purpose it raises before it commits.
func odooErrors() httpcall.Table {
	name := func(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }
	says := func(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)` + pattern) }
	const postgres = `psycopg2?(?:\.\w+)*\.`
	none, maybe := ferry.EffectNone, ferry.EffectMaybe
	return httpcall.Table{
		{Code: name(`odoo\.exceptions\.AccessDenied|odoo\.http(?:\.\w+)*\.SessionExpiredException|werkzeug\.exceptions\.Unauthorized`), Kind: ferry.Unauthorized, Effect: none},
		// A right to the model is missing for every message, one to a record for this
		// message alone.
		{
			Code: name(`odoo\.exceptions\.AccessError`), Says: says(`^(?:sorry, )?you are not allowed to (?:access|read|create|modify|write|delete) `),
			Kind: ferry.Unauthorized, Effect: none, Text: "the user's groups do not let it do this",
		},
		{Code: name(postgres + `(?:IntegrityError|UniqueViolation)`), Kind: conflict, Effect: none},
		{
			Code: name(`odoo\.exceptions\.(?:UserError|ValidationError)`),
			Says: says(`must be unique|already exists|duplicate key|duplicated? (?:vendor )?reference|encoded twice`), Kind: conflict, Effect: none,
		},
		{
			Code: name(postgres + `(?:SerializationFailure|DeadlockDetected|LockNotAvailable|TransactionRollbackError)|odoo\.exceptions\.(?:LockError|ConcurrencyError)`),
			Kind: ferry.Failed, Effect: none, Text: "the database was busy",
		},
		{
			Code: name(postgres + `OperationalError`), Says: says(`database .*does not exist`), Kind: ferry.Unauthorized, Effect: none,
			Text: "check the destination's database",
		},
		// Cut while it committed, perhaps.
		{Code: name(postgres + `\w+`), Says: says(`server closed the connection|connection already closed|terminating connection`), Kind: ferry.Unknown, Effect: maybe},
		{Code: name(postgres + `OperationalError`), Kind: ferry.Unavailable, Effect: none, Text: "Odoo cannot reach its database"},
		{Code: name(`odoo\.exceptions\.\w+`), Kind: ferry.Rejected, Effect: none},
		{
			Code: name(`werkzeug\.exceptions\.(?:NotFound|MethodNotAllowed)`), Kind: ferry.Unauthorized, Effect: none,
			Text: "Odoo has no such address, model or method; check url, database, entity and finish",
		},
		{Code: name(`werkzeug\.exceptions\.TooManyRequests`), Kind: ferry.Throttled, Effect: none},
		{Code: name(`werkzeug\.exceptions\.(?:BadRequest|UnprocessableEntity|RequestEntityTooLarge)`), Kind: ferry.Rejected, Effect: none},
		{Code: name(`builtins\.\w+`), Says: says(`invalid field|invalid leaf|unknown field`), Kind: ferry.Rejected, Effect: none},
		// A fault of its program. It may also come from what runs after the commit.
		{Code: name(`[a-z][\w]*\.[\w.]+|` + noClass), Kind: ferry.Failed, Effect: maybe, Text: "the program of the server failed on it; see its log"},
		{Code: name(noResult), Kind: ferry.Unknown, Effect: maybe, Text: "the answer is not one of Odoo's"},
		{Status: httpcall.Between(200, 299), NoJSON: true, Kind: ferry.Unknown, Effect: maybe, Text: "the answer is not one of Odoo's"},
		{Status: httpcall.Between(300, 399), Kind: ferry.Unauthorized, Effect: none, Text: "redirects are not followed; check the destination's url"},
		{Status: httpcall.Status(404, 405), Kind: ferry.Unauthorized, Effect: none, Text: "no Odoo answers there; check the destination's url and database"},
	}
}

// odooLookups judges answers to questions.
func odooLookups() httpcall.Table {
	return slices.Concat(asQuestions(odooErrors()), httpcall.Table{
		{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
		{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
		{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
	})
}

// odooException reads an exception as Odoo writes it. Of its members name and
// message are kept; debug is a traceback, with values of the message in it.
func odooException(o map[string]any) httpcall.Problem {
	p := httpcall.Problem{}
	p.Code, _ = o["name"].(string)
	p.Text, _ = o["message"].(string)
	if p.Code == "" {
		p.Code = noClass
	}
	if arguments, ok := o["arguments"].([]any); ok && p.Text == "" {
		p.Text = strings.Join(slices.DeleteFunc(texts(arguments), func(s string) bool { return s == "" }), ": ")
	}
	if p.Text == "" {
		p.Text = "it says no more than that"
	}
	return p.Bounded()
}

// odooCaller makes the request of one method of a model: on the records of ids,
// or on the model where there are none.
type odooCaller interface {
	call(method string, ids []any, named []argument) (*operation, error)
	result(answer any) any
}

// argument is one of a method's, in its place and by its name.
type argument struct {
	name  string
	value any
	named bool // is always given by name
}

// odooAPI calls one model of Odoo.
type odooAPI struct {
	caller  odooCaller
	company any // nil: the user's own
}

// context names the company whose records are made and seen.
func (o *odooAPI) context(more ...argument) argument {
	context := map[string]any{}
	if o.company != nil {
		context["allowed_company_ids"] = []any{o.company}
	}
	for _, a := range more {
		context[a.name] = a.value
	}
	return argument{name: "context", value: context, named: true}
}

func (o *odooAPI) create(values map[string]any) (*operation, error) {
	return o.caller.call("create", nil, []argument{{name: "vals_list", value: []any{values}}, o.context()})
}

// search also finds what is archived: it is there.
func (o *odooAPI) search(domain []any, fields []string) (*operation, error) {
	names := make([]any, len(fields))
	for i, field := range fields {
		names[i] = field
	}
	return o.caller.call("search_read", nil, []argument{
		{name: "domain", value: domain, named: true},
		{name: "fields", value: names, named: true},
		{name: "limit", value: json.Number("2"), named: true},
		{name: "order", value: "id", named: true},
		o.context(argument{name: "active_test", value: false}),
	})
}

// over replaces the record's lines by those of values: command 5 empties the
// relation before command 0 fills it.
func (o *odooAPI) over(record, values map[string]any) (*operation, error) {
	for _, field := range sortedKeys(values) {
		commands, ok := commandsIn(values[field])
		if ok && slices.ContainsFunc(commands, func(c any) bool { return textOf(c.([]any)[0]) == "0" }) {
			values[field] = append([]any{[]any{json.Number("5"), json.Number("0"), json.Number("0")}}, commands...)
		}
	}
	return o.caller.call("write", []any{idOf(record)}, []argument{{name: "vals", value: values}, o.context()})
}

func (o *odooAPI) act(id any, method string) (*operation, error) {
	return o.caller.call(method, []any{id}, []argument{o.context()})
}

func (o *odooAPI) result(answer any) any { return o.caller.result(answer) }

func (o *odooAPI) linesOf(map[string]any) []string { return nil }

// isObject gives a body that is a JSON object.
func isObject(body []byte) (map[string]any, bool) {
	value, err := mapping.Decode(body)
	o, ok := value.(map[string]any)
	return o, ok && err == nil
}
