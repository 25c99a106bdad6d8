package erp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// netsuiteThrottle are the codes of limits on requests. RESTlets answer them with
// 400, like what is wrong for good.
var netsuiteThrottle = regexp.MustCompile(`^(SSS_REQUEST_LIMIT_EXCEEDED|CONCURRENCY_LIMIT_EXCEEDED|REQUEST_LIMIT_EXCEEDED|WS_REQUEST_BLOCKED|WS_CONCUR_SESSION_DISALLWD)$`)

// netsuite is the dialect of Oracle NetSuite: REST web services
// (/services/rest/record/v1), and RESTlets by a route's url. Modelled on Oracle's
// NetSuite Online Help: REST web services, their errors, external ids, and
// asynchronous requests with idempotency keys.
func netsuite() dialect {
	// What the body says counts for refusals: a success is one by its status.
	refusals := httpcall.Between(400, 599)
	return dialect{
		verdicts: append(httpcall.Table{
			// The same asynchronous request, sent again, is refused, and its Location names
			// the job of the first one.
			{Status: httpcall.Status(400, 409), Code: regexp.MustCompile(`^IDEMPOTENCY_ERROR$`), Kind: repeated},
			{Status: httpcall.Between(400, 499), Code: netsuiteThrottle, Kind: ferry.Throttled, Effect: ferry.EffectNone},
			{Status: refusals, Code: regexp.MustCompile(`^(INVALID_LOGIN|INVALID_LOGIN_ATTEMPT|INVALID_LOGIN_CREDENTIALS|SESSION_TIMED_OUT)$`), Kind: ferry.Unauthorized, Effect: ferry.EffectNone},
			{Status: httpcall.Between(400, 499), Code: regexp.MustCompile(`^(DUP_RCRD|DUP_[A-Z_]+|UNIQUE_[A-Z_]+)$`), Kind: conflict},
			{Status: httpcall.Between(400, 499), Says: regexp.MustCompile(`(?i)(record|entity) already exists|already been used`), Kind: conflict},
			{Status: httpcall.Between(400, 499), Code: regexp.MustCompile(`^(RCRD_HAS_BEEN_CHANGED|RECORD_HAS_BEEN_CHANGED)$`), Kind: stale, Effect: ferry.EffectNone},
			{
				Status: []httpcall.StatusRange{{From: 300, To: 302}, {From: 304, To: 399}}, Kind: ferry.Rejected, Effect: ferry.EffectNone,
				Text: "redirects are not followed; check that the destination's url bears the account's own host name",
			},
		}, byStatus()...),
		lookups: httpcall.Table{
			// A type of record that does not exist is answered with 404 as well, without
			// this code.
			{Status: httpcall.Status(404), Code: regexp.MustCompile(`^NONEXISTENT_ID$`), Kind: absent},
			{Status: httpcall.Between(400, 499), Code: netsuiteThrottle, Kind: ferry.Throttled},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
		},
		settings: []string{"entity", "write", "key", "async", "url", "method", "lookup.url", "lookup.where"},
		open:     openNetSuite,
		form:     newNetSuiteForm,
		problem:  netsuiteProblem,
		health:   "/services/rest/system/v1/server-time",
	}
}

// openNetSuite checks the host name, which is made of the account's id.
func openNetSuite(d *destination) error {
	u, err := url.Parse(d.cfg.URL)
	if err != nil {
		return bad("url cannot be read")
	}
	if strings.Contains(u.Hostname(), "_") {
		return bad("url: the host name has an underscore").
			WithHint("the account 1234567_SB1 has the host 1234567-sb1.suitetalk.api.netsuite.com")
	}
	// The paths below are the dialect's; a url with them is taken as well.
	for _, end := range []string{"/record/v1", "/services/rest"} {
		d.base.prefix = strings.TrimSuffix(d.base.prefix, end)
	}
	return nil
}

// Where NetSuite keeps what.
const (
	netsuiteRecords = "/services/rest/record/v1/"
	netsuiteQuery   = "/services/rest/query/v1/suiteql"
	// netsuiteKeyField is the field of every record that external ids stand in, by which
	// records have addresses of their own: eid:KEY.
	netsuiteKeyField = "externalId"
	// netsuiteKeyLength bounds it. Keys that addresses could not hold are shaped, too.
	netsuiteKeyLength = ferry.MaxKeyLength
)

