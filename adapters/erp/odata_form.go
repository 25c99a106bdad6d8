package erp

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// odataForm is one entity set of a service. Bodies are the map's work, deep
// inserts with them: arrays of lines in V4, {"results": […]} or arrays in V2.
type odataForm struct {
	r      *route
	v2     bool
	sap    bool
	set    odataSet
	where  string // a condition beside the key
	method string // of what writes over; "" : the version's
	batch  bool
	mixed  bool // a batch travels as multipart/mixed, else as JSON
	act    odataAct
	repeat bool // the request bears RequestID and RepeatabilityCreation
}

func newODataForm(r *route, cfg *adapters.RouteConfig) (form, error) {
	dest := &r.dest.cfg
	f := &odataForm{r: r, v2: dest.Version == versionV2, sap: dest.Dialect == "odata-sap", batch: cfg.Batch}
	var err error
	switch {
	case cfg.Entity == "" && cfg.Batch && cfg.KeyField == "" && len(cfg.Key) == 0:
		// The map names the addresses.
	case cfg.Entity == "":
		return nil, bad("entity is missing").WithHint("the entity set, such as entity: A_SupplierInvoice")
	default:
		if f.set, err = parseSet(cfg.Entity); err != nil {
			return nil, err
		}
	}
	if err := checkWrite(cfg, writeCreate, writeUpsert, writeUpdate); err != nil {
		return nil, err
	}
	if err := f.takeMethod(cfg); err != nil {
		return nil, err
	}
	if err := f.takeBatch(cfg); err != nil {
		return nil, err
	}
	if f.act, err = f.parseAct(cfg); err != nil {
		return nil, err
	}
	if f.sap && cfg.RequestIDHeader == "" {
		f.repeat = true
	}
	if cfg.RequestIDHeader == "-" {
		cfg.RequestIDHeader = ""
	}
	if cfg.Reference == "" {
		cfg.Reference = referenceOf(f.set.names)
	}
	if cfg.Reference == "" && needsKey(cfg) {
		names := sortedKeys(cfg.Key)
		if cfg.KeyField != "" && cfg.Key[cfg.KeyField] == "" {
			names = append(names, cfg.KeyField)
		}
		cfg.Reference = referenceOf(names)
	}
	if cfg.Reference == "" && cfg.Lookup != nil && cfg.Lookup.Reference == "" {
		return nil, bad("reference is missing").WithHint("jq over the document, such as .SupplierInvoice; or the fields of the key in entity: Invoices(ID:guid)")
	}
	if l := cfg.Lookup; l != nil {
		f.where = l.Where
		if l.Reference == "" {
			l.Reference = cfg.Reference
		}
		if l.Where != "" && needsKey(cfg) {
			return nil, bad("lookup.where goes with write: create; a document that is written over is asked for by its key")
		}
	}
	return f, needsLookup(cfg)
}

// takeMethod reads how a document is written over: MERGE is V2's own, which SAP
// Gateway takes as PATCH too.
func (f *odataForm) takeMethod(cfg *adapters.RouteConfig) error {
	f.method, cfg.Method = strings.ToUpper(cfg.Method), "" // MERGE is no method of other dialects
	switch {
	case f.method == "":
		return nil
	case !needsKey(cfg):
		return bad("method goes with write: update or upsert; what is created is posted")
	case f.method != http.MethodPut && f.method != http.MethodPatch && f.method != methodMerge:
		return bad("method: %q does not write over a document", f.method).WithHint("PATCH, PUT or MERGE")
	case f.method == methodMerge && !f.v2:
		return bad("method: MERGE is of OData V2").WithHint("PATCH")
	}
	return nil
}

const methodMerge = "MERGE"

func (f *odataForm) over() string {
	switch {
	case f.method != "":
		return f.method
	case f.v2 && !f.sap:
		return methodMerge
	}
	return http.MethodPatch
}

// searches: what is written over is read first, for its ETag. An upsert with a
// method of its own is one request: the service creates by it.
func (f *odataForm) searches(*message) bool {
	return f.r.cfg.Write == writeUpdate || f.r.cfg.Write == writeUpsert && f.method == ""
}

