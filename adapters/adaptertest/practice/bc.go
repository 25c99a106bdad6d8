package practice

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// central is Dynamics 365 Business Central's API v2.0, at /api/v2.0, with the
// company CRONUS and any entity set. Invoices bear the sender's key in
// vendorInvoiceNumber or externalDocumentNumber. A create that is repeated is
// answered with 201, and its lines are appended to the document that is there.
type central struct{ e *ERP }

// centralCompany is the id of CRONUS.
const centralCompany = "11111111-2222-4333-8444-555555555555"

// centralKeys are the fields that bear the sender's key.
func centralKeys() []string { return []string{"vendorInvoiceNumber", "externalDocumentNumber"} }

func (c central) mount(e *ERP) {
	e.mux.HandleFunc("GET /api/v2.0/companies", e.guard(c.companies))
	e.mux.HandleFunc("/api/v2.0/", e.guard(c.serve))
}

func (c central) companies(w http.ResponseWriter, r *http.Request) {
	defer c.e.count(OpPing)()
	c.e.answer(w, r, OpPing, "", func() {
		reply(w, http.StatusOK, map[string]any{"value": []any{map[string]any{"id": centralCompany, "name": "CRONUS"}}})
	})
}

var centralDocument = regexp.MustCompile(`^(\w+)\(([0-9a-fA-F-]{36})\)$`)

// serve finds the company, which stands in the path or the query, and the document.
func (c central) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v2.0/")
	company := r.URL.Query().Get("company")
	if rest, ok := strings.CutPrefix(path, "companies("+centralCompany+")/"); ok {
		path, company = rest, "CRONUS"
	}
	if company != "CRONUS" {
		c.refuse(w, failure{status: http.StatusNotFound, code: "Internal_CompanyNotFound", text: "Cannot process the request because the default company cannot be found."})
		return
	}
	set, act, _ := strings.Cut(path, "/")
	m := centralDocument.FindStringSubmatch(set)
	switch {
	case m == nil && act == "" && r.Method == http.MethodPost:
		c.create(w, r)
	case m == nil && act == "" && r.Method == http.MethodGet:
		c.find(w, r)
	case m != nil && act == "" && r.Method == http.MethodPatch:
		c.patch(w, r, numberOf(m[2]))
	// Acts are called so in this spelling only.
	case m != nil && act == "Microsoft.NAV.post" && r.Method == http.MethodPost:
		c.post(w, r, numberOf(m[2]))
	default:
		c.refuse(w, failure{status: http.StatusNotFound, text: "Resource not found for the segment '" + act + "'."})
	}
}

func (c central) create(w http.ResponseWriter, r *http.Request) {
	defer c.e.count(OpCreate)()
	body, ok := c.e.read(w, r)
	if !ok {
		return
	}
	members := textMembers(body)
	doc := Document{ContentType: r.Header.Get("Content-Type"), Status: "Draft"}
	for _, name := range centralKeys() {
		if members[name] != "" && doc.ExternalID == "" {
			doc.ExternalID = members[name]
		}
	}
	if len(doc.ExternalID) > 35 {
		c.refuse(w, failure{status: http.StatusBadRequest, code: "Application_StringExceededLength", text: "The length of the string is too long: 35 characters."})
		return
	}
	c.e.take(w, r, doc, body)
}

// again appends the lines of the repeat, as the service has been seen to do.
func (c central) again(first *Document, d Document) int {
	var has, more map[string]json.RawMessage
	if json.Unmarshal(first.Body, &has) == nil && json.Unmarshal(d.Body, &more) == nil {
		for name, value := range more {
			var lines, added []json.RawMessage
			if json.Unmarshal(has[name], &lines) == nil && json.Unmarshal(value, &added) == nil {
				has[name], _ = json.Marshal(append(lines, added...)) // they were JSON
			}
		}
		first.Body, _ = json.Marshal(has)
	}
	first.Appended++
	first.version++
	return http.StatusCreated
}

func (c central) find(w http.ResponseWriter, r *http.Request) {
	defer c.e.count(OpLookup)()
	key := ""
	for _, name := range centralKeys() {
		if value := filterOf(r.URL.Query().Get("$filter"))[name]; value != "" {
			key = value
		}
	}
	c.e.ask(w, r, key, func() {
		items := []any{}
		if key != "" {
			for _, d := range c.e.Documents(key) {
				items = append(items, c.show(d))
			}
		}
		reply(w, http.StatusOK, map[string]any{"@odata.context": "$metadata#companies/purchaseInvoices", "value": items})
	})
}

