package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"ferry"
)

// Subscriptions are who is called back when messages end.
type Subscriptions interface {
	// Subscribe makes a subscription for who, or finds the one that is the same.
	Subscribe(ctx context.Context, spec ferry.SubscriptionSpec, who ferry.Identity) (ferry.NewSubscription, error)
	// Subscriptions lists those of who; all of them for operators.
	Subscriptions(ctx context.Context, who ferry.Identity) ([]ferry.Subscription, error)
	// Unsubscribe ends one that who may end. One that is not there is notFound.
	Unsubscribe(ctx context.Context, id string, who ferry.Identity) error
	// UnsubscribeToken ends the one that the token was made for, if there is one.
	UnsubscribeToken(ctx context.Context, token string) error
	// RotateSubscription gives one another secret; the old one signs as well for keep.
	RotateSubscription(ctx context.Context, id string, keep time.Duration, who ferry.Identity) (ferry.NewSubscription, error)
	// CallbackSecret is what callbacks are signed with that who's messages ask for.
	CallbackSecret(ctx context.Context, who ferry.Identity) (ferry.CallbackSecret, error)
	RotateCallbackSecret(ctx context.Context, keep time.Duration, who ferry.Identity) (ferry.CallbackSecret, error)
	// Callbacks lists whom ends of messages wait for.
	Callbacks(ctx context.Context) ([]ferry.CallbackTarget, error)
	RetryCallbacks(ctx context.Context, req ferry.RetryRequest, by string) (ferry.RetryAnswer, error)
}

// SubscribeRequest asks to be told the ends of messages.
type SubscribeRequest struct {
	CallbackURL string `json:"callbackUrl" doc:"https address that is sent the message, as GET /v1/messages/{id} gives it"`
	Route       string `json:"route,omitempty" doc:"only this route; absent: every route that the key may see"`
}

// RotateRequest gives a secret a successor.
type RotateRequest struct {
	Keep string `json:"keep,omitempty" doc:"for how long the old secret signs as well, such as 24h (the default) or 0s, at most 30d"`
}

// subscriptions lists the calls of those who want to be called back.
func subscriptions() []endpoint {
	const get, post = http.MethodGet, http.MethodPost
	made := []reply{{201, "the subscription; the same one again when it was there already", ferry.NewSubscription{}, nil, []string{"Location"}}}
	text := "Location is an address whose DELETE ends the subscription without a key, as often as it is called. The same key, route and callbackUrl again are the same subscription. Callbacks are signed as Standard Webhooks has it."
	rotate := &body{of: RotateRequest{}, optional: true}
	secret := []reply{{200, "the secret", ferry.CallbackSecret{}, nil, nil}}
	return []endpoint{
		{
			method: post, path: "/v1/subscriptions/completed", id: "subscribeCompleted", act: true, roles: readers, summary: "Be told when a message is completed",
			text: text, body: &body{of: SubscribeRequest{}}, answers: made, handle: func(c *call) error { return c.subscribe(ferry.EventCompleted) },
		},
		{
			method: post, path: "/v1/subscriptions/dead-lettered", id: "subscribeDeadLettered", act: true, roles: readers, summary: "Be told when a message is dead-lettered",
			text: text, body: &body{of: SubscribeRequest{}}, answers: made, handle: func(c *call) error { return c.subscribe(ferry.EventDeadLettered) },
		},
		{method: get, path: "/v1/subscriptions", id: "listSubscriptions", roles: readers, handle: (*call).listSubscriptions, summary: "List subscriptions: the key's own, or all for operators", answers: []reply{{200, "the subscriptions", List[ferry.Subscription]{}, nil, nil}}},
		{
			method: http.MethodDelete, path: "/v1/subscriptions/{id}", id: "unsubscribe", open: true, handle: (*call).unsubscribe, summary: "End a subscription",
			text:    "With the address of Location no key is needed, and it is answered the same however often it is called. With an id it needs the key that subscribed, or an operator's.",
			answers: []reply{{204, "there is no such subscription any more", nil, nil, nil}},
		},
		{method: post, path: "/v1/subscriptions/{id}/rotate", id: "rotateSubscription", act: true, roles: readers, handle: (*call).rotateSubscription, summary: "Give a subscription another secret", body: rotate, answers: []reply{{200, "the subscription with its new secret", ferry.NewSubscription{}, nil, nil}}},
		{method: get, path: "/v1/callbacks/secret", id: "getCallbackSecret", roles: readers, handle: (*call).callbackSecret, summary: "The secret that callbacks are signed with which the key's messages ask for", answers: secret},
		{method: post, path: "/v1/callbacks/secret/rotate", id: "rotateCallbackSecret", act: true, roles: readers, handle: (*call).rotateCallbackSecret, summary: "Give the key's callbacks another secret", body: rotate, answers: secret},
		{method: get, path: "/v1/callbacks", id: "listCallbacks", roles: operators, handle: (*call).listCallbacks, summary: "List whom ends of messages wait for", answers: []reply{{200, "the targets, those that fail first", List[ferry.CallbackTarget]{}, nil, nil}}},
		{method: post, path: "/v1/callbacks/retry", id: "retryCallbacks", act: true, roles: operators, handle: (*call).retryCallbacks, summary: "Try callbacks now, or tell the end of a message once more", body: &body{of: ferry.RetryRequest{}, text: "one of callback, message and all"}, answers: []reply{{200, "what is tried", ferry.RetryAnswer{}, nil, nil}}},
	}
}

