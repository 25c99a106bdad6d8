package logicapps

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// What became of an action, as the run history shows it.
const (
	Succeeded = "Succeeded"
	Failed    = "Failed"
	TimedOut  = "TimedOut"
)

// CodeTimedOut is the code of an action that was over its limit.
const CodeTimedOut = "ActionTimedOut"

// Action is an HTTP action.
type Action struct {
	Name   string // x-ms-workflow-operation-name
	Method string
	URI    string
	// Headers are the maker's. Some are dropped: see Stripped.
	Headers map[string]string
	// Authentication is the value of Authorization, such as "Bearer KEY": the type Raw.
	// Polls carry neither it nor any of Headers.
	Authentication string
	Body           []byte

	Retry RetryPolicy   // zero: the default
	Limit time.Duration // how long the action may take, polls included; 0: no limit
	// DisableAsyncPattern: a 202 is an answer like any other.
	DisableAsyncPattern bool
	// AllowChunking announces the body, to send it in chunks. What follows is not played:
	// a server that agrees fails the action.
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
	// UseSecond: the answer to the second is the action's; that to the first is lost.
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
	Code       string // OK, NotFound … or CodeTimedOut
	StatusCode int    // of the last answer; 0: none
	Header     http.Header
	Body       []byte
	Exchanges  []Exchange // all calls, in order, polls, repeats and retries included
	// TrackingID is the action's x-ms-action-tracking-id: one over retries, another for
	// each action, repetition and run.
	TrackingID string
}

// Polls counts the requests that asked a Location.
func (o *Outcome) Polls() int {
	n := 0
	for i := range o.Exchanges {
		if o.Exchanges[i].Poll {
			n++
		}
	}
	return n
}

// HTTP runs an HTTP action to its end. The error is of ctx alone: what the server
// does is in the Outcome.
func (r *Run) HTTP(ctx context.Context, a Action) (Outcome, error) {
	limited := ctx
	if a.Limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, a.Limit)
		defer cancel()
	}
	x := &execution{run: r, action: &a, engine: r.flow.engine}
	x.out.TrackingID = GUID()
	err := x.do(limited)
	switch {
	case ctx.Err() != nil:
		return x.out, ctx.Err()
	case err != nil: // the limit's
		x.out.Status, x.out.Code = TimedOut, CodeTimedOut
	case x.out.StatusCode >= 200 && x.out.StatusCode < 300:
		x.out.Status, x.out.Code = Succeeded, codeOf(x.out.StatusCode)
	default:
		x.out.Status, x.out.Code = Failed, codeOf(x.out.StatusCode)
	}
	return x.out, nil
}

// codeOf is a status in the words of the run history, such as NotFound.
func codeOf(status int) string {
	code := []byte(http.StatusText(status))
	if status == http.StatusOK {
		return "OK"
	}
	if len(code) == 0 {
		return "Status" + strconv.Itoa(status)
	}
	return string(bytes.ReplaceAll(code, []byte(" "), nil))
}

// execution is one action under way.
type execution struct {
	run    *Run
	action *Action
	engine *Engine

	mu  sync.Mutex // two posts may be under way together
	out Outcome
}

func (x *execution) do(ctx context.Context) error {
	last, err := x.post(ctx)
	for err == nil && !x.action.DisableAsyncPattern && last.Status == http.StatusAccepted {
		location, absolute := absoluteURL(last.Header.Get("Location"))
		if !absolute {
			break // no async pattern without it: the 202 is the answer
		}
		pause, given := retryAfter(last.Header, time.Now())
		if !given {
			pause = DefaultPoll
		}
		if err = x.engine.opts.Sleep(ctx, pause); err != nil {
			break
		}
		last, err = x.persist(ctx, func() Exchange { return x.poll(ctx, location) })
	}
	x.out.StatusCode, x.out.Header, x.out.Body = last.Status, last.Header, last.Body
	return err
}

