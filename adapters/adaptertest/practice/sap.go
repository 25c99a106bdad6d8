package practice

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// gateway is SAP Gateway in front of S/4HANA's API for supplier invoices, OData V2:
// a token and cookies for what writes, which are over some day (a fault of status
// 403 and code csrf ends all sessions), the client in the query, answers repeated
// for a RequestID, business errors with T100 codes. Its shapes are those of SAP's
// documentation; the software is ours, and no evidence about SAP.
type gateway struct {
	e *ERP

	mu       sync.Mutex
	sessions map[string]string // cookie -> token
	answered map[string]string // RequestID -> number of the document
}

const (
	sapRoot   = "/sap/opu/odata/sap/API_SUPPLIERINVOICE_PROCESS_SRV/"
	sapSet    = "A_SupplierInvoice"
	sapKey    = "SupplierInvoiceIDByInvcgParty"
	sapCookie = "SAP_SESSIONID_PRC_100"
	sapClient = "100"

	maxSessions = 1000 // then all of them are over
)

func newGateway(e *ERP) *gateway {
	return &gateway{e: e, sessions: map[string]string{}, answered: map[string]string{}}
}

func (g *gateway) mount(e *ERP) {
	e.mux.HandleFunc(sapRoot, e.guard(g.serve))
	// What no service answers for.
	e.mux.HandleFunc("/sap/opu/odata/", e.guard(func(w http.ResponseWriter, r *http.Request) {
		name := strings.Split(strings.TrimPrefix(r.URL.Path, "/sap/opu/odata/sap/"), "/")[0]
		g.refuse(odataWriter{w, r}, failure{status: http.StatusForbidden, code: "/IWFND/MED/170", text: "No service found for namespace '', name '" + name + "', version '0001'"})
	}))
}

var sapDocument = regexp.MustCompile(`^A_SupplierInvoice\(SupplierInvoice='(INV-\d+)',FiscalYear='\d{4}'\)$`)

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	out := odataWriter{w, r}
	if client := r.URL.Query().Get("sap-client"); client != "" && client != sapClient {
		g.refuse(out, failure{status: http.StatusUnauthorized, text: "client " + client + " does not exist"})
		return
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case reads && strings.EqualFold(r.Header.Get("X-CSRF-Token"), "Fetch"):
		g.begin(w)
	case !reads && !g.knows(r):
		g.required(w)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, sapRoot)
	m := sapDocument.FindStringSubmatch(path)
	switch {
	case path == "" && reads:
		g.ping(w, r)
	case path == sapSet && r.Method == http.MethodPost:
		g.create(w, r)
	case path == sapSet && r.Method == http.MethodGet:
		g.find(w, r)
	case path == "$batch" && r.Method == http.MethodPost:
		g.e.serveBatch(w, r, true, g)
	case m != nil:
		g.e.serveDocument(w, r, true, m[1], g)
	case path == "Release" && r.Method == http.MethodPost:
		g.e.serveAct(w, r, true, strings.Trim(r.URL.Query().Get("SupplierInvoice"), "'"), g)
	default:
		// The parser's codes have 32 digits.
		g.refuse(out, failure{status: http.StatusNotFound, code: "005056A509B11EE1B9A8FEC11C21D78E", text: "Resource not found for the segment '" + path + "'."})
	}
}

// begin hands out a token, and the cookies that it goes with.
func (g *gateway) begin(w http.ResponseWriter) {
	cookie, token := random(), random()
	g.mu.Lock()
	if len(g.sessions) >= maxSessions {
		clear(g.sessions)
	}
	g.sessions[cookie] = token
	g.mu.Unlock()
	w.Header().Add("Set-Cookie", "sap-usercontext=sap-client="+sapClient+"; path=/")
	w.Header().Add("Set-Cookie", sapCookie+"="+cookie+"; path=/; HttpOnly")
	w.Header().Set("X-CSRF-Token", token)
}

func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails: it ends the process first
	return hex.EncodeToString(b[:])
}

// knows says whether the request bears a token, and all the cookies it goes with.
func (g *gateway) knows(r *http.Request) bool {
	session, err := r.Cookie(sapCookie)
	if _, err2 := r.Cookie("sap-usercontext"); err != nil || err2 != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	token, ok := g.sessions[session.Value]
	return ok && token == r.Header.Get("X-CSRF-Token")
}

