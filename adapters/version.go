package adapters

import (
	"context"
	"errors"
	"maps"
	"slices"

	"ferry"
)

// ByVersion is an adapter that leaves the messages of some versions to adapters of
// their own, and all others to base. All are of one destination, and confirm in one
// way: it polls when base does.
func ByVersion(base Adapter, versions map[string]Adapter) Adapter {
	if len(versions) == 0 {
		return base
	}
	v := versioned{base: base, versions: versions}
	if _, ok := base.(Poller); ok {
		return polled{v}
	}
	return v
}

type versioned struct {
	base     Adapter
	versions map[string]Adapter
}

func (v versioned) of(call *Call) Adapter {
	if a, ok := v.versions[call.Version]; ok {
		return a
	}
	return v.base
}

// Deliver implements Adapter.
func (v versioned) Deliver(ctx context.Context, call Call) ferry.Verdict {
	return v.of(&call).Deliver(ctx, call)
}

// Lookup implements Adapter.
func (v versioned) Lookup(ctx context.Context, call Call) LookupResult {
	return v.of(&call).Lookup(ctx, call)
}

// CanLookup says whether the destination can be asked for the documents of every
// version: what cannot be asked for one of them must not be promised.
func (v versioned) CanLookup() bool {
	for _, a := range v.versions {
		if !a.CanLookup() {
			return false
		}
	}
	return v.base.CanLookup()
}

// Preview implements Adapter.
func (v versioned) Preview(ctx context.Context, call Call) (Preview, error) {
	return v.of(&call).Preview(ctx, call)
}

// Check implements Checker: the questions of all versions are asked.
func (v versioned) Check(ctx context.Context) error {
	all := []Adapter{v.base}
	for _, name := range slices.Sorted(maps.Keys(v.versions)) {
		all = append(all, v.versions[name])
	}
	asked := false
	for _, a := range all {
		c, ok := a.(Checker)
		if !ok {
			continue
		}
		switch err := c.Check(ctx); {
		case err == nil:
			asked = true
		case !errors.Is(err, ErrNoProbe):
			return err
		}
	}
	if !asked {
		return ErrNoProbe
	}
	return nil
}

// polled is versioned where the destination answers later.
type polled struct{ versioned }

// Poll implements Poller.
func (p polled) Poll(ctx context.Context, call Call) ferry.Verdict {
	if a, ok := p.of(&call).(Poller); ok {
		return a.Poll(ctx, call)
	}
	return ferry.Verdict{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: CodeForgotten, Text: "the version of the message cannot be asked for"}
}
