package erp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// bcKeyLength is how many characters Business Central keeps of external document
// numbers, Code[35].
const bcKeyLength = 35

// Codes and words of Business Central's errors.
var (
	bcDuplicate   = regexp.MustCompile(`^Internal_EntityWithSameKeyExists$`)
	bcChanged     = regexp.MustCompile(`^Request_EntityChanged$`)
	bcRefused     = regexp.MustCompile(`^(Authentication|Authorization)_`)
	bcNoCompany   = regexp.MustCompile(`^Internal_CompanyNotFound$`)
	bcNoTenant    = regexp.MustCompile(`^Internal_TenantUnavailable$`)
	bcServerError = regexp.MustCompile(`^Internal_(ServerError|DatabaseConnection)$`)
	bcMessage     = regexp.MustCompile(`^(BadRequest|Application_|Internal_(InvalidTableRelation|RecordNotFound|(?i:DataNotFoundFilter))$)`)
	bcLocked      = regexp.MustCompile(`(?i)locked by another user|deadlock`)
)

// bc is the dialect of Dynamics 365 Business Central, over its API v2.0 and those
// of its kind. It has no idempotency of any sort, and a create that is repeated
// may be answered with 201 and have appended its lines to the document that was
// there: documents are always asked for before they are written.
//
// Modelled on: MicrosoftDocs/dynamics365smb-devitpro-pb (dynamics-error-codes.md,
// dynamics-rate-limits.md, operational-limits-online.md, use-odata-batch.md);
// appended lines: community.dynamics.com, thread 26cf77ee-d297-f011-b4cc-000d3a16f3f9.
func bc() dialect {
	refused := httpcall.Between(400, 599) // a success is one whatever its body says, and may be too long to be read
	// Throttles and calls that had no turn may bear the code of any error.
	notBusy := []httpcall.StatusRange{{From: 400, To: 428}, {From: 430, To: 502}, {From: 504, To: 599}}
	refusals := httpcall.Table{
		{Status: refused, Code: bcRefused, Kind: ferry.Unauthorized, Effect: ferry.EffectNone},
		// It is nobody's message that is wrong, but company.
		{Status: refused, Code: bcNoCompany, Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Text: "check company"},
		{Status: refused, Code: bcNoTenant, Kind: ferry.Unavailable, Effect: ferry.EffectNone},
	}
	return dialect{
		verdicts: slices.Concat(refusals, httpcall.Table{
			{Status: refused, Code: bcDuplicate, Kind: conflict},
			{Status: refused, Code: bcChanged, Kind: stale, Effect: ferry.EffectNone},
			// The transaction was given up.
			{Status: refused, Says: bcLocked, Kind: ferry.Failed, Effect: ferry.EffectNone},
			{Status: notBusy, Code: bcServerError, Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
			{Status: notBusy, Code: bcMessage, Kind: ferry.Rejected, Effect: ferry.EffectNone},

			{Status: httpcall.Status(412), Kind: stale, Effect: ferry.EffectNone},
			// By status: 409 may be a fault of the database that passes, 503 waited for its turn
			// for up to 8 minutes and had none, 504 ran for 10 minutes and was cut off.
		}, byStatus()),
		lookups: append(refusals[:len(refusals):len(refusals)], httpcall.Table{
			{Status: httpcall.Status(404), Kind: ferry.Failed, Text: "the address is wrong; check url, company and entity"},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(408, 502, 503, 504), Kind: ferry.Unavailable},
		}...),
		settings: []string{"company", "entity", "write", "key", "finish", "batch", "lookup.where"},
		form:     newBCDocuments,
		problem:  odataProblem,
		health:   "/companies?$top=1&$select=id",
	}
}

// bcDocuments is the form of messages that become documents of one entity.
type bcDocuments struct {
	r       *route
	path    string // of the entity set, with its slash
	name    string // of the company, or its id
	company string // query that names the company; "" where the path does
}

