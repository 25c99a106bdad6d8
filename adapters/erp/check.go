package erp

import (
	"context"
	"fmt"
	"time"

	"ferry"
	"ferry/adapters"
)

// Check asks the destination for a document of a key that cannot exist: no
// answer, or a document, says that the lookup would mislead. adapters.ErrNoProbe:
// the route has no lookup, or one that wants more of a message than its key.
func (r *route) Check(ctx context.Context) error {
	if r.lookup == nil || len(r.key) > 0 || r.lookup.url.hasPrograms() {
		return adapters.ErrNoProbe
	}
	id := ferry.NewID(time.Now())
	key := "ferry-check-" + id.String()
	result := r.Lookup(ctx, adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: id, Route: r.cfg.Route, Turn: 1, Revision: 1, Generation: 1, Attempt: 1, ExternalKey: key,
	}})
	switch v := result.Verdict; {
	case result.State == adapters.Absent:
		return nil
	case result.State == adapters.Found:
		return r.bad("the lookup finds document %q for a key that no message has, so that it would find it for every message", result.Reference).
			WithHint("see that the destination honours the condition on the key; keyField or lookup.url may be wrong")
	case v.Kind == ferry.Unauthorized:
		return r.bad("the lookup is refused: %s", v.Text).WithHint("the user needs the right to read what it writes")
	default:
		return r.bad("the lookup is not answered (%s): %s", v.Kind, v.Text)
	}
}

func (r *route) bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "route %s: %w", r.cfg.Route, fmt.Errorf(format, args...))
}
