package erp

import (
	"context"
	"encoding/json"
	"errors"
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

// frappe is the dialect of ERPNext and other applications of the Frappe
// framework, by its REST API of version 1 (/api/resource). A request that fails
// is rolled back as a whole: what an exception of the framework ended wrote
// nothing. Modelled on frappe/exceptions.py, frappe/utils/response.py and
// frappe/rate_limiter.py of versions 14 to 16.
func frappe() dialect {
	// What the body says counts for refusals: a success is one by its status.
	refusals := httpcall.Between(400, 599)
	return dialect{
		verdicts: append(httpcall.Table{
			// Both are kinds of ValidationError, and so come as 417 like what is wrong for good.
			{Status: refusals, Code: regexp.MustCompile(`^TimestampMismatchError$`), Kind: stale, Effect: ferry.EffectNone},
			{Status: refusals, Code: regexp.MustCompile(`^(DocumentLockedError|QueryDeadlockError|QueryTimeoutError)$`), Kind: ferry.Failed, Effect: ferry.EffectNone},
			{Status: refusals, Code: regexp.MustCompile(`^(DuplicateEntryError|UniqueValidationError)$`), Kind: conflict},
			{Status: refusals, Code: regexp.MustCompile(`^(TooManyRequestsError|RateLimitExceededError)$`), Kind: ferry.Throttled, Effect: ferry.EffectNone},
			{Status: refusals, Code: regexp.MustCompile(`^(SessionStopped|InReadOnlyMode)$`), Kind: ferry.Unavailable, Effect: ferry.EffectNone},
			{Status: refusals, Code: regexp.MustCompile(`^(AuthenticationError|PermissionError|SessionExpired)$`), Kind: ferry.Unauthorized, Effect: ferry.EffectNone},

			// By status 417 is every other ValidationError: MandatoryError, LinkValidationError, and
			// so on. Scripts of a site may have committed before they failed with 500.
		}, byStatus()...),
		lookups: httpcall.Table{
			// A list that holds nothing says that there is none; 404 is a DocType, or a site,
			// that does not exist.
			{Status: refusals, Code: regexp.MustCompile(`^(TooManyRequestsError|RateLimitExceededError)$`), Kind: ferry.Throttled},
			{Status: refusals, Code: regexp.MustCompile(`^(SessionStopped|InReadOnlyMode)$`), Kind: ferry.Unavailable},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
		},
		settings: []string{"entity", "write", "key", "finish", "lookup.where"},
		form:     newFrappeForm,
		problem:  frappeProblem,
		health:   "/api/method/frappe.auth.get_logged_user",
	}
}

// frappeForm is one DocType. Documents are asked for before they are written: a
// field is unique only where somebody said so in the DocType.
type frappeForm struct {
	r     *route
	path  string // of the DocType, escaped
	where []any  // conditions beside the key
}

func newFrappeForm(r *route, cfg *adapters.RouteConfig) (form, error) {
	if cfg.Entity == "" {
		return nil, bad("entity is missing").WithHint("the DocType, such as entity: Purchase Invoice")
	}
	f := &frappeForm{r: r, path: "/api/resource/" + url.PathEscape(cfg.Entity)}
	if cfg.Finish != "" && cfg.Finish != "submit" {
		return nil, bad("finish: there is no %q", cfg.Finish).WithHint("submit; without it the document stays a draft, unless the map sets docstatus: 1")
	}
	if err := needsLookup(cfg); err != nil {
		return nil, err
	}
	if cfg.Reference == "" {
		cfg.Reference = ".name"
	}
	if l := cfg.Lookup; l != nil {
		if l.Reference == "" {
			l.Reference = ".name"
		}
		if l.Where != "" {
			value, err := mapping.Decode([]byte(l.Where))
			conditions, ok := value.([]any)
			if err != nil || !ok {
				return nil, bad("lookup.where is no list of filters").WithHint(`such as [["company", "=", "Contoso"]]`)
			}
			f.where = conditions
		}
	}
	return f, nil
}

func (f *frappeForm) searches(*message) bool { return true }

func (f *frappeForm) write(ctx context.Context, m *message) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	return newOperation(http.MethodPost, f.r.dest.base.under(f.path, ""), fields)
}