// netsuiteForm is one type of record.
type netsuiteForm struct {
	r    *route
	path string // of the type, escaped
}

func newNetSuiteForm(r *route, cfg *adapters.RouteConfig) (form, error) {
	if cfg.Entity == "" {
		return newRESTlet(r, cfg)
	}
	f := &netsuiteForm{r: r, path: netsuiteRecords + url.PathEscape(cfg.Entity)}
	if cfg.URL != "" || cfg.Method != "" || cfg.Lookup != nil && cfg.Lookup.URL != "" {
		return nil, bad("url and method are for RESTlets, which have no entity")
	}
	if cfg.Write == writeUpsert {
		if cfg.KeyField == "" {
			cfg.KeyField = netsuiteKeyField
		}
		if !f.byExternalID() || len(cfg.Key) > 0 {
			return nil, bad("write: upsert goes by externalId").WithHint("keyField: externalId, and no key")
		}
	}
	if f.byExternalID() && cfg.KeyLength == 0 {
		cfg.KeyLength = netsuiteKeyLength
	}
	if cfg.Async && cfg.Confirm == "" {
		cfg.Confirm = adapters.ConfirmPoll
	}
	if cfg.Lookup != nil && cfg.Lookup.Reference == "" {
		cfg.Lookup.Reference = ".id"
	}
	return f, nil
}

// newRESTlet is a script of the account's own, at the address that the route names.
func newRESTlet(r *route, cfg *adapters.RouteConfig) (form, error) {
	switch {
	case cfg.URL == "":
		return nil, bad("entity is missing").WithHint("a type of record, such as entity: vendorBill, or the url of a RESTlet")
	case cfg.Write != "" || len(cfg.Key) > 0 || cfg.Async || cfg.Lookup != nil && cfg.Lookup.Where != "":
		return nil, bad("write, key, async and lookup.where are for records, which have an entity")
	}
	if cfg.KeyHeader == "" {
		cfg.KeyHeader = "-" // RESTlets know no such header
	}
	if cfg.ContentType == "" {
		cfg.ContentType = "application/json" // they refuse requests without one
	}
	return plain{r}, nil
}

func (f *netsuiteForm) byExternalID() bool { return f.r.cfg.KeyField == netsuiteKeyField }

// external is the address of the record with the message's external id.
func (f *netsuiteForm) external(m *message) string {
	return f.r.dest.base.under(f.path+"/eid:"+url.PathEscape(m.key()), "")
}

// searches: nothing is written over unseen, and nothing is created beside what
// another field tells is there. An external id the system itself keeps unique.
func (f *netsuiteForm) searches(*message) bool {
	return f.r.cfg.Write == writeUpdate || f.r.cfg.Write != writeUpsert && !f.byExternalID()
}

func (f *netsuiteForm) write(ctx context.Context, m *message) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	method, address := http.MethodPost, f.r.dest.base.under(f.path, "")
	if f.r.cfg.Write == writeUpsert {
		delete(fields, netsuiteKeyField) // the address says it
		method, address = http.MethodPut, f.external(m)
	}
	return f.operation(m, method, address, fields)
}

// operation is a request that writes. An asynchronous one bears a key, by which a
// repeat is known; see message.requestID.
func (f *netsuiteForm) operation(m *message, method, address string, fields map[string]any) (*operation, error) {
	op, err := newOperation(method, address, fields)
	if err != nil || !f.r.cfg.Async {
		return op, err
	}
	op.header.Set("Prefer", "respond-async")
	op.header.Set("X-NetSuite-Idempotency-Key", m.requestID())
	return op, nil
}

func (f *netsuiteForm) update(ctx context.Context, m *message, document any) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	id := textOf(member(document, "id"))
	if id == "" {
		return nil, errors.New("the record has no id")
	}
	return f.operation(m, http.MethodPatch, f.r.dest.base.under(f.path+"/"+url.PathEscape(id), ""), fields)
}

