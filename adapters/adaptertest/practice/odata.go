package practice

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// openData is an OData service with invoices, V4 at /odata/v4/erp and V2 at
// /odata/v2/erp, which answers as SAP CAP was seen to: a duplicate is a 500, and
// in production (BareError) one that says nothing; a plus is no space; what is
// written over needs If-Match. The key is ID, externalId is the sender's.
type openData struct{ e *ERP }

const (
	openV4  = "/odata/v4/erp/"
	openV2  = "/odata/v2/erp/"
	openSet = "Invoices"
)

func (o openData) mount(e *ERP) {
	for _, root := range []string{openV4, openV2} {
		e.mux.HandleFunc(root, e.guard(o.serve))
	}
}

// odataDocument finds what stands between the brackets of a document's address.
var odataDocument = regexp.MustCompile(`^(\w+)\((?:ID=)?'(INV-\d+)'\)$`)

func (o openData) serve(w http.ResponseWriter, r *http.Request) {
	v2 := isV2(r)
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, openV4), openV2)
	set, act, _ := strings.Cut(path, "/")
	m := odataDocument.FindStringSubmatch(set)
	switch {
	case path == "" && r.Method == http.MethodGet:
		defer o.e.count(OpPing)()
		o.e.answer(w, r, OpPing, "", func() {
			root := map[string]any{"@odata.context": "$metadata", "value": []any{map[string]any{"name": openSet, "url": openSet}}}
			if v2 {
				root = map[string]any{"d": map[string]any{"EntitySets": []any{openSet}}}
			}
			odataReply(w, v2, http.StatusOK, root)
		})
	case set == openSet && act == "" && r.Method == http.MethodPost:
		o.create(w, r)
	case set == openSet && act == "" && r.Method == http.MethodGet:
		o.find(w, r, v2)
	case path == "$batch" && r.Method == http.MethodPost:
		o.e.serveBatch(w, r, v2, o)
	case m != nil && m[1] == openSet && act == "":
		o.e.serveDocument(w, r, v2, m[2], o)
	case m != nil && m[1] == openSet && act == "release" && r.Method == http.MethodPost,
		v2 && path == "release" && r.Method == http.MethodPost:
		number := strings.Trim(r.URL.Query().Get("ID"), "'")
		if m != nil {
			number = m[2]
		}
		o.e.serveAct(w, r, v2, number, o)
	default:
		odataRefuse(w, r, failure{status: http.StatusNotFound, code: "404", text: fmt.Sprintf("Invalid resource path %q", path)})
	}
}

func isV2(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, openV2) || strings.HasPrefix(r.URL.Path, "/sap/opu/odata/")
}

func (o openData) create(w http.ResponseWriter, r *http.Request) {
	defer o.e.count(OpCreate)()
	body, ok := o.e.read(w, r)
	if !ok {
		return
	}
	o.e.take(odataWriter{w, r}, r, o.read(body, r), body)
}

// read is the document that a body becomes.
func (openData) read(body []byte, r *http.Request) Document {
	return Document{ExternalID: textMembers(body)["externalId"], ContentType: r.Header.Get("Content-Type"), Status: "draft"}
}

// odataWriter carries the request to where an answer is worded, since the version
// of the protocol stands in its address.
type odataWriter struct {
	http.ResponseWriter
	r *http.Request
}

func (w odataWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func requestOf(w http.ResponseWriter) *http.Request {
	if o, ok := w.(odataWriter); ok {
		return o.r
	}
	return nil
}

func (o openData) find(w http.ResponseWriter, r *http.Request, v2 bool) {
	defer o.e.count(OpLookup)()
	filter := r.URL.Query().Get("$filter")
	fields := filterOf(filter)
	key := fields["externalId"]
	o.e.ask(odataWriter{w, r}, r, key, func() {
		switch {
		case strings.Contains(r.URL.RawQuery, "+"):
			odataRefuse(w, r, failure{status: http.StatusBadRequest, code: "400", text: `Parsing URL failed at position 49: Expected "(", "/", or a whitespace but "+" found.`})
			return
		case filter != "" && len(fields) == 0:
			odataRefuse(w, r, failure{status: http.StatusBadRequest, code: "400", text: "Parsing URL failed"})
			return
		}
		odataReply(w, v2, http.StatusOK, odataItems(o.e.matching(key, fields, o), v2, o))
	})
}

// odataShape is how a service shows its documents.
type odataShape interface {
	show(d Document, v2 bool) map[string]any
	read(body []byte, r *http.Request) Document
	duplicate(f OnDuplicate) failure
	external() string // the name of the member with the sender's key
	known(body []byte) (failure, bool)
}

func (openData) external() string             { return "externalId" }
func (openData) known([]byte) (failure, bool) { return failure{}, true }

// matching are the documents of a key that have the fields, at most 100.
func (e *ERP) matching(key string, fields map[string]string, shape odataShape) []Document {
	var found []Document
	for _, d := range e.Documents(key) {
		members := textMembers(d.Body)
		fits := true
		for name, value := range fields {
			fits = fits && (name == shape.external() && d.ExternalID == value || members[name] == value || name == "ID" && d.ID == value)
		}
		if fits && len(found) < 100 {
			found = append(found, d)
		}
	}
	return found
}

// odataItems makes the list of an answer.
func odataItems(found []Document, v2 bool, shape odataShape) map[string]any {
	list := make([]any, len(found))
	for i, d := range found {
		list[i] = shape.show(d, v2)
	}
	if v2 {
		return map[string]any{"d": map[string]any{"results": list}}
	}
	return map[string]any{"@odata.context": "$metadata#" + openSet, "value": list}
}

// show is the document as the service has it: what came, and its own members. In V2
// numbers are texts, and it says its address, of a host that only the service knows.
func (o openData) show(d Document, v2 bool) map[string]any {
	out := membersOf(d, v2)
	out["ID"], out["status"] = d.ID, d.Status
	if v2 {
		out["__metadata"] = map[string]any{"uri": "http://erp.internal:4004" + openV2 + openSet + "('" + d.ID + "')", "type": "ERP." + openSet, "etag": d.etag()}
	} else {
		out["@odata.etag"] = d.etag()
	}
	return out
}

func membersOf(d Document, v2 bool) map[string]any {
	out := map[string]any{}
	var members map[string]json.RawMessage
	if json.Unmarshal(d.Body, &members) != nil {
		return out
	}
	for name, raw := range members {
		if v2 && len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
			out[name] = string(raw)
			continue
		}
		out[name] = raw
	}
	return out
}

