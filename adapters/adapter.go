// Package adapters is the contract between the worker and the ways of speaking
// to a kind of destination, and the explicit registry of those.
//
// A delivery's outcome is never a Go error: it is a [ferry.Verdict], with the
// effect that the call may have had. What cannot be judged is maybe written.
package adapters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"ferry"
	"ferry/httpauth"
)

// Adapter delivers the messages of one route to its destination.
//
// Deliver makes one call that can write, ends it by ctx's deadline, and never
// re-sends by itself: only a call that was answered with a refusal of its token or
// session, and so wrote nothing, may be made once more with a fresh one. Where a
// route has more to do to a document than to create it, each act is such a call,
// begins when the one before it succeeded, and may be repeated without harm; until
// all are done, Lookup calls the document absent. It gives one of the first nine
// kinds of verdicts, or [ferry.NotTried] when ctx was cancelled (not: ran out)
// before the first byte of a request left. All methods may be called concurrently.
type Adapter interface {
	Deliver(ctx context.Context, call Call) ferry.Verdict
	// Lookup asks the destination for the document of call's external key. It
	// writes nothing.
	Lookup(ctx context.Context, call Call) LookupResult
	// CanLookup says whether Lookup can be asked at all.
	CanLookup() bool
	// Preview is the request that Deliver would make, secrets masked.
	Preview(ctx context.Context, call Call) (Preview, error)
}

// Poller is what an Adapter implements whose destination may answer later: its
// Deliver gives [ferry.InProgress] with the address to ask.
type Poller interface {
	// Poll asks at call.StatusURL what became of the message, and writes nothing.
	// InProgress: not finished; a StatusURL in the verdict takes the place of the
	// one before. Delivered or Rejected: the end. Unknown with
	// [CodeForgotten]: the destination no longer knows. Any other kind: not
	// answered, which proves nothing; Unavailable, Throttled and Unauthorized
	// mean that it may be answered later.
	Poll(ctx context.Context, call Call) ferry.Verdict
}

// Checker is what an Adapter implements that can prove, without writing, that
// the route's questions are answered, and answered truly. ErrNoProbe: it has
// nothing to ask.
type Checker interface {
	Check(ctx context.Context) error
}

// Call is what an adapter needs of a message for one call.
type Call struct {
	ferry.HandOut
	Number int // of the attempt, from 1 over all generations
	// Open reads a body that is too large to be held in memory, from its beginning
	// and as often as it is called; it was checked. Nil: Body has it. Who opens it
	// closes it before Deliver or Lookup returns, or gives it to net/http to close.
	Open func() (io.ReadSeekCloser, error)
}

// ErrNoBody says that the body of a call was not fetched.
var ErrNoBody = fmt.Errorf("the body was not fetched")

// OpenBody reads the call's body, wherever it lies.
func (c *Call) OpenBody() (io.ReadSeekCloser, error) {
	switch {
	case c.Open != nil:
		return c.Open()
	case c.Body == nil && c.Size > 0:
		return nil, ErrNoBody
	}
	return ferry.NewBodyReader(c.Body), nil
}

// BodyTooLargeError is a body that has to be in memory and is too large for that.
type BodyTooLargeError struct {
	Size, Most int64 // bytes
}

func (e *BodyTooLargeError) Error() string {
	return fmt.Sprintf("the body has %d bytes, and jq takes at most %d", e.Size, e.Most)
}

// Payload is the call's body in memory, for what needs it whole. A body of more
// than ferry.MaxMapped bytes that is not in memory is a *BodyTooLargeError.
func (c *Call) Payload() ([]byte, error) {
	if c.Open == nil {
		if c.Body == nil && c.Size > 0 {
			return nil, ErrNoBody
		}
		return c.Body, nil
	}
	if c.Size > ferry.MaxMapped {
		return nil, &BodyTooLargeError{Size: c.Size, Most: ferry.MaxMapped}
	}
	body, err := c.Open()
	if err != nil {
		return nil, err
	}
	data := make([]byte, c.Size)
	_, err = io.ReadFull(body, data)
	return data, errors.Join(err, body.Close())
}

// LookupState is what a lookup came to.
type LookupState int

// The outcomes of a lookup. Unanswered proves nothing.
const (
	Unanswered LookupState = iota
	Found
	Absent
)