func (c central) show(d Document) map[string]any {
	out := map[string]any{"@odata.etag": d.etag(), "id": d.guid(), "number": d.ID, "status": d.Status}
	for name, value := range textMembers(d.Body) {
		if out[name] == nil {
			out[name] = value
		}
	}
	return out
}

func (c central) patch(w http.ResponseWriter, r *http.Request, number string) {
	body, ok := c.e.read(w, r)
	if !ok {
		return
	}
	match, changed := r.Header.Get("If-Match"), true
	if match == "" {
		c.refuse(w, failure{status: http.StatusBadRequest, code: "BadRequest_InvalidToken", text: "Could not validate the client concurrency token required by the service."})
		return
	}
	var after Document
	found := c.e.change(number, func(d *Document) {
		if match != "*" && match != d.etag() {
			changed = false
			return
		}
		Document{Body: mergeMembers(d.Body, body), MessageID: d.MessageID, ContentType: d.ContentType}.over(d)
		after = *d
	})
	switch {
	case !found:
		c.refuse(w, failure{status: http.StatusNotFound, code: "Internal_RecordNotFound", text: "The record does not exist."})
	case !changed:
		c.refuse(w, failure{status: http.StatusConflict, code: "Request_EntityChanged", text: "Another user has already changed the record."})
	default:
		reply(w, http.StatusOK, c.show(after))
	}
}

func (c central) post(w http.ResponseWriter, r *http.Request, number string) {
	defer c.e.count(OpFinish)()
	c.e.answer(w, r, OpFinish, "", func() {
		posted := false
		found := c.e.change(number, func(d *Document) {
			posted = d.Status == "Draft"
			d.Status = "Open"
		})
		if !found || !posted {
			c.refuse(w, failure{status: http.StatusBadRequest, code: "Application_DialogException", text: "There is nothing to post."})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (c central) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		c.refuse(w, failure{
			status: http.StatusBadRequest, code: "Internal_EntityWithSameKeyExists",
			text: "The record in table Purchase Header already exists. Identification fields and values: No.='" + doc.ID + "'",
		})
	case http.StatusInternalServerError, http.StatusInsufficientStorage:
		c.refuse(w, failure{status: http.StatusInternalServerError, code: "Internal_ServerError", text: "An unexpected error occurred."})
	default:
		w.Header().Set("Location", "/api/v2.0/companies("+centralCompany+")/purchaseInvoices("+doc.guid()+")")
		reply(w, http.StatusCreated, c.show(doc))
	}
}

// refuse words an error as the service does, with its correlation id in the text.
func (c central) refuse(w http.ResponseWriter, f failure) {
	code := f.code
	switch {
	case code == "unauthorized":
		code, f.text = "Authentication_InvalidCredentials", "The server has rejected the client credentials."
	case code == "validation":
		code = "BadRequest_RequiredParamNotProvided"
	case code == "malformed" || code == "tooLarge":
		code = "BadRequest"
	case code == "" && f.status == http.StatusNotFound:
		code = "BadRequest_ResourceNotFound"
	case code == "" && f.status == http.StatusTooManyRequests:
		code = "Application_TooManyRequests"
	}
	f.headers(w) // a throttle promises no Retry-After
	reply(w, f.status, map[string]any{"error": map[string]any{
		"code": code, "message": f.details() + "  CorrelationId:  2c074c12-1644-4f2c-befb-efd681f5a595.",
	}})
}

// textMembers are the texts and numbers of a JSON object.
func textMembers(body []byte) map[string]string {
	var members map[string]any
	out := map[string]string{}
	if json.Unmarshal(body, &members) != nil {
		return out
	}
	for name, value := range members {
		if text, ok := value.(string); ok {
			out[name] = text
		}
	}
	return out
}

// mergeMembers puts the members of one JSON object over those of another.
func mergeMembers(body, over []byte) json.RawMessage {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(body, &members) != nil || json.Unmarshal(over, &members) != nil {
		return body
	}
	merged, _ := json.Marshal(members) // they were JSON
	return merged
}
