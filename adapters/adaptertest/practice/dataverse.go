package practice

import (
	"net/http"
	"regexp"
	"strings"
)

// tables is Microsoft Dataverse's Web API, at /api/data/v9.2, with the one table
// new_invoices, whose alternate key is new_externalid. There is never a second row
// of a key.
type tables struct{ e *ERP }

const (
	tablesPath = "/api/data/v9.2/"
	tablesSet  = "new_invoices"
	tablesKey  = "new_externalid"
)

var tablesRow = regexp.MustCompile(`^(\w+)\((\w+)='((?:[^']|'')*)'\)$`)

func (t tables) mount(e *ERP) {
	e.mux.HandleFunc("GET "+tablesPath+"WhoAmI", e.guard(t.whoAmI))
	e.mux.HandleFunc(tablesPath, e.guard(t.serve))
}

func (t tables) whoAmI(w http.ResponseWriter, r *http.Request) {
	defer t.e.count(OpPing)()
	t.e.answer(w, r, OpPing, "", func() {
		reply(w, http.StatusOK, map[string]any{
			"@odata.context": "$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse", "UserId": "00000000-0000-4000-8000-00000000aaaa",
		})
	})
}

func (t tables) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, tablesPath)
	m := tablesRow.FindStringSubmatch(path)
	set, key := path, ""
	if m != nil {
		set, key = m[1], strings.ReplaceAll(m[3], "''", "'")
	}
	switch {
	case set != tablesSet:
		t.refuse(w, failure{status: http.StatusNotFound, code: "0x8006088a", text: "Resource not found for the segment '" + set + "'."})
	case m != nil && m[2] != tablesKey:
		t.refuse(w, failure{status: http.StatusBadRequest, code: "0x80060888", text: "The specified key attributes are not a defined key for the new_invoice entity"})
	case m != nil && strings.ContainsAny(key, `/<>*%&:\?+#`):
		t.refuse(w, failure{status: http.StatusBadRequest, text: "A potentially dangerous Request.Path value was detected from the client."})
	case m != nil && r.Method == http.MethodGet:
		t.get(w, r, key)
	case m != nil && r.Method == http.MethodPatch:
		t.patch(w, r, key)
	case m == nil && r.Method == http.MethodPost:
		t.write(w, r, Document{})
	default:
		t.refuse(w, failure{status: http.StatusMethodNotAllowed, text: "The HTTP method is not supported."})
	}
}

func (t tables) get(w http.ResponseWriter, r *http.Request, key string) {
	defer t.e.count(OpLookup)()
	t.e.ask(w, r, key, func() {
		rows := t.e.Documents(key)
		if len(rows) == 0 {
			t.refuse(w, failure{status: http.StatusNotFound, code: "0x80060891", text: "A record with the specified key values does not exist in new_invoice entity"})
			return
		}
		reply(w, http.StatusOK, t.row(rows[0], r.URL.Query().Get("$select")))
	})
}

// patch creates the row, or writes over it, as the conditions allow.
func (t tables) patch(w http.ResponseWriter, r *http.Request, key string) {
	doc := Document{ExternalID: key, upsert: r.Header.Get("If-None-Match") != "*"}
	match := r.Header.Get("If-Match")
	rows := t.e.Documents(key)
	switch {
	case match != "" && len(rows) == 0:
		t.refuse(w, failure{status: http.StatusNotFound, code: "0x80060891", text: "A record with the specified key values does not exist in new_invoice entity"})
		return
	case match != "" && match != "*" && match != rows[0].etag():
		t.refuse(w, failure{
			status: http.StatusPreconditionFailed, code: "0x80060882",
			text: "The version of the existing record doesn't match the RowVersion property provided.",
		})
		return
	}
	t.write(w, r, doc)
}

// asks is the answer of a create: with the row, where the caller asked for it.
type asks struct {
	http.ResponseWriter
	r *http.Request
}

func (t tables) write(w http.ResponseWriter, r *http.Request, doc Document) {
	defer t.e.count(OpCreate)()
	body, ok := t.e.read(w, r)
	if !ok {
		return
	}
	doc.ContentType = r.Header.Get("Content-Type")
	t.e.take(asks{w, r}, r, doc, body)
}

// Unwrap is for http.ResponseController.
func (a asks) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (tables) again(first *Document, d Document) int {
	if !d.upsert {
		return http.StatusConflict
	}
	d.over(first)
	return http.StatusOK
}

func (tables) row(d Document, columns string) map[string]any {
	row := map[string]any{"@odata.context": "$metadata#" + tablesSet + "/$entity", "@odata.etag": d.etag(), "new_invoiceid": d.guid()}
	all := textMembers(d.Body)
	all[tablesKey] = d.ExternalID
	for name, value := range all {
		if columns == "" || strings.Contains(","+columns+",", ","+name+",") {
			row[name] = value
		}
	}
	if columns == "" {
		row["_ownerid_value"] = "00000000-0000-4000-8000-00000000aaaa"
	}
	return row
}

func (t tables) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		t.refuse(w, failure{status: http.StatusPreconditionFailed, code: "0x80040237", text: "A record with matching key values already exists."})
		return
	case http.StatusInternalServerError, http.StatusInsufficientStorage:
		t.refuse(w, failure{status: http.StatusInternalServerError, code: "0x80040216", text: "An unexpected error occurred."})
		return
	}
	name := tablesSet + "(" + doc.guid() + ")"
	if doc.ExternalID != "" {
		name = tablesSet + "(" + tablesKey + "='" + strings.ReplaceAll(doc.ExternalID, "'", "''") + "')"
	}
	w.Header().Set("OData-EntityId", tablesPath+name)
	w.Header().Set("OData-Version", "4.0")
	asked, ok := w.(asks)
	if !ok || asked.r.Header.Get("Prefer") != "return=representation" {
		w.WriteHeader(http.StatusNoContent) // created or written over: it does not say
		return
	}
	w.Header().Set("Preference-Applied", "return=representation")
	reply(w, status, t.row(doc, asked.r.URL.Query().Get("$select")))
}

func (t tables) refuse(w http.ResponseWriter, f failure) {
	code := f.code
	switch {
	case code == "unauthorized":
		code, f.text = "0x80072560", "The user is not a member of the organization."
	case code == "validation":
		code = "0x80044331"
		f.text = "A validation error occurred. " + f.details()
	case code == "malformed" || code == "tooLarge":
		code = "0x80048d19"
	case code == "" && f.status == http.StatusTooManyRequests:
		code = "0x80072322"
		if f.retryAfter == "" {
			f.retryAfter = "5"
		}
	}
	f.headers(w)
	reply(w, f.status, map[string]any{"error": map[string]any{"code": code, "message": f.text}})
}
