package api

import (
	"context"
	"io"
	"time"

	"ferry"
)

// Service is what the HTTP surface needs of the broker. Its errors are
// *ferry.Error where the caller can do something about them; any other is
// answered as internal and logged.
type Service interface {
	Intake
	Reader
	DeadLetterActs
	Operations
	RouteActs
	Observer
	Access
	Workers
	Confirmer
	Receivers
	Waiters
	Subscriptions
	Events
	UsageReader
	EditChecker
	Quotas
	Operating
}

// Intake takes messages in.
type Intake interface {
	// StageBody reads a body into a file of the ledger's folder, hashed and synced,
	// without ever holding it whole. More than limit bytes are tooLarge, a full disk
	// is noSpace, too many at a time are tooManyRequests; then nothing stays. An
	// error of r comes back wrapped.
	StageBody(ctx context.Context, route string, r io.Reader, limit int64) (ferry.StagedBody, error)
	// OpenBodyRef opens the blob that a sender named in place of a body. Errors are
	// badBodyRef, bodyRefMissing and bodyRefUnavailable; none of them holds the URL,
	// which may be signed. Who opened it closes it.
	OpenBodyRef(ctx context.Context, url string) (blob io.ReadCloser, contentType string, err error)
	// Unstage removes a staged body that is not needed. Accept has taken over its own.
	Unstage(b ferry.StagedBody)
	// Accept returns when the message is on disk. Its ID is zero: the service
	// names it. A keyReused error has its Existing set. The file of m.Staged is the
	// service's from the call on, whatever comes of it.
	Accept(ctx context.Context, m ferry.Message) (ferry.Accepted, error)
	// AcceptBatch accepts all or none, unless partial: then each message stands
	// for itself. The second result has one error per message, nil for the good;
	// the last is of the batch as a whole.
	AcceptBatch(ctx context.Context, ms []ferry.Message, partial bool) ([]ferry.Accepted, []error, error)
	Route(name string) (ferry.Route, bool)
	// RequestRefused and ObserveAccept count; route is "" when no such route exists.
	RequestRefused(route string, code ferry.Code)
	ObserveAccept(d time.Duration)
}

// Reader finds and shows messages.
type Reader interface {
	Message(ctx context.Context, id ferry.ID) (ferry.Envelope, error)
	// ResolveID finds the one message whose id ends in suffix; else
	// messageNotFound or ambiguousId.
	ResolveID(ctx context.Context, suffix string) (ferry.ID, error)
	// OpenBody opens the payload of a revision; 0 means the current one. It was held
	// against its hash: one that is missing or altered is bodyMissing.
	OpenBody(ctx context.Context, id ferry.ID, revision int) (ferry.BodyReader, error)
	Messages(ctx context.Context, f ferry.MessageFilter) (ferry.Page, error)
	DeadLetters(ctx context.Context, f ferry.DeadLetterFilter) (ferry.Page, error)
	Groups(ctx context.Context, f ferry.DeadLetterFilter) ([]ferry.Group, error)
}

// DeadLetterActs is what operators do to dead letters; by is who.
type DeadLetterActs interface {
	// Replay sends a dead letter again; body nil means as it is.
	Replay(ctx context.Context, id ferry.ID, body []byte, contentType, note, by string) (ferry.Envelope, error)
	AcceptDeadLetter(ctx context.Context, id ferry.ID, reference, note, by string) (ferry.Envelope, error)
	// Discard also ends pending messages that no worker can hold; else inDelivery.
	Discard(ctx context.Context, id ferry.ID, note, by string) (ferry.Envelope, error)
	Restore(ctx context.Context, id ferry.ID, note, by string) (ferry.Envelope, error)
	// Bulk starts act (replay, discard or restore) on what req selects, or only
	// counts it for a dry run.
	Bulk(ctx context.Context, act string, req ferry.BulkRequest, by string) (ferry.BulkAnswer, error)
}