func (f *odataForm) write(ctx context.Context, m *message) (*operation, error) {
	if f.batch {
		return f.writeBatch(ctx, m)
	}
	if f.r.cfg.Write == writeUpsert && f.method != "" {
		return f.writeAt(ctx, m, f.method, "")
	}
	address, err := f.withQuery(m, f.set.path)
	if err != nil {
		return nil, err
	}
	if f.r.cfg.KeyField == "" && f.r.cfg.Write != writeUpsert {
		op := &operation{method: http.MethodPost, url: address, header: f.headers(m)}
		op.body, op.size, err = f.r.payload(ctx, m)
		return op, err
	}
	body, err := f.fields(ctx, m)
	if err != nil {
		return nil, err
	}
	if f.r.cfg.Write == writeUpsert {
		keys, err := f.keys(ctx, m)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if _, mapped := body[k.field]; !mapped {
				body[k.field] = k.value
			}
		}
	}
	return f.operation(m, http.MethodPost, address, body)
}

// writeAt writes at the address of the message's key.
func (f *odataForm) writeAt(ctx context.Context, m *message, method, etag string) (*operation, error) {
	keys, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	body, err := f.fields(ctx, m)
	if err != nil {
		return nil, err
	}
	address, err := f.withQuery(m, f.set.path+odataKey(keys, f.literal))
	if err != nil {
		return nil, err
	}
	op, err := f.operation(m, method, address, body)
	if err == nil && etag != "" {
		op.header.Set("If-Match", etag)
	}
	return op, err
}

// fields is the mapped body with the key in it, as the service wants it typed.
func (f *odataForm) fields(ctx context.Context, m *message) (map[string]any, error) {
	body, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	if field := f.r.cfg.KeyField; f.set.kinds[field] == kindGUID {
		body[field] = mapping.GUID(m.ExternalKey)
	}
	return body, nil
}

// keys are the fields that tell the document.
func (f *odataForm) keys(ctx context.Context, m *message) ([]pair, error) {
	keys, err := m.keys(ctx)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if k.field == f.r.cfg.KeyField && f.r.key[k.field] == nil && f.set.kinds[k.field] == kindGUID {
			keys[i].value = mapping.GUID(m.ExternalKey)
		}
	}
	return keys, nil
}

func (f *odataForm) find(ctx context.Context, m *message) (*operation, error) {
	keys, err := f.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	if needsKey(&f.r.cfg) {
		return f.question(f.address(f.set.path+odataKey(keys, f.literal), f.format()))
	}
	// Two are asked for: a second one tells that the key is not one document's.
	query := odataQuery("$filter", odataFilter(keys, f.where, f.literal), "$top", "2")
	return f.question(f.address(f.set.path, joinQueries(query, f.format())))
}

// format asks for JSON once more: V2's own is Atom, and gateways on the way have
// been seen to drop Accept. In V4 it is JSON anyhow.
func (f *odataForm) format() string {
	if f.v2 {
		return "$format=json"
	}
	return ""
}

func (f *odataForm) question(address string) (*operation, error) {
	return &operation{method: http.MethodGet, url: address, header: f.versions()}, nil
}

// lookups judges answers to questions by key, which has 404 for what is not there.
func (f *odataForm) lookups() httpcall.Table {
	if needsKey(&f.r.cfg) {
		return byKey()
	}
	return nil
}

func (f *odataForm) found(m *message, a *httpcall.Answer, value any) (any, error) {
	if needsKey(&f.r.cfg) {
		document, ok := odataDocument(value).(map[string]any)
		if !ok {
			return nil, errors.New("it is no document")
		}
		if tag := a.Header.Get("ETag"); tag != "" && odataETag(document) == "" {
			document["@odata.etag"] = tag
		}
		return document, nil
	}
	items, ok := odataList(value)
	switch {
	case !ok:
		return nil, errors.New("it is no list of documents")
	case len(items) == 0:
		return nil, nil
	case len(items) > 1:
		first, second := f.r.referenceOf(context.Background(), items[0]), f.r.referenceOf(context.Background(), items[1])
		return items[0], &severalError{names: first + ", " + second}
	}
	if !f.bears(items[0], m) {
		return nil, errors.New("it holds a document of another key: the service does not honour the condition")
	}
	return items[0], nil
}

