package erp

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// Words of errors of Finance and Operations, which has no codes worth the name.
var (
	foDuplicate = regexp.MustCompile(`(?i)record already exists`)
	// Given up, and rolled back, for somebody else's sake.
	foLocked = regexp.MustCompile(`(?i)deadlock|update conflict occurred`)
	// Validation comes before anything is written, whatever the status says.
	foInvalid = regexp.MustCompile(`(?i)validate(Write|Field) failed`)
)

// foAction is the namespace of acts that are bound to entities.
const foAction = "Microsoft.Dynamics.DataEntities."

// d365fo is the dialect of Dynamics 365 Finance, Supply Chain Management and
// their kin: OData entities, and, with activity, the queue of recurring
// integrations (see d365fo_dmf.go).
//
// Modelled on: learn.microsoft.com, Finance and Operations developer pages "Open
// Data Protocol (OData)", "Service protection API limits", "Priority-based
// throttling", "Recurring integrations"; MicrosoftDocs/dynamics-365-unified-operations-public.
func d365fo() dialect {
	return dialect{
		verdicts: append(httpcall.Table{
			// Of this document, or of one beside it: a lookup tells.
			{Status: httpcall.Between(400, 599), Says: foDuplicate, Kind: conflict},
			{Status: httpcall.Between(400, 599), Says: foLocked, Kind: ferry.Failed, Effect: ferry.EffectNone},
			{Status: httpcall.Between(400, 599), Says: foInvalid, Kind: ferry.Rejected, Effect: ferry.EffectNone},

			{Status: httpcall.Status(412), Kind: stale, Effect: ferry.EffectNone},
		}, byStatus()...),
		lookups: httpcall.Table{
			{Status: httpcall.Status(404), Kind: ferry.Failed, Text: "the address is wrong; check url and entity"},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
		},
		settings: []string{"company", "entity", "write", "key", "finish", "activity", "lookup.where"},
		form: func(r *route, cfg *adapters.RouteConfig) (form, error) {
			if cfg.Activity != "" {
				return newFOQueue(r, cfg)
			}
			return newFOEntities(r, cfg)
		},
		problem: foProblem,
		health:  "/data",
	}
}

// foEntities is the form of messages that become records of one entity set.
type foEntities struct {
	r       *route
	company string // dataAreaId; "" for entities that all companies share
}

func newFOEntities(r *route, cfg *adapters.RouteConfig) (form, error) {
	if err := checkEntity(cfg.Entity, "the entity set's public name, such as VendorInvoiceHeaders"); err != nil {
		return nil, err
	}
	keyed := cfg.KeyField != "" || len(cfg.Key) > 0
	if !keyed && cfg.Write != "" && cfg.Write != writeCreate {
		return nil, bad("write: %s needs keyField or key", cfg.Write).WithHint("the fields of the entity's key, beside dataAreaId")
	}
	if cfg.Finish != "" && cfg.Finished == "" {
		return nil, bad("finish needs finished: how a record that is done differs is the entity's own").
			WithHint("jq over the record, such as .IsPosted == \"Yes\"")
	}
	if cfg.Finish != "" && cfg.Write != "" && cfg.Write != writeCreate {
		return nil, bad("finish goes with write: create")
	}
	if l := cfg.Lookup; l != nil && l.Reference == "" {
		if l.Reference = cfg.Reference; l.Reference == "" {
			l.Reference = foReference(cfg)
		}
	}
	return foEntities{r: r, company: foCompany(r, cfg)}, nil
}

func foCompany(r *route, cfg *adapters.RouteConfig) string {
	if cfg.Company != "" {
		return cfg.Company
	}
	return r.dest.cfg.Company
}

// foReference is the jq of what names a record where nothing is configured: the
// fields of its key.
func foReference(cfg *adapters.RouteConfig) string {
	fields := sortedKeys(cfg.Key)
	if cfg.KeyField != "" {
		fields = []string{cfg.KeyField}
	}
	for i, field := range fields {
		fields[i] = `(.["` + field + `"] | tostring)`
	}
	return strings.Join(fields, ` + "/" + `)
}

