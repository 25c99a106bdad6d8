package practice

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// How a practice ERP answers later.
const (
	LaterPoll     = "poll"     // 202 with the address of an operation, to be asked
	LaterCallback = "callback" // 202, and then it calls the address in Ferry-Confirm-Url
)

// Later makes creates be answered with 202 at first. The document is written
// when the operation ends, and not before.
type Later struct {
	How       string        `json:"how"`   // LaterPoll or LaterCallback; empty: creates are answered at once
	Polls     int           `json:"polls"` // poll: how many questions are answered with "running"
	Delay     time.Duration `json:"-"`     // poll: how long it runs at least; callback: until the call
	DelayText string        `json:"delay"` // over HTTP: such as "2s"
	Reject    bool          `json:"reject"`
	Never     bool          `json:"never"`     // it never ends, or never calls
	Before    bool          `json:"before"`    // callback: it calls before it answers the create
	Twice     bool          `json:"twice"`     // callback: it calls twice
	Azure     bool          `json:"azure"`     // poll: always 200, with {"status": "Running"} and so on
	Redirect  bool          `json:"redirect"`  // poll: the end is 303 to the document
	Forgotten bool          `json:"forgotten"` // poll: 404, whatever was asked for
	Address   string        `json:"address"`   // poll: what the 202 names in the place of the operation's address; "-" for none
}

// operation is what became of a create that is answered later.
type operation struct {
	id     string
	doc    Document
	polls  int
	due    time.Time
	ended  bool
	reject bool
}

// maxOperations bounds what is kept; then it answers 507.
const maxOperations = 100_000

func (l *Later) complete() error {
	switch l.How {
	case "", LaterPoll, LaterCallback:
	default:
		return fmt.Errorf("later.how is %s, %s or empty", LaterPoll, LaterCallback)
	}
	if l.DelayText != "" {
		d, err := time.ParseDuration(l.DelayText)
		if err != nil {
			return fmt.Errorf("later.delay: %w", err)
		}
		l.Delay = d
	}
	if l.Delay < 0 || l.Delay > longest {
		return fmt.Errorf("later.delay is longer than %s", longest)
	}
	return nil
}

// answerLater takes an invoice to write it later.
func (e *ERP) answerLater(w http.ResponseWriter, r *http.Request, doc Document, later Later) {
	op, again := e.begin(doc, later)
	switch {
	case op == nil:
		problem(w, http.StatusInsufficientStorage, "full", "the practice ERP is full", nil)
		return
	case later.How == LaterCallback && !later.Never && !again:
		address := r.Header.Get("Ferry-Confirm-Url")
		if address == "" {
			address = r.URL.Query().Get("callback")
		}
		if later.Before {
			e.callBack(op, address, later)
		} else {
			e.after(later.Delay, func() { e.callBack(op, address, later) })
		}
	case later.How == LaterPoll && later.Delay > 0 && later.Polls == 0 && !later.Never && !again:
		e.after(later.Delay, func() { e.end(op) })
	}
	if later.How == LaterPoll {
		address := later.Address
		if address == "" {
			address = e.operationAddress(op.id)
		}
		switch {
		case address == "-":
		case later.Azure:
			w.Header().Set("Azure-AsyncOperation", address)
		default:
			w.Header().Set("Location", address)
		}
	}
	reply(w, http.StatusAccepted, map[string]any{"operation": op.id, "status": "accepted"})
}

func (e *ERP) operationAddress(id string) string {
	if m, ok := e.mode.(laterMode); ok {
		return m.operationAddress(id)
	}
	return "/operations/" + id
}

// begin keeps a new operation; again: the key is honoured, and has one.
func (e *ERP) begin(doc Document, later Later) (op *operation, again bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.settings.OnDuplicate == Repeat && doc.ExternalID != "" {
		for _, known := range e.operations {
			if known.doc.ExternalID == doc.ExternalID {
				return known, true
			}
		}
	}
	if len(e.operations) >= maxOperations {
		return nil, false
	}
	op = &operation{id: fmt.Sprintf("op-%06d", len(e.operations)+1), doc: doc, due: time.Now().Add(later.Delay), reject: later.Reject}
	e.operations[op.id] = op
	return op, false
}

// end carries the operation out, once.
func (e *ERP) end(op *operation) Document {
	e.mu.Lock()
	first := !op.ended
	op.ended = true
	e.mu.Unlock()
	if first && !op.reject {
		written, _ := e.write(op.doc)
		e.mu.Lock()
		op.doc = written
		e.mu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return op.doc
}

// after runs f later, unless the ERP is closed first.
func (e *ERP) after(d time.Duration, f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		e.mu.Lock()
		closed := e.closed
		delete(e.timers, t)
		e.mu.Unlock()
		if !closed {
			f()
		}
	})
	e.timers[t] = struct{}{}
}

// callBack ends the operation and tells whoever gave the address.
func (e *ERP) callBack(op *operation, address string, later Later) {
	said := map[string]string{"outcome": "rejected", "code": "credit", "text": "the supplier is blocked"}
	if written := e.end(op); !later.Reject {
		said = map[string]string{"outcome": "delivered", "reference": written.ID}
	}
	times := 1
	if later.Twice {
		times = 2
	}
	for range times {
		e.noteCallback(tell(address, said))
	}
}

// tell calls back; 0 when no answer came.
func tell(address string, said map[string]string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	body, _ := json.Marshal(said) // text only: it always can be
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection can be used again
	_ = resp.Body.Close()
	return resp.StatusCode
}

func (e *ERP) noteCallback(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.callbacks) < 1000 {
		e.callbacks = append(e.callbacks, status)
	}
}

// Callbacks are the statuses that the calls back were answered with, 0 for no
// answer; at most 1000.
func (e *ERP) Callbacks() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]int{}, e.callbacks...)
}

// poll tells how far an operation is.
func (e *ERP) poll(w http.ResponseWriter, r *http.Request) {
	defer e.count(OpPoll)()
	if fault, ok := e.meet(OpPoll, ""); ok {
		e.fail(w, r, fault, Document{}, func() { e.pollUsual(w, r) })
		return
	}
	e.pollUsual(w, r)
}

func (e *ERP) pollUsual(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	later := e.settings.Later
	op := e.operations[r.PathValue("id")]
	running := false
	if op != nil {
		op.polls++
		running = e.runsLocked(op)
	}
	e.mu.Unlock()
	if op == nil || later.Forgotten {
		problem(w, http.StatusNotFound, "notFound", "there is no such operation", nil)
		return
	}
	if running {
		status := http.StatusAccepted
		if later.Azure {
			status = http.StatusOK
		} else {
			w.Header().Set("Location", r.URL.RequestURI())
		}
		reply(w, status, map[string]any{"status": "Running"})
		return
	}
	doc := e.end(op)
	switch {
	case op.reject:
		reply(w, http.StatusOK, map[string]any{"status": "Failed", "error": map[string]any{"code": "credit", "message": "the supplier is blocked"}})
	case later.Redirect:
		w.Header().Set("Location", "/invoices/"+doc.ID)
		w.WriteHeader(http.StatusSeeOther)
	case later.Azure:
		reply(w, http.StatusOK, map[string]any{"status": "Succeeded", "id": doc.ID})
	default:
		reply(w, http.StatusOK, summary(doc))
	}
}

// runsLocked says whether an operation that is asked for has not ended.
func (e *ERP) runsLocked(op *operation) bool {
	later := e.settings.Later
	return !op.ended && (later.Never || op.polls <= later.Polls || time.Now().Before(op.due))
}

// nowhere is an answer that nobody gets.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}
