package queue

import (
	"fmt"
	"time"

	"ferry"
)

// The fields of a receipt.
const (
	receiptID = iota + 1
	receiptRoute
	receiptTurn
	receiptRevision
	receiptGeneration
	receiptWorker
	receiptInbox
	receiptVerdict
	receiptEffect
	receiptReference
	receiptResult
	receiptCode
	receiptText
	receiptAttempt
	receiptDo
	receiptAfter
	receiptReason
	receiptSpends
	receiptDoubt
	receiptGivesBack // attempts: spends below zero
	receiptAwaits
	receiptStatusURL
)

// receiptTraceparent names the span of the turn.
const receiptTraceparent = receiptStatusURL + 2

// The fields of an attempt within a receipt.
const (
	attemptNumber = iota + 1
	attemptTurn
	attemptRevision
	attemptGeneration
	attemptStartedAt
	attemptDuration
	attemptVerdict
	attemptEffect
	attemptStatus
	attemptCode
	attemptText
	attemptField
	attemptReference
	attemptWorker
	attemptRequest
	attemptRemoteCorrelationID
)

func encodeReceipt(r *ferry.Receipt) []byte {
	b := make([]byte, 0, 512+len(r.Result)+len(r.Text))
	b = append(b, wireVersion, kindReceipt)
	b = appendBytes(b, receiptID, r.ID[:])
	b = appendString(b, receiptRoute, r.Route)
	b = appendUint(b, receiptTurn, r.Turn)
	b = appendInt(b, receiptRevision, r.Revision)
	b = appendInt(b, receiptGeneration, r.Generation)
	b = appendString(b, receiptWorker, r.Worker)
	b = appendString(b, receiptInbox, r.Inbox)
	b = appendString(b, receiptVerdict, r.Verdict)
	b = appendString(b, receiptEffect, r.Effect)
	b = appendString(b, receiptReference, r.Reference)
	b = appendBytes(b, receiptResult, r.Result)
	b = appendString(b, receiptCode, r.Code)
	b = appendString(b, receiptText, r.Text)
	for i := range r.Attempts {
		b = appendPart(b, receiptAttempt, encodeAttempt(&r.Attempts[i]))
	}
	b = appendString(b, receiptDo, r.Next.Do)
	b = appendUint(b, receiptAfter, uint64(max(r.Next.After, 0)))
	b = appendString(b, receiptReason, r.Next.Reason)
	b = appendInt(b, receiptSpends, r.Next.Spends)
	b = appendInt(b, receiptGivesBack, -r.Next.Spends)
	if r.Next.Doubt {
		b = appendUint(b, receiptDoubt, 1)
	}
	if r.Next.Awaits {
		b = appendUint(b, receiptAwaits, 1)
	}
	b = appendString(b, receiptTraceparent, r.Traceparent)
	return appendString(b, receiptStatusURL, r.Next.StatusURL)
}

func encodeAttempt(a *ferry.Attempt) []byte {
	b := make([]byte, 0, 192+len(a.Text))
	b = appendInt(b, attemptNumber, a.Number)
	b = appendUint(b, attemptTurn, a.Turn)
	b = appendInt(b, attemptRevision, a.Revision)
	b = appendInt(b, attemptGeneration, a.Generation)
	b = appendTime(b, attemptStartedAt, a.StartedAt)
	b = appendUint(b, attemptDuration, uint64(max(a.DurationMS, 0)))
	b = appendString(b, attemptVerdict, a.Verdict)
	b = appendString(b, attemptEffect, a.Effect)
	b = appendInt(b, attemptStatus, a.Status)
	b = appendString(b, attemptCode, a.Code)
	b = appendString(b, attemptText, a.Text)
	for _, f := range a.Fields {
		b = appendPair(b, attemptField, f.Field, f.Text)
	}
	b = appendString(b, attemptReference, a.Reference)
	b = appendString(b, attemptWorker, a.Worker)
	b = appendString(b, attemptRequest, a.Request)
	return appendString(b, attemptRemoteCorrelationID, a.RemoteCorrelationID)
}

