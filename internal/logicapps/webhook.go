package logicapps

import (
	"context"
	"net/http"
	"sync"
)

// Trigger is a webhook trigger of a custom connector.
type Trigger struct {
	Name           string
	URI            string            // where to subscribe
	Authentication string            // as of Action
	Headers        map[string]string // as of Action
	// Body makes the body of the subscription.
	Body func(callbackURL string) []byte
}

// Subscription is what a trigger holds while its flow is on.
type Subscription struct {
	CallbackURL string
	Location    string // of the answer: where DELETE unsubscribes
	Answer      Exchange
}

// Subscribe turns a flow with a webhook trigger on: POST, which must be answered
// 201 (or 200) with an absolute Location.
func (f *Flow) Subscribe(ctx context.Context, t Trigger, at *Callbacks) (*Subscription, error) {
	return nil, nil
}

// Unsubscribe turns it off: DELETE at the Location, without the key and the
// maker's headers. 404 and 410 are as good as done.
func (s *Subscription) Unsubscribe(ctx context.Context) (Exchange, error) {
	return Exchange{}, nil
}

// Callback is one call of a callback URL.
type Callback struct {
	Header http.Header
	Body   []byte
	Answer int
}

// Callbacks answers at callback URLs, as the endpoint of the engine does. It is an
// http.Handler: serve it with httptest.NewTLSServer, and set Base to its URL.
type Callbacks struct {
	Base string

	mu      sync.Mutex
	answers func(path string, n int) int
	calls   map[string][]Callback
	arrived chan struct{}
}

// NewCallbacks makes an endpoint that answers 202 to every URL that it gave out.
func NewCallbacks() *Callbacks {
	return &Callbacks{calls: map[string][]Callback{}, arrived: make(chan struct{})}
}

// ServeHTTP answers a callback.
func (c *Callbacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {}
