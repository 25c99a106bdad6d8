package adaptertest

import (
	"net/http"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// Expect is where a system differs from a service that follows the standards. The
// zero value is such a service.
type Expect struct {
	// Key is the key that the ERP has of a message; nil: the external key as it is.
	Key func(call adapters.Call) string
	// Reference is what a verdict calls the ERP's document of that number; nil: its number.
	Reference func(number string) string
	// Created is the status of a create that succeeded; default 201.
	Created int
	// Invalid is how an invoice is refused that lacks what is required.
	Invalid Refusal
	// Statuses is what a create comes to that the ERP refuses with a status, where
	// it is another verdict than of the standards. A zero Outcome leaves the status out.
	Statuses map[int]Outcome
	// LookupStatuses are the verdicts of questions that are refused with a status,
	// likewise; "" leaves the status out.
	LookupStatuses map[int]ferry.VerdictKind
	// Duplicates are the ways in which the system treats a second create; nil: all
	// but writing again.
	Duplicates []practice.OnDuplicate
	// Searches: the document is asked for before it is written.
	Searches bool
	// AlwaysLooksUp: the dialect makes its lookup by itself, and takes no route without one.
	AlwaysLooksUp bool
	// Objects: what is sent is made of a JSON object, so that no other body can be.
	Objects bool
	// BodyTells: the body of an answer says whether it succeeded, and not its status.
	BodyTells bool
	// NumberElsewhere: the document's number is not in the body of the answer.
	NumberElsewhere bool
	// OwnHealth: the system can be asked whether it is up without a health request
	// in the configuration.
	OwnHealth bool
	// AtOnce: the system never takes a message to say later what became of it, or
	// does so in a way of its own.
	AtOnce bool
}

// Outcome is what a call comes to.
type Outcome struct {
	Kind   ferry.VerdictKind
	Effect ferry.Effect
	Status int // of the verdict; default the one that was asked for
}

// Refusal is how the system words an invoice that is not valid: one without
// number and supplier, and with a total below zero.
type Refusal struct {
	Status int    // default 400
	Code   string // default "validation"; "-" for none
	Text   string // a part of it; default "the invoice is not valid"
	// Fields are a part of the text by the field's name; default by JSON pointer.
	// Empty and not nil: the system names no fields, and its text has the words.
	Fields map[string]string
}

func (e Expect) key(call adapters.Call) string {
	if e.Key == nil {
		return call.ExternalKey
	}
	return e.Key(call)
}

func (e Expect) reference(number string) string {
	if e.Reference == nil {
		return number
	}
	return e.Reference(number)
}

func (e Expect) created() int {
	if e.Created == 0 {
		return http.StatusCreated
	}
	return e.Created
}

func (e Expect) invalid() Refusal {
	r := e.Invalid
	if r.Status == 0 {
		r.Status = http.StatusBadRequest
	}
	switch r.Code {
	case "":
		r.Code = "validation"
	case "-":
		r.Code = ""
	}
	if r.Text == "" {
		r.Text = "the invoice is not valid"
	}
	if r.Fields == nil {
		r.Fields = map[string]string{"#/number": "number is required", "#/supplier": "supplier is required", "#/total": "must not be negative"}
	}
	return r
}

func (e Expect) duplicates() []practice.OnDuplicate {
	if e.Duplicates == nil {
		return []practice.OnDuplicate{practice.Conflict, practice.BareError, practice.Repeat}
	}
	return e.Duplicates
}

// outcome is that of a create that is refused with a status; not ok: it is left out.
func (e Expect) outcome(status int, usual Outcome) (Outcome, bool) {
	out, differs := e.Statuses[status]
	if !differs {
		out = usual
	}
	if out.Status == 0 {
		out.Status = status
	}
	return out, out.Kind != ""
}

// lookupVerdict likewise.
func (e Expect) lookupVerdict(fault practice.Fault, usual ferry.VerdictKind) (ferry.VerdictKind, bool) {
	if fault.Kind != practice.FaultStatus {
		return usual, true
	}
	kind, differs := e.LookupStatuses[fault.Status]
	if !differs {
		kind = usual
	}
	return kind, kind != ""
}
