package adapters_test

import (
	"context"
	"errors"
	"testing"

	"ferry"
	"ferry/adapters"
)

// named is an adapter that tells its name.
type named struct {
	name  string
	looks bool
	check error
}

func (n named) Deliver(context.Context, adapters.Call) ferry.Verdict {
	return ferry.Verdict{Kind: ferry.Delivered, Reference: n.name}
}

func (n named) Lookup(context.Context, adapters.Call) adapters.LookupResult {
	return adapters.LookupResult{State: adapters.Found, Reference: n.name}
}
func (n named) CanLookup() bool { return n.looks }
func (n named) Preview(context.Context, adapters.Call) (adapters.Preview, error) {
	return adapters.Preview{URL: n.name}, nil
}
func (n named) Check(context.Context) error { return n.check }

type polling struct{ named }

func (p polling) Poll(context.Context, adapters.Call) ferry.Verdict {
	return ferry.Verdict{Kind: ferry.Delivered, Reference: p.name}
}

func TestByVersion(t *testing.T) {
	ctx := context.Background()
	base := named{name: "base", looks: true}
	if _, same := adapters.ByVersion(base, nil).(named); !same {
		t.Error("without versions it is another adapter")
	}
	a := adapters.ByVersion(base, map[string]adapters.Adapter{"v1": named{name: "one", looks: true}})
	for version, want := range map[string]string{"": "base", "v1": "one", "v9": "base"} {
		call := adapters.Call{HandOut: ferry.HandOut{Version: version}}
		preview, _ := a.Preview(ctx, call)
		if got := a.Deliver(ctx, call).Reference; got != want || a.Lookup(ctx, call).Reference != want || preview.URL != want {
			t.Errorf("%q goes to %s, want %s", version, got, want)
		}
	}
	if _, polls := a.(adapters.Poller); polls {
		t.Error("it polls, and its base does not")
	}
	if !a.CanLookup() || adapters.ByVersion(base, map[string]adapters.Adapter{"v1": named{}}).CanLookup() {
		t.Error("it can be asked when all can, and only then")
	}
	p := adapters.ByVersion(polling{base}, map[string]adapters.Adapter{"v1": polling{named{name: "one"}}, "v2": named{}}).(adapters.Poller)
	if got := p.Poll(ctx, adapters.Call{HandOut: ferry.HandOut{Version: "v1"}}); got.Reference != "one" {
		t.Errorf("%+v", got)
	}
	if got := p.Poll(ctx, adapters.Call{HandOut: ferry.HandOut{Version: "v2"}}); got.Kind != ferry.Unknown || got.Code != adapters.CodeForgotten {
		t.Errorf("%+v", got)
	}
	fault := errors.New("not truly")
	for want, list := range map[error][2]error{nil: {adapters.ErrNoProbe, nil}, fault: {nil, fault}, adapters.ErrNoProbe: {adapters.ErrNoProbe, adapters.ErrNoProbe}} {
		c := adapters.ByVersion(named{check: list[0]}, map[string]adapters.Adapter{"v1": named{check: list[1]}}).(adapters.Checker)
		if err := c.Check(ctx); !errors.Is(err, want) {
			t.Errorf("%v: %v", list, err)
		}
	}
}
