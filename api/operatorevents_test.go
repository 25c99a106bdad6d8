package api_test

import (
	"encoding/json"
	"testing"

	"ferry"
	"ferry/api"
)

// operatorEvents asks for what operators are told, with every client method.
func (s *surface) operatorEvents(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	sender, operator, admin := s.client("sender-key"), s.client("operator-key"), s.client("admin-key")
	made := try(operator.Subscribe(ctx, ferry.SubscriptionSpec{Event: ferry.EventOperator, CallbackURL: "https://ops.example/cb"}))(t)
	if made.Event != ferry.EventOperator {
		t.Errorf("subscribed: %+v", made)
	}
	if _, err := sender.Subscribe(ctx, ferry.SubscriptionSpec{Event: ferry.EventOperator, CallbackURL: "https://ops.example/cb"}); ferry.CodeOf(err) != ferry.CodeForbidden {
		t.Errorf("with a sender's key: %v", err)
	}
	if is := try(operator.Operating(ctx))(t); len(is.Targets) != 1 || len(is.Told) != 1 {
		t.Errorf("operating: %+v", is)
	}
	if _, err := sender.Operating(ctx); ferry.CodeOf(err) != ferry.CodeForbidden {
		t.Errorf("with a sender's key: %v", err)
	}
	if secret := try(admin.OperatorSecret(ctx, "on-call"))(t); secret.Secret == "" {
		t.Errorf("secret: %+v", secret)
	}
	if _, err := admin.OperatorSecret(ctx, "nobody"); ferry.CodeOf(err) != ferry.CodeNotFound {
		t.Errorf("of nobody: %v", err)
	}
	if _, err := operator.OperatorSecret(ctx, "on-call"); ferry.CodeOf(err) != ferry.CodeForbidden {
		t.Errorf("with an operator's key: %v", err)
	}
}

func TestOperatorEventBodies(t *testing.T) {
	e := &ferry.OperatorEvent{Type: ferry.EventRouteStopped, ID: "msg_1", Text: `route "orders" has stopped`, Hint: "mend it", Route: "orders", Docs: "docs/operations.md#a-route-stopped"}
	for format, want := range map[string]string{
		ferry.OperatorFormatEvent: `{"type":"routeStopped","id":"msg_1","time":"0001-01-01T00:00:00.000Z","text":"route \"orders\" has stopped","hint":"mend it","route":"orders","since":"0001-01-01T00:00:00.000Z","docs":"docs/operations.md#a-route-stopped"}`,
		ferry.OperatorFormatText:  `{"text":"route \"orders\" has stopped (mend it)"}`,
		ferry.OperatorFormatCard:  `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"TextBlock","text":"routeStopped","wrap":true,"weight":"Bolder"},{"type":"TextBlock","text":"route \"orders\" has stopped","wrap":true},{"type":"TextBlock","text":"mend it","wrap":true}]}}]}`,
	} {
		got := api.OperatorEventBody(e, format)
		if !json.Valid(got) || string(got) != want {
			t.Errorf("%s: %s", format, got)
		}
	}
}
