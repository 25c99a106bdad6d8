package api_test

import (
	"context"
	"time"

	"ferry"
)

var fakeSubscription = ferry.Subscription{
	ID: ferry.NewID(now), Event: ferry.EventCompleted, Callback: "flow.example/…1", State: ferry.SubscriptionActive,
	KeyID: "k1", KeyName: "flow", CreatedAt: now, SecretSince: now,
}

func (f *fake) Subscribe(_ context.Context, spec ferry.SubscriptionSpec, who ferry.Identity) (ferry.NewSubscription, error) {
	f.note("subscribe %s %q %s by=%s", spec.Event, spec.Route, spec.CallbackURL, who.Name)
	made := ferry.NewSubscription{Subscription: fakeSubscription, Secret: "whsec_AAAA", Token: "id.token"}
	made.Event, made.Route = spec.Event, spec.Route
	return made, f.err
}

func (f *fake) Subscriptions(_ context.Context, who ferry.Identity) ([]ferry.Subscription, error) {
	f.note("subscriptions by=%s", who.Name)
	return []ferry.Subscription{fakeSubscription}, f.err
}

func (f *fake) Unsubscribe(_ context.Context, id string, who ferry.Identity) error {
	f.note("unsubscribe %s by=%s", id, who.Name)
	return f.err
}

func (f *fake) UnsubscribeToken(_ context.Context, token string) error {
	f.note("unsubscribe token %s", token)
	return f.err
}

func (f *fake) RotateSubscription(_ context.Context, id string, keep time.Duration, who ferry.Identity) (ferry.NewSubscription, error) {
	f.note("rotate subscription %s %s by=%s", id, keep, who.Name)
	return ferry.NewSubscription{Subscription: fakeSubscription, Secret: "whsec_BBBB"}, f.err
}

func (f *fake) CallbackSecret(_ context.Context, who ferry.Identity) (ferry.CallbackSecret, error) {
	return ferry.CallbackSecret{KeyID: who.KeyID, Secret: "whsec_AAAA"}, f.err
}

func (f *fake) RotateCallbackSecret(_ context.Context, keep time.Duration, who ferry.Identity) (ferry.CallbackSecret, error) {
	f.note("rotate callback secret %s by=%s", keep, who.Name)
	return ferry.CallbackSecret{KeyID: who.KeyID, Secret: "whsec_BBBB"}, f.err
}

func (f *fake) Callbacks(context.Context) ([]ferry.CallbackTarget, error) {
	return []ferry.CallbackTarget{{Kind: ferry.ReplyCallback, Callback: "flow.example/…1", Waiting: 3}}, f.err
}

func (f *fake) RetryCallbacks(_ context.Context, req ferry.RetryRequest, by string) (ferry.RetryAnswer, error) {
	f.note("retry callbacks %+v by=%s", req, by)
	return ferry.RetryAnswer{Targets: 1}, f.err
}