func (o openData) refuse(w http.ResponseWriter, f failure) { odataRefuse(w, requestOf(w), f) }

// odataRefuse words an error in the version of the request.
func odataRefuse(w http.ResponseWriter, r *http.Request, f failure) {
	f.headers(w)
	v2 := r != nil && isV2(r)
	status, body := odataError(f, v2)
	odataReply(w, v2, status, body)
}

func odataError(f failure, v2 bool) (int, map[string]any) {
	details := make([]any, len(f.fields))
	for i, field := range f.fields {
		details[i] = map[string]any{"code": "ASSERT_MANDATORY", "message": field.Detail, "target": strings.TrimPrefix(field.Pointer, "#/"), "@Common.numericSeverity": 4}
	}
	switch {
	case len(details) > 0:
		f.code, f.text = "MULTIPLE_ERRORS", "Multiple errors occurred, see details below."
	case f.code == "":
		f.code = strconv.Itoa(f.status)
	}
	e := map[string]any{"code": f.code, "message": f.text}
	switch {
	case v2:
		e["message"] = map[string]any{"lang": "en", "value": f.text}
		if len(details) == 0 {
			details = []any{map[string]any{"code": f.code, "message": map[string]any{"lang": "en", "value": f.text}, "severity": "error", "target": "/#TRANSIENT#"}}
		}
		e["innererror"] = map[string]any{"errordetails": details}
	case len(details) > 0:
		e["details"] = details
	}
	return f.status, map[string]any{"error": e}
}

func odataReply(w http.ResponseWriter, v2 bool, status int, body any) {
	if v2 {
		w.Header().Set("DataServiceVersion", "2.0")
	} else {
		w.Header().Set("OData-Version", "4.0")
	}
	reply(w, status, body)
}

func (o openData) accept(w http.ResponseWriter, doc Document, status int) {
	o.e.odataAccept(w, doc, status, o)
}

// odataAccept answers a create: with the document, or with why it is none.
func (e *ERP) odataAccept(w http.ResponseWriter, doc Document, status int, shape odataShape) {
	v2 := isV2(requestOf(w))
	switch status {
	case http.StatusConflict:
		odataRefuseAs(w, shape, shape.duplicate(Conflict))
	case http.StatusInternalServerError:
		odataRefuseAs(w, shape, shape.duplicate(BareError))
	case http.StatusInsufficientStorage:
		odataRefuseAs(w, shape, failure{status: status, code: "507", text: "the practice ERP takes no more documents"})
	default:
		w.Header().Set("Location", locationOf(shape.show(doc, v2), doc, v2))
		w.Header().Set("ETag", doc.etag())
		odataReply(w, v2, http.StatusCreated, odataBody(shape.show(doc, v2), v2))
	}
}

func odataRefuseAs(w http.ResponseWriter, shape odataShape, f failure) {
	shape.(mode).refuse(w, f)
}

func odataBody(document map[string]any, v2 bool) any {
	if v2 {
		return map[string]any{"d": document}
	}
	return document
}

// locationOf is relative in V4, and of an inner host in V2.
func locationOf(shown map[string]any, doc Document, v2 bool) string {
	if metadata, ok := shown["__metadata"].(map[string]any); ok && v2 {
		return metadata["uri"].(string)
	}
	return openSet + "('" + doc.ID + "')"
}

func (openData) duplicate(how OnDuplicate) failure {
	if how == BareError {
		return failure{status: http.StatusInternalServerError, code: "500", text: "Internal Server Error"}
	}
	return failure{status: http.StatusInternalServerError, code: "SQLITE_CONSTRAINT_UNIQUE", text: "UNIQUE constraint failed: ferry_SupplierInvoice.externalId"}
}
