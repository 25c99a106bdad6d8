package erp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// dataverseAPI is the path of the Web API where the destination's url has none.
const dataverseAPI = "/api/data/v9.2"

// dataverseKeyLength is how many characters a text column holds unless its maker
// said otherwise.
const dataverseKeyLength = 100

// Codes of the Web API; their names are those of its reference.
var (
	// Number of requests, their time, and how many run at once.
	dataverseLimits = regexp.MustCompile(`(?i)^0x8007232[126]$`)
	// DuplicateRecord, DuplicateRecordEntityKey, and DuplicateRecordsFound of the rules
	// for detecting duplicates.
	dataverseDuplicate = regexp.MustCompile(`(?i)^0x(80040237|80060892|80040333)$`)
	// ConcurrencyVersionMismatch.
	dataverseStale = regexp.MustCompile(`(?i)^0x80060882$`)
	// RecordNotFoundByEntityKey, ObjectDoesNotExist.
	dataverseAbsent = regexp.MustCompile(`(?i)^0x(80060891|80040217)$`)
	// The same in words, for answers without a code.
	dataverseAbsentText = regexp.MustCompile(`(?i)record with the specified key values does not exist|With Ids? ?= .*Does Not Exist`)
)

// dataverse is the dialect of Microsoft Dataverse, over its Web API. A row is
// named by an alternate key, so that writing it twice makes one row.
//
// Modelled on: learn.microsoft.com, Power Apps developer pages "Update and delete
// table rows using the Web API", "Perform conditional operations using the Web
// API", "Service protection API limits", "Define alternate keys", "Web API client
// errors".
func dataverse() dialect {
	refused := httpcall.Between(400, 599) // a success is one whatever its body says, and may be too long to be read
	return dialect{
		verdicts: append(httpcall.Table{
			{Status: refused, Code: dataverseLimits, Kind: ferry.Throttled, Effect: ferry.EffectNone},
			{Status: refused, Code: dataverseDuplicate, Kind: conflict},
			{Status: refused, Code: dataverseStale, Kind: stale, Effect: ferry.EffectNone},
			{
				Status: httpcall.Status(404), Code: dataverseAbsent, Kind: ferry.Rejected, Effect: ferry.EffectNone,
				Text: "there is no row of the key to write over",
			},

			{Status: httpcall.Status(404), Kind: ferry.Rejected, Effect: ferry.EffectNone, Text: "check entity: it is the set's name, plural and in lower case"},
			// If-None-Match: * found a row. Its code is empty, or one of several.
			{Status: httpcall.Status(412), Kind: conflict},
		}, byStatus()...),
		lookups: httpcall.Table{
			{Status: refused, Code: dataverseLimits, Kind: ferry.Throttled},
			{Status: httpcall.Status(404), Code: dataverseAbsent, Kind: absent},
			{Status: httpcall.Status(404), Says: dataverseAbsentText, Kind: absent},
			// Any other 404 is a wrong address, 0x8006088a, and says nothing of the row.
			{Status: httpcall.Status(404), Kind: ferry.Failed, Text: "the address is wrong; check url and entity"},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
		},
		settings: []string{"entity", "write", "key"},
		open: func(d *destination) error {
			if u, err := url.Parse(d.base.prefix); err == nil && strings.Trim(u.Path, "/") == "" {
				d.base.prefix += dataverseAPI
			}
			return nil
		},
		form:    newDataverseRows,
		problem: odataProblem,
		health:  "/WhoAmI",
	}
}

// dataverseRows is the form of messages that become rows of one table.
type dataverseRows struct {
	r   *route
	all bool // answers hold all columns, since a jq program of the route may want any
}

func newDataverseRows(r *route, cfg *adapters.RouteConfig) (form, error) {
	if err := checkEntity(cfg.Entity, "the entity set's name, such as accounts or new_invoices"); err != nil {
		return nil, err
	}
	keyed := cfg.KeyField != "" || len(cfg.Key) > 0
	if !keyed && cfg.Write != "" && cfg.Write != writeCreate {
		return nil, bad("write: %s needs keyField or key", cfg.Write).WithHint("the columns of an alternate key of the table")
	}
	if cfg.KeyField != "" && cfg.KeyLength == 0 {
		// A key that an address cannot carry is shaped, too.
		cfg.KeyLength = dataverseKeyLength
	}
	f := dataverseRows{r: r, all: cfg.Reference != "" || cfg.Result != ""}
	if l := cfg.Lookup; l != nil {
		f.all = f.all || l.Reference != "" || l.Result != "" || l.Same != ""
		if l.Reference == "" {
			l.Reference = ".id"
		}
	}
	return f, nil
}

// checkEntity refuses what cannot be a name in an address.
func checkEntity(entity, what string) error {
	switch {
	case entity == "":
		return bad("entity is missing").WithHint("%s", what)
	case strings.ContainsAny(entity, "/?#%'\"() \t\r\n"):
		return bad("entity %q has characters that cannot stand in its name", entity).WithHint("%s", what)
	}
	return nil
}

func (f dataverseRows) write(ctx context.Context, m *message) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	if f.r.cfg.KeyField == "" && len(f.r.key) == 0 {
		return f.operation(http.MethodPost, f.r.cfg.Entity, "", fields)
	}
	condition := ""
	if f.r.cfg.Write != writeUpsert {
		condition = "If-None-Match: *"
	}
	return f.patch(ctx, m, fields, condition)
}

