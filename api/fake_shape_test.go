package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"ferry"
	"ferry/shape"
)

// shapedRoute has versions, a schema in one of them, and takes CloudEvents.
func shapedRoute() ferry.Route {
	return ferry.Route{
		Name: "shaped", CloudEvents: true, AllowEmpty: true,
		VersionBy: ferry.VersionBy{Header: "X-Contract", Query: "contract"},
		Versions: []ferry.RouteVersion{
			{
				Name: "v1", Deprecated: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Sunset: time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC),
				Link: "https://contoso.example/v1-ends",
			},
			{Name: "v2", Default: true, Form: ferry.Form{Schema: json.RawMessage(`{"type":"object","required":["n"],"properties":{"n":{"type":"number"}}}`)}},
		},
	}
}

// shaped brings a message into the form of its route, as the broker does.
func shaped(m *ferry.Message) error {
	route := fakeRoutes[m.Route]
	door, err := shape.New(&route)
	if err != nil || door == nil {
		return err
	}
	if !door.Reads(m) {
		if fault := door.Settle(m); fault != nil {
			return fault
		}
		return nil
	}
	body, fault := door.Take(context.Background(), m, m.Body)
	if fault != nil {
		return fault
	}
	m.Body = body
	return nil
}

// CheckEdit refuses what says so itself.
func (f *fake) CheckEdit(_ context.Context, _ ferry.ID, body []byte, _ string) error {
	if !strings.Contains(string(body), "breaks the schema") {
		return nil
	}
	e := ferry.Errorf(ferry.CodeInvalid, "the body does not fit the route's schema")
	e.Details = []ferry.ErrorDetail{{Detail: "is missing", Pointer: "/number"}, {Detail: "must be a number, not a string", Pointer: "/lines/0/amount"}}
	return e.WithHint("correct it")
}