func newBCDocuments(r *route, cfg *adapters.RouteConfig) (form, error) {
	if err := checkEntity(cfg.Entity, "the entity set's name, such as purchaseInvoices"); err != nil {
		return nil, err
	}
	if cfg.KeyField == "" && len(cfg.Key) == 0 {
		return nil, bad("neither keyField nor key is set: Business Central recognises no repeat, and may append the lines of one to the document that is there").
			WithHint("keyField: vendorInvoiceNumber, externalDocumentNumber, or the field of yours that bears the external key")
	}
	if cfg.KeyField != "" && cfg.KeyLength == 0 {
		cfg.KeyLength = bcKeyLength
	}
	if cfg.Reference == "" {
		cfg.Reference = ".number // .id // .systemId // empty"
	}
	if l := cfg.Lookup; l != nil && l.Reference == "" {
		l.Reference = cfg.Reference
	}
	if cfg.Batch {
		if err := checkBCBatch(cfg); err != nil {
			return nil, err
		}
	}
	company := cfg.Company
	if company == "" {
		company = r.dest.cfg.Company
	}
	f := bcDocuments{r: r, path: "/" + cfg.Entity, name: company}
	if company == "" {
		return nil, bad("company is missing").WithHint("its name, or the id that GET companies gives")
	}
	if isGUID(company) {
		f.path = "/companies(" + company + ")" + f.path
	} else {
		f.company = odataQuery("company", company)
	}
	return f, nil
}

// searches: always, since nothing else keeps a second document away.
func (bcDocuments) searches(*message) bool { return true }

func (f bcDocuments) write(ctx context.Context, m *message) (*operation, error) {
	if f.r.cfg.Batch {
		return f.writeBatch(ctx, m)
	}
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	return f.operation(http.MethodPost, "", "", fields)
}

func (f bcDocuments) find(ctx context.Context, m *message) (*operation, error) {
	pairs, err := m.keys(ctx)
	if err != nil {
		return nil, err
	}
	filter := odataFilter(pairs, f.r.cfg.Lookup.Where, bcLiteral)
	return f.operation(http.MethodGet, "", odataQuery("$filter", filter, "$top", "5"), nil)
}

func (f bcDocuments) found(m *message, _ *httpcall.Answer, value any) (any, error) {
	pairs, err := m.keys(context.Background())
	if err != nil {
		return nil, err
	}
	return odataFound(f.r, value, pairs)
}

func (bcDocuments) document(value any) any { return value }

// update writes over the document's own fields. Its lines are another entity, and
// no request writes over both.
func (f bcDocuments) update(ctx context.Context, m *message, document any) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(fields) {
		if _, nested := fields[name].([]any); nested {
			return nil, fmt.Errorf("%s cannot be written over together with the document; delete the draft in Business Central, or map the document's own fields only", name)
		}
	}
	path, err := bcPath(document)
	if err != nil {
		return nil, err
	}
	op, err := f.operation(http.MethodPatch, path, "", fields)
	if err != nil {
		return nil, err
	}
	op.header.Set("If-Match", "*") // without the header: 400 BadRequest_InvalidToken
	if tag := odataETag(document); tag != "" {
		op.header.Set("If-Match", tag)
	}
	return op, nil
}

// finished: a draft is what still can be posted, or released.
func (bcDocuments) finished(document any) bool {
	fields, _ := document.(map[string]any)
	status, _ := fields["status"].(string)
	return status != "" && !strings.EqualFold(status, "Draft")
}

// finish calls an act that is bound to the document, such as Microsoft.NAV.post.
func (f bcDocuments) finish(_ context.Context, _ *message, document any) (*operation, error) {
	path, err := bcPath(document)
	if err != nil {
		return nil, err
	}
	act := f.r.cfg.Finish
	if !strings.Contains(act, ".") {
		act = "Microsoft.NAV." + act
	}
	return f.operation(http.MethodPost, path+"/"+url.PathEscape(act), "", nil)
}

func bcPath(document any) (string, error) {
	fields, _ := document.(map[string]any)
	for _, name := range []string{"id", "systemId"} {
		if id, _ := fields[name].(string); isGUID(id) {
			return "(" + id + ")", nil
		}
	}
	return "", errors.New("the document bears no id by which it could be called")
}

func (f bcDocuments) operation(method, path, query string, fields map[string]any) (*operation, error) {
	var body any
	if fields != nil {
		body = fields
	}
	op, err := newOperation(method, f.r.dest.base.under(f.path+path, joinQueries(f.company, query)), body)
	if err != nil {
		return nil, err
	}
	op.header.Set("Accept", "application/json")
	return op, nil
}

// bcLiteral writes ids bare: fields that are called so are no texts.
func bcLiteral(p pair) string {
	if s, ok := p.value.(string); ok && isGUID(s) && (strings.HasSuffix(p.field, "Id") || p.field == "id") {
		return s
	}
	return odataLiteral(p.value)
}
