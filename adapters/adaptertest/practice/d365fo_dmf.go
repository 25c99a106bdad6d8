package practice

import (
	"encoding/json"
	"net/http"
	"strings"
)

// enqueue takes a file for a recurring data job. It is imported when it is asked
// for: Settings.Later says how long that takes, and how it ends.
func (f finOps) enqueue(w http.ResponseWriter, r *http.Request) {
	defer f.e.count(OpCreate)()
	body, ok := f.e.read(w, r)
	if !ok {
		return
	}
	doc := Document{
		ExternalID: r.Header.Get("X-Ms-Dyn-Externalidentifier"), MessageID: r.Header.Get("Ferry-Message-Id"),
		ContentType: r.Header.Get("Content-Type"), Text: string(body),
	}
	if r.URL.Query().Get("entity") == "" {
		f.refuse(w, failure{status: http.StatusBadRequest, text: "The entity is missing."})
		return
	}
	store := func() {
		op, _ := f.e.begin(doc, f.e.later())
		if op == nil {
			f.refuse(w, failure{status: http.StatusInternalServerError, text: "The queue is full."})
			return
		}
		reply(w, http.StatusOK, Document{ID: strings.TrimPrefix(op.id, "op-")}.guid())
	}
	if fault, met := f.e.meet(OpCreate, doc.ExternalID); met {
		f.e.fail(w, r, fault, doc, store)
		return
	}
	store()
}

// job answers what became of a message in the queue, and of its import.
func (f finOps) job(w http.ResponseWriter, r *http.Request) {
	defer f.e.count(OpPoll)()
	body, ok := f.e.read(w, r)
	if !ok {
		return
	}
	var asked struct {
		MessageID   string `json:"messageId"`
		OfMessage   string `json:"_messageId"`
		ExecutionID string `json:"executionId"`
	}
	if json.Unmarshal(body, &asked) != nil {
		f.refuse(w, failure{status: http.StatusBadRequest, text: "The parameters cannot be read."})
		return
	}
	f.e.answer(w, r, OpPoll, "", func() {
		switch strings.TrimPrefix(r.PathValue("act"), "Microsoft.Dynamics.DataEntities.") {
		case "GetMessageStatus":
			f.status(w, asked.MessageID)
		case "GetExecutionIdByMessageId":
			f.say(w, asked.OfMessage) // the import is called as the message is
		case "GetExecutionErrors":
			f.say(w, `[{"RecordId":"5637144576","Field":"","ErrorMessage":"\n the supplier is blocked\r\n Validations failed while writing entity record\r\n"}]`)
		default:
			f.refuse(w, failure{status: http.StatusNotFound, text: "No HTTP resource was found that matches the request URI."})
		}
	})
}

func (f finOps) status(w http.ResponseWriter, message string) {
	state, op := f.e.progress("op-" + message[max(0, len(message)-6):])
	switch {
	case op == nil:
		f.refuse(w, failure{status: http.StatusNotFound, text: "There is no such message."})
	case state != "":
		f.say(w, "Processing")
	case op.reject:
		f.say(w, "ProcessedWithErrors")
	default:
		f.say(w, "Processed")
	}
}

func (finOps) say(w http.ResponseWriter, value string) {
	reply(w, http.StatusOK, map[string]any{"@odata.context": "$metadata#Edm.String", "value": value})
}

// progress asks an operation once more: "running", or "" when it has ended. nil:
// there is none.
func (e *ERP) progress(id string) (state string, op *operation) {
	e.mu.Lock()
	later := e.settings.Later
	op = e.operations[id]
	running := false
	if op != nil {
		op.polls++
		running = e.runsLocked(op)
	}
	e.mu.Unlock()
	if op == nil || later.Forgotten {
		return "", nil
	}
	if running {
		return "running", op
	}
	e.end(op)
	return "", op
}
