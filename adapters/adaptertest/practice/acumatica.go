package practice

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// acumaticaMode is an instance of Acumatica: any entity of any endpoint, values as
// {"value": x}, sessions that a license counts, acts that run on.
//
//	POST /entity/auth/login                       204 and cookies; at most three sessions
//	POST /entity/auth/logout                      204
//	PUT  /entity/NAME/VERSION/ENTITY              the record: created, or written over by id or VendorID
//	GET  /entity/NAME/VERSION/ENTITY?$filter=…    [records], by VendorRef or VendorID
//	POST /entity/NAME/VERSION/ENTITY/ACTION       202, Location; asked there: 202, then 204
type acumaticaMode struct {
	e *ERP

	mu       sync.Mutex
	sessions map[string]bool // by cookie; false: ended
	acts     map[string]*acumaticaAct
}

// acumaticaAct is an act that runs on.
type acumaticaAct struct {
	number string
	polls  int
}

// AcumaticaSessions is how many sessions the practice license has.
const AcumaticaSessions = 3

const acumaticaCookie = "ASP.NET_SessionId"

func newAcumatica(e *ERP) mode {
	return &acumaticaMode{e: e, sessions: map[string]bool{}, acts: map[string]*acumaticaAct{}}
}

func (m *acumaticaMode) mount(e *ERP) {
	e.mux.HandleFunc("POST /entity/auth/login", m.logon)
	e.mux.HandleFunc("POST /entity/auth/logout", m.logout)
	e.mux.HandleFunc("GET /entity", m.guard(e.ping))
	const entity = "/entity/{endpoint}/{version}/{entity}"
	e.mux.HandleFunc("PUT "+entity, m.guard(m.put))
	e.mux.HandleFunc("GET "+entity, m.guard(m.find))
	e.mux.HandleFunc("POST "+entity, m.guard(func(w http.ResponseWriter, _ *http.Request) {
		m.refuse(w, failure{status: http.StatusNotAcceptable, text: "The method is not supported."})
	}))
	e.mux.HandleFunc("POST "+entity+"/{action}", m.guard(m.act))
	e.mux.HandleFunc("GET "+entity+"/{action}/status/{id}", m.guard(m.status))
}

// EndSessions ends all sessions, as a restart of the system does. Only dialects
// with sessions have any.
func (e *ERP) EndSessions() {
	if m, ok := e.mode.(interface{ endSessions() }); ok {
		m.endSessions()
	}
}

func (m *acumaticaMode) endSessions() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.sessions)
}

// Sessions is how many sessions are open.
func (e *ERP) Sessions() int {
	if m, ok := e.mode.(interface{ openSessions() int }); ok {
		return m.openSessions()
	}
	return 0
}

func (m *acumaticaMode) openSessions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions)
}

func (m *acumaticaMode) logon(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpLogon)()
	var who struct{ Name, Password, Company string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&who); err != nil || who.Name == "" {
		m.exception(w, http.StatusInternalServerError, "PX.Data.PXException", "Error: Invalid credentials. Please try again.")
		return
	}
	m.mu.Lock()
	full := len(m.sessions) >= AcumaticaSessions
	wrong := m.e.apiKey != "" && who.Password != m.e.apiKey
	cookie := fmt.Sprintf("practice-session-%08d", m.e.Calls(OpLogon))
	if !full && !wrong {
		m.sessions[cookie] = true
	}
	m.mu.Unlock()
	switch {
	case wrong:
		m.exception(w, http.StatusInternalServerError, "PX.Data.PXException", "Error: Invalid credentials. Please try again.")
	case full:
		m.exception(w, http.StatusInternalServerError, "PX.Data.PXException", "API Login Limit")
	default:
		http.SetCookie(w, &http.Cookie{Name: acumaticaCookie, Value: cookie, Path: "/", HttpOnly: true})
		http.SetCookie(w, &http.Cookie{Name: "UserBranch", Value: "1", Path: "/"})
		w.WriteHeader(http.StatusNoContent)
	}
}

func (m *acumaticaMode) logout(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, err := r.Cookie(acumaticaCookie); err == nil {
		delete(m.sessions, c.Value)
	}
	w.WriteHeader(http.StatusNoContent)
}

// guard asks for a session, or for a bearer token.
func (m *acumaticaMode) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(acumaticaCookie)
		m.mu.Lock()
		ok := err == nil && m.sessions[c.Value]
		m.mu.Unlock()
		if !ok && r.Header.Get("Authorization") != "Bearer "+m.e.apiKey {
			m.refuse(w, failure{status: http.StatusUnauthorized, text: "You are not logged in."})
			return
		}
		next(w, r)
	}
}

func (m *acumaticaMode) exception(w http.ResponseWriter, status int, kind, text string) {
	reply(w, status, map[string]any{
		"message": "An error has occurred.", "exceptionMessage": text, "exceptionType": kind, "stackTrace": `   at PX.Data.PXLogin.LoginUser(String& userName)`,
	})
}

func (m *acumaticaMode) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	switch {
	case len(f.fields) > 0: // the record that was sent, with an error beside what is wrong
		record := map[string]any{"error": f.text}
		for _, field := range f.fields {
			record[strings.TrimPrefix(field.Pointer, "#/")] = map[string]any{"error": field.Detail}
		}
		reply(w, http.StatusUnprocessableEntity, record)
	case f.status >= 500 || f.code != "":
		kind := f.code
		if kind == "" {
			kind = "PXException"
		}
		m.exception(w, f.status, "PX.Data."+kind, f.text)
	default:
		reply(w, f.status, map[string]any{"message": f.text})
	}
}

