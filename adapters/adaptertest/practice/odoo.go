package practice

import (
	"encoding/json"
	"net/http"
	"strings"
)

// moves are what both ways of calling Odoo share: documents with the sender's key
// in ref, or in a field of one's own, x_ferry_key.
func moves(e *ERP, say func(w http.ResponseWriter, result any)) records {
	return records{
		e: e, key: []string{"ref", "x_ferry_key"}, say: say, acts: map[string]string{"action_post": "posted", "button_cancel": "cancel"},
		dead: func(w http.ResponseWriter, field string) {
			e.mode.refuse(w, failure{status: http.StatusInternalServerError, code: "builtins.ValueError", text: "Invalid field '" + field + "' on model 'account.move'"})
		},
	}
}

// exception is how Odoo writes one: debug is a traceback, with values in it.
func exception(name, message string) map[string]any {
	return map[string]any{
		"name": name, "message": message, "arguments": []string{message}, "context": map[string]any{},
		"debug": "Traceback (most recent call last):\n  File \"odoo/models.py\", in create\n    vals={'iban': 'DE89370400440532013000'}\n" + name + ": " + message + "\n",
	}
}

// exceptionOf names the exception that a failure is; "": it is said by status alone.
func exceptionOf(f failure) (name, message string) {
	switch {
	case strings.Contains(f.code, "."):
		return f.code, f.text
	case f.code == "unauthorized":
		return "odoo.exceptions.AccessDenied", "Access Denied"
	case f.code == "crash":
		return "builtins.KeyError", f.text
	}
	switch f.status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "odoo.exceptions.ValidationError", f.details()
	case http.StatusUnauthorized:
		return "odoo.exceptions.AccessDenied", f.text
	case http.StatusForbidden:
		return "odoo.exceptions.AccessError", "You are not allowed to create 'Journal Entry' (account.move) records.\n\n" + f.text
	case http.StatusNotFound:
		return "werkzeug.exceptions.NotFound", f.text
	case http.StatusConflict:
		return "psycopg2.errors.UniqueViolation", `duplicate key value violates unique constraint "account_move_ref_uniq" ` + f.text
	case http.StatusLocked:
		return "psycopg2.errors.LockNotAvailable", f.text
	}
	return "", f.text
}

// users is Odoo's JSON-RPC, with the database "practice" and the user 7, who logs
// on with any name.
type users struct{ records }

func newUsers(e *ERP) mode {
	u := &users{}
	u.records = moves(e, u.say)
	return u
}

func (u *users) mount(e *ERP) { e.mux.HandleFunc("POST /jsonrpc", u.serve) }

func (u *users) say(w http.ResponseWriter, result any) {
	answer := map[string]any{"jsonrpc": "2.0", "id": 1}
	if result != nil {
		answer["result"] = result // what gives None has no result at all
	}
	reply(w, http.StatusOK, answer)
}