// searches: nothing but the key that an entity may have keeps a second record
// away, and numbers are mostly given by the system.
func (f foEntities) searches(*message) bool { return true }

func (f foEntities) write(ctx context.Context, m *message) (*operation, error) {
	fields, err := f.fields(ctx, m)
	if err != nil {
		return nil, err
	}
	return f.operation(http.MethodPost, "", "", fields)
}

// fields are the record's, in the company that it belongs to.
func (f foEntities) fields(ctx context.Context, m *message) (map[string]any, error) {
	fields, err := m.fields(ctx)
	if err == nil && f.company != "" && fields["dataAreaId"] == nil {
		fields["dataAreaId"] = f.company
	}
	return fields, err
}

// find reads across companies: else the answer holds those of the user's own
// company only, and says that all others are not there.
func (f foEntities) find(ctx context.Context, m *message) (*operation, error) {
	pairs, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	query := odataQuery("cross-company", "true", "$filter", odataFilter(pairs, f.r.cfg.Lookup.Where, foLiteral), "$top", "5")
	return f.operation(http.MethodGet, "", query, nil)
}

// keys are those of the message, within the company.
func (f foEntities) keys(ctx context.Context, m *message) ([]pair, error) {
	pairs, err := m.keys(ctx)
	if err != nil || f.company == "" {
		return pairs, err
	}
	for _, p := range pairs {
		if p.field == "dataAreaId" {
			return pairs, nil
		}
	}
	return append([]pair{{"dataAreaId", f.company}}, pairs...), nil
}

func (f foEntities) found(m *message, _ *httpcall.Answer, value any) (any, error) {
	pairs, err := f.keys(context.Background(), m)
	if err != nil {
		return nil, err
	}
	return odataFound(f.r, value, pairs)
}

func (foEntities) document(value any) any { return value }

func (f foEntities) update(ctx context.Context, m *message, document any) (*operation, error) {
	fields, err := f.fields(ctx, m)
	if err != nil {
		return nil, err
	}
	pairs, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		delete(fields, p.field) // a key cannot be written over
	}
	op, err := f.operation(http.MethodPatch, f.path(document, pairs), odataQuery("cross-company", "true"), fields)
	if err != nil {
		return nil, err
	}
	if tag := odataETag(document); tag != "" {
		op.header.Set("If-Match", tag)
	}
	return op, nil
}

// finished: only the route's finished can tell.
func (foEntities) finished(any) bool { return false }

// finish calls an act that is bound to the record.
func (f foEntities) finish(ctx context.Context, m *message, document any) (*operation, error) {
	pairs, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	act := f.r.cfg.Finish
	if !strings.Contains(act, ".") {
		act = foAction + act
	}
	// Acts want a body, though it be empty.
	return f.operation(http.MethodPost, f.path(document, pairs)+"/"+url.PathEscape(act), odataQuery("cross-company", "true"), map[string]any{})
}

// path names one record behind the entity set: as the record itself does in full
// metadata, since the entity's key may have a number in it that the system gave,
// else by pairs.
func (f foEntities) path(document any, pairs []pair) string {
	record, _ := document.(map[string]any)
	for _, name := range []string{"@odata.editLink", "@odata.id"} {
		link, _ := record[name].(string)
		u, err := url.Parse(link)
		if err != nil {
			continue
		}
		path := u.EscapedPath()
		key, found := strings.CutPrefix(path[strings.LastIndexByte(path, '/')+1:], f.r.cfg.Entity)
		if found && strings.HasPrefix(key, "(") && strings.HasSuffix(key, ")") {
			return key
		}
	}
	return odataKey(pairs, foLiteral)
}

func (f foEntities) operation(method, path, query string, fields map[string]any) (*operation, error) {
	var body any
	if fields != nil {
		body = fields
	}
	op, err := newOperation(method, f.r.dest.base.under("/data/"+f.r.cfg.Entity+path, query), body)
	if err != nil {
		return nil, err
	}
	op.header.Set("Accept", "application/json;odata.metadata=full")
	op.header.Set("OData-MaxVersion", "4.0")
	op.header.Set("OData-Version", "4.0")
	return op, nil
}

func foLiteral(p pair) string { return odataLiteral(p.value) }
