package erp

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// tryton is the dialect of Tryton's JSON-RPC, proven against 6.0.29. Its errors
// come with status 200; nothing keeps a second supplier invoice of the same
// reference away, so that documents are always asked for first.
func tryton() dialect {
	return dialect{
		verdicts: slices.Concat(trytonErrors(), httpcall.Table{
			{Status: httpcall.Between(200, 299), NoJSON: true, Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: "the answer is not that of a JSON-RPC call"},
			{Code: code(noResult), Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: "the answer has neither a result nor an error"},
			{Status: httpcall.Between(300, 399), Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Text: "redirects are not followed; check the destination's url and database"},
			{Status: httpcall.Status(403), Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Text: "the method is unknown, or this user may not call it; check entity and finish"},
			{Status: httpcall.Status(404, 405), Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Text: "no Tryton answers there; check the destination's url"},
		}, rest().verdicts),
		lookups: slices.Concat(asQuestions(trytonErrors()), httpcall.Table{
			{Status: httpcall.Between(200, 299), NoJSON: true, Kind: ferry.Failed, Text: "the answer is not that of a JSON-RPC call"},
			{Code: code(noResult), Kind: ferry.Failed, Text: "the answer has neither a result nor an error"},
			{Status: httpcall.Between(300, 399), Kind: ferry.Unauthorized, Text: "redirects are not followed; check the destination's url and database"},
			{Status: httpcall.Status(401, 403, 404, 405, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
		}),
		settings: []string{"database", "company", "entity", "write", "key", "finish", "lookup.where", "lookup.fields"},
		open: func(d *destination) error {
			if d.cfg.Database == "" {
				return bad("database is missing").WithHint("the name of the database at the Tryton server")
			}
			return nil
		},
		form: func(r *route, cfg *adapters.RouteConfig) (form, error) {
			company, err := companyOf(r, cfg)
			if err != nil {
				return nil, err
			}
			api := &trytonAPI{address: trytonAddress(r.dest), model: cfg.Entity, company: company}
			p, err := newRPC(r, cfg, api, `.state != "draft" and .state != "validated"`)
			if err != nil {
				return nil, err
			}
			if p.where != nil {
				p.where = []any{p.where} // a domain of its own within the domain
			}
			return p, nil
		},
		problem: trytonProblem,
		// It needs a user who may log on, and no right beyond that.
		probe: func(d *destination) (*operation, error) {
			api := &trytonAPI{address: trytonAddress(d), model: "res.user"}
			return api.call("get_preferences", true, map[string]any{})
		},
	}
}

// Codes of answers that have none of Tryton's own.
const (
	noClass  = "noClass"  // an error that is no exception of Tryton's: its program failed, or its database
	noResult = "noResult" // neither an error nor a result
)

// code matches one code of an answer's error.
func code(name string) *regexp.Regexp { return regexp.MustCompile("^" + regexp.QuoteMeta(name) + "$") }

// trytonErrors judges what stands in an answer of status 200. Tryton rolls the
// transaction back on every error, so that nothing was written.
func trytonErrors() httpcall.Table {
	none := ferry.EffectNone
	return httpcall.Table{
		{Code: code("UserError"), Says: regexp.MustCompile(`(?i)must be unique`), Kind: conflict, Effect: none},
		{Code: code("UserError"), Kind: ferry.Rejected, Effect: none},
		{
			Code: code("UserWarning"), Kind: ferry.Rejected, Effect: none,
			Text: "Tryton asks for a confirmation: let its user answer this warning once with \"always\" (model res.user.warning), or mend the message",
		},
		{Code: code("ConcurrencyException"), Kind: stale, Effect: none},
		{Code: code("LoginException"), Kind: ferry.Unauthorized, Effect: none, Text: "more than user and password is asked for"},
		{Code: code("RateLimitException"), Kind: ferry.Throttled, Effect: none},
		{
			Code: code(noClass), Says: regexp.MustCompile(`(?i)database .*(doesn't|does not) exist`), Kind: ferry.Unauthorized, Effect: none,
			Text: "check the destination's database",
		},
		{
			Code: code(noClass), Says: regexp.MustCompile(`(?i)database is locked|could not serialize|deadlock detected|could not obtain lock`),
			Kind: ferry.Failed, Effect: none, Text: "the database was busy",
		},
		{
			Code: code(noClass), Says: regexp.MustCompile(`(?i)could not connect|connection refused|too many (clients|connections)|connection pool exhausted`),
			Kind: ferry.Unavailable, Effect: none, Text: "Tryton cannot reach its database",
		},
		// Cut while it committed, perhaps.
		{Code: code(noClass), Says: regexp.MustCompile(`(?i)server closed the connection|connection already closed|terminating connection`), Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
		// Mostly a field that does not exist, or a value that Python cannot use: the same
		// again fails again.
		{Code: code(noClass), Kind: ferry.Rejected, Effect: none, Text: "the program of the server failed on it; see its log"},
	}
}

// asQuestions turns rules for writes into those for questions, which are nobody's
// duplicate and reject no message.
func asQuestions(t httpcall.Table) httpcall.Table {
	out := slices.Clone(t)
	for i := range out {
		switch out[i].Kind {
		case ferry.Unauthorized, ferry.Throttled, ferry.Unavailable:
		default:
			out[i].Kind = ferry.Failed
		}
	}
	return out
}

// trytonProblem reads ["UserError", [message, description, domain]] and its kin,
// and [text, traceback] of any other exception. The traceback is never kept.
func trytonProblem(a *httpcall.Answer) httpcall.Problem {
	value, err := mapping.Decode(a.Body)
	answer, _ := value.(map[string]any)
	said, ok := answer["error"].([]any)
	if _, result := answer["result"]; result && !ok {
		return httpcall.Problem{}
	}
	switch {
	case !ok && err == nil && a.Status < 300:
		return httpcall.Problem{Code: noResult}
	case !ok:
		return httpcall.DecodeProblem(a.Body)
	}
	said = append(said, "", "")
	name, _ := said[0].(string)
	p := httpcall.Problem{Code: name}
	switch detail := said[1].(type) {
	case string:
		if name == "ConcurrencyException" {
			p.Text = detail
			break
		}
		p.Code, p.Text = noClass, name
	case []any:
		words := append(texts(detail), "", "", "")
		switch name {
		case "UserWarning":
			p.Text = sentences(words[1], words[2])
			p.Fields = []ferry.FieldError{{Field: "res.user.warning", Text: words[0]}}
		case "LoginException":
			p.Text = words[1]
		default:
			p.Text = sentences(words[0], words[1])
			p.Fields = trytonFields(detail)
		}
	default:
		p.Code, p.Text = noClass, name
	}
	if p.Text == "" {
		p.Text = "it says no more than that"
	}
	return p.Bounded()
}

// texts gives the texts among items in their places, "" for the rest.
func texts(items []any) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i], _ = item.(string)
	}
	return out
}