func (u *users) serve(w http.ResponseWriter, r *http.Request) {
	body, ok := u.e.read(w, r)
	if !ok {
		return
	}
	var call struct {
		Params struct {
			Service, Method string
			Args            []json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &call); err != nil || len(call.Params.Args) < 3 {
		html(w, http.StatusBadRequest, "Invalid JSON-RPC data")
		return
	}
	args := call.Params.Args
	if database := textIn(args[0]); database != ledgerDatabase {
		u.refuse(w, failure{code: "psycopg2.OperationalError", text: `connection to server failed: FATAL:  database "` + database + `" does not exist`})
		return
	}
	good := u.e.apiKey == "" || textIn(args[2]) == u.e.apiKey
	switch {
	case call.Params.Service == "common" && call.Params.Method == "login":
		if !good {
			u.say(w, false)
			return
		}
		u.say(w, 7)
	case !good || string(args[1]) != "7":
		u.refuse(w, failure{code: "unauthorized"})
	case call.Params.Service == "object" && call.Params.Method == "execute_kw" && len(args) == 7:
		u.execute(w, r, textIn(args[3]), textIn(args[4]), args[5], args[6])
	default:
		u.refuse(w, failure{status: http.StatusNotFound, text: "404: Not Found"})
	}
}

func (u *users) execute(w http.ResponseWriter, r *http.Request, model, method string, positional, named json.RawMessage) {
	var args []json.RawMessage
	var kw map[string]json.RawMessage
	if json.Unmarshal(positional, &args) != nil || json.Unmarshal(named, &kw) != nil {
		u.refuse(w, failure{code: "builtins.TypeError", text: "execute_kw() takes a list and a dict"})
		return
	}
	var ids []int
	if len(args) > 0 {
		_ = json.Unmarshal(args[0], &ids) // a create has values there
	}
	switch {
	case model == "res.users" && method == "context_get":
		u.context(w, r)
	case method == "create" && len(args) == 1:
		u.create(w, r, args[0])
	case method == "search_read":
		u.search(w, r, kw["domain"], kw["fields"])
	case method == "write" && len(args) == 2:
		u.write(w, ids, args[1], "")
	case ids != nil && u.act(w, r, ids, method):
	default:
		u.refuse(w, failure{code: "builtins.AttributeError", text: "The method '" + model + "." + method + "' does not exist"})
	}
}

// context is what a probe asks for.
func (s records) context(w http.ResponseWriter, r *http.Request) {
	defer s.e.count(OpPing)()
	s.e.answer(w, r, OpPing, "", func() {
		s.say(w, map[string]any{"lang": "en_US", "tz": "Europe/Berlin", "uid": 7})
	})
}

func (u *users) accept(w http.ResponseWriter, doc Document, status int) {
	if f, refused := full(status); refused {
		u.refuse(w, f)
		return
	}
	u.say(w, rowOf(doc))
}

// full is what keeps a create from succeeding, by the status that accept is given.
func full(status int) (failure, bool) {
	switch status {
	case http.StatusConflict:
		return failure{status: status}, true
	case http.StatusInternalServerError:
		return failure{status: status, code: "builtins.AttributeError", text: "'NoneType' object has no attribute 'id'"}, true
	case http.StatusInsufficientStorage:
		return failure{status: http.StatusUnprocessableEntity, text: "the practice ERP takes no more documents"}, true
	}
	return failure{}, false
}

func (u *users) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	name, message := exceptionOf(f)
	if name == "" {
		html(w, f.status, message)
		return
	}
	said := map[string]any{"code": 200, "message": "Odoo Server Error", "data": exception(name, message)}
	switch {
	case f.status == http.StatusNotFound:
		said["code"], said["message"] = 404, "404: Not Found"
	case strings.HasSuffix(name, "SessionExpiredException"):
		said["code"], said["message"] = 100, "Odoo Session Expired"
	}
	reply(w, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": 1, "error": said})
}

// bearer is Odoo's JSON-2 API, from version 19 on.
type bearer struct{ records }

func newBearer(e *ERP) mode {
	b := &bearer{}
	b.records = moves(e, func(w http.ResponseWriter, result any) { reply(w, http.StatusOK, result) })
	return b
}

func (b *bearer) mount(e *ERP) { e.mux.HandleFunc("POST /json/2/{model}/{method}", e.guard(b.serve)) }

func (b *bearer) serve(w http.ResponseWriter, r *http.Request) {
	body, ok := b.e.read(w, r)
	if !ok {
		return
	}
	if database := r.Header.Get("X-Odoo-Database"); database != "" && database != ledgerDatabase {
		html(w, http.StatusNotFound, "The requested URL was not found on the server.")
		return
	}
	var args struct {
		IDs      []int             `json:"ids"`
		Domain   json.RawMessage   `json:"domain"`
		Fields   json.RawMessage   `json:"fields"`
		ValsList []json.RawMessage `json:"vals_list"`
		Vals     json.RawMessage   `json:"vals"`
	}
	if err := json.Unmarshal(body, &args); err != nil {
		b.refuse(w, failure{status: http.StatusBadRequest, code: "werkzeug.exceptions.BadRequest", text: "could not parse the body as json"})
		return
	}
	switch method := r.PathValue("method"); {
	case method == "context_get":
		b.context(w, r)
	case method == "create" && len(args.ValsList) == 1:
		b.create(w, r, args.ValsList[0])
	case method == "create":
		b.refuse(w, failure{status: http.StatusUnprocessableEntity, code: "werkzeug.exceptions.UnprocessableEntity", text: "missing a required argument: 'vals_list'"})
	case method == "search_read":
		b.search(w, r, args.Domain, args.Fields)
	case method == "write" && args.Vals != nil:
		b.write(w, args.IDs, args.Vals, "")
	case args.IDs != nil && b.act(w, r, args.IDs, method):
	default:
		b.refuse(w, failure{status: http.StatusNotFound, text: "the method does not exist"})
	}
}

func (b *bearer) accept(w http.ResponseWriter, doc Document, status int) {
	if f, refused := full(status); refused {
		b.refuse(w, f)
		return
	}
	b.say(w, []int{rowOf(doc)})
}

func (b *bearer) refuse(w http.ResponseWriter, f failure) {
	f.headers(w)
	name, message := exceptionOf(f)
	if name == "" && f.status == http.StatusInternalServerError {
		name = "builtins.KeyError"
	}
	if name == "" {
		html(w, f.status, message)
		return
	}
	status := f.status
	switch {
	case name == "odoo.exceptions.AccessDenied":
		name, status = "werkzeug.exceptions.Unauthorized", http.StatusUnauthorized
	case name == "odoo.exceptions.ValidationError":
		status = http.StatusUnprocessableEntity
	case strings.HasPrefix(name, "psycopg2."), strings.HasPrefix(name, "builtins."):
		status = http.StatusInternalServerError
	}
	reply(w, status, exception(name, message))
}

// textIn is a JSON text; "" for anything else.
func textIn(raw json.RawMessage) string {
	var text string
	_ = json.Unmarshal(raw, &text) // "" is what is wanted then
	return text
}