// LookupResult is the destination's answer to a lookup.
type LookupResult struct {
	State     LookupState
	Reference string
	Result    json.RawMessage
	// Different: a document bears the key, but route.lookup.same says that it is
	// not of this body, or cannot tell: Verdict's code and text then say why.
	Different bool
	// Verdict of an unanswered lookup: why (unavailable, unauthorized, throttled, …).
	// Its effect is none: lookups write nothing.
	Verdict ferry.Verdict
}

// Preview is a request as it would be made, without credentials.
type Preview struct {
	Method string            `json:"method"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

// Codes of verdicts that adapters give by themselves, in the place of the
// destination's own code.
const (
	// CodeMaybeDuplicate comes with Unknown: the destination refuses the message
	// as a duplicate without naming the document. The answer is definite, so a
	// lookup may be asked at once; absent then means refused for another reason.
	CodeMaybeDuplicate = "duplicate?"
	// CodeMappingFailed comes with Rejected (with Failed when the map was stopped
	// for its time): the route's map, or the body that it
	// was given, makes no request.
	CodeMappingFailed = "mappingFailed"
	// CodeForgotten comes with Unknown from Poll: the destination no longer knows
	// what it was asked for, or the address cannot be asked any more.
	CodeForgotten = "operationForgotten"
)

// Fingerprinter is what a Destination implements whose credentials can be
// watched: the fingerprint changes when a secret does, and never reveals it. A
// worker that stopped a route because credentials were refused compares it. While a
// secret cannot be read there is [Unreadable] in it: it is no other one for that.
type Fingerprinter interface {
	Fingerprint() string
}

// Unreadable stands in a fingerprint for which a secret could not be read.
const Unreadable = httpauth.Unreadable

// Rereader is what a Destination implements whose secrets are kept between calls:
// Reread has them read anew, no more often than where they lie allows. A worker
// that holds refused credentials calls it now and then.
type Rereader interface {
	Reread()
}

// Destination is one configured downstream, shared by the routes that lead to
// it: connections, credentials, pace.
type Destination interface {
	// Route makes the adapter of one route. A bad setting is an error that names it.
	Route(cfg RouteConfig) (Adapter, error)
	// Probe makes the configured health request; ErrNoProbe when there is none,
	// ErrRefused when the destination refuses the credentials. Nil: the destination
	// is up. It writes nothing.
	Probe(ctx context.Context) error
	// Check proves that the destination can be reached and takes the credentials,
	// as far as that can be told without writing.
	Check(ctx context.Context) error
	Close() error
}

// Prover is what a Destination implements that can say in words what its Check
// proved, and what not.
type Prover interface {
	Prove(ctx context.Context) (proven string, err error)
}

// ErrNoProbe says that no health request is configured.
var ErrNoProbe = fmt.Errorf("no health request is configured")

// ErrRefused says that the destination refuses the credentials: they are not
// tried again before they change.
var ErrRefused = fmt.Errorf("the destination refuses the credentials")

// DestinationConfig is a destination of worker.yaml as adapters see it.
type DestinationConfig struct {
	Name    string            `yaml:"-"`
	Adapter string            `yaml:"adapter"`
	Dialect string            `yaml:"dialect"`
	URL     string            `yaml:"url"`
	Auth    httpauth.Config   `yaml:"auth"`
	TLS     httpauth.TLS      `yaml:"tls"`
	Timeout time.Duration     `yaml:"timeout"` // of one call; default 30 s
	Headers map[string]string `yaml:"headers"`
	Health  *HealthConfig     `yaml:"health"`
	// What some dialects take besides; see docs/erp.
	Database string `yaml:"database"` // odoo-jsonrpc, odoo-json2, tryton: the database at the server
	Company  string `yaml:"company"`  // bc, d365fo, acumatica: the company, or data area; tryton, odoo-*: its id
	Client   string `yaml:"client"`   // odata-sap: the SAP client, three digits
	Version  string `yaml:"version"`  // odata, odata-sap: v2 or v4; acumatica: the endpoint's version
	Spec     string `yaml:"spec"`     // openapi: the file that describes the API
	// Mask names members of JSON, at any depth or as JSON pointers, whose values are
	// never kept or shown.
	Mask []string `yaml:"mask"`
	// Verdicts are asked before the dialect's own table; the first match wins.
	Verdicts []VerdictRule `yaml:"verdicts"`
}

// MakesLookups says whether the dialect makes lookups of keyField and key by
// itself, so that none has to be configured.
func (c *DestinationConfig) MakesLookups() bool {
	switch c.Dialect {
	case "", "rest", "openapi":
		return false
	}
	return true
}

// UpsertsByKey says whether what is written with write: upsert under a key twice,
// also at the same time, is one document: the system looks for it, and not the
// dialect before it writes.
func (c *DestinationConfig) UpsertsByKey() bool {
	switch c.Dialect {
	case "tryton", "odoo-jsonrpc", "odoo-json2", "frappe":
		return false
	}
	return true
}

// AnswersLater says whether what r asks for is answered later by the dialect's
// nature, so that confirm: poll goes without saying, and how long it may take; 0:
// as long as such things do.
func (c *DestinationConfig) AnswersLater(r *RouteConfig) (within time.Duration, ok bool) {
	switch c.Dialect {
	case "d365fo":
		return 0, r.Activity != ""
	case "netsuite":
		return 0, r.Async // jobs wait in a queue
	case "acumatica": // acts, such as releasing, run on behind a 202
		return 10 * time.Minute, r.Finish != ""
	}
	return 0, false
}

// HonoursKey says whether the dialect sends a key with r's requests by which the
// destination knows one that it took before.
func (c *DestinationConfig) HonoursKey(r *RouteConfig) bool {
	return c.Dialect == "netsuite" && r.Async
}

// VerdictRule judges the answers that it matches. At least one of Status, Code,
// Says and When must be given; all that are given must match.
type VerdictRule struct {
	Says    string `yaml:"says"`    // regular expression over the answer's error text
	Status  string `yaml:"status"`  // "409", "5xx", "500-504", or several: "502,504"
	Code    string `yaml:"code"`    // regular expression over the answer's error code
	When    string `yaml:"when"`    // jq over the answer's JSON; matches unless it gives false or null
	Verdict string `yaml:"verdict"` // delivered, duplicate, rejected, failed, throttled, unavailable, unauthorized, unknown
	Effect  string `yaml:"effect"`  // none, done, maybe; default: what is usual for the verdict
}

// HealthConfig is the cheap request that tells whether a destination is up.
type HealthConfig struct {
	URL string `yaml:"url"` // joined to the destination's
}

// RouteConfig is the adapter's part of a route of worker.yaml.
type RouteConfig struct {
	Route       string            `yaml:"-"`
	URL         string            `yaml:"url"`    // joined to the destination's
	Method      string            `yaml:"method"` // default POST
	Map         string            `yaml:"map"`    // jq over the payload; empty: the payload as it is
	Query       map[string]string `yaml:"query"`
	Headers     map[string]string `yaml:"headers"`
	ContentType string            `yaml:"contentType"` // of what is sent; default JSON after map, else the sender's
	Reference   string            `yaml:"reference"`   // jq over the answer: the document number
	Result      string            `yaml:"result"`      // jq over the answer: what the sender gets
	// Entity is what a message becomes, in the destination's words: an entity set, a
	// model, a DocType, a record type. Dialects that have it make the address of it.
	Entity string `yaml:"entity"`
	// Write is create (default), upsert or update, where the dialect has them.
	Write string `yaml:"write"`
	// KeyHeader carries the external key; default Idempotency-Key with dialects rest
	// and openapi, else none; "-" for none.
	KeyHeader string `yaml:"keyHeader"`
	// RequestIDHeader carries a UUID of the request: the same on every attempt and
	// replay, another one for an edited body. Default none, or the dialect's own; "-"
	// for none of odata-sap.
	RequestIDHeader string `yaml:"requestIdHeader"`
	// KeyField is the document's field that bears the external key; it is set in the
	// body, and a dialect's lookup asks by it.
	KeyField string `yaml:"keyField"`
	// KeyLength is how many characters KeyField holds, 8 to 128; a longer key is
	// shortened to it, always alike. Default: the key as it is.
	KeyLength int `yaml:"keyLength"`
	// Key are the fields that tell the document where it is more than KeyField:
	// field -> jq over the payload.
	Key map[string]string `yaml:"key"`
	// Finish is an act on the document after it was created, such as posting it,
	// in the destination's words.
	Finish string `yaml:"finish"`
	// Finished is jq over the document as the lookup finds it: true when the act of
	// Finish is done. Default: the dialect's own.
	Finished string `yaml:"finished"`
	Batch    bool   `yaml:"batch"`    // odata, odata-sap, bc: the map gives several requests, which succeed or fail as one
	Async    bool   `yaml:"async"`    // netsuite: the answer comes later
	Company  string `yaml:"company"`  // d365fo: the data area of the documents; default the destination's
	Activity string `yaml:"activity"` // d365fo: the activity of a recurring data job
	// Operation and Parameters are openapi's: an operationId, and jq over the payload
	// by the name of a parameter.
	Operation  string            `yaml:"operation"`
	Parameters map[string]string `yaml:"parameters"`
	// CloudEvents is EventsBinary or EventsStructured where messages go out as
	// CloudEvents 1.0; empty: as they are. CloudEventType and CloudEventSource stand for
	// attributes that a message does not bring; default ferry.ROUTE and
	// /ferry/routes/ROUTE.
	CloudEvents      string `yaml:"cloudEvents"`
	CloudEventType   string `yaml:"cloudEventType"`
	CloudEventSource string `yaml:"cloudEventSource"`
	// Mask adds to the destination's.
	Mask []string `yaml:"mask"`
	// HonoursKey: the destination refuses or repeats its answer for a known key.
	HonoursKey bool          `yaml:"-"`
	Lookup     *LookupConfig `yaml:"lookup"`
	// Confirm is ConfirmPoll or ConfirmCallback when the destination takes messages
	// and says later what became of them; empty: a 2xx means delivered.
	Confirm string `yaml:"confirm"`
	// ConfirmHeader carries the address to call back; default Ferry-Confirm-Url.
	ConfirmHeader string      `yaml:"confirmHeader"`
	Poll          *PollConfig `yaml:"poll"`
}

// How a destination that answers later says what became of a message.
const (
	ConfirmPoll     = "poll"     // it is asked at the address that its 202 names
	ConfirmCallback = "callback" // it calls the broker
)

// How messages go out as CloudEvents.
const (
	EventsBinary     = "binary"     // the attributes are headers, the body is the data
	EventsStructured = "structured" // attributes and data are one JSON object
)

// PollConfig is how the answers of a poll are read.
type PollConfig struct {
	// Interval is the first pause between polls; default 5 s. It doubles up to a
	// minute. What the destination asks for in Retry-After wins.
	Interval  time.Duration `yaml:"interval"`
	State     string        `yaml:"state"`     // jq over the answer: running, done or failed; default: by status and common words
	Reference string        `yaml:"reference"` // jq over the answer that says done; default the route's
	Result    string        `yaml:"result"`    // likewise
	Text      string        `yaml:"text"`      // jq over an answer that says failed: the words; default: found in it
}

// LookupConfig is how the destination is asked for a document by external key.
type LookupConfig struct {
	// Where is a condition beside the key, in the dialect's own language.
	Where string `yaml:"where"`
	// Fields are those of the document that are read beside its keys, where the
	// dialect asks for them by name.
	Fields    []string `yaml:"fields"`
	URL       string   `yaml:"url"`       // {externalKey}, {messageId} are filled in, escaped
	Reference string   `yaml:"reference"` // jq over the answer; null or empty means absent
	Result    string   `yaml:"result"`
	Same      string   `yaml:"same"` // jq over {answer, payload, mapped}; false: found, but another document
}

// Variables are the names that the jq programs of a route over the payload may
// use, with $ before them: the external key as the document bears it, the
// message's id, a UUID of the request (see RouteConfig.RequestIDHeader), the
// sender's correlation id and ordering key, "" where there is none, and the
// number of the revision, from 1.
func Variables() []string {
	return []string{"externalKey", "messageId", "requestId", "correlationId", "orderingKey", "revision"}
}

// Opener makes a destination of one kind.
type Opener func(cfg DestinationConfig) (Destination, error)

// Registry is the explicit list of kinds of destinations: name -> opener.
type Registry map[string]Opener

// Open makes the destination that cfg names.
func (r Registry) Open(cfg DestinationConfig) (Destination, error) {
	open, ok := r[cfg.Adapter]
	if !ok {
		names := make([]string, 0, len(r))
		for name := range r {
			names = append(names, name)
		}
		sort.Strings(names)
		return nil, ferry.Errorf(ferry.CodeBadConfig, "destination %s: there is no adapter %q", cfg.Name, cfg.Adapter).
			WithHint("known adapters: %s", strings.Join(names, ", "))
	}
	return open(cfg)
}