// Operations are bulk acts under way and past.
type Operations interface {
	Operations(ctx context.Context) ([]ferry.Operation, error)
	Operation(ctx context.Context, id string) (ferry.Operation, error)
	CancelOperation(ctx context.Context, id, note, by string) (ferry.Operation, error)
	// ContinueOperation has a stopped one go on.
	ContinueOperation(ctx context.Context, id, note, by string) (ferry.Operation, error)
}

// RouteActs shows and steers routes.
type RouteActs interface {
	RouteInfos(ctx context.Context) ([]ferry.RouteInfo, error)
	// Pause with a zero until holds until somebody resumes.
	Pause(ctx context.Context, route, note string, until time.Time, by string) (ferry.RouteInfo, error)
	// AwaitRest tells how a route stands that was paused, as soon as nothing of it runs
	// any more, at the latest after within.
	AwaitRest(ctx context.Context, route string, within time.Duration) (ferry.RouteInfo, error)
	Resume(ctx context.Context, route, note, by string) (ferry.RouteInfo, error)
	BindRoute(ctx context.Context, route, worker string, gone bool, note, by string) (ferry.RouteInfo, error)
}

// Observer tells how the broker stands.
type Observer interface {
	Status(ctx context.Context) (ferry.StatusReport, error)
	Prove(ctx context.Context, req ferry.ProofRequest) (ferry.Proof, error)
	Doctor(ctx context.Context) (ferry.Diagnosis, error)
	// Backup has take write a snapshot somewhere; it is an act. Before take is called
	// the error is for the caller.
	Backup(ctx context.Context, by string, take func(about ferry.Backup, write func(io.Writer) error) error) error
	// Audit lists entries with a number above after, at or after a time (zero: any),
	// oldest first.
	Audit(ctx context.Context, after uint64, since time.Time, limit int) ([]ferry.AuditEntry, error)
	LedgerFile(ctx context.Context) (ferry.LedgerFile, error)
	// CompactLedger returns once it is noted, and about to begin.
	CompactLedger(ctx context.Context, note, by string) (ferry.LedgerFile, error)
	// Ready says why messages cannot be accepted, nil when they can.
	Ready(ctx context.Context) error
}

// Access is authentication and the API keys.
type Access interface {
	// Authenticate says whose key it is; else unauthenticated.
	Authenticate(ctx context.Context, key string) (ferry.Identity, error)
	// CreateKey makes a key. Its text is in the answer only.
	CreateKey(ctx context.Context, spec ferry.KeySpec, by string) (ferry.NewKey, error)
	Keys(ctx context.Context) ([]ferry.Key, error)
	// RotateKey gives one secret of a key another text: primary, secondary, or with
	// neither the older one, where that ends nothing that is in use.
	RotateKey(ctx context.Context, id, secret, note, by string) (ferry.NewKey, error)
	EditKey(ctx context.Context, id string, edit ferry.KeyEdit, by string) (ferry.Key, error)
	RevokeKey(ctx context.Context, id, note, by string) (ferry.Key, error)
}

// Workers keeps the workers' identities.
type Workers interface {
	AddWorker(ctx context.Context, name string, routes []string, note, by string) (ferry.NewWorker, error)
	Workers(ctx context.Context) ([]ferry.WorkerInfo, error)
	RotateWorker(ctx context.Context, name, note, by string) (ferry.NewWorker, error)
	RevokeWorker(ctx context.Context, name, note, by string) (ferry.WorkerInfo, error)
}

// Confirmer takes what destinations say later of messages that they took.
type Confirmer interface {
	// ConfirmToken says for which call of the message a token was made; else
	// unauthenticated, whether or not there is such a message.
	ConfirmToken(id ferry.ID, token string) (call ferry.CallOf, err error)
	// Confirm commits what became of the message; call is zero without a token.
	// audited: it is an operator's act. kept: it takes effect when the worker that
	// may hold the message has reported. A repeat changes nothing; what contradicts
	// an earlier word, or the message's end, is a conflict.
	Confirm(ctx context.Context, id ferry.ID, call ferry.CallOf, c ferry.Confirmation, by string, audited bool) (state ferry.State, kept bool, err error)
}
