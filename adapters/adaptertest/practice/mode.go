package practice

import (
	"encoding/json"
	"net/http"
	"slices"
)

// mode is a dialect that the practice ERP speaks: its addresses, and what its
// answers look like. What it means, and what faults do, is the same in all.
type mode interface {
	// mount registers the addresses on the ERP. Creates end in [ERP.take], questions
	// for a document in [ERP.ask].
	mount(e *ERP)
	// refuse answers an error as the system words it. The status is what a service
	// that follows the standards would answer; the mode may have another one.
	refuse(w http.ResponseWriter, f failure)
	// accept answers a create. status is 201; 200 for a document that was there and
	// is given again; 409 for one that was there and is in the way; 500 likewise,
	// without a word; 507 when no more documents are taken.
	accept(w http.ResponseWriter, doc Document, status int)
}

// laterMode is a mode in which a request says whether it is answered later, and in
// which what became of it has addresses of its own.
type laterMode interface {
	later(r *http.Request, set Later) Later
	operationAddress(id string) string
}

// renamer is a mode whose invoices have members of other names: its own for one that
// [Settings].Required has, "" where it is the same.
type renamer interface{ member(name string) string }

// failure is an error to be worded.
type failure struct {
	status     int
	code, text string
	fields     []fieldFault
	retryAfter string // header, as it is
	location   string // header, as it is
}

// headers sets what a failure says in headers, in every dialect.
func (f failure) headers(w http.ResponseWriter) {
	if f.retryAfter != "" {
		w.Header().Set("Retry-After", f.retryAfter)
	}
	if f.location != "" {
		w.Header().Set("Location", f.location)
	}
}

// modes lists the dialects. A new one is one line here, and one file.
func modes() map[string]func(e *ERP) mode {
	return map[string]func(*ERP) mode{
		"rest":      func(*ERP) mode { return standard{} },
		"acumatica": newAcumatica,
		"bc":        func(e *ERP) mode { return central{e} },
		"d365fo":    func(e *ERP) mode { return finOps{e} },
		"dataverse": func(e *ERP) mode { return tables{e} },
		"frappe":    func(e *ERP) mode { return frappeMode{e} },
		"netsuite":  func(e *ERP) mode { return netsuiteMode{e} },
		"odata":     func(e *ERP) mode { return openData{e} },
		"odata-sap": func(e *ERP) mode { return newGateway(e) },

		"odoo-json2":   newBearer,
		"odoo-jsonrpc": newUsers,
		"tryton":       newLedger,
	}
}

// Dialects lists what [Settings].Dialect may be, in order.
func Dialects() []string {
	names := make([]string, 0, len(modes()))
	for name := range modes() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// standard is a service that follows the standards: RFC 9110 and RFC 9457.
type standard struct{}

func (standard) mount(e *ERP) {
	e.mux.HandleFunc("POST /invoices", e.guard(e.create))
	e.mux.HandleFunc("GET /invoices", e.guard(e.find))
	e.mux.HandleFunc("GET /invoices/{number}", e.guard(e.get))
}

func (standard) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	problem(w, f.status, f.code, f.text, f.fields)
}

func (s standard) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"type": "urn:practice:duplicate", "title": "Duplicate", "status": status, "code": "duplicate",
			"detail": "an invoice with this external id exists", "id": doc.ID,
		})
	case http.StatusInternalServerError:
		s.refuse(w, failure{status: status, text: "Internal Server Error"})
	case http.StatusInsufficientStorage:
		s.refuse(w, failure{status: status, code: "full", text: "the practice ERP takes no more documents"})
	default:
		w.Header().Set("Location", "/invoices/"+doc.ID)
		reply(w, status, summary(doc))
	}
}
