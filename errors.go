package ferry

import (
	"errors"
	"fmt"
	"time"
)

// Code is the stable name of an error: the `code` of an HTTP answer, in lower
// camel case. docs/errors.md explains each.
type Code string

// The error codes.
const (
	CodeBadRequest           Code = "badRequest"           // malformed syntax: JSON, header, query
	CodeBadID                Code = "badId"                // not a message id
	CodeBadName              Code = "badName"              // a name that breaks the rules
	CodeBadKey               Code = "badIdempotencyKey"    // 1..128 printable ASCII characters
	CodeBadOrderingKey       Code = "badOrderingKey"       // longer than 128 bytes
	CodeBadCorrelationID     Code = "badCorrelationId"     // longer than 128 bytes
	CodeBadTime              Code = "badTime"              // a time without offset, or out of range
	CodeBadDuration          Code = "badDuration"          // a duration that cannot be read
	CodeBadCallbackURL       Code = "badCallbackUrl"       // a callback URL that is not an absolute https one
	CodeBadBodyRef           Code = "badBodyRef"           // not the URL of a blob in an account that is allowed
	CodeBodyRefMissing       Code = "bodyRefMissing"       // nothing can be read at that URL
	CodeBodyRefUnavailable   Code = "bodyRefUnavailable"   // the account that it names does not answer
	CodeSecretUnavailable    Code = "secretUnavailable"    // a secret cannot be read now, such as one in a vault that does not answer
	CodeBadCursor            Code = "badCursor"            // a cursor that is damaged or older than a day
	CodeBadFilter            Code = "badFilter"            // a filter value that means nothing
	CodeEmptyBody            Code = "emptyBody"            // the route does not take empty bodies
	CodeChunkingNotSupported Code = "chunkingNotSupported" // x-ms-transfer-mode: chunked
	CodeUnauthenticated      Code = "unauthenticated"      // no key, or an unknown one
	CodeForbidden            Code = "forbidden"            // the key's role or routes do not allow it
	CodeIssuerUnavailable    Code = "issuerUnavailable"    // a token cannot be judged: its issuer does not answer
	CodeNotFound             Code = "notFound"             // no such path or thing
	CodeRouteRetired         Code = "routeRetired"         // the configuration has the route no more; what is in it is delivered
	CodeRouteNotFound        Code = "routeNotFound"
	CodeMessageNotFound      Code = "messageNotFound"
	CodeVersionNotFound      Code = "versionNotFound" // the route has no such version
	CodeAmbiguousID          Code = "ambiguousId"     // a suffix that more than one id ends in
	CodeQueueNotFound        Code = "queueNotFound"   // no such route, told the way of Service Bus
	CodeLockLost             Code = "lockLost"        // the lock ended, or never was
	CodeBodyMissing          Code = "bodyMissing"     // a message's body is gone or was altered
	CodeBodyRemoved          Code = "bodyRemoved"     // retention removed the body of a completed message
	CodeResultGone           Code = "resultGone"      // a message that was waited for is beyond its retention
	CodeMethodNotAllowed     Code = "methodNotAllowed"
	CodeUpgradeRequired      Code = "upgradeRequired"   // /queue takes WebSockets only
	CodeKeyReused            Code = "keyReused"         // same idempotency key, other body
	CodeConflict             Code = "conflict"          // the state does not allow it
	CodeInDelivery           Code = "inDelivery"        // a worker may hold the message
	CodeNotDeadLettered      Code = "notDeadLettered"   // an act on dead letters, on a message that is none
	CodeNotDiscarded         Code = "notDiscarded"      // restore of a message that was not discarded
	CodeCountChanged         Code = "countChanged"      // a bulk act's expected count is not what it would touch
	CodeNoteRequired         Code = "noteRequired"      // discard and accept want a note
	CodeExists               Code = "exists"            // a name that is taken
	CodeTooLarge             Code = "tooLarge"          // body
	CodeTooManyProperties    Code = "tooManyProperties" // custom properties: count or size
	CodeHeaderTooLarge       Code = "headerTooLarge"
	CodeBatchTooLarge        Code = "batchTooLarge"
	CodeNoteTooLong          Code = "noteTooLong"
	CodeReferenceTooLong     Code = "referenceTooLong"
	CodeLimitReached         Code = "limitReached"         // a count that is bounded: keys, routes, workers
	CodeUnsupportedMedia     Code = "unsupportedMediaType" // a content type or encoding that is not taken
	CodeInvalid              Code = "invalid"              // 422: well-formed, but wrong; see errors[]
	CodeTooManyRequests      Code = "tooManyRequests"      // a rate, or what the broker has room for
	CodeQuotaExceeded        Code = "quotaExceeded"        // what may be sent in a day or another window
	CodeConnectorTooLarge    Code = "connectorTooLarge"    // a connector's definition that Power Platform would not take
	CodeNoSpace              Code = "noSpace"              // the ledger's disk is full
	CodeLedgerUnavailable    Code = "ledgerUnavailable"    // the ledger cannot write
	CodeBackupRuns           Code = "backupRuns"           // another backup is being taken
	CodeBackupUnreadable     Code = "backupUnreadable"     // a backup file is cut off, damaged, or none
	CodeFolderNotEmpty       Code = "folderNotEmpty"       // a restore would write over something
	CodeStopping             Code = "stopping"             // the broker is shutting down
	CodeLedgerLocked         Code = "ledgerLocked"         // another process has the ledger open
	CodeLedgerNewer          Code = "ledgerNewer"          // written by a newer version
	CodeLedgerUnreadable     Code = "ledgerUnreadable"     // not a ledger, or damaged
	CodePortTaken            Code = "portTaken"
	CodeQueueUnreachable     Code = "queueUnreachable" // the NATS server elsewhere, or the Service Bus namespace
	CodeQueueRefused         Code = "queueRefused"     // it refuses the login, or denies what is needed
	CodeQueueUnsuitable      Code = "queueUnsuitable"  // it cannot carry the queue: no JetStream, a limit, a missing queue
	CodeBadConfig            Code = "badConfiguration"
	CodeInternal             Code = "internal" // not the caller's doing
)

// Error is an error at the edge: a sentence for a person, the stable code, and
// where one helps a hint at what to do. The wrapped cause is for logs only.
type Error struct {
	Code    Code
	Message string
	Hint    string
	Details []ErrorDetail // several faults of one input

	// After, where it is set, is how long to wait until a repeat can succeed: an
	// answer says it as Retry-After.
	After time.Duration

	// Of a keyReused error: the message that has the key.
	Existing *Accepted

	// Of an error that a broker answered to a client: the request, as the
	// broker's log knows it.
	RequestID string

	cause error
}

// ErrorDetail is one fault of an input: where (a JSON pointer) and what.
type ErrorDetail struct {
	Detail  string `json:"detail"`
	Pointer string `json:"pointer,omitempty"`
}

// Errorf makes an Error; %w wraps a cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint adds the hint and returns the same error.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is matches another *Error of the same code, so that
// errors.Is(err, &ferry.Error{Code: …}) asks for a code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf is the code of the first Error in err's chain, CodeInternal for any
// other error, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