func decodeReceipt(data []byte) (ferry.Receipt, error) {
	var r ferry.Receipt
	f, err := openFields(data, kindReceipt)
	if err != nil {
		return r, err
	}
	for {
		field, v, ok := f.next()
		if !ok {
			break
		}
		decodeReceiptField(&f, &r, field, v)
	}
	if f.err != nil {
		return ferry.Receipt{}, f.err
	}
	if r.ID.IsZero() || r.Turn == 0 || r.Verdict == "" {
		return ferry.Receipt{}, fmt.Errorf("%w: id, turn or verdict is missing", errMalformed)
	}
	return r, nil
}

func decodeReceiptField(f *fields, r *ferry.Receipt, field int, v []byte) {
	switch field {
	case receiptID:
		f.id(r.ID[:], v)
	case receiptRoute:
		r.Route = string(v)
	case receiptTurn:
		r.Turn = f.uint(v)
	case receiptRevision:
		r.Revision = f.int(v)
	case receiptGeneration:
		r.Generation = f.int(v)
	case receiptWorker:
		r.Worker = string(v)
	case receiptInbox:
		r.Inbox = string(v)
	case receiptVerdict:
		r.Verdict = ferry.VerdictKind(v)
	case receiptEffect:
		r.Effect = ferry.Effect(v)
	case receiptReference:
		r.Reference = string(v)
	case receiptResult:
		r.Result = v
	case receiptCode:
		r.Code = string(v)
	case receiptText:
		r.Text = string(v)
	case receiptAttempt:
		if len(r.Attempts) < ferry.MaxAttemptsKept {
			r.Attempts = append(r.Attempts, decodeAttempt(f, v))
		}
	case receiptDo:
		r.Next.Do = ferry.NextDo(v)
	case receiptAfter:
		r.Next.After = time.Duration(f.int(v))
	case receiptReason:
		r.Next.Reason = ferry.Reason(v)
	case receiptSpends:
		r.Next.Spends += f.int(v)
	case receiptGivesBack:
		r.Next.Spends -= f.int(v)
	case receiptDoubt:
		r.Next.Doubt = f.uint(v) != 0
	case receiptAwaits:
		r.Next.Awaits = f.uint(v) != 0
	case receiptStatusURL:
		r.Next.StatusURL = string(v)
	case receiptTraceparent:
		r.Traceparent = string(v)
	}
}

// decodeAttempt reads one attempt; a fault in it is a fault of outer.
func decodeAttempt(outer *fields, data []byte) ferry.Attempt {
	var a ferry.Attempt
	f := fields{rest: data}
	for {
		field, v, ok := f.next()
		if !ok {
			break
		}
		decodeAttemptField(&f, &a, field, v)
	}
	if f.err != nil {
		outer.fail()
	}
	return a
}

func decodeAttemptField(f *fields, a *ferry.Attempt, field int, v []byte) {
	switch field {
	case attemptNumber:
		a.Number = f.int(v)
	case attemptTurn:
		a.Turn = f.uint(v)
	case attemptRevision:
		a.Revision = f.int(v)
	case attemptGeneration:
		a.Generation = f.int(v)
	case attemptStartedAt:
		a.StartedAt = f.time(v)
	case attemptDuration:
		a.DurationMS = int64(f.int(v))
	case attemptVerdict:
		a.Verdict = ferry.VerdictKind(v)
	case attemptEffect:
		a.Effect = ferry.Effect(v)
	case attemptStatus:
		a.Status = f.int(v)
	case attemptCode:
		a.Code = string(v)
	case attemptText:
		a.Text = string(v)
	case attemptField:
		if len(a.Fields) < ferry.MaxAttemptFields {
			name, text := f.pair(v)
			a.Fields = append(a.Fields, ferry.FieldError{Field: name, Text: text})
		}
	case attemptReference:
		a.Reference = string(v)
	case attemptWorker:
		a.Worker = string(v)
	case attemptRequest:
		a.Request = string(v)
	case attemptRemoteCorrelationID:
		a.RemoteCorrelationID = string(v)
	}
}