func (c *call) subscribe(event ferry.EventType) error {
	var in SubscribeRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if fault := checkCallback(in.CallbackURL); fault != nil {
		return fault
	}
	if err := c.checkRouteFilter(in.Route); err != nil {
		return err
	}
	made, err := c.api.svc.Subscribe(c.ctx(), ferry.SubscriptionSpec{Event: event, Route: in.Route, CallbackURL: in.CallbackURL}, c.who)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.publicURL()+"/v1/subscriptions/"+made.Token)
	return c.json(http.StatusCreated, made)
}

func (c *call) listSubscriptions() error {
	list, err := c.api.svc.Subscriptions(c.ctx(), c.who)
	return items(c, list, err)
}

// unsubscribe takes the address that stood in Location, of anybody, or an id of
// who may. Flows do not send their key with a DELETE, and repeat it.
func (c *call) unsubscribe() error {
	id := c.r.PathValue("id")
	if strings.Contains(id, ".") {
		if err := c.api.svc.UnsubscribeToken(c.ctx(), id); err != nil {
			return err
		}
		return c.nothing()
	}
	if err := c.require(readers); err != nil {
		return err
	}
	c.act()
	if err := c.api.svc.Unsubscribe(c.ctx(), id, c.who); err != nil {
		return err
	}
	return c.nothing()
}

func (c *call) nothing() error {
	c.status, c.wrote = http.StatusNoContent, true
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) rotateSubscription() error {
	keep, err := c.keep()
	if err != nil {
		return err
	}
	made, err := c.api.svc.RotateSubscription(c.ctx(), c.r.PathValue("id"), keep, c.who)
	return answer(c, http.StatusOK, made, err)
}

// keep reads for how long an old secret signs as well.
func (c *call) keep() (time.Duration, error) {
	var in RotateRequest
	if err := c.decode(&in, maxCommand, true); err != nil {
		return 0, err
	}
	if in.Keep == "" {
		return ferry.SecretOverlap, nil
	}
	keep, err := ferry.ParseDuration(in.Keep)
	if err != nil {
		return 0, err
	}
	if keep < 0 || keep > ferry.MaxSecretOverlap {
		return 0, ferry.Errorf(ferry.CodeBadDuration, "keep=%s is out of range", clip(in.Keep)).WithHint("from 0s to 30d")
	}
	return keep, nil
}

func (c *call) callbackSecret() error {
	secret, err := c.api.svc.CallbackSecret(c.ctx(), c.who)
	return answer(c, http.StatusOK, secret, err)
}

func (c *call) rotateCallbackSecret() error {
	keep, err := c.keep()
	if err != nil {
		return err
	}
	secret, err := c.api.svc.RotateCallbackSecret(c.ctx(), keep, c.who)
	return answer(c, http.StatusOK, secret, err)
}

func (c *call) listCallbacks() error {
	list, err := c.api.svc.Callbacks(c.ctx())
	return items(c, list, err)
}

func (c *call) retryCallbacks() error {
	var in ferry.RetryRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{in.Callback != "", !in.Message.IsZero(), in.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return ferry.Errorf(ferry.CodeInvalid, "one of callback, message and all is wanted, %d are given", given)
	}
	out, err := c.api.svc.RetryCallbacks(c.ctx(), in, c.who.Name)
	return answer(c, http.StatusOK, out, err)
}
