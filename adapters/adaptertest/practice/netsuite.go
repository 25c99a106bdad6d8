package practice

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// netsuiteMode is REST web services of NetSuite: any type of record, external ids
// in addresses, and jobs for requests that want to be answered later.
//
//	POST  /services/rest/record/v1/TYPE            204, Location with the internal id
//	PUT   /services/rest/record/v1/TYPE/eid:KEY    204, creates or writes over
//	PATCH /services/rest/record/v1/TYPE/ID         204
//	GET   /services/rest/record/v1/TYPE/eid:KEY    the record, or 404 NONEXISTENT_ID
//	POST  /services/rest/query/v1/suiteql          {"items": […]}; SELECT … WHERE externalid = 'KEY'
//	GET   /services/rest/async/v1/job/ID           with Prefer: respond-async; /task, /task/ID, /task/ID/result
type netsuiteMode struct{ e *ERP }

const (
	netsuiteRecord = "/services/rest/record/v1/"
	netsuiteJobs   = "/services/rest/async/v1/job/"
)

func (m netsuiteMode) mount(e *ERP) {
	e.mux.HandleFunc("POST "+netsuiteRecord+"{type}", e.guard(m.create))
	e.mux.HandleFunc("PUT "+netsuiteRecord+"{type}/{id}", e.guard(m.upsert))
	e.mux.HandleFunc("PATCH "+netsuiteRecord+"{type}/{id}", e.guard(m.update))
	e.mux.HandleFunc("GET "+netsuiteRecord+"{type}/{id}", e.guard(m.get))
	e.mux.HandleFunc("POST /services/rest/query/v1/suiteql", e.guard(m.query))
	e.mux.HandleFunc("GET "+netsuiteJobs+"{job}", e.guard(m.job))
	e.mux.HandleFunc("GET "+netsuiteJobs+"{job}/task", e.guard(m.tasks))
	e.mux.HandleFunc("GET "+netsuiteJobs+"{job}/task/{task}", e.guard(m.job))
	e.mux.HandleFunc("GET "+netsuiteJobs+"{job}/task/{task}/result", e.guard(m.result))
	e.mux.HandleFunc("GET /services/rest/system/v1/server-time", e.guard(e.ping))
}

func (m netsuiteMode) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	code := f.code
	if code == "" {
		code = map[int]string{400: "INVALID_CONTENT", 401: "INVALID_LOGIN", 403: "INSUFFICIENT_PERMISSION", 404: "NONEXISTENT_ID", 429: "CONCURRENCY_LIMIT_EXCEEDED"}[f.status]
	}
	if code == "" {
		code = "UNEXPECTED_ERROR"
	}
	details := []any{map[string]any{"detail": f.text, "o:errorCode": code}}
	for _, field := range f.fields {
		details = append(details, map[string]any{"detail": field.Detail, "o:errorCode": "INVALID_CONTENT", "o:errorPath": strings.TrimPrefix(field.Pointer, "#/")})
	}
	w.Header().Set("Content-Type", "application/vnd.oracle.resource+json; type=error")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "https://www.rfc-editor.org/rfc/rfc9110.html#section-15", "title": http.StatusText(f.status), "status": f.status, "o:errorDetails": details,
	})
}

func (m netsuiteMode) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		m.refuse(w, failure{status: http.StatusBadRequest, code: "DUP_RCRD", text: "Error while accessing a resource. This record already exists."})
	case http.StatusInternalServerError:
		m.refuse(w, failure{status: status, text: "An unexpected error occurred."})
	case http.StatusInsufficientStorage:
		m.refuse(w, failure{status: status, text: "the practice ERP takes no more documents"})
	default:
		w.Header().Set("Location", netsuiteRecord+"vendorBill/"+doc.ID)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (m netsuiteMode) create(w http.ResponseWriter, r *http.Request) {
	body, ok := m.e.read(w, r)
	if !ok {
		return
	}
	var record struct {
		ExternalID string `json:"externalId"`
		TranID     string `json:"tranId"`
	}
	_ = json.Unmarshal(body, &record) // take says what is wrong with it
	if record.ExternalID == "" {
		record.ExternalID = record.TranID
	}
	m.take(w, r, Document{ExternalID: record.ExternalID}, body)
}

