package practice

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fieldFault is one fault of an invoice, as RFC 9457 lists them.
type fieldFault struct {
	Detail  string `json:"detail"`
	Pointer string `json:"pointer"`
}

func (e *ERP) create(w http.ResponseWriter, r *http.Request) {
	defer e.count(OpCreate)()
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		key = r.Header.Get("Ferry-Message-Id")
	}
	body, ok := e.read(w, r)
	if !ok {
		return
	}
	e.take(w, r, Document{ExternalID: key, ContentType: r.Header.Get("Content-Type")}, body)
}

// read reads a body; not ok: the caller has been told.
func (e *ERP) read(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		e.mode.refuse(w, failure{status: http.StatusRequestEntityTooLarge, code: "tooLarge", text: "the invoice cannot be read, or is too large"})
		return nil, false
	}
	return body, true
}

// take is a create in any dialect: the invoice in body, JSON of members or XML,
// becomes doc, whose ExternalID the dialect has found. Faults come first.
func (e *ERP) take(w http.ResponseWriter, r *http.Request, doc Document, body []byte) {
	doc.MessageID = r.Header.Get("Ferry-Message-Id")
	doc.OrderingKey = e.orderingKey(body)
	defer e.lasts(doc.OrderingKey)()
	store := func() {
		if f := e.check(&doc, body); f.status != 0 {
			e.mode.refuse(w, f)
			return
		}
		if later := e.laterOf(r); later.How != "" {
			e.answerLater(w, r, doc, later)
			return
		}
		written, status := e.write(doc)
		e.mode.accept(w, written, status)
	}
	fault, ok := e.meet(OpCreate, doc.ExternalID)
	if !ok {
		store()
		return
	}
	if f := e.check(&doc, body); f.status != 0 && fault.writes() {
		e.mode.refuse(w, f)
		return
	}
	e.fail(w, r, fault, doc, store)
}

// ask is a question for a document in any dialect: faults come first.
func (e *ERP) ask(w http.ResponseWriter, r *http.Request, key string, answer func()) {
	if fault, ok := e.meet(OpLookup, key); ok {
		e.fail(w, r, fault, Document{}, answer)
		return
	}
	answer()
}

// check validates an invoice and fills in the document; a status of 0 is good.
func (e *ERP) check(doc *Document, body []byte) failure {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if strings.Contains(doc.ContentType, "xml") || bytes.HasPrefix(trimmed, []byte("<")) {
		if err := wellFormed(trimmed); err != nil {
			return failure{status: http.StatusBadRequest, code: "malformed", text: "the XML is not well-formed"}
		}
		doc.Text = string(body)
		return failure{}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(trimmed, &members); err != nil || members == nil {
		return failure{status: http.StatusBadRequest, code: "malformed", text: "the body is neither a JSON object nor XML"}
	}
	var faults []fieldFault
	for _, name := range e.required() {
		value, ok := members[name]
		if m, renames := e.mode.(renamer); renames && !ok {
			if own := m.member(name); own != "" {
				name = own
				value, ok = members[name]
			}
		}
		if !ok || string(value) == "null" || string(value) == `""` {
			faults = append(faults, fieldFault{Detail: name + " is required", Pointer: "#/" + name})
		}
	}
	if total, err := strconv.ParseFloat(strings.Trim(string(members["total"]), `"`), 64); err == nil && total < 0 {
		faults = append(faults, fieldFault{Detail: "total must not be negative", Pointer: "#/total"})
	}
	if len(faults) > 0 {
		return failure{status: http.StatusBadRequest, code: "validation", text: "the invoice is not valid", fields: faults}
	}
	doc.Body = body
	return failure{}
}

// orderingKey is the member of a JSON invoice that Settings.OrderBy names.
func (e *ERP) orderingKey(body []byte) string {
	e.mu.Lock()
	name := e.settings.OrderBy
	e.mu.Unlock()
	var members map[string]json.RawMessage
	if name == "" || json.Unmarshal(body, &members) != nil {
		return ""
	}
	return strings.Trim(string(members[name]), `"`)
}

func (e *ERP) later() Later {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.settings.Later
}

// laterOf is how a create is answered later; in some dialects the request says so.
func (e *ERP) laterOf(r *http.Request) Later {
	set := e.later()
	if m, ok := e.mode.(laterMode); ok {
		return m.later(r, set)
	}
	return set
}

func (e *ERP) required() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.settings.Required
}

func wellFormed(data []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	elements := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && elements > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if _, ok := token.(xml.StartElement); ok {
			elements++
		}
	}
}

func (e *ERP) find(w http.ResponseWriter, r *http.Request) {
	defer e.count(OpLookup)()
	key := r.URL.Query().Get("externalId")
	answer := func() {
		items := []any{}
		for _, d := range e.Documents(key) {
			items = append(items, summary(d))
		}
		if key == "" {
			items = items[:min(len(items), 100)]
		}
		reply(w, http.StatusOK, map[string]any{"items": items})
	}
	e.ask(w, r, key, answer)
}

func (e *ERP) get(w http.ResponseWriter, r *http.Request) {
	defer e.count(OpLookup)()
	doc, found := e.byNumber(r.PathValue("number"))
	if !found {
		problem(w, http.StatusNotFound, "notFound", "there is no such invoice", nil)
		return
	}
	reply(w, http.StatusOK, doc)
}

func (e *ERP) ping(w http.ResponseWriter, r *http.Request) {
	defer e.count(OpPing)()
	answer := func() { reply(w, http.StatusOK, map[string]any{"ok": true}) }
	if fault, ok := e.meet(OpPing, ""); ok {
		e.fail(w, r, fault, Document{}, answer)
		return
	}
	answer()
}

func (e *ERP) list(w http.ResponseWriter, r *http.Request) {
	docs := e.Documents(r.URL.Query().Get("externalId"))
	reply(w, http.StatusOK, map[string]any{"count": len(docs), "items": docs[:min(len(docs), 1000)]})
}

func (e *ERP) state(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, e.State()) }

func (e *ERP) putSettings(w http.ResponseWriter, r *http.Request) {
	var s Settings
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		problem(w, http.StatusBadRequest, "malformed", err.Error(), nil)
		return
	}
	if err := s.Later.complete(); err != nil {
		problem(w, http.StatusBadRequest, "malformed", err.Error(), nil)
		return
	}
	switch s.OnDuplicate {
	case WriteAgain, Conflict, BareError, Repeat:
	default:
		problem(w, http.StatusBadRequest, "malformed", "onDuplicate is conflict, error, repeat or empty", nil)
		return
	}
	if s.Dialect != "" && s.Dialect != e.dialect {
		problem(w, http.StatusBadRequest, "malformed", "the dialect cannot be changed while it runs", nil)
		return
	}
	e.Set(s)
	w.WriteHeader(http.StatusNoContent)
}

func summary(d Document) map[string]any {
	return map[string]any{
		"id": d.ID, "number": d.ID, "externalId": d.ExternalID, "status": "booked", "createdAt": d.CreatedAt.Format(time.RFC3339Nano),
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may have gone: nothing to do about it
}

func problem(w http.ResponseWriter, status int, code, detail string, faults []fieldFault) {
	body := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail}
	if code != "" {
		body["code"] = code
	}
	if len(faults) > 0 {
		body["errors"] = faults
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
