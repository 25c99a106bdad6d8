package erp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// Addresses of the queue of recurring integrations and of the acts that tell what
// became of a message in it.
const (
	foEnqueue   = "/api/connector/enqueue/"
	foJobs      = "/data/DataManagementDefinitionGroups/" + foAction
	foStatus    = "GetMessageStatus"
	foExecution = "GetExecutionIdByMessageId"
	foErrors    = "GetExecutionErrors"
)

// foNoExecution is what GetExecutionIdByMessageId gives before there is one.
const foNoExecution = "00000000-0000-0000-0000-000000000000"

// foQueue is the form of messages that are files for a recurring data job: they
// are put into its queue, and imported later.
type foQueue struct {
	r     *route
	query string
}

func newFOQueue(r *route, cfg *adapters.RouteConfig) (form, error) {
	switch id := strings.Trim(cfg.Activity, "{}"); {
	case !isGUID(id):
		return nil, bad("activity: %q is no id of a recurring data job", cfg.Activity).
			WithHint("Manage scheduled data jobs shows it, such as 6d31e09f-0249-459f-94f0-aad9c2c47b64")
	case cfg.KeyField != "" || len(cfg.Key) > 0 || cfg.Lookup != nil:
		return nil, bad("activity goes with no keyField, key or lookup: the queue cannot be asked for a document").
			WithHint("write: upsert says that importing a file twice makes no second record")
	case cfg.Write == writeUpdate || cfg.Finish != "":
		return nil, bad("activity goes with no write: update and no finish: the import decides what it writes")
	case cfg.Confirm == adapters.ConfirmCallback:
		return nil, bad("activity goes with confirm: poll: the system does not call back")
	}
	cfg.Confirm = adapters.ConfirmPoll
	poll := adapters.PollConfig{}
	if cfg.Poll != nil {
		poll = *cfg.Poll
	}
	if poll.State != "" {
		return nil, bad("activity goes with no poll.state: the dialect knows the states of a message")
	}
	poll.State = foUnknownState
	if poll.Text == "" {
		poll.Text = foFailure
	}
	cfg.Poll = &poll
	return foQueue{r: r, query: odataQuery("entity", cfg.Entity, "company", foCompany(r, cfg))}, nil
}

// foUnknownState has an answer that told nothing be no answer, by a word that
// means nothing.
const foUnknownState = `"a state that is not known: " + (.value | tostring)`

// foFailure words why an import failed, of the answer that says so.
const foFailure = `
def gap: gsub("\\s+"; " ") | ltrimstr(" ") | rtrimstr(" ");
def entry: (if (.Field // "") == "" then "" else .Field + ": " end) + ((.ErrorMessage // "") | gap);
(.value | if type == "string" then (try fromjson catch null) else . end) as $log
| if .error then "the import failed, and why cannot be read: " + (.error.message // "" | tostring)
  elif ($log | type) == "array" and ($log | length) > 0 then
    "the import ended with errors; records without any may have been imported: " + ($log | map(entry) | join("; "))
  else "the import failed, and its log of errors is empty; see the job's execution history" end`

// write puts the file into the job's queue: as it is, or what the map makes of it.
func (f foQueue) write(ctx context.Context, m *message) (*operation, error) {
	r := f.r
	id := strings.Trim(r.cfg.Activity, "{}")
	op := &operation{method: http.MethodPost, url: r.dest.base.under(foEnqueue+id, f.query), header: http.Header{}}
	// The queue keeps it beside the message, where the job's history shows it.
	if validValue(m.ExternalKey) {
		op.header.Set("x-ms-dyn-externalidentifier", m.ExternalKey)
	}
	var err error
	if op.body, op.size, err = f.file(ctx, m); err != nil {
		return nil, err
	}
	return op, nil
}

// file is what is sent: a map that gives text gives the file itself, such as CSV
// or XML.
func (f foQueue) file(ctx context.Context, m *message) (io.ReadCloser, int64, error) {
	if f.r.mapping != nil {
		value, err := m.mapped(ctx)
		if err != nil {
			return nil, 0, err
		}
		if text, ok := value.(string); ok {
			return ferry.NewBodyReader([]byte(text)), int64(len(text)), nil
		}
	}
	return f.r.payload(ctx, m)
}

func (foQueue) find(context.Context, *message) (*operation, error) {
	return nil, errors.New("the queue cannot be asked for a document")
}

func (foQueue) found(*message, *httpcall.Answer, any) (any, error) { return nil, nil }

func (foQueue) document(value any) any { return value }

