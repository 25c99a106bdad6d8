package practice

import (
	"encoding/json"
	"net/http"
	"strings"
)

// ledger is Tryton's JSON-RPC, as version 6.0.29 was seen to answer, with the
// database "practice" and any model. Documents bear the sender's key in reference.
type ledger struct{ records }

// ledgerDatabase is the database that there is.
const ledgerDatabase = "practice"

func newLedger(e *ERP) mode {
	l := &ledger{}
	l.records = records{
		e: e, key: []string{"reference"}, say: l.say, acts: map[string]string{"post": "posted", "cancel": "cancelled"},
		dead: func(w http.ResponseWriter, field string) { l.err(w, "'"+field+"'", "") },
	}
	return l
}

func (l *ledger) mount(e *ERP) {
	e.mux.HandleFunc("POST /{database}/{$}", l.serve)
	// The server's address of a database ends in a slash.
	e.mux.HandleFunc("POST /{database}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Path+"/")
		html(w, http.StatusPermanentRedirect, "You should be redirected automatically to the target URL.")
	})
}

func (l *ledger) serve(w http.ResponseWriter, r *http.Request) {
	if name := r.PathValue("database"); name != ledgerDatabase {
		// The database is opened before the password is looked at.
		l.err(w, "Database '/var/lib/tryton/"+name+".sqlite' doesn't exist!", "")
		return
	}
	l.e.guard(l.call)(w, r)
}

// call is one method. A request with other members than these three has its errors
// by status.
func (l *ledger) call(w http.ResponseWriter, r *http.Request) {
	body, ok := l.e.read(w, r)
	if !ok {
		return
	}
	var call struct {
		ID     json.RawMessage   `json:"id"`
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(body, &call); err != nil || call.ID == nil || len(call.Params) == 0 {
		html(w, http.StatusInternalServerError, "Value after * must be an iterable, not NoneType")
		return
	}
	parts := strings.Split(call.Method, ".")
	method := parts[len(parts)-1]
	var ids []int
	_ = json.Unmarshal(call.Params[0], &ids) // other methods begin with something else
	var context struct {
		Stamps map[string]string `json:"_timestamp"`
	}
	_ = json.Unmarshal(call.Params[len(call.Params)-1], &context)
	switch {
	case method == "get_preferences":
		l.preferences(w, r)
	case method == "create":
		var values []json.RawMessage
		if json.Unmarshal(call.Params[0], &values) != nil || len(values) != 1 {
			l.err(w, "list index out of range", "")
			return
		}
		l.create(w, r, values[0])
	case method == "search_read" && len(call.Params) == 6:
		l.search(w, r, call.Params[0], call.Params[4])
	case method == "write" && len(call.Params) == 3 && ids != nil:
		stamp := ""
		for _, stamp = range context.Stamps {
		}
		if l.write(w, ids, call.Params[1], stamp) {
			l.err(w, "ConcurrencyException", "This record has been modified while you were editing it.")
		}
	case ids != nil && l.act(w, r, ids, method):
	default:
		html(w, http.StatusForbidden, "You don&#39;t have the permission to access the requested resource. It is either read-protected or not readable by the server.")
	}
}

func (l *ledger) preferences(w http.ResponseWriter, r *http.Request) {
	defer l.e.count(OpPing)()
	l.e.answer(w, r, OpPing, "", func() {
		l.say(w, map[string]any{"language": "en", "company": 1})
	})
}

func (l *ledger) say(w http.ResponseWriter, result any) {
	reply(w, http.StatusOK, map[string]any{"id": 1, "result": result})
}

func (l *ledger) err(w http.ResponseWriter, said ...any) {
	reply(w, http.StatusOK, map[string]any{"id": 1, "error": said})
}

func (l *ledger) userError(w http.ResponseWriter, message string) {
	l.err(w, "UserError", []any{message, "", nil})
}

func (l *ledger) accept(w http.ResponseWriter, doc Document, status int) {
	switch status {
	case http.StatusConflict:
		l.userError(w, "The reference on invoice must be unique.")
	case http.StatusInternalServerError:
		l.err(w, "UNIQUE constraint failed: account_invoice.reference", "")
	case http.StatusInsufficientStorage:
		l.userError(w, "the practice ERP takes no more documents")
	default:
		l.say(w, []int{rowOf(doc)})
	}
}

// refuse words an error. Its code may be one of Tryton's classes, or crash.
func (l *ledger) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	switch f.code {
	case "UserWarning":
		l.err(w, "UserWarning", []any{"invoice_similar_1", f.text, ""})
	case "LoginException":
		l.err(w, "LoginException", []any{"password", f.text, "password"})
	case "ConcurrencyException":
		l.err(w, "ConcurrencyException", f.text)
	case "domain":
		field := map[string]any{"party": map[string]any{"string": "Party", "type": "many2one"}}
		l.err(w, "UserError", []any{f.text, "", []any{[]any{[]any{"party", "!=", nil}}, field}})
	case "crash":
		l.err(w, f.text, "")
	case "traceback": // with the option --dev
		l.err(w, f.text, "Traceback (most recent call last): values={'iban': 'DE89370400440532013000'}")
	case "unauthorized":
		w.Header().Set("WWW-Authenticate", `Basic realm="Tryton"`)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusUnauthorized)
	default:
		switch f.status {
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			l.userError(w, f.details())
		case http.StatusConflict:
			l.userError(w, f.text+" must be unique.")
		case http.StatusLocked:
			l.err(w, "ConcurrencyException", f.text)
		default:
			html(w, f.status, f.text)
		}
	}
}
