package logicapps

import (
	"context"
	"net/http"
	"time"
)

// What became of an action, as the run history shows it.
const (
	Succeeded = "Succeeded"
	Failed    = "Failed"
	TimedOut  = "TimedOut"
)

// Action is an HTTP action.
type Action struct {
	Name   string // x-ms-workflow-operation-name
	Method string
	URI    string
	// Headers are the maker's. Some are dropped: see Stripped.
	Headers map[string]string
	// Authentication is the value of Authorization, such as "Bearer KEY": the type Raw.
	// Polls do not carry it, nor any of Headers.
	Authentication string
	Body           []byte

	Retry RetryPolicy   // zero: the default
	Limit time.Duration // how long the action may take, polls included; 0: no limit
	// DisableAsyncPattern: a 202 is an answer like any other.
	DisableAsyncPattern bool
	// AllowChunking announces the body in chunks instead of sending it.
	AllowChunking bool
	// Again posts the same request a second time, which the run history does not show.
	Again Again
}

// Again says how the engine posts a request twice, as its at-least-once way allows.
type Again struct {
	Twice bool
	After time.Duration // after the first answer; ignored when Together
	// Together: both are under way at the same time.
	Together bool
	// UseSecond: the answer to the second is the action's; the first is lost.
	UseSecond bool
}

// Exchange is one request and its answer. Status 0: there was none, Err says why.
type Exchange struct {
	Method, URI string
	Sent        http.Header
	Status      int
	Header      http.Header
	Body        []byte
	Err         error
	Poll        bool // of a 202's Location
}

// Outcome is what became of an action.
type Outcome struct {
	Status     string // Succeeded, Failed or TimedOut
	Code       string // OK, NotFound, ActionTimedOut …
	StatusCode int    // of the last answer; 0: none
	Header     http.Header
	Body       []byte
	Exchanges  []Exchange // all calls, in order, polls, repeats and retries included
	// TrackingID is the action's x-ms-action-tracking-id: one over retries.
	TrackingID string
}

// HTTP runs an HTTP action to its end. The error is of ctx alone: what the server
// does is in the Outcome.
func (r *Run) HTTP(ctx context.Context, a Action) (Outcome, error) {
	return Outcome{}, nil
}