// take is a create. One that was sent before under the same idempotency key is
// refused, and the answer names the job of the first.
func (m netsuiteMode) take(w http.ResponseWriter, r *http.Request, doc Document, body []byte) {
	defer m.e.count(OpCreate)()
	id := r.Header.Get("X-NetSuite-Idempotency-Key")
	if job := m.jobOf(id); job != "" {
		w.Header().Set("Preference-Applied", "respond-async")
		m.refuse(w, failure{
			status: http.StatusBadRequest, code: "IDEMPOTENCY_ERROR", location: m.operationAddress(job),
			text: `A request with the same idempotency key is already submitted. See the "Location" header for a link to the previously submitted job`,
		})
		return
	}
	doc.ContentType, doc.RequestID = r.Header.Get("Content-Type"), id
	m.e.take(w, r, doc, body)
}

func (m netsuiteMode) upsert(w http.ResponseWriter, r *http.Request) {
	if body, ok := m.e.read(w, r); ok {
		m.take(w, r, Document{ExternalID: strings.TrimPrefix(r.PathValue("id"), "eid:"), upsert: true}, body)
	}
}

// again writes over the record of an external id.
func (netsuiteMode) again(first *Document, d Document) int {
	if !d.upsert {
		return 0
	}
	d.over(first)
	return http.StatusOK
}

func (m netsuiteMode) update(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpFinish)()
	body, ok := m.e.read(w, r)
	if !ok {
		return
	}
	doc, _ := m.e.byNumber(r.PathValue("id"))
	m.e.answer(w, r, OpFinish, doc.ExternalID, func() {
		if !m.e.change(doc.ID, func(d *Document) { d.Body, d.version = body, d.version+1 }) {
			m.missing(w)
			return
		}
		m.accept(w, doc, http.StatusOK)
	})
}

func (m netsuiteMode) missing(w http.ResponseWriter) {
	m.refuse(w, failure{status: http.StatusNotFound, text: "The record instance does not exist. Provide a valid record instance ID."})
}

func (m netsuiteMode) get(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpLookup)()
	key, isExternal := strings.CutPrefix(r.PathValue("id"), "eid:")
	m.e.ask(w, r, key, func() {
		doc, found := m.e.byNumber(key)
		if known := m.e.Documents(key); isExternal && len(known) > 0 {
			doc, found = known[0], true
		}
		if !found {
			m.missing(w)
			return
		}
		reply(w, http.StatusOK, m.record(doc))
	})
}

func (m netsuiteMode) record(d Document) map[string]any {
	out := map[string]any{}
	_ = json.Unmarshal(d.Body, &out) // what is no object has no members
	out["id"], out["externalId"] = d.ID, d.ExternalID
	return out
}

// suiteQL is the one condition that the practice ERP reads in a query.
var suiteQL = regexp.MustCompile(`(?i)\bWHERE\b.*\b(?:externalid|tranid)\s*=\s*'((?:[^']|'')*)'`)

func (m netsuiteMode) query(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpLookup)()
	body, ok := m.e.read(w, r)
	if !ok {
		return
	}
	var asked struct {
		Q string `json:"q"`
	}
	_ = json.Unmarshal(body, &asked) // an empty query is refused below
	found := suiteQL.FindStringSubmatch(asked.Q)
	switch {
	case r.Header.Get("Prefer") != "transient":
		m.refuse(w, failure{status: http.StatusBadRequest, code: "INVALID_HEADER", text: "The Prefer header must be transient."})
		return
	case found == nil:
		m.refuse(w, failure{status: http.StatusBadRequest, code: "INVALID_PARAMETER", text: "Invalid search query."})
		return
	}
	key := strings.ReplaceAll(found[1], "''", "'")
	m.e.ask(w, r, key, func() {
		items := []any{}
		for _, d := range m.e.Documents(key) {
			items = append(items, map[string]any{"links": []any{}, "id": d.ID, "externalid": d.ExternalID, "tranid": d.ExternalID})
		}
		reply(w, http.StatusOK, map[string]any{"links": []any{}, "count": len(items), "hasMore": false, "items": items, "offset": 0, "totalResults": len(items)})
	})
}