// post makes the action's own request, or two where it is posted again.
func (x *execution) post(ctx context.Context) (Exchange, error) {
	send := func() (Exchange, error) { return x.persist(ctx, func() Exchange { return x.request(ctx) }) }
	again := x.action.Again
	if !again.Twice {
		return send()
	}
	var first, second Exchange
	var firstErr, secondErr error
	if again.Together {
		var both sync.WaitGroup
		both.Go(func() { first, firstErr = send() })
		both.Go(func() { second, secondErr = send() })
		both.Wait()
	} else {
		first, firstErr = send()
		if firstErr == nil {
			firstErr = x.engine.opts.Sleep(ctx, again.After)
		}
		if firstErr == nil {
			second, secondErr = send()
		}
	}
	if again.UseSecond {
		return second, errors.Join(firstErr, secondErr)
	}
	return first, errors.Join(firstErr, secondErr)
}

// persist repeats a request by the action's policy. The error is of ctx.
func (x *execution) persist(ctx context.Context, once func() Exchange) (Exchange, error) {
	delays := x.action.Retry.delays()
	for n := 0; ; n++ {
		last := once()
		x.mu.Lock()
		x.out.Exchanges = append(x.out.Exchanges, last)
		x.mu.Unlock()
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if !repeats(last.Status) || n == len(delays) {
			return last, nil
		}
		pause := delays[n]
		if asked, given := retryAfter(last.Header, time.Now()); given && last.Status == http.StatusTooManyRequests {
			pause = asked
		}
		if err := x.engine.opts.Sleep(ctx, pause); err != nil {
			return last, err
		}
	}
}

// request is the action's own.
func (x *execution) request(ctx context.Context) Exchange {
	a := x.action
	h := x.run.header(a.Name, x.out.TrackingID)
	addMakers(h, a.Headers, a.Authentication)
	body := a.Body
	if a.AllowChunking && len(body) > 0 {
		h.Set("x-ms-transfer-mode", "chunked")
		h.Set("x-ms-content-length", strconv.Itoa(len(body)))
		body = nil
	}
	e := x.engine.exchange(ctx, a.Method, a.URI, h, body)
	if a.AllowChunking && e.Status >= 200 && e.Status < 300 {
		e.Status, e.Err = http.StatusNotImplemented, errors.New("the server agrees to chunks, which are not played")
	}
	return e
}

// addMakers adds what the maker of a flow gave.
func addMakers(h http.Header, headers map[string]string, authentication string) {
	for name, value := range headers {
		if !Stripped(name) {
			h.Set(name, value)
		}
	}
	if authentication != "" {
		h.Set("Authorization", authentication)
	}
}

// poll asks a Location: nothing of the maker's goes there.
func (x *execution) poll(ctx context.Context, location string) Exchange {
	e := x.engine.exchange(ctx, http.MethodGet, location, x.run.header(x.action.Name, x.out.TrackingID), nil)
	e.Poll = true
	return e
}

func absoluteURL(text string) (string, bool) {
	u, err := url.Parse(text)
	return text, err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// maxAnswer is how much the engine takes of an answer, bytes.
const maxAnswer = 100 << 20

// exchange makes one request. Redirects are not followed.
func (e *Engine) exchange(ctx context.Context, method, uri string, h http.Header, body []byte) Exchange {
	x := Exchange{Method: method, URI: uri, Sent: h.Clone()}
	ctx, cancel := context.WithTimeout(ctx, e.opts.SyncTimeout)
	defer cancel()
	var reader io.Reader = http.NoBody
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, uri, reader)
	if err != nil {
		x.Err = err
		return x
	}
	req.Header = h
	resp, err := e.opts.Transport.RoundTrip(req)
	if err != nil {
		x.Err = err
		return x
	}
	defer func() { _ = resp.Body.Close() }()
	x.Header = resp.Header
	if x.Body, x.Err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); x.Err != nil {
		return x // an answer that broke off is none
	}
	x.Status = resp.StatusCode
	return x
}