func (m *acumaticaMode) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		m.exception(w, http.StatusInternalServerError, "PX.Api.ContractBased.OutcomeEntityHasErrorsException", "Vendor Ref. "+doc.ExternalID+" is used already.")
	case http.StatusInternalServerError:
		m.refuse(w, failure{status: status, text: "Internal Server Error"})
	case http.StatusInsufficientStorage:
		m.refuse(w, failure{status: status, text: "the practice ERP takes no more documents"})
	default:
		reply(w, http.StatusOK, m.record(doc))
	}
}

func (m *acumaticaMode) record(d Document) map[string]any {
	flat := map[string]any{}
	_ = json.Unmarshal(d.Body, &flat) // what is no object has no members
	out := map[string]any{}
	for name, v := range flat {
		out[name] = map[string]any{"value": v}
	}
	state := "Balanced"
	if d.Status != "" {
		state = d.Status
	}
	out["id"], out["rowNumber"] = d.guid(), 1
	out["ReferenceNbr"], out["Status"] = map[string]any{"value": d.ID}, map[string]any{"value": state}
	return out
}

// put creates a record, or writes over the one that id or VendorID names.
func (m *acumaticaMode) put(w http.ResponseWriter, r *http.Request) {
	body, ok := m.e.read(w, r)
	if !ok {
		return
	}
	var record map[string]any
	_ = json.Unmarshal(body, &record) // take says what is wrong with it
	flat := map[string]any{}
	for name, v := range record {
		if object, ok := v.(map[string]any); ok {
			if value, ok := object["value"]; ok {
				v = value
			}
		} else if name != "id" {
			m.refuse(w, failure{status: http.StatusBadRequest, text: "The value of " + name + " is not valid: an object is expected."})
			return
		}
		if name != "id" {
			flat[name] = v
		}
	}
	if plain, err := json.Marshal(flat); err == nil && record != nil {
		body = plain
	}
	key, _ := flat["VendorRef"].(string)
	id, _ := record["id"].(string)
	number := ""
	if id != "" {
		number = numberOf(id)
	}
	if id, ok := flat["VendorID"].(string); ok {
		key = id
		if known := m.e.Documents(id); len(known) > 0 {
			number = known[0].ID
		}
	}
	if number == "" {
		defer m.e.count(OpCreate)()
		m.e.take(w, r, Document{ExternalID: key, ContentType: r.Header.Get("Content-Type")}, body)
		return
	}
	defer m.e.count(OpFinish)()
	m.e.answer(w, r, OpFinish, key, func() {
		m.e.change(number, func(d *Document) { d.Body, d.version = body, d.version+1 })
		doc, found := m.e.byNumber(number)
		if !found {
			m.refuse(w, failure{status: http.StatusNotFound, text: "No entity satisfies the condition."})
			return
		}
		reply(w, http.StatusOK, m.record(doc))
	})
}

func (m *acumaticaMode) find(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpLookup)()
	fields := filterOf(r.URL.Query().Get("$filter"))
	key := fields["VendorRef"] + fields["VendorID"]
	if len(fields) == 0 || strings.Contains(r.URL.RawQuery, "+") {
		m.refuse(w, failure{status: http.StatusBadRequest, text: "The filter cannot be read."})
		return
	}
	m.e.ask(w, r, key, func() {
		records := []any{}
		for _, d := range m.e.Documents(key) {
			records = append(records, m.record(d))
		}
		reply(w, http.StatusOK, records)
	})
}

func (m *acumaticaMode) act(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Entity map[string]any `json:"entity"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody)).Decode(&asked)
	id, _ := asked.Entity["id"].(string)
	doc, found := m.e.byNumber(numberOf(id))
	defer m.e.count(OpFinish)()
	m.e.answer(w, r, OpFinish, doc.ExternalID, func() {
		switch {
		case err != nil || !found:
			m.refuse(w, failure{status: http.StatusInternalServerError, text: "No entity satisfies the condition."})
		case doc.Status != "":
			m.refuse(w, failure{status: http.StatusUnprocessableEntity, code: "PXException", text: "Document Status is invalid for processing."})
		default:
			m.mu.Lock()
			id := fmt.Sprintf("act-%06d", len(m.acts)+1)
			m.acts[id] = &acumaticaAct{number: doc.ID}
			m.mu.Unlock()
			w.Header().Set("Location", r.URL.Path+"/status/"+id)
			w.WriteHeader(http.StatusAccepted)
		}
	})
}

// status tells how far an act is; Settings.Later says how long it takes, and what
// it comes to.
func (m *acumaticaMode) status(w http.ResponseWriter, r *http.Request) {
	defer m.e.count(OpPoll)()
	usual := func() {
		later := m.e.later()
		m.mu.Lock()
		act := m.acts[r.PathValue("id")]
		running := false
		if act != nil {
			act.polls++
			running = later.Never || act.polls <= later.Polls
		}
		m.mu.Unlock()
		switch {
		case act == nil || later.Forgotten:
			m.refuse(w, failure{status: http.StatusNotFound, text: "There is no such operation."})
		case running:
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusAccepted)
		case later.Reject:
			m.exception(w, http.StatusInternalServerError, "PX.Data.PXException", "Error: The supplier is blocked.")
		default:
			m.e.change(act.number, func(d *Document) { d.Status = "Open" })
			w.WriteHeader(http.StatusNoContent)
		}
	}
	if fault, ok := m.e.meet(OpPoll, ""); ok {
		m.e.fail(w, r, fault, Document{}, usual)
		return
	}
	usual()
}
