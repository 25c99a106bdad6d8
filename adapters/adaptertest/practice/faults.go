package practice

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// FaultKind is a way to fail.
type FaultKind string

// The ways to fail.
const (
	// FaultStatus answers Fault.Status and writes nothing.
	FaultStatus FaultKind = "status"
	// FaultStatusAfterWrite writes, then answers Fault.Status.
	FaultStatusAfterWrite FaultKind = "statusAfterWrite"
	// FaultSlow waits Fault.Delay, then does as usual.
	FaultSlow FaultKind = "slow"
	// FaultHang answers and writes nothing until the caller goes, or Delay is over.
	FaultHang FaultKind = "hang"
	// FaultCutBefore ends the connection, nothing written.
	FaultCutBefore FaultKind = "cutBefore"
	// FaultCutAfter writes, then ends the connection.
	FaultCutAfter FaultKind = "cutAfter"
	// FaultWriteLate never answers, and writes Delay after the call came in.
	FaultWriteLate FaultKind = "writeLate"
	// FaultCutWriteLate ends the connection at once, and writes after Delay.
	FaultCutWriteLate FaultKind = "cutWriteLate"
	// FaultGarbled writes, and answers 201 with a body that is no JSON.
	FaultGarbled FaultKind = "garbled"
	// FaultOversized writes, and answers 201 with a body of 2 MiB.
	FaultOversized FaultKind = "oversized"
	// FaultCutAnswer writes, answers 201 and ends the connection within the body.
	FaultCutAnswer FaultKind = "cutAnswer"
)

// Fault is how calls fail.
type Fault struct {
	Kind       FaultKind     `json:"kind"`
	On         Op            `json:"on"`         // default create
	Key        string        `json:"key"`        // only calls of this external key
	Times      int           `json:"times"`      // how many calls; 0 means one, -1 until the faults are cleared
	Chance     float64       `json:"chance"`     // with Times -1: the share of the calls that it takes, 0..1; 0 means every one
	Status     int           `json:"status"`     // of the status kinds
	Code       string        `json:"code"`       // the error's code
	Text       string        `json:"text"`       // the error's words
	RetryAfter string        `json:"retryAfter"` // header, as it is
	Location   string        `json:"location"`   // header, as it is
	Delay      time.Duration `json:"-"`
	DelayText  string        `json:"delay"` // over HTTP: such as "2s"
}

// writes says whether the fault leaves a document behind.
func (f Fault) writes() bool {
	switch f.Kind {
	case FaultStatus, FaultHang, FaultCutBefore, FaultSlow:
		return false
	}
	return true
}

// longest is how long a call hangs at the most.
const longest = 5 * time.Minute

// Fail makes the next calls fail, after those that earlier faults take.
func (e *ERP) Fail(faults ...Fault) error {
	for i, f := range faults {
		if err := f.complete(); err != nil {
			return err
		}
		faults[i] = f
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.faults)+len(faults) > MaxFaults {
		return fmt.Errorf("more than %d faults wait", MaxFaults)
	}
	e.faults = append(e.faults, faults...)
	return nil
}

// ClearFaults forgets the faults that were not met.
func (e *ERP) ClearFaults() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = nil
}

func (f *Fault) complete() error {
	if f.DelayText != "" {
		d, err := time.ParseDuration(f.DelayText)
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
		f.Delay = d
	}
	if f.On == "" {
		f.On = OpCreate
	}
	if f.Times == 0 {
		f.Times = 1
	}
	if f.Status == 0 {
		f.Status = http.StatusInternalServerError
	}
	switch f.Kind {
	case FaultStatus, FaultStatusAfterWrite, FaultSlow, FaultHang, FaultCutBefore, FaultCutAfter, FaultWriteLate,
		FaultCutWriteLate, FaultGarbled, FaultOversized, FaultCutAnswer:
	default:
		return fmt.Errorf("there is no fault %q", f.Kind)
	}
	switch {
	case f.On != OpCreate && f.On != OpLookup && f.On != OpPing && f.On != OpPoll && f.On != OpFinish:
		return fmt.Errorf("there is no call %q", f.On)
	case f.On != OpCreate && f.writes():
		return fmt.Errorf("%s is for creates", f.Kind)
	case f.Delay < 0 || f.Delay > longest:
		return fmt.Errorf("the delay is longer than %s", longest)
	case f.Status < 200 || f.Status > 599:
		return fmt.Errorf("there is no status %d", f.Status)
	case f.Times < -1:
		return errors.New("times is -1, or how many calls")
	case !(f.Chance >= 0 && f.Chance <= 1):
		return errors.New("chance is a share from 0 to 1")
	case f.Chance > 0 && f.Times != -1:
		return errors.New("chance goes with times -1")
	}
	return nil
}