// required refuses a token. The body is no JSON.
func (g *gateway) required(w http.ResponseWriter) {
	w.Header().Set("X-CSRF-Token", "Required")
	w.Header().Set("Content-Type", "text/plain;charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte("CSRF token validation failed")) // the caller may have gone: nothing to do about it
}

// endSessions is what a restart of the system does.
func (g *gateway) endSessions() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.sessions)
}

func (g *gateway) openSessions() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sessions)
}

func (g *gateway) ping(w http.ResponseWriter, r *http.Request) {
	defer g.e.count(OpPing)()
	if r.Method == http.MethodHead || r.Header.Get("X-CSRF-Token") != "" {
		odataReply(w, true, http.StatusOK, map[string]any{"d": map[string]any{"EntitySets": []any{sapSet}}})
		return
	}
	g.e.answer(odataWriter{w, r}, r, OpPing, "", func() {
		odataReply(w, true, http.StatusOK, map[string]any{"d": map[string]any{"EntitySets": []any{sapSet}}})
	})
}

func (g *gateway) create(w http.ResponseWriter, r *http.Request) {
	defer g.e.count(OpCreate)()
	out := odataWriter{w, r}
	body, ok := g.e.read(out, r)
	if !ok {
		return
	}
	if f, ok := g.known(body); !ok {
		g.refuse(out, f)
		return
	}
	doc := g.read(body, r)
	doc.requestID = r.Header.Get("RequestID")
	if g.repeats(out, r, doc.requestID) {
		return
	}
	g.e.take(out, r, doc, body)
}

// repeats gives the first answer again to a RequestID that is known, where the
// settings say that keys are honoured.
func (g *gateway) repeats(w http.ResponseWriter, r *http.Request, id string) bool {
	g.mu.Lock()
	number := g.answered[id]
	g.mu.Unlock()
	if id == "" || r.Header.Get("RepeatabilityCreation") == "" || number == "" || !g.e.honours() {
		return false
	}
	found, ok := g.e.numbered(number)
	if ok {
		w.Header().Set("RepeatabilityResult", "accepted")
		g.e.odataAccept(w, found, http.StatusOK, g)
	}
	return ok
}

func (e *ERP) honours() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.settings.OnDuplicate == Repeat
}

func (*gateway) read(body []byte, r *http.Request) Document {
	return Document{ExternalID: textMembers(body)[sapKey], ContentType: r.Header.Get("Content-Type"), Status: "draft"}
}

// known refuses what the service's parser refuses: amounts that are no text, dates
// that are not of OData V2, properties that there are not, and keys that are too long.
func (*gateway) known(body []byte) (failure, bool) {
	parser := func(text string) (failure, bool) {
		return failure{status: http.StatusBadRequest, code: "005056A509B11EE1B9A8FEC11C21578E", text: text}, false
	}
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return failure{}, true // what it is, is said later
	}
	for name, value := range members {
		text, isText := value.(string)
		switch {
		case value == nil:
		case strings.HasSuffix(name, "Amount") && !isText:
			return parser("Failed to read property '" + name + "' at offset '1'. Inconsistent data type.")
		case strings.HasSuffix(name, "Date") && !strings.HasPrefix(text, "/Date("):
			return parser("Failed to read property '" + name + "' at offset '1'. Invalid date.")
		case strings.HasPrefix(name, "Unknown"):
			return parser("Property '" + name + "' is invalid")
		case name == sapKey && len(text) > 16:
			return parser("Property '" + sapKey + "' has a value of more than 16 characters")
		}
	}
	return failure{}, true
}

func (g *gateway) find(w http.ResponseWriter, r *http.Request) {
	defer g.e.count(OpLookup)()
	out := odataWriter{w, r}
	fields := filterOf(r.URL.Query().Get("$filter"))
	key := fields[sapKey]
	g.e.ask(out, r, key, func() {
		odataReply(w, true, http.StatusOK, odataItems(g.e.matching(key, fields, g), true, g))
	})
}

func (*gateway) external() string { return sapKey }

