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
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		problem(w, http.StatusRequestEntityTooLarge, "tooLarge", "the invoice cannot be read, or is too large", nil)
		return
	}
	doc := Document{ExternalID: key, MessageID: r.Header.Get("Ferry-Message-Id"), ContentType: r.Header.Get("Content-Type")}
	doc.OrderingKey = e.orderingKey(body)
	defer e.lasts(doc.OrderingKey)()
	store := func() {
		if status, code, text, faults := e.check(&doc, body); status != 0 {
			problem(w, status, code, text, faults)
			return
		}
		if later := e.later(); later.How != "" {
			e.answerLater(w, r, doc, later)
			return
		}
		e.answer(w, doc)
	}
	fault, ok := e.meet(OpCreate, key)
	if !ok {
		store()
		return
	}
	if status, code, text, faults := e.check(&doc, body); status != 0 && fault.writes() {
		problem(w, status, code, text, faults)
		return
	}
	e.fail(w, r, fault, doc, store)
}

// answer writes the document and says so.
func (e *ERP) answer(w http.ResponseWriter, doc Document) {
	written, status := e.write(doc)
	switch status {
	case http.StatusConflict:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"type": "urn:practice:duplicate", "title": "Duplicate", "status": status, "code": "duplicate",
			"detail": "an invoice with this external id exists", "id": written.ID,
		})
	case http.StatusInternalServerError:
		problem(w, status, "", "Internal Server Error", nil)
	case http.StatusInsufficientStorage:
		problem(w, status, "full", "the practice ERP takes no more documents", nil)
	default:
		w.Header().Set("Location", "/invoices/"+written.ID)
		reply(w, status, summary(written))
	}
}

// check validates an invoice and fills in the document; a status of 0 is good.
func (e *ERP) check(doc *Document, body []byte) (status int, code, text string, faults []fieldFault) {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if strings.Contains(doc.ContentType, "xml") || bytes.HasPrefix(trimmed, []byte("<")) {
		if err := wellFormed(trimmed); err != nil {
			return http.StatusBadRequest, "malformed", "the XML is not well-formed", nil
		}
		doc.Text = string(body)
		return 0, "", "", nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(trimmed, &members); err != nil || members == nil {
		return http.StatusBadRequest, "malformed", "the body is neither a JSON object nor XML", nil
	}
	for _, name := range e.required() {
		if value, ok := members[name]; !ok || string(value) == "null" || string(value) == `""` {
			faults = append(faults, fieldFault{Detail: name + " is required", Pointer: "#/" + name})
		}
	}
	if total, err := strconv.ParseFloat(strings.Trim(string(members["total"]), `"`), 64); err == nil && total < 0 {
		faults = append(faults, fieldFault{Detail: "total must not be negative", Pointer: "#/total"})
	}
	if len(faults) > 0 {
		return http.StatusBadRequest, "validation", "the invoice is not valid", faults
	}
	doc.Body = body
	return 0, "", "", nil
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
	if fault, ok := e.meet(OpLookup, key); ok {
		e.fail(w, r, fault, Document{}, answer)
		return
	}
	answer()
}

func (e *ERP) get(w http.ResponseWriter, r *http.Request) {
	defer e.count(OpLookup)()
	number := r.PathValue("number")
	e.mu.Lock()
	i, err := strconv.Atoi(strings.TrimPrefix(number, "INV-"))
	found := err == nil && i >= 1 && i <= len(e.documents) && e.documents[i-1].ID == number
	var doc Document
	if found {
		doc = e.documents[i-1]
	}
	e.mu.Unlock()
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
