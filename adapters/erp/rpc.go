package erp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// rpc is the form of messages at systems whose models are called by name, and
// which keep no key unique: the document is asked for, created where it is
// absent, and acted on.
type rpc struct {
	r       *route
	api     rpcAPI
	where   []any    // of the lookup, beside the key
	fields  []string // that a lookup reads
	rereads bool
}

// rpcAPI is how one system is called.
type rpcAPI interface {
	create(values map[string]any) (*operation, error)
	// search asks for at most two records.
	search(domain []any, fields []string) (*operation, error)
	// over writes values over a record that search gave.
	over(record, values map[string]any) (*operation, error)
	// act calls a method of the model on a record.
	act(id any, method string) (*operation, error)
	// result is what an answer gives.
	result(answer any) any
	// linesOf names the fields of values that bring records of their own, which
	// are read before they can be written over.
	linesOf(values map[string]any) []string
}

var (
	modelName  = regexp.MustCompile(`^[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*$`)
	methodName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	oneField   = regexp.MustCompile(`^\.([A-Za-z_][A-Za-z0-9_]*)$`)
)

// newRPC checks and completes the settings of a route. state is the jq that tells
// a document on which the act was done from one on which it was not.
func newRPC(r *route, cfg *adapters.RouteConfig, api rpcAPI, state string) (*rpc, error) {
	name := r.dest.cfg.Dialect
	switch {
	case !modelName.MatchString(cfg.Entity):
		return nil, bad("entity: %q is no model", cfg.Entity).WithHint("such as account.invoice or account.move")
	case cfg.KeyField == "" && len(cfg.Key) == 0:
		return nil, bad("neither keyField nor key is set, and %s keeps no document from being written twice", name).
			WithHint("keyField: the model's field that bears the external key, such as reference; or key: {FIELD: jq, …}")
	case cfg.Finish != "" && !methodName.MatchString(cfg.Finish):
		return nil, bad("finish: %q is no method of a model", cfg.Finish)
	case cfg.Finish != "" && cfg.Write == writeUpdate:
		return nil, bad("finish does not go with write: update")
	case len(cfg.Query) > 0:
		return nil, bad("dialect %s takes no query", name)
	case cfg.Confirm != "":
		return nil, bad("dialect %s takes no confirm: it answers at once", name)
	}
	p := &rpc{r: r, api: api}
	if cfg.Lookup == nil {
		cfg.Lookup = &adapters.LookupConfig{}
	}
	l := cfg.Lookup
	if err := p.readsWhat(cfg, l, state); err != nil {
		return nil, err
	}
	var err error
	if p.where, err = domainOf(l.Where); err != nil {
		return nil, err
	}
	return p, nil
}

// readsWhat settles which fields a lookup reads: those that are named, or those
// of programs that are no more than a name. A create answers with the id alone,
// so whatever else is wanted is read from the document afterwards.
func (p *rpc) readsWhat(cfg *adapters.RouteConfig, l *adapters.LookupConfig, state string) error {
	switch {
	case l.Reference == "" && cfg.Reference == "":
		l.Reference = ".id"
	case l.Reference == "":
		l.Reference = cfg.Reference
	case cfg.Reference != "" && cfg.Reference != l.Reference:
		return bad("reference and lookup.reference differ: both are of the document that is read")
	}
	if l.Result == "" {
		l.Result = cfg.Result
	} else if cfg.Result != "" && cfg.Result != l.Result {
		return bad("result and lookup.result differ: both are of the document that is read")
	}
	cfg.Reference, cfg.Result = ".id", ""
	p.rereads = l.Reference != ".id" || l.Result != ""
	p.fields = []string{"id"}
	if cfg.Finish != "" && cfg.Finished == "" {
		cfg.Finished = state
		p.fields = append(p.fields, "state")
	}
	for _, field := range l.Fields {
		if strings.TrimSpace(field) == "" {
			return bad("lookup.fields has an empty name")
		}
		p.fields = append(p.fields, field)
	}
	if len(l.Fields) > 0 {
		return nil
	}
	for _, program := range []struct{ setting, src string }{
		{"reference", l.Reference}, {"result", l.Result}, {"lookup.same", l.Same}, {"finished", cfg.Finished},
	} {
		m := oneField.FindStringSubmatch(strings.TrimSpace(program.src))
		switch {
		case program.src == "", program.src == state:
		case m == nil:
			return bad("%s reads fields of the document, and lookup.fields does not name them", program.setting).
				WithHint("such as lookup: {fields: [number, state]}")
		default:
			p.fields = append(p.fields, m[1])
		}
	}
	return nil
}

