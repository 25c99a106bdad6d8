package client

import (
	"context"
	"net/http"

	"ferry"
)

// Subscribe asks to be told at spec.CallbackURL when messages end.
func (c *Client) Subscribe(ctx context.Context, spec ferry.SubscriptionSpec) (ferry.NewSubscription, error) {
	in := struct {
		CallbackURL string `json:"callbackUrl"`
		Route       string `json:"route,omitempty"`
	}{spec.CallbackURL, spec.Route}
	var s ferry.NewSubscription
	err := c.post(ctx, "/v1/subscriptions/"+subscribed(spec.Event), in, &s)
	return s, err
}

// Subscriptions lists the key's subscriptions; all of them with an operator's.
func (c *Client) Subscriptions(ctx context.Context) ([]ferry.Subscription, error) {
	return list[ferry.Subscription](ctx, c, "/v1/subscriptions", nil)
}

// Unsubscribe ends a subscription.
func (c *Client) Unsubscribe(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/subscriptions/"+seg(id), nil, nil, nil)
}

type rotation struct {
	Keep string `json:"keep,omitempty"`
}

// RotateSubscription gives a subscription another secret; the old one signs as
// well for keep, such as 24h; empty: as long as the broker likes.
func (c *Client) RotateSubscription(ctx context.Context, id, keep string) (ferry.NewSubscription, error) {
	var s ferry.NewSubscription
	err := c.post(ctx, "/v1/subscriptions/"+seg(id)+"/rotate", rotation{keep}, &s)
	return s, err
}

// CallbackSecret is what callbacks are signed with that the key's messages ask for.
func (c *Client) CallbackSecret(ctx context.Context) (ferry.CallbackSecret, error) {
	var s ferry.CallbackSecret
	err := c.get(ctx, "/v1/callbacks/secret", nil, &s)
	return s, err
}

// RotateCallbackSecret gives that secret a successor, as RotateSubscription does.
func (c *Client) RotateCallbackSecret(ctx context.Context, keep string) (ferry.CallbackSecret, error) {
	var s ferry.CallbackSecret
	err := c.post(ctx, "/v1/callbacks/secret/rotate", rotation{keep}, &s)
	return s, err
}

// Callbacks lists whom ends of messages wait for.
func (c *Client) Callbacks(ctx context.Context) ([]ferry.CallbackTarget, error) {
	return list[ferry.CallbackTarget](ctx, c, "/v1/callbacks", nil)
}

// Operating says whom events of operators are told to, and what holds.
func (c *Client) Operating(ctx context.Context) (is ferry.Operating, err error) {
	err = c.get(ctx, "/v1/operators", nil, &is)
	return is, err
}

// OperatorSecret is what the events of a target are signed with.
func (c *Client) OperatorSecret(ctx context.Context, target string) (s ferry.CallbackSecret, err error) {
	err = c.get(ctx, "/v1/operators/"+seg(target)+"/secret", nil, &s)
	return s, err
}

// RetryCallbacks has callbacks tried now.
func (c *Client) RetryCallbacks(ctx context.Context, req ferry.RetryRequest) (ferry.RetryAnswer, error) {
	var a ferry.RetryAnswer
	err := c.post(ctx, "/v1/callbacks/retry", req, &a)
	return a, err
}

// subscribed is an event in the word of its path.
func subscribed(event ferry.EventType) string {
	if event == ferry.EventDeadLettered {
		return "dead-lettered"
	}
	return seg(string(event))
}
