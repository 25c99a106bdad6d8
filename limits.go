package ferry

import "time"

// Limits. Each breach has an error code and a test; docs/errors.md lists the codes.
const (
	MaxKeyLength         = 128       // idempotency key, printable ASCII
	MaxOrderingKeyLength = 128       // ordering key and correlation id, bytes
	MaxHeaderBytes       = 32 << 10  // header block of a request
	MaxProperties        = 64        // custom properties of a message
	MaxPropertiesBytes   = 32 << 10  // all custom properties, names and values
	DefaultMaxBody       = 1 << 20   // body of a message unless the route says otherwise
	MaxBody              = 100 << 20 // body of a message at the most
	InlineBody           = 256 << 10 // bodies up to this lie in the ledger, larger ones in files beside it
	MaxMapped            = 8 << 20   // body that jq reads: maps, orderBy, searchKeys, lookups
	MaxStaged            = 64        // large bodies on their way into the ledger at a time
	MaxBatch             = 500       // messages of one batch
	MaxAttemptsKept      = 100       // attempts kept per message: the first 10 and the last 90
	AttemptsKeptFirst    = 10
	MaxAttemptText       = 4 << 10 // text of an attempt, bytes
	MaxAttemptFields     = 100     // field errors of an attempt
	MaxResult            = 64 << 10
	MaxReferenceLength   = 256
	MaxStatusURL         = 2 << 10 // address at which a destination is asked what became of a message, bytes
	MaxNoteLength        = 1 << 10
	MaxGroups            = 1000      // groups of dead letters per route, then GroupOther
	MaxSelection         = 1_000_000 // messages of one bulk act
	MaxCanary            = 100
	MaxOperations        = 20 // bulk acts that run, or were stopped, at a time
	OperationGroupsShown = 50
	MaxRoutes            = 500
	MaxKeys              = 10_000
	MaxEnvironmentID     = 128      // of a key, bytes
	MaxToken             = 16 << 10 // token of an issuer, bytes
	MaxIssuers           = 20
	MaxClientCerts       = 1000 // certificates that stand for keys
	MaxWorkers           = 1000
	MaxListLimit         = 1000
	MaxUsageRows         = 1000 // keys times routes whose use is counted per UTC day; then UsageOther
	UsageDays            = 400  // days that usage is kept
	DefaultListLimit     = 50
	MaxAhead             = 10_000 // messages that are counted ahead of one
	DefaultWindow        = 2000   // messages of a route in the queue at a time
	MaxWindow            = 100_000
	MaxTracestate        = 512 // bytes; a longer one is dropped
)

// Durations that bound promises.
const (
	CursorLife        = 24 * time.Hour      // a list's cursor
	MaxRetryAfter     = time.Hour           // a destination's Retry-After is honoured up to this
	MaxClockSkew      = 5 * time.Minute     // between broker, worker and sender
	IdempotencyWindow = 7 * 24 * time.Hour  // how long a repeat is recognised by its key
	DefaultTimeToLive = 30 * 24 * time.Hour // of a pending message
	DefaultRetention  = 30 * 24 * time.Hour // of an ended message
	// DefaultAuditRetention is how long the ledger keeps entries of the audit log.
	DefaultAuditRetention = 2 * 365 * 24 * time.Hour

	// How long a route's one worker works on while the broker is away, on a queue
	// that runs on meanwhile. Nothing older than MaxWorkAway is worked on anyhow.
	DefaultWorkAway = 24 * time.Hour
	MinWorkAway     = 20 * time.Second
	MaxWorkAway     = 3 * 24 * time.Hour
)
