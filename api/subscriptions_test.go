package api_test

import (
	"testing"

	"ferry"
)

// callbacks asks for all of subscriptions and callbacks, as the client does.
func (s *surface) callbacks(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	sender, operator := s.client("sender-key"), s.client("operator-key")
	for _, event := range ferry.SubscribedEvents() {
		made := try(sender.Subscribe(ctx, ferry.SubscriptionSpec{Event: event, Route: "invoices", CallbackURL: "https://flow.example/cb?sig=1"}))(t)
		if made.Event != event || made.Secret != "whsec_AAAA" || made.Route != "invoices" {
			t.Errorf("subscribed: %+v", made)
		}
		s.asked(t, "subscribe %s %q https://flow.example/cb?sig=1 by=flow", event, "invoices")
	}
	if _, err := sender.Subscribe(ctx, ferry.SubscriptionSpec{Event: ferry.EventCompleted, Route: "orders", CallbackURL: "https://h/"}); ferry.CodeOf(err) != ferry.CodeForbidden {
		t.Errorf("a route that is not the key's: %v", err)
	}
	if _, err := sender.Subscribe(ctx, ferry.SubscriptionSpec{Event: ferry.EventCompleted, CallbackURL: "http://flow.example/"}); ferry.CodeOf(err) != ferry.CodeBadCallbackURL {
		t.Errorf("over http: %v", err)
	}
	if list := try(sender.Subscriptions(ctx))(t); len(list) != 1 || list[0].Callback != "flow.example/…1" {
		t.Errorf("subscriptions: %+v", list)
	}
	if err := sender.Unsubscribe(ctx, "an-id"); err != nil {
		t.Error(err)
	}
	s.asked(t, "unsubscribe an-id by=flow")
	if err := s.client("").Unsubscribe(ctx, "id.token"); err != nil {
		t.Errorf("without a key: %v", err)
	}
	s.asked(t, "unsubscribe token id.token")
	if err := s.client("").Unsubscribe(ctx, "an-id"); ferry.CodeOf(err) != ferry.CodeUnauthenticated {
		t.Errorf("by id without a key: %v", err)
	}
	if made := try(sender.RotateSubscription(ctx, "an-id", "1h"))(t); made.Secret != "whsec_BBBB" {
		t.Errorf("rotated: %+v", made)
	}
	s.asked(t, "rotate subscription an-id 1h0m0s by=flow")
	if _, err := sender.RotateSubscription(ctx, "an-id", "31d"); ferry.CodeOf(err) != ferry.CodeBadDuration {
		t.Errorf("an old secret for ever: %v", err)
	}
	if secret := try(sender.CallbackSecret(ctx))(t); secret.Secret != "whsec_AAAA" || secret.KeyID != "k3" {
		t.Errorf("secret: %+v", secret)
	}
	if secret := try(sender.RotateCallbackSecret(ctx, ""))(t); secret.Secret != "whsec_BBBB" {
		t.Errorf("secret: %+v", secret)
	}
	s.asked(t, "rotate callback secret 24h0m0s by=flow")
	if list := try(operator.Callbacks(ctx))(t); len(list) != 1 || list[0].Waiting != 3 {
		t.Errorf("targets: %+v", list)
	}
	if out := try(operator.RetryCallbacks(ctx, ferry.RetryRequest{All: true}))(t); out.Targets != 1 {
		t.Errorf("retried: %+v", out)
	}
	if _, err := operator.RetryCallbacks(ctx, ferry.RetryRequest{}); ferry.CodeOf(err) != ferry.CodeInvalid {
		t.Errorf("nothing to retry: %v", err)
	}
}