// find asks by filters, also for documents that are named by the key: a question
// for one name answers 404, which a wrong DocType does as well.
func (f *frappeForm) find(ctx context.Context, m *message) (*operation, error) {
	keys, err := m.keys(ctx)
	if err != nil {
		return nil, err
	}
	names := []any{"name", "docstatus", "modified"}
	filters := make([]any, 0, len(keys)+len(f.where))
	for _, k := range keys {
		filters = append(filters, []any{k.field, "=", k.value})
		if !slices.Contains(names, any(k.field)) {
			names = append(names, k.field)
		}
	}
	if f.r.cfg.Lookup.Same != "" || f.r.cfg.Lookup.Result != "" {
		names = []any{"*"}
	}
	query := ""
	for _, q := range []struct {
		name  string
		value any
	}{{"filters", append(filters, f.where...)}, {"fields", names}} {
		text, err := mapping.Encode(q.value)
		if err != nil {
			return nil, err
		}
		query += q.name + "=" + escapeQuery(string(text)) + "&"
	}
	query += "order_by=" + escapeQuery("creation asc") + "&limit_page_length=10"
	return newOperation(http.MethodGet, f.r.dest.base.under(f.path, query), nil)
}

// found takes a document that was cancelled only where there is no other. MariaDB compares without regard to case and to blanks at the end, so
// that what it found is compared once more.
func (f *frappeForm) found(m *message, _ *httpcall.Answer, value any) (any, error) {
	rows, ok := member(value, "data").([]any)
	if !ok {
		return nil, errors.New("it holds no list of documents")
	}
	keys, err := m.keys(context.Background())
	if err != nil {
		return nil, err
	}
	var valid, cancelled []any
	for _, row := range rows {
		switch {
		case !bears(row, keys):
		case docstatus(row) == "2":
			cancelled = append(cancelled, row)
		default:
			valid = append(valid, row)
		}
	}
	if len(valid) == 0 {
		valid = cancelled[:min(len(cancelled), 1)]
	}
	return oneOf(valid, func(row any) string { return textOf(member(row, "name")) })
}

// oneOf is the one document of those that bear the key; nil where there is none.
func oneOf(documents []any, name func(any) string) (any, error) {
	switch len(documents) {
	case 0:
		return nil, nil
	case 1:
		return documents[0], nil
	}
	names := make([]string, len(documents))
	for i, d := range documents {
		names[i] = name(d)
	}
	return documents[0], &severalError{names: strings.Join(names, ", ")}
}

// bears says whether a document has the keys' texts, letter by letter.
func bears(document any, keys []pair) bool {
	for _, k := range keys {
		want, isText := k.value.(string)
		has, hasText := member(document, k.field).(string)
		if isText && hasText && want != has {
			return false
		}
	}
	return true
}

func (f *frappeForm) document(value any) any {
	if data := member(value, "data"); data != nil {
		return data
	}
	return value
}

// update names the revision of what was read, so that a change by somebody else
// in between is seen: TimestampMismatchError.
func (f *frappeForm) update(ctx context.Context, m *message, document any) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	if modified, ok := member(document, "modified").(string); ok {
		fields["modified"] = modified
	}
	return f.put(document, fields)
}

func (f *frappeForm) put(document any, fields map[string]any) (*operation, error) {
	name, ok := member(document, "name").(string)
	if !ok || name == "" {
		return nil, errors.New("the document has no name")
	}
	return newOperation(http.MethodPut, f.r.dest.base.under(f.path+"/"+url.PathEscape(name), ""), fields)
}

// finished: submitted, or cancelled afterwards, which a person did.
func (f *frappeForm) finished(document any) bool {
	state := docstatus(document)
	return state == "1" || state == "2"
}

func (f *frappeForm) finish(_ context.Context, _ *message, document any) (*operation, error) {
	return f.put(document, map[string]any{"docstatus": json.Number("1")})
}

func docstatus(document any) string { return textOf(member(document, "docstatus")) }

// member is a member of an object; nil without one.
func member(value any, name string) any {
	object, _ := value.(map[string]any)
	return object[name]
}
