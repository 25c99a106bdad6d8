package broker

import (
	"context"
	"time"

	"ferry"
)

// Subscribe makes a subscription for who, or finds the one that is the same.
func (b *Broker) Subscribe(ctx context.Context, spec ferry.SubscriptionSpec, who ferry.Identity) (ferry.NewSubscription, error) {
	return ferry.NewSubscription{}, noCallbacks()
}

// Subscriptions lists those of who; all of them for operators.
func (b *Broker) Subscriptions(_ context.Context, who ferry.Identity) ([]ferry.Subscription, error) {
	return nil, noCallbacks()
}

// Unsubscribe ends one that who may end.
func (b *Broker) Unsubscribe(ctx context.Context, id string, who ferry.Identity) error {
	return noCallbacks()
}

// UnsubscribeToken ends the one that the token was made for, if there is one.
func (b *Broker) UnsubscribeToken(ctx context.Context, token string) error { return nil }

// RotateSubscription gives one another secret; the old one signs as well for keep.
func (b *Broker) RotateSubscription(ctx context.Context, id string, keep time.Duration, who ferry.Identity) (ferry.NewSubscription, error) {
	return ferry.NewSubscription{}, noCallbacks()
}

// CallbackSecret is what callbacks are signed with that who's messages ask for.
func (b *Broker) CallbackSecret(ctx context.Context, who ferry.Identity) (ferry.CallbackSecret, error) {
	return ferry.CallbackSecret{}, noCallbacks()
}

// RotateCallbackSecret gives it a successor; the old one signs as well for keep.
func (b *Broker) RotateCallbackSecret(ctx context.Context, keep time.Duration, who ferry.Identity) (ferry.CallbackSecret, error) {
	return ferry.CallbackSecret{}, noCallbacks()
}

// Callbacks lists whom ends of messages wait for.
func (b *Broker) Callbacks(context.Context) ([]ferry.CallbackTarget, error) {
	return nil, noCallbacks()
}

// RetryCallbacks tries callbacks now, or tells the end of a message once more.
func (b *Broker) RetryCallbacks(ctx context.Context, req ferry.RetryRequest, by string) (ferry.RetryAnswer, error) {
	return ferry.RetryAnswer{}, noCallbacks()
}

func noCallbacks() *ferry.Error {
	return ferry.Errorf(ferry.CodeBadCallbackURL, "this broker makes no callbacks")
}