// member is how S/4HANA calls what an invoice has. The reference is taken by the
// sender's key, so that the number is the header's text.
func (*gateway) member(name string) string {
	return map[string]string{
		"number": "DocumentHeaderText", "supplier": "InvoicingParty", "currency": "DocumentCurrency", "total": "InvoiceGrossAmount",
	}[name]
}

func (*gateway) show(d Document, _ bool) map[string]any {
	out := membersOf(d, true)
	for name, value := range out { // deep inserts come back as lists of V2
		if raw, ok := value.(json.RawMessage); ok && len(raw) > 0 && raw[0] == '[' {
			out[name] = map[string]any{"results": raw}
		}
	}
	year := d.CreatedAt.Year()
	if d.CreatedAt.IsZero() {
		year = time.Now().UTC().Year()
	}
	out["SupplierInvoice"], out["FiscalYear"], out["SupplierInvoiceStatus"] = d.ID, fmt.Sprint(year), d.Status
	out["__metadata"] = map[string]any{
		"id":   fmt.Sprintf("https://s4-internal:44300%s%s(SupplierInvoice='%s',FiscalYear='%d')", sapRoot, sapSet, d.ID, year),
		"uri":  fmt.Sprintf("https://s4-internal:44300%s%s(SupplierInvoice='%s',FiscalYear='%d')", sapRoot, sapSet, d.ID, year),
		"type": "API_SUPPLIERINVOICE_PROCESS_SRV.A_SupplierInvoiceType", "etag": d.etag(),
	}
	return out
}

func (g *gateway) accept(w http.ResponseWriter, doc Document, status int) {
	if status == http.StatusCreated && doc.requestID != "" {
		g.mu.Lock()
		if len(g.answered) < MaxDocuments {
			g.answered[doc.requestID] = doc.ID
		}
		g.mu.Unlock()
	}
	if r := requestOf(w); r != nil && r.Header.Get("RepeatabilityCreation") != "" && status <= http.StatusCreated {
		w.Header().Set("RepeatabilityResult", "accepted")
	}
	g.e.odataAccept(w, doc, status, g)
}

func (*gateway) duplicate(how OnDuplicate) failure {
	if how == BareError {
		return failure{status: http.StatusInternalServerError, code: "SY/530", text: "An exception was raised"}
	}
	return failure{status: http.StatusBadRequest, code: "M8/462", text: "Check if invoice already entered as logistics inv. doc. number 5105600000 2026"}
}

// refuse words an error as the gateway does. A fault of status 403 and code csrf
// ends all sessions.
func (g *gateway) refuse(w http.ResponseWriter, f failure) {
	if f.status == http.StatusForbidden && f.code == "csrf" {
		g.endSessions()
		g.required(w)
		return
	}
	f.headers(w)
	details := make([]any, 0, len(f.fields)+1)
	for _, field := range f.fields {
		details = append(details, map[string]any{
			"code": "ZPRACTICE/002", "message": field.Detail, "propertyref": strings.TrimPrefix(field.Pointer, "#/"), "severity": "error", "target": "",
		})
	}
	if len(f.fields) > 0 {
		f.code = "ZPRACTICE/001"
	}
	if f.code == "" {
		f.code = "SY/530"
	}
	details = append(details, map[string]any{"code": "/IWBEP/CX_MGW_BUSI_EXCEPTION", "message": "An exception was raised", "propertyref": "", "severity": "error", "target": ""})
	if r := requestOf(w); r != nil && !strings.Contains(r.Header.Get("Accept"), "json") {
		w.Header().Set("Content-Type", "application/xml;charset=utf-8")
		w.WriteHeader(f.status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"><code>%s</code><message xml:lang="en">%s</message>`+
			`<innererror><transactionid>%s</transactionid><errordetails/></innererror></error>`, f.code, xmlText(f.text), transaction)
		return
	}
	odataReply(w, true, f.status, map[string]any{"error": map[string]any{
		"code": f.code, "message": map[string]any{"lang": "en", "value": f.text},
		"innererror": map[string]any{"transactionid": transaction, "timestamp": "", "errordetails": details},
	}})
}

// transaction is the id by which people find an error in the gateway's log.
const transaction = "4FDF3748112322F4E10000000A420C41"

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