// trytonFields reads the domain that a value broke: [domain, {field: definition}].
func trytonFields(detail []any) []ferry.FieldError {
	if len(detail) < 3 {
		return nil
	}
	domain, _ := detail[2].([]any)
	if len(domain) < 2 {
		return nil
	}
	definitions, _ := domain[1].(map[string]any)
	var fields []ferry.FieldError
	for _, name := range sortedKeys(definitions) {
		label := name
		if definition, ok := definitions[name].(map[string]any); ok {
			if text, ok := definition["string"].(string); ok {
				label = text
			}
		}
		fields = append(fields, ferry.FieldError{Field: name, Text: label + " is not as its domain wants it"})
	}
	return fields
}

// trytonAddress is where a database is called. Without the slash at its end the
// server answers with a redirect.
func trytonAddress(d *destination) string {
	address := d.base.prefix + "/" + url.PathEscape(d.cfg.Database) + "/"
	if d.base.query != "" {
		address += "?" + d.base.query
	}
	return address
}

// trytonAPI calls one model.
type trytonAPI struct {
	address, model string
	company        any // nil: the context has none
}

// call makes the request of a method. Only one with just these three members has
// its errors in the answer's body.
func (t *trytonAPI) call(method string, params ...any) (*operation, error) {
	name := "model." + t.model + "." + method
	op, err := newOperation(http.MethodPost, t.address, map[string]any{"id": json.Number("1"), "method": name, "params": params})
	if err == nil {
		op.calls = name
	}
	return op, err
}

func (t *trytonAPI) context(more map[string]any) map[string]any {
	context := map[string]any{}
	if t.company != nil {
		context["company"] = t.company
	}
	for name, value := range more {
		context[name] = value
	}
	return context
}

func (t *trytonAPI) create(values map[string]any) (*operation, error) {
	return t.call("create", []any{values}, t.context(nil))
}

// search also finds what was put out of use: it is there.
func (t *trytonAPI) search(domain []any, fields []string) (*operation, error) {
	names := make([]any, len(fields))
	for i, field := range fields {
		names[i] = field
	}
	order := []any{[]any{"id", "ASC"}}
	return t.call("search_read", domain, 0, 2, order, names, t.context(map[string]any{"active_test": false}))
}

// over replaces the record's lines by those of values, and is refused when the
// record was changed since it was read.
func (t *trytonAPI) over(record, values map[string]any) (*operation, error) {
	for _, field := range t.linesOf(values) {
		ids, _ := record[field].([]any)
		if commands, ok := commandsIn(values[field]); ok && len(ids) > 0 {
			values[field] = append([]any{[]any{"delete", ids}}, commands...)
		}
	}
	id := idOf(record)
	context := t.context(nil)
	if stamp, ok := record["_timestamp"].(string); ok {
		context["_timestamp"] = map[string]any{t.model + "," + textOf(id): stamp}
	}
	return t.call("write", []any{id}, values, context)
}

func (t *trytonAPI) act(id any, method string) (*operation, error) {
	return t.call(method, []any{id}, t.context(nil))
}

func (t *trytonAPI) result(answer any) any {
	o, _ := answer.(map[string]any)
	return o["result"]
}

// linesOf: a field that creates records is given as ["create", [values, …]].
func (t *trytonAPI) linesOf(values map[string]any) []string {
	fields := []string{"_timestamp"}
	for _, field := range sortedKeys(values) {
		commands, _ := commandsIn(values[field])
		if slices.ContainsFunc(commands, func(c any) bool { return strings.EqualFold(textOf(c.([]any)[0]), "create") }) {
			fields = append(fields, field)
		}
	}
	return fields
}
