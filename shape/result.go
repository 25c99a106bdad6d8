package shape

import (
	"context"
	"errors"

	"ferry"
	"ferry/mapping"
)

// Told is what the sender of a message of that version is told of the destination's
// result. A result program that fails loses nothing: then the result comes as it is,
// and note says why.
func (d *Door) Told(ctx context.Context, version, reference string, result []byte) (told []byte, note string) {
	f, fault := d.form(version)
	if fault != nil {
		f = d.base // the version is not configured any more
	}
	if f.result == nil {
		return result, ""
	}
	program := f.result.With(func(name string) any {
		if name == "reference" {
			return reference
		}
		return version
	})
	var value any
	if len(result) > 0 {
		var err error
		if value, err = mapping.Decode(result); err != nil {
			return result, "the route's result program was not run: the destination's result is not JSON"
		}
	}
	out, err := program.RunValue(ctx, value)
	switch {
	case errors.Is(err, mapping.ErrNoOutput):
		return nil, ""
	case err != nil:
		return result, "the route's result program failed, and this is the destination's own: " + shorten(reason(err))
	case len(out) > ferry.MaxResult:
		return result, "the route's result program makes too much of it, and this is the destination's own"
	}
	return out, ""
}

// ShapesResults says whether [Door.Told] may give another result than it was given.
func (d *Door) ShapesResults() bool {
	if d.base.result != nil {
		return true
	}
	for _, f := range d.versions {
		if f.result != nil {
			return true
		}
	}
	return false
}
