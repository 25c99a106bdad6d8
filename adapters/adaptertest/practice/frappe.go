package practice

import (
	"encoding/json"
	"fmt"
	markup "html"
	"net/http"
	"strings"
	"time"
)

// frappeKey is the field of the practice ERP's DocTypes that bears external keys.
const frappeKey = "custom_ferry_key"

// frappeSubmitted is the status of documents with docstatus 1.
const frappeSubmitted = "Submitted"

// frappeMode is a site of ERPNext: any DocType, documents that are drafts until
// they are submitted, exceptions by their class.
//
//	POST /api/resource/DOCTYPE            200 {"data": {"name": …, "docstatus": 0}}
//	GET  /api/resource/DOCTYPE?filters=…  {"data": [{…}]}
//	PUT  /api/resource/DOCTYPE/NAME       writes over a draft, submits it with docstatus 1
type frappeMode struct{ e *ERP }

func (m frappeMode) mount(e *ERP) {
	e.mux.HandleFunc("POST /api/resource/{doctype}", e.guard(m.create))
	e.mux.HandleFunc("GET /api/resource/{doctype}", e.guard(m.list))
	e.mux.HandleFunc("PUT /api/resource/{doctype}/{name}", e.guard(m.put))
	e.mux.HandleFunc("GET /api/method/frappe.auth.get_logged_user", e.guard(e.ping))
}

// refuse words an error as an exception of the framework: the class, its words,
// the messages to the user, which are JSON in JSON in JSON with HTML in it, and a
// traceback.
func (m frappeMode) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	class, words, said := f.code, f.text, []string{f.text}
	var missing []string
	for _, field := range f.fields {
		name := strings.TrimPrefix(field.Pointer, "#/")
		if strings.HasSuffix(field.Detail, "is required") {
			missing = append(missing, name)
			said = append(said, "Error: Value missing for Purchase Invoice: "+name+" ("+field.Detail+")")
		} else {
			said = append(said, field.Detail)
		}
	}
	switch {
	case len(missing) > 0:
		f.status, class, words = http.StatusExpectationFailed, "MandatoryError", "[Purchase Invoice, new]: "+strings.Join(missing, ", ")
	case f.code == "validation":
		f.status, class = http.StatusExpectationFailed, "ValidationError"
	case class == "":
		class = map[int]string{
			401: "AuthenticationError", 403: "PermissionError", 404: "DoesNotExistError", 409: "DuplicateEntryError",
			417: "ValidationError", 429: "TooManyRequestsError", 503: "SessionStopped",
		}[f.status]
	}
	messages := make([]string, len(said))
	for i, text := range said {
		inner, _ := json.Marshal(map[string]any{"message": "<div>" + markup.EscapeString(text) + "</div>", "title": "Message", "indicator": "red"})
		messages[i] = string(inner)
	}
	outer, _ := json.Marshal(messages)
	reply(w, f.status, map[string]any{
		"exc_type": class, "exception": "frappe.exceptions." + class + ": " + words, "_server_messages": string(outer),
		"exc": `["Traceback (most recent call last):\n  File \"apps/frappe/frappe/app.py\", line 114, in application\n"]`,
	})
}

func (m frappeMode) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		m.refuse(w, failure{status: http.StatusExpectationFailed, code: "UniqueValidationError", text: frappeKey + " must be unique"})
	case http.StatusInternalServerError:
		m.refuse(w, failure{status: status, code: "OperationalError", text: "Internal Server Error"})
	case http.StatusInsufficientStorage:
		m.refuse(w, failure{status: status, code: "full", text: "the practice ERP takes no more documents"})
	default:
		reply(w, http.StatusOK, map[string]any{"data": m.document(doc)})
	}
}

func (m frappeMode) document(d Document) map[string]any {
	out := map[string]any{}
	_ = json.Unmarshal(d.Body, &out) // what is no object has no members
	out["name"], out["doctype"], out["docstatus"], out[frappeKey] = d.ID, "Purchase Invoice", 0, d.ExternalID
	out["modified"] = frappeTime(d)
	if d.Status == frappeSubmitted {
		out["docstatus"] = 1
	}
	return out
}

// frappeTime is when a document was written last, by which its version is known.
func frappeTime(d Document) string {
	return d.CreatedAt.Add(time.Duration(d.version) * time.Second).Format("2006-01-02 15:04:05.000000")
}

func (m frappeMode) create(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpCreate)()
	body, ok := m.e.read(w, r)
	if !ok {
		return
	}
	var members map[string]any
	_ = json.Unmarshal(body, &members) // take says what is wrong with it
	key, _ := members[frappeKey].(string)
	doc := Document{ExternalID: key, ContentType: r.Header.Get("Content-Type"), Status: "Draft"}
	if fmt.Sprint(members["docstatus"]) == "1" {
		doc.Status = frappeSubmitted
	}
	m.e.take(w, r, doc, body)
}

func (m frappeMode) list(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpLookup)()
	var filters [][]any
	if err := json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters); err != nil {
		m.refuse(w, failure{status: http.StatusExpectationFailed, code: "ValidationError", text: "filters are no JSON list"})
		return
	}
	key, known := "", false
	for _, f := range filters {
		if len(f) == 3 && f[0] == frappeKey && f[1] == "=" {
			key, known = f[2].(string)
		}
	}
	if !known {
		m.refuse(w, failure{status: http.StatusExpectationFailed, code: "DataError", text: "Field not permitted in query"})
		return
	}
	m.e.ask(w, r, key, func() {
		rows := []any{}
		for _, d := range m.e.Documents(key) {
			rows = append(rows, m.document(d))
		}
		reply(w, http.StatusOK, map[string]any{"data": rows})
	})
}

func (m frappeMode) put(w http.ResponseWriter, r *http.Request) {
	body, ok := m.e.read(w, r)
	if !ok {
		return
	}
	doc, found := m.e.byNumber(r.PathValue("name"))
	defer m.e.count(OpFinish)()
	m.e.answer(w, r, OpFinish, doc.ExternalID, func() {
		var members map[string]any
		err := json.Unmarshal(body, &members)
		submits := fmt.Sprint(members["docstatus"]) == "1"
		switch {
		case !found:
			m.refuse(w, failure{status: http.StatusNotFound, text: "Purchase Invoice " + r.PathValue("name") + " not found"})
		case err != nil:
			m.refuse(w, failure{status: http.StatusExpectationFailed, code: "DataError", text: "Invalid request arguments"})
		case members["modified"] != nil && members["modified"] != frappeTime(doc):
			m.refuse(w, failure{
				status: http.StatusExpectationFailed, code: "TimestampMismatchError",
				text: "Error: Document has been modified after you have opened it",
			})
		case doc.Status == frappeSubmitted && !submits:
			m.refuse(w, failure{status: http.StatusExpectationFailed, code: "UpdateAfterSubmitError", text: "Not allowed to change after submission"})
		default:
			m.e.change(doc.ID, func(d *Document) {
				d.version++
				if len(members) > 1 || !submits {
					d.Body = body
				}
				if submits {
					d.Status = frappeSubmitted
				}
				doc = *d
			})
			reply(w, http.StatusOK, map[string]any{"data": m.document(doc)})
		}
	})
}
