package api_test

import (
	"context"
	"encoding/json"
	"strings"

	"ferry"
)

// CheckEdit refuses what says so itself.
func (f *fake) CheckEdit(_ context.Context, _ ferry.ID, body []byte, _ string) error {
	if !json.Valid(body) || !strings.Contains(string(body), "breaks the schema") {
		return nil
	}
	e := ferry.Errorf(ferry.CodeInvalid, "the body does not fit the route's schema")
	e.Details = []ferry.ErrorDetail{{Detail: "is missing", Pointer: "/number"}, {Detail: "must be a number, not a string", Pointer: "/lines/0/amount"}}
	return e.WithHint("correct it")
}
