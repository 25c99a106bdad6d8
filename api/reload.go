package api

import (
	"context"
	"net/http"

	"ferry"
)

// reloading is the calls that read the configuration anew.
func reloading() []endpoint {
	return []endpoint{{
		method: http.MethodPost, path: "/v1/reload", id: "reload", act: true, roles: admins, handle: (*call).reload,
		summary: "Read the configuration anew",
		text:    "All of it is taken over, or nothing: a bad file keeps what runs, and the refusal says what is wrong with it. Keys that only a start takes over are listed in nextStart.",
		body:    &body{of: NoteRequest{}, optional: true},
		answers: []reply{{200, "the keys that changed", ferry.Reload{}, nil, nil}},
	}}
}

// Reloader reads the configuration anew; by and note are for the audit log.
type Reloader func(ctx context.Context, by, note string) (ferry.Reload, error)

func (c *call) reload() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	if c.api.opts.Reload == nil {
		return ferry.Errorf(ferry.CodeConflict, "this broker was started without a configuration file").
			WithHint("there is nothing to read anew; broker serve --config FILE starts it with one")
	}
	done, err := c.api.opts.Reload(c.ctx(), c.who.Name, note)
	return answer(c, http.StatusOK, done, err)
}