func (f dataverseRows) update(ctx context.Context, m *message, document any) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	condition := "If-Match: *" // without it, a row that has gone would be made
	if tag := odataETag(document); tag != "" {
		condition = "If-Match: " + tag
	}
	return f.patch(ctx, m, fields, condition)
}

// patch writes to the row that the alternate key names. The key's columns are
// not repeated in the body: the address sets them.
func (f dataverseRows) patch(ctx context.Context, m *message, fields map[string]any, condition string) (*operation, error) {
	pairs, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		delete(fields, p.field)
	}
	op, err := f.operation(http.MethodPatch, f.r.cfg.Entity+odataKey(pairs, dataverseLiteral), f.columns(pairs), fields)
	if err != nil {
		return nil, err
	}
	if name, value, ok := strings.Cut(condition, ": "); ok {
		op.header.Set(name, value)
	}
	return op, nil
}

func (f dataverseRows) find(ctx context.Context, m *message) (*operation, error) {
	pairs, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	return f.operation(http.MethodGet, f.r.cfg.Entity+odataKey(pairs, dataverseLiteral), f.columns(pairs), nil)
}

// keys are the alternate key. Some characters reach the table in no spelling.
func (f dataverseRows) keys(ctx context.Context, m *message) ([]pair, error) {
	pairs, err := m.keys(ctx)
	for _, p := range pairs {
		if s, ok := p.value.(string); ok && strings.ContainsAny(s, `/<>*%&:\?+#`) {
			return nil, fmt.Errorf("key.%s: Dataverse finds no row by a key with one of / < > * %% & : \\ ? + # in it; shape it with shortkey(%d)",
				p.field, dataverseKeyLength)
		}
	}
	return pairs, err
}

// columns are what answers hold, besides the row's id: as little as possible,
// since the row is read for it.
func (f dataverseRows) columns(pairs []pair) string {
	if f.all {
		return ""
	}
	names := make([]string, len(pairs))
	for i, p := range pairs {
		names[i] = p.field
	}
	return strings.Join(names, ",")
}

func (f dataverseRows) operation(method, path, columns string, fields map[string]any) (*operation, error) {
	address := f.r.dest.base.under("/"+path, odataQuery("$select", columns))
	var body any
	if fields != nil {
		body = fields
	}
	op, err := newOperation(method, address, body)
	if err != nil {
		return nil, err
	}
	op.header.Set("Accept", "application/json")
	op.header.Set("OData-MaxVersion", "4.0")
	op.header.Set("OData-Version", "4.0")
	if fields != nil {
		// Else the answer names the row by its key and not by its id, and says as
		// little of whether it was made or written over.
		op.header.Set("Prefer", "return=representation")
	}
	return op, nil
}

func (f dataverseRows) found(_ *message, _ *httpcall.Answer, value any) (any, error) {
	if object, ok := value.(map[string]any); !ok || len(object) == 0 {
		return nil, errors.New("it is no row")
	}
	return f.document(value), nil
}

// document gives a row with its id in the member id, which no column is called.
func (f dataverseRows) document(value any) any {
	row, ok := value.(map[string]any)
	if !ok {
		return value
	}
	id := f.rowID(row)
	if id == "" || row["id"] != nil {
		return row
	}
	row = maps.Clone(row)
	row["id"] = id
	return row
}

// rowID finds the row's own id: the column that is called as the table with id
// behind it, or the only one that can be it. Lookups are called _NAME_value.
func (f dataverseRows) rowID(row map[string]any) string {
	table := strings.ToLower(f.r.cfg.Entity)
	only, several := "", false
	for _, name := range sortedKeys(row) {
		id, _ := row[name].(string)
		if !strings.HasSuffix(name, "id") || strings.HasPrefix(name, "_") || !isGUID(id) {
			continue
		}
		switch strings.TrimSuffix(name, "id") {
		case strings.TrimSuffix(table, "s"), strings.TrimSuffix(table, "es"), strings.TrimSuffix(table, "ies") + "y":
			return id
		}
		only, several = id, only != ""
	}
	if several {
		id, _ := row["activityid"].(string)
		return id
	}
	return only
}

// named is the row's id, or what the answer calls it.
func (f dataverseRows) named(a *httpcall.Answer, _ *url.URL) string {
	if value, err := answerValue(a); err == nil {
		if row, ok := f.document(value).(map[string]any); ok {
			if id, _ := row["id"].(string); id != "" {
				return id
			}
		}
	}
	name, err := url.PathUnescape(a.Header.Get("OData-EntityId"))
	if err != nil {
		return ""
	}
	if open := strings.LastIndexByte(name, '('); open >= 0 {
		return strings.TrimSuffix(name[open+1:], ")")
	}
	return ""
}

// dataverseLiteral writes ids bare: those of lookup columns are no texts.
func dataverseLiteral(p pair) string {
	if s, ok := p.value.(string); ok && isGUID(s) && strings.HasPrefix(p.field, "_") && strings.HasSuffix(p.field, "_value") {
		return s
	}
	return odataLiteral(p.value)
}
