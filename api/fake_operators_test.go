package api_test

import (
	"context"

	"ferry"
)

// Operating tells of one target and one route that stopped.
func (f *fake) Operating(context.Context) (ferry.Operating, error) {
	return ferry.Operating{
		Targets: []ferry.OperatorTargetInfo{{Name: "on-call", Callback: "hooks.example/…0a1b2c3d4e5f6071", Format: ferry.OperatorFormatEvent, Events: ferry.OperatorEventTypes()}},
		Told:    []ferry.ToldCondition{{What: "route/invoices", Type: ferry.EventRouteStopped, State: "unavailable"}},
	}, f.err
}

// OperatorSecret knows one target.
func (f *fake) OperatorSecret(_ context.Context, target string) (ferry.CallbackSecret, error) {
	if target != "on-call" {
		return ferry.CallbackSecret{}, ferry.Errorf(ferry.CodeNotFound, "there is no target %q", target)
	}
	return ferry.CallbackSecret{Secret: "whsec_b3BlcmF0b3Jz"}, f.err
}