// domainOf reads a condition in the system's own language, written as JSON.
func domainOf(where string) ([]any, error) {
	if where == "" {
		return nil, nil
	}
	value, err := mapping.Decode([]byte(where))
	domain, ok := value.([]any)
	if err != nil || !ok || len(domain) == 0 {
		return nil, bad("lookup.where is no domain").WithHint(`JSON such as [["type", "=", "in"]]`)
	}
	if _, one := domain[0].(string); one && len(domain) == 3 && !isOperator(domain[0]) {
		return []any{domain}, nil // a single condition
	}
	return domain, nil
}

// isOperator says whether an item of a domain joins others.
func isOperator(item any) bool {
	switch item {
	case "&", "|", "!", "AND", "OR":
		return true
	}
	return false
}

// companyOf reads the id of a company; nil for none.
func companyOf(r *route, cfg *adapters.RouteConfig) (any, error) {
	text := cfg.Company
	if text == "" {
		text = r.dest.cfg.Company
	}
	if text == "" {
		return nil, nil
	}
	if id, err := strconv.Atoi(text); err != nil || id <= 0 {
		return nil, bad("company: %q is no id of a company", text).WithHint("a number: the id of the record, not its name")
	}
	return json.Number(text), nil
}

func (p *rpc) searches(*message) bool { return true }

func (p *rpc) reads() bool { return p.rereads }

func (p *rpc) write(ctx context.Context, m *message) (*operation, error) {
	values, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	return p.api.create(values)
}

func (p *rpc) find(ctx context.Context, m *message) (*operation, error) {
	pairs, err := m.keys(ctx)
	if err != nil {
		return nil, err
	}
	domain := make([]any, 0, len(pairs)+len(p.where))
	for _, k := range pairs {
		domain = append(domain, []any{k.field, "=", k.value})
	}
	fields := p.fields
	if p.writesOver(m) {
		// What the map cannot make is told when it is to be written.
		if values, err := m.fields(ctx); err == nil {
			fields = append(fields[:len(fields):len(fields)], p.api.linesOf(values)...)
		}
	}
	return p.api.search(append(domain, p.where...), fields)
}

func (p *rpc) writesOver(m *message) bool {
	return p.r.cfg.Write == writeUpsert || p.r.cfg.Write == writeUpdate || m.Revision > 1
}

// found gives the oldest record, and says when it is not the only one.
func (p *rpc) found(_ *message, _ *httpcall.Answer, value any) (any, error) {
	records, ok := p.api.result(value).([]any)
	switch {
	case !ok:
		return nil, errors.New("it is no list of records")
	case len(records) == 0:
		return nil, nil
	}
	record, ok := records[0].(map[string]any)
	if !ok || idOf(record) == nil {
		return nil, errors.New("it has a record without an id")
	}
	if len(records) > 1 {
		second, _ := records[1].(map[string]any)
		return record, &severalError{names: textOf(idOf(record)) + ", " + textOf(idOf(second))}
	}
	return record, nil
}

// document: a create answers with the ids of what it made.
func (p *rpc) document(value any) any {
	result := p.api.result(value)
	if ids, ok := result.([]any); ok && len(ids) == 1 {
		result = ids[0]
	}
	if id, ok := result.(json.Number); ok {
		return map[string]any{"id": id}
	}
	return nil
}

func (p *rpc) update(ctx context.Context, m *message, document any) (*operation, error) {
	values, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	record, _ := document.(map[string]any)
	return p.api.over(record, values)
}

// finished is asked by the route's own program, which is never missing.
func (p *rpc) finished(any) bool { return false }

func (p *rpc) finish(_ context.Context, _ *message, document any) (*operation, error) {
	record, _ := document.(map[string]any)
	id := idOf(record)
	if id == nil {
		return nil, fmt.Errorf("the document's id is not known, so that %s cannot be called", p.r.cfg.Finish)
	}
	return p.api.act(id, p.r.cfg.Finish)
}

// idOf is a record's id; nil when it has none.
func idOf(record map[string]any) any {
	if id, ok := record["id"].(json.Number); ok {
		return id
	}
	return nil
}

// commandsIn gives a value that is a list of commands, each a list itself.
func commandsIn(value any) ([]any, bool) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return nil, false
	}
	for _, item := range list {
		if command, ok := item.([]any); !ok || len(command) == 0 {
			return nil, false
		}
	}
	return list, true
}