// meet takes the first fault that waits for such a call. A call draws once, and
// those that leave it to chance have shares of that draw, one behind the other:
// 0.10 and 0.02 take 12 of 100 calls.
func (e *ERP) meet(op Op, key string) (Fault, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	drawn := -1.0
	for i := range e.faults {
		f := &e.faults[i]
		if f.On != op || f.Key != "" && f.Key != key {
			continue
		}
		if f.Chance > 0 {
			if drawn < 0 {
				drawn = e.drawLocked(op, key)
			}
			if drawn -= f.Chance; drawn >= 0 {
				continue
			}
		}
		met := *f
		e.met[string(f.Kind)]++
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				e.faults = append(e.faults[:i], e.faults[i+1:]...)
			}
		}
		return met, true
	}
	return Fault{}, false
}

// drawLocked is a number from 0 to below 1 that seed, key and number of the call
// decide: a run can be repeated, whatever comes between the calls of a key.
func (e *ERP) drawLocked(op Op, key string) float64 {
	call := string(op) + " " + key
	if _, known := e.drawn[call]; known || len(e.drawn) < MaxDocuments {
		e.drawn[call]++
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, call) // a hash takes everything
	return rand.New(rand.NewPCG(e.settings.Seed, h.Sum64()+uint64(e.drawn[call]))).Float64()
}

// fail does what the fault says; usual is what the call would have done.
func (e *ERP) fail(w http.ResponseWriter, r *http.Request, f Fault, doc Document, usual func()) {
	switch f.Kind {
	case FaultStatus:
		e.mode.refuse(w, f.failure())
	case FaultStatusAfterWrite:
		e.write(doc)
		e.mode.refuse(w, f.failure())
	case FaultSlow:
		if wait(r, f.Delay) {
			usual()
		}
	case FaultHang:
		if f.Delay == 0 {
			f.Delay = longest
		}
		wait(r, f.Delay)
		cut(w)
	case FaultCutBefore:
		cut(w)
	case FaultCutAfter:
		if later := e.laterOf(r); later.How != "" {
			e.answerLater(nowhere{}, r, doc, later) // taken, and the answer is lost
		} else {
			e.write(doc)
		}
		cut(w)
	case FaultWriteLate:
		e.writeLater(doc, f.Delay)
		wait(r, longest)
		cut(w)
	case FaultCutWriteLate:
		e.writeLater(doc, f.Delay)
		cut(w)
	case FaultGarbled:
		e.write(doc)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id": "INV-`)
	case FaultOversized:
		written, _ := e.write(doc)
		reply(w, http.StatusCreated, map[string]any{"id": written.ID, "filler": strings.Repeat("x", 2<<20)})
	case FaultCutAnswer:
		e.write(doc)
		w.Header().Set("Content-Length", strconv.Itoa(1000))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id": "INV-`)
		_ = http.NewResponseController(w).Flush()
		cut(w)
	}
}

func (f Fault) failure() failure {
	text := f.Text
	if text == "" {
		text = "a fault that was asked for"
	}
	return failure{status: f.Status, code: f.Code, text: text, retryAfter: f.RetryAfter, location: f.Location}
}

// wait waits for a while, or until the caller goes; it says whether the caller
// is still there.
func wait(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// cut ends the connection without an answer.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func (e *ERP) addFaults(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		problem(w, http.StatusRequestEntityTooLarge, "tooLarge", "too many faults at a time", nil)
		return
	}
	var faults []Fault
	if err := json.Unmarshal(body, &faults); err != nil {
		var one Fault
		if err := json.Unmarshal(body, &one); err != nil {
			problem(w, http.StatusBadRequest, "malformed", err.Error(), nil)
			return
		}
		faults = []Fault{one}
	}
	if err := e.Fail(faults...); err != nil {
		problem(w, http.StatusBadRequest, "malformed", err.Error(), nil)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