// find asks at the record's own address where the key is its external id, and by
// a SuiteQL query, which only reads, where it is anything else.
func (f *netsuiteForm) find(ctx context.Context, m *message) (*operation, error) {
	if f.byExternalID() && len(f.r.cfg.Key) == 0 && f.r.cfg.Lookup.Where == "" {
		return newOperation(http.MethodGet, f.external(m), nil)
	}
	keys, err := m.keys(ctx)
	if err != nil {
		return nil, err
	}
	op, err := newOperation(http.MethodPost, f.r.dest.base.under(netsuiteQuery, "limit=2"), map[string]any{"q": f.suiteQL(keys)})
	if err != nil {
		return nil, err
	}
	op.header.Set("Prefer", "transient") // without it the query is refused
	return op, nil
}

func (f *netsuiteForm) suiteQL(keys []pair) string {
	table, conditions := f.r.cfg.Entity, []string{}
	if kind := netsuiteTransactions()[table]; kind != "" {
		table, conditions = "transaction", append(conditions, "type = "+sqlText(kind))
	}
	for _, k := range keys {
		if n, ok := k.value.(json.Number); ok {
			conditions = append(conditions, k.field+" = "+n.String())
		} else {
			conditions = append(conditions, k.field+" = "+sqlText(textOf(k.value)))
		}
	}
	if where := f.r.cfg.Lookup.Where; where != "" {
		conditions = append(conditions, "("+where+")")
	}
	return "SELECT * FROM " + table + " WHERE " + strings.Join(conditions, " AND ") + " ORDER BY id"
}

func sqlText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// netsuiteTransactions are the types of transactions by the names of their
// records: in SuiteQL they are rows of one table.
func netsuiteTransactions() map[string]string {
	return map[string]string{
		"vendorBill": "VendBill", "vendorCredit": "VendCred", "vendorPayment": "VendPymt", "purchaseOrder": "PurchOrd",
		"invoice": "CustInvc", "creditMemo": "CustCred", "customerPayment": "CustPymt", "cashSale": "CashSale",
		"salesOrder": "SalesOrd", "estimate": "Estimate", "itemReceipt": "ItemRcpt", "itemFulfillment": "ItemShip",
		"journalEntry": "Journal", "expenseReport": "ExpRept", "check": "Check", "deposit": "Deposit",
		"inventoryAdjustment": "InvAdjst", "transferOrder": "TrnfrOrd", "workOrder": "WorkOrd",
	}
}

func (f *netsuiteForm) found(_ *message, a *httpcall.Answer, value any) (any, error) {
	items, isList := member(value, "items").([]any)
	switch {
	case isList:
		return oneOf(items, func(item any) string { return textOf(member(item, "id")) })
	case member(value, "id") == nil:
		return nil, errors.New("it holds neither a record nor a list of them")
	}
	return value, nil
}

func (*netsuiteForm) document(value any) any { return value }

// netsuiteProblem reads o:errorDetails; what RESTlets answer is read as any other.
func netsuiteProblem(a *httpcall.Answer) httpcall.Problem {
	p := httpcall.DecodeProblem(a.Body)
	value, err := mapping.Decode(a.Body)
	details, ok := member(value, "o:errorDetails").([]any)
	if err != nil || !ok {
		return p
	}
	p = httpcall.Problem{}
	var said []string
	for _, d := range details[:min(len(details), ferry.MaxAttemptFields)] {
		text, _ := member(d, "detail").(string)
		if code, ok := member(d, "o:errorCode").(string); ok && p.Code == "" {
			p.Code = code
		}
		place := ""
		for _, name := range []string{"o:errorPath", "o:errorQueryParam", "o:errorHeader"} {
			if s, ok := member(d, name).(string); ok && place == "" {
				place = s
			}
		}
		if text != "" {
			said = append(said, text)
		}
		if place != "" {
			p.Fields = append(p.Fields, ferry.FieldError{Field: place, Text: text})
		}
	}
	p.Text = strings.Join(said, "; ")
	if p.Text == "" {
		p.Text, _ = member(value, "title").(string)
	}
	return p.Bounded()
}