// bears says whether a document that was asked for has the key, as far as it tells:
// services write keys in capitals, and fill numbers up with zeroes.
func (f *odataForm) bears(document any, m *message) bool {
	object, _ := document.(map[string]any)
	has, ok := object[f.r.cfg.KeyField].(string)
	if !ok || f.r.key[f.r.cfg.KeyField] != nil || f.set.kinds[f.r.cfg.KeyField] != "" {
		return true
	}
	plain := func(s string) string { return strings.TrimLeft(strings.TrimSpace(s), "0") }
	return strings.EqualFold(plain(has), plain(m.key()))
}

// odataList is the list in an answer to a question by $filter: V4's value, or V2's
// d.results; services of MS-ODATA 1.0 have the list in d itself.
func odataList(value any) ([]any, bool) {
	value = odataDocument(value)
	if items, ok := value.([]any); ok {
		return items, true
	}
	object, _ := value.(map[string]any)
	for _, name := range []string{"value", "results"} {
		if items, ok := object[name].([]any); ok {
			return items, true
		}
	}
	return nil, false
}

func (f *odataForm) document(value any) any { return odataDocument(value) }

func (f *odataForm) update(ctx context.Context, m *message, document any) (*operation, error) {
	etag := odataETag(document)
	if etag == "" && !f.v2 {
		etag = "*" // PATCH would create what was deleted meanwhile (OData 4.01, 11.4.4)
	}
	if needsKey(&f.r.cfg) {
		return f.writeAt(ctx, m, f.over(), etag)
	}
	key, err := f.set.keyOf(document, f.v2)
	if err != nil {
		return nil, err
	}
	body, err := f.fields(ctx, m)
	if err != nil {
		return nil, err
	}
	op, err := f.operation(m, f.over(), f.address(f.set.path+key, ""), body)
	if err == nil && etag != "" {
		op.header.Set("If-Match", etag)
	}
	return op, err
}

func (f *odataForm) literal(p pair) string { return f.set.literal(p.field, p.value, f.v2) }

// address joins a path, escaped, and a query, escaped, to the service's root.
func (f *odataForm) address(path, query string) string {
	out := f.r.dest.base.prefix + "/" + path
	if query = joinQueries(f.r.dest.base.query, query); query != "" {
		out += "?" + query
	}
	return out
}

// withQuery is address with the query that the route configures.
func (f *odataForm) withQuery(m *message, path string) (string, error) {
	query, err := f.r.parameters(m)
	return f.address(path, query), err
}

func (f *odataForm) operation(m *message, method, address string, body any) (*operation, error) {
	op, err := newOperation(method, address, body)
	if err != nil {
		return nil, err
	}
	for name, value := range f.headers(m) {
		op.header[name] = value
	}
	return op, nil
}

// versions are the headers that say what is spoken. Without Accept, SAP Gateway
// answers errors in XML.
func (f *odataForm) versions() http.Header {
	h := http.Header{"Accept": {"application/json"}}
	if f.v2 {
		h.Set("DataServiceVersion", "2.0")
		h.Set("MaxDataServiceVersion", "2.0")
	} else {
		h.Set("OData-Version", "4.0")
		h.Set("OData-MaxVersion", "4.0")
	}
	return h
}

// headers are those of requests that write the message's document.
func (f *odataForm) headers(m *message) http.Header {
	h := f.versions()
	if _, own := f.r.cfg.Headers["Prefer"]; !f.v2 && !own {
		h.Set("Prefer", "return=representation") // the answer to a PATCH holds the document too
	}
	f.repeatable(h, m, "")
	return h
}

// repeatable names the request to SAP Gateway, which keeps its answer for some
// hours and gives it again to the same RequestID. An act after the create is a
// request of its own. The date must be the same on every attempt, so that it is
// the message's.
func (f *odataForm) repeatable(h http.Header, m *message, act string) {
	if !f.repeat || m.CreatedAt.IsZero() {
		return
	}
	id := m.requestID()
	if act != "" {
		id += "\x00" + act
	}
	h.Set("RequestID", mapping.GUID32(id))
	h.Set("RepeatabilityCreation", m.CreatedAt.UTC().Format("2006-01-02T15:04:05"))
}

// note says that a RequestID was of no use: only the lookup keeps a second
// document away.
func (f *odataForm) note(a *httpcall.Answer) string {
	if f.repeat && strings.EqualFold(a.Header.Get("RepeatabilityResult"), "unsupported") {
		return "the service does not repeat its answers (RepeatabilityResult: unsupported)"
	}
	return ""
}
