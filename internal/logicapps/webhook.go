package logicapps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// Trigger is a webhook trigger of a custom connector.
type Trigger struct {
	Name           string
	URI            string            // where to subscribe, by POST
	Authentication string            // as of Action
	Headers        map[string]string // as of Action
	// Body makes the body of the subscription; it is sent as application/json.
	Body func(callbackURL string) []byte
	// CallbackURL subscribes it again, as an edit of the flow may; empty: a new one.
	CallbackURL string
}

// Subscription is what a trigger holds while its flow is on.
type Subscription struct {
	CallbackURL string
	Location    string // of the answer: where DELETE unsubscribes
	Answer      Exchange

	flow *Flow
	name string
}

// ErrNoLocation: a subscription was answered without an absolute Location. The
// trigger works, and is never unsubscribed.
var ErrNoLocation = errors.New("the subscription has no absolute Location: it will never be unsubscribed")

// Subscribe turns a flow with a webhook trigger on: POST, repeated as every action
// is, which must be answered 201 (200 is taken too) with an absolute Location.
func (f *Flow) Subscribe(ctx context.Context, t Trigger, at *Callbacks) (*Subscription, error) {
	s := &Subscription{CallbackURL: t.CallbackURL, flow: f, name: t.Name}
	if s.CallbackURL == "" {
		s.CallbackURL = at.URL(f)
	}
	headers := map[string]string{"Content-Type": "application/json"}
	for name, value := range t.Headers {
		headers[name] = value
	}
	out, err := f.Run().HTTP(ctx, Action{
		Name: t.Name, Method: http.MethodPost, URI: t.URI, Headers: headers, Authentication: t.Authentication,
		Body: t.Body(s.CallbackURL), DisableAsyncPattern: true,
	})
	if err != nil {
		return nil, err
	}
	s.Answer = out.Exchanges[len(out.Exchanges)-1]
	if out.StatusCode != http.StatusCreated && out.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the subscription was answered %d: %s", out.StatusCode, out.Body)
	}
	location, absolute := absoluteURL(out.Header.Get("Location"))
	if !absolute {
		return s, ErrNoLocation
	}
	s.Location = location
	return s, nil
}

// Unsubscribe turns it off, as a delete, a turn-off and an edit of the flow do: DELETE
// at the Location, without the key and the maker's headers. 404 and 410 are as good
// as done.
func (s *Subscription) Unsubscribe(ctx context.Context) (Exchange, error) {
	if s.Location == "" {
		return Exchange{}, ErrNoLocation
	}
	out, err := s.flow.Run().HTTP(ctx, Action{Name: s.name, Method: http.MethodDelete, URI: s.Location, DisableAsyncPattern: true})
	if err != nil {
		return Exchange{}, err
	}
	last := out.Exchanges[len(out.Exchanges)-1]
	if out.Status != Succeeded && last.Status != http.StatusNotFound && last.Status != http.StatusGone {
		return last, fmt.Errorf("the unsubscription was answered %d: %s", last.Status, last.Body)
	}
	return last, nil
}

// WebhookAction is an HTTP Webhook action: it subscribes and pauses the run until
// the callback URL is called.
type WebhookAction struct {
	// Subscribe makes the request that subscribes.
	Subscribe func(callbackURL string) Action
	// Unsubscribe is made when the callback came, or ctx ended first. It cannot name the
	// callback URL: a server knows the subscriber by x-ms-client-tracking-id and
	// x-ms-workflow-operation-name. nil: none is made.
	Unsubscribe *Action
}

// Webhook runs an HTTP Webhook action: the callback's body and headers are its
// output. An error is of ctx, or says that the server refused the subscription.
func (r *Run) Webhook(ctx context.Context, a WebhookAction, at *Callbacks) (Callback, error) {
	callbackURL := at.URL(r.flow)
	action := a.Subscribe(callbackURL)
	action.DisableAsyncPattern = true
	out, err := r.HTTP(ctx, action)
	if err == nil && out.Status != Succeeded {
		err = fmt.Errorf("the subscription was answered %d: %s", out.StatusCode, out.Body)
	}
	if err != nil {
		return Callback{}, err
	}
	calls, err := at.Await(ctx, callbackURL, 1)
	if a.Unsubscribe != nil {
		_, unsubscribeErr := r.HTTP(context.WithoutCancel(ctx), *a.Unsubscribe)
		err = errors.Join(err, unsubscribeErr)
	}
	if len(calls) == 0 {
		return Callback{}, err
	}
	return calls[0], err
}

// Callback is one call of a callback URL.
type Callback struct {
	Method string
	Header http.Header
	Body   []byte
	Answer int
}

// Callbacks answers at callback URLs, as the endpoint of the engine does. It is an
// http.Handler: serve it with httptest.NewTLSServer, and set Base to the server's URL
// before the first subscription.
type Callbacks struct {
	Base string

	mu      sync.Mutex
	answers func(callbackURL string, n int) int
	given   map[string]string // path and query -> URL
	calls   map[string][]Callback
	arrived chan struct{} // closed and replaced with each call
}

// NewCallbacks makes an endpoint that answers 202 at every URL that it gave out, as
// the engine does, and 404 elsewhere.
func NewCallbacks() *Callbacks {
	return &Callbacks{
		answers: func(string, int) int { return http.StatusAccepted },
		given:   map[string]string{}, calls: map[string][]Callback{}, arrived: make(chan struct{}),
	}
}

// URL gives out a new callback URL of a flow. Its query is the secret that lets a
// caller in.
func (c *Callbacks) URL(f *Flow) string {
	q := url.Values{"api-version": {"2016-06-01"}, "sp": {"/triggers/manual/run"}, "sv": {"1.0"}, "sig": {pick(43, alphanumeric)}}
	target := "/workflows/" + f.ID + "/triggers/manual/versions/" + f.Version + "/run?" + q.Encode()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given[target] = c.Base + target
	return c.Base + target
}

// Answer says what the n-th call (from 0) of a callback URL is answered: 404 or 410
// once the flow is gone, 429 or 5xx when the engine is in trouble, and so on. 0 ends
// the connection without an answer.
func (c *Callbacks) Answer(with func(callbackURL string, n int) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = with
}

// Calls lists what came to a callback URL.
func (c *Callbacks) Calls(callbackURL string) []Callback {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls[callbackURL])
}

// Await waits until n calls came to a callback URL, and lists all that did.
func (c *Callbacks) Await(ctx context.Context, callbackURL string, n int) ([]Callback, error) {
	for {
		c.mu.Lock()
		calls, arrived := slices.Clone(c.calls[callbackURL]), c.arrived
		c.mu.Unlock()
		if len(calls) >= n {
			return calls, nil
		}
		select {
		case <-ctx.Done():
			return calls, ctx.Err()
		case <-arrived:
		}
	}
}

// ServeHTTP answers a callback.
func (c *Callbacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	callbackURL, known := c.given[r.URL.RequestURI()]
	status := http.StatusNotFound
	if known {
		status = c.answers(callbackURL, len(c.calls[callbackURL]))
		c.calls[callbackURL] = append(c.calls[callbackURL], Callback{Method: r.Method, Header: r.Header.Clone(), Body: body, Answer: status})
		close(c.arrived)
		c.arrived = make(chan struct{})
	}
	c.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
}
