package practice

import (
	"net/http"
	"regexp"
	"strings"
)

// finOps is Dynamics 365 Finance and Operations: OData at /data, with the one
// entity set VendorInvoiceHeaders, whose numbers the system gives (HeaderReference)
// and whose InvoiceNumber bears the sender's key; and the queue of recurring
// integrations. Without cross-company=true only records of the company dat show.
type finOps struct{ e *ERP }

const finOpsSet = "VendorInvoiceHeaders"

var finOpsRecord = regexp.MustCompile(`^` + finOpsSet + `\((.*)\)$`)

func (f finOps) mount(e *ERP) {
	e.mux.HandleFunc("GET /data", e.guard(f.service))
	e.mux.HandleFunc("/data/", e.guard(f.serve))
	e.mux.HandleFunc("POST /api/connector/enqueue/{activity}", e.guard(f.enqueue))
	e.mux.HandleFunc("POST /data/DataManagementDefinitionGroups/{act}", e.guard(f.job))
}

func (f finOps) service(w http.ResponseWriter, r *http.Request) {
	defer f.e.count(OpPing)()
	f.e.answer(w, r, OpPing, "", func() {
		reply(w, http.StatusOK, map[string]any{"value": []any{map[string]any{"name": finOpsSet, "kind": "EntitySet", "url": finOpsSet}}})
	})
}

func (f finOps) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/data/")
	set, act, _ := strings.Cut(path, "/")
	m := finOpsRecord.FindStringSubmatch(set)
	switch {
	case set == finOpsSet && act == "" && r.Method == http.MethodPost:
		f.create(w, r)
	case set == finOpsSet && act == "" && r.Method == http.MethodGet:
		f.find(w, r)
	case m != nil && act == "" && r.Method == http.MethodPatch:
		f.patch(w, r, f.numberOf(m[1]))
	case m != nil && act == "Microsoft.Dynamics.DataEntities.post" && r.Method == http.MethodPost:
		f.post(w, r, f.numberOf(m[1]))
	default:
		f.refuse(w, failure{status: http.StatusNotFound, text: "No HTTP resource was found that matches the request URI."})
	}
}

func (f finOps) create(w http.ResponseWriter, r *http.Request) {
	defer f.e.count(OpCreate)()
	body, ok := f.e.read(w, r)
	if !ok {
		return
	}
	doc := Document{ContentType: r.Header.Get("Content-Type"), ExternalID: textMembers(body)["InvoiceNumber"], Status: "No"}
	f.e.take(w, r, doc, body)
}

func (f finOps) find(w http.ResponseWriter, r *http.Request) {
	defer f.e.count(OpLookup)()
	wanted := filterOf(r.URL.Query().Get("$filter"))
	f.e.ask(w, r, wanted["InvoiceNumber"], func() {
		items := []any{}
		for _, d := range f.e.Documents(wanted["InvoiceNumber"]) {
			company := textMembers(d.Body)["dataAreaId"]
			own := r.URL.Query().Get("cross-company") == "true" || company == "dat"
			if own && (wanted["dataAreaId"] == "" || wanted["dataAreaId"] == company) && wanted["InvoiceNumber"] != "" {
				items = append(items, f.record(d))
			}
		}
		reply(w, http.StatusOK, map[string]any{"@odata.context": "$metadata#" + finOpsSet, "value": items})
	})
}

func (finOps) record(d Document) map[string]any {
	members := textMembers(d.Body)
	out := map[string]any{
		"@odata.etag": d.etag(), "HeaderReference": d.ID, "IsPosted": d.Status,
		"@odata.editLink": finOpsSet + "(dataAreaId='" + members["dataAreaId"] + "',HeaderReference='" + d.ID + "')",
	}
	for name, value := range members {
		if out[name] == nil {
			out[name] = value
		}
	}
	return out
}

// numberOf is the record that a key names: by the entity's key only, which is the
// company and the number that the system gave.
func (finOps) numberOf(key string) string {
	fields := map[string]string{}
	for _, part := range strings.Split(key, ",") {
		name, value, _ := strings.Cut(part, "=")
		fields[name] = strings.Trim(value, "'")
	}
	if fields["dataAreaId"] == "" {
		return ""
	}
	return fields["HeaderReference"]
}

func (f finOps) patch(w http.ResponseWriter, r *http.Request, number string) {
	body, ok := f.e.read(w, r)
	if !ok {
		return
	}
	match, changed := r.Header.Get("If-Match"), true
	found := f.e.change(number, func(d *Document) {
		if match != "" && match != "*" && match != d.etag() {
			changed = false
			return
		}
		Document{Body: mergeMembers(d.Body, body), MessageID: d.MessageID, ContentType: d.ContentType}.over(d)
	})
	switch {
	case !found:
		f.refuse(w, failure{status: http.StatusNotFound, text: "No resource was found by the key."})
	case !changed:
		f.refuse(w, failure{status: http.StatusPreconditionFailed, text: "The record was changed by another user."})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f finOps) post(w http.ResponseWriter, r *http.Request, number string) {
	defer f.e.count(OpFinish)()
	f.e.answer(w, r, OpFinish, "", func() {
		if !f.e.change(number, func(d *Document) { d.Status = "Yes" }) {
			f.refuse(w, failure{status: http.StatusNotFound, text: "No resource was found by the key."})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (f finOps) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		f.refuse(w, failure{
			status: http.StatusBadRequest,
			text:   "Write failed for table row of type 'VendorInvoiceHeaderEntity'. Infolog: Error: Cannot create a record in Vendor invoice header (VendInvoiceInfoTable). The record already exists.",
		})
	case http.StatusInternalServerError, http.StatusInsufficientStorage:
		f.refuse(w, failure{status: http.StatusInternalServerError, text: "Exception has been thrown by the target of an invocation."})
	default:
		w.Header().Set("Location", "/data/"+finOpsSet+"(dataAreaId='"+textMembers(doc.Body)["dataAreaId"]+"',HeaderReference='"+doc.ID+"')")
		reply(w, http.StatusCreated, f.record(doc))
	}
}

// refuse words an error as the service does: what it is about lies within.
func (f finOps) refuse(w http.ResponseWriter, fail failure) {
	if fail.code == "validation" {
		fail.text = "Write failed for table row of type 'VendorInvoiceHeaderEntity'. Infolog: Warning: " + fail.details() +
			"; Warning: validateWrite failed on data source 'VendInvoiceInfoTable (VendInvoiceInfoTable)'."
	}
	if fail.status == http.StatusTooManyRequests && fail.retryAfter == "" {
		fail.retryAfter = "10"
	}
	fail.headers(w)
	reply(w, fail.status, map[string]any{"error": map[string]any{
		"code": "", "message": "An error has occurred.",
		"innererror": map[string]any{"message": fail.text, "type": "Microsoft.Dynamics.Platform.Integration.Services.OData.Update.UpdateProcessor", "stacktrace": "   at Microsoft.Dynamics.Ax.Xpp"},
	}})
}