// queued is the address to ask of the message that the answer names: as JSON
// text, in value, or bare.
func (f foQueue) queued(a *httpcall.Answer) string {
	id := ""
	if value, err := answerValue(a); err == nil {
		if object, ok := value.(map[string]any); ok {
			value = object["value"]
		}
		id, _ = value.(string)
	} else {
		id = string(a.Body)
	}
	id = strings.Trim(strings.TrimSpace(id), "{}\"")
	if !isGUID(id) {
		return ""
	}
	return f.r.dest.base.under(foJobs+foStatus, "messageId="+id)
}

// named is the id of the message in the queue.
func (foQueue) named(_ *httpcall.Answer, asked *url.URL) string {
	return asked.Query().Get("messageId")
}

// ask makes the act of the address that is kept: what stands in its query goes
// into the body.
func (foQueue) ask(_ context.Context, _ *message, status *url.URL) (*operation, error) {
	query := status.Query()
	body := map[string]any{}
	switch foAct(status) {
	case foStatus:
		body["messageId"] = query.Get("messageId")
	case foExecution:
		body["_messageId"] = query.Get("messageId")
	case foErrors:
		body["executionId"] = query.Get("executionId")
	default:
		return nil, errors.New("the address to ask is none of a message in a queue")
	}
	address := *status
	for _, name := range []string{"messageId", "executionId"} {
		query.Del(name)
	}
	address.RawQuery = query.Encode()
	op, err := newOperation(http.MethodPost, address.String(), body)
	if err != nil {
		return nil, err
	}
	op.header.Set("Accept", "application/json")
	return op, nil
}

// told reads what became of a message. Behind a failure it is asked for the import
// that failed, and for its log; what keeps those from being read does not take back
// that it failed.
func (f foQueue) told(a *httpcall.Answer, asked *url.URL) (opState, string) {
	act := foAct(asked)
	switch a.Status {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusInternalServerError:
		if act != foStatus {
			return stateFailed, ""
		}
		return stateUnsaid, ""
	default:
		return stateUnsaid, ""
	}
	value, err := answerValue(a)
	object, ok := value.(map[string]any)
	if err != nil || !ok {
		return stateUnsaid, ""
	}
	said, _ := object["value"].(string)
	switch act {
	case foStatus:
		state := foState(said)
		if state == stateFailed {
			return state, f.r.dest.base.under(foJobs+foExecution, "messageId="+url.QueryEscape(asked.Query().Get("messageId")))
		}
		return state, ""
	case foExecution:
		if said = strings.Trim(said, "{}"); isGUID(said) && said != foNoExecution {
			return stateFailed, f.r.dest.base.under(foJobs+foErrors, "executionId="+url.QueryEscape(said))
		}
	}
	return stateFailed, ""
}

// foState is what a state of GetMessageStatus means; unsaid for those that are not
// known, which are no answer.
func foState(said string) opState {
	switch strings.ToLower(said) {
	case "processed":
		return stateDone
	case "enqueued", "queued", "dequeued", "acked", "preprocessing", "processing", "inprocess":
		return stateRunning
	case "preprocessingerror", "preprocesserror", "processedwitherrors", "postprocessingfailed", "postprocesserror", "failed", "canceled", "cancelled":
		return stateFailed
	}
	return stateUnsaid
}

// foAct is the act of an address.
func foAct(address *url.URL) string { return address.Path[strings.LastIndexByte(address.Path, '.')+1:] }

// foProblem reads an error of the OData endpoint, and the log of an import: JSON
// within JSON.
func foProblem(a *httpcall.Answer) httpcall.Problem {
	value, err := mapping.Decode(a.Body)
	if object, ok := value.(map[string]any); err == nil && ok && a.Status == http.StatusOK {
		text, _ := object["value"].(string)
		var entries []struct{ Field, ErrorMessage string }
		if json.Unmarshal([]byte(text), &entries) == nil {
			return foLog(entries)
		}
	}
	return odataProblem(a)
}

func foLog(entries []struct{ Field, ErrorMessage string }) httpcall.Problem {
	var p httpcall.Problem
	for _, e := range entries[:min(len(entries), ferry.MaxAttemptFields)] {
		text := cut(httpcall.MaskText(strings.Join(strings.Fields(e.ErrorMessage), " ")), maxFieldText)
		if text == "" && e.Field == "" {
			continue
		}
		p.Fields = append(p.Fields, ferry.FieldError{Field: cut(e.Field, maxFieldText), Text: text})
	}
	return p
}

// maxFieldText bounds what is kept of one entry of a log, in bytes.
const maxFieldText = 1 << 10
