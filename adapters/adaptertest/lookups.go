package adaptertest

import (
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

func lookupFinds(t *testing.T, h Harness) {
	if h.CannotLookup {
		t.Skip("the adapter cannot look up")
	}
	f := h.setup(t, practice.Settings{}, nil)
	if !f.adapter.CanLookup() {
		t.Fatal("CanLookup is false")
	}
	call, other := f.call(`{"number":"1"}`), f.call(`{"number":"2"}`)
	v := f.deliver(t, call)
	want(t, v, ferry.Delivered, ferry.EffectDone)
	if r := f.lookup(t, call); r.State != adapters.Found || r.Reference != v.Reference || r.Reference == "" {
		t.Errorf("lookup of what is there: %+v", r)
	}
	if r := f.lookup(t, other); r.State != adapters.Absent {
		t.Errorf("lookup of what is not there: %+v", r)
	}
	// What was written and not answered for is found too.
	f.fail(t, practice.Fault{Kind: practice.FaultCutAfter})
	want(t, f.deliver(t, other), ferry.Unknown, ferry.EffectMaybe)
	if r := f.lookup(t, other); r.State != adapters.Found || r.Reference == "" {
		t.Errorf("lookup after a lost answer: %+v", r)
	}
	if n := f.erp.Calls(practice.OpCreate); n != 2 {
		t.Errorf("lookups wrote: %d creates", n)
	}
	if h.Expect.AlwaysLooksUp {
		return
	}
	bare := h.setup(t, practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Lookup = nil })
	if bare.adapter.CanLookup() {
		t.Error("CanLookup without a lookup")
	}
	if r := bare.lookup(t, call); r.State != adapters.Unanswered {
		t.Errorf("lookup without a lookup: %+v", r)
	}
}

func lookupUnanswered(t *testing.T, h Harness) {
	if h.CannotLookup {
		t.Skip("the adapter cannot look up")
	}
	f := h.setup(t, practice.Settings{}, shortTimeout)
	call := f.call(`{"number":"1"}`)
	want(t, f.deliver(t, call), ferry.Delivered, ferry.EffectDone)
	for _, c := range []struct {
		fault practice.Fault
		kind  ferry.VerdictKind
	}{
		{practice.Fault{Kind: practice.FaultStatus, Status: 401}, ferry.Unauthorized},
		{practice.Fault{Kind: practice.FaultStatus, Status: 403}, ferry.Unauthorized},
		{practice.Fault{Kind: practice.FaultStatus, Status: 429, RetryAfter: "3"}, ferry.Throttled},
		{practice.Fault{Kind: practice.FaultStatus, Status: 503}, ferry.Unavailable},
		{practice.Fault{Kind: practice.FaultStatus, Status: 500}, ferry.Failed},
		{practice.Fault{Kind: practice.FaultStatus, Status: 400}, ferry.Failed},
		{practice.Fault{Kind: practice.FaultStatus, Status: 302, Location: "/ping"}, ferry.Failed},
		{practice.Fault{Kind: practice.FaultHang}, ferry.Unavailable},
		{practice.Fault{Kind: practice.FaultCutBefore, Times: 5}, ferry.Unavailable},
	} {
		kind, ok := h.Expect.lookupVerdict(c.fault, c.kind)
		if !ok {
			continue
		}
		c.kind, c.fault.On = kind, practice.OpLookup
		if c.fault.Times == 0 {
			c.fault.Times = -1 // a session may be made anew, and the question repeated
		}
		f.erp.ClearFaults()
		f.fail(t, c.fault)
		r := f.lookup(t, call)
		if r.State != adapters.Unanswered || r.Verdict.Kind != c.kind || r.Verdict.Effect != ferry.EffectNone {
			t.Errorf("%s %d: state %d, verdict %s, effect %s; want unanswered, %s",
				c.fault.Kind, c.fault.Status, r.State, r.Verdict.Kind, r.Verdict.Effect, c.kind)
		}
	}
	f.erp.ClearFaults()
	if r := f.lookup(t, call); r.State != adapters.Found {
		t.Errorf("lookup afterwards: %+v", r)
	}
}

// duplicateIsFound: a destination that refuses the second create leads to the
// first document, whatever the status that it refuses with.
func duplicateIsFound(t *testing.T, h Harness) {
	if h.CannotLookup {
		t.Skip("the adapter cannot look up")
	}
	for _, how := range h.Expect.duplicates() {
		f := h.setup(t, practice.Settings{OnDuplicate: how}, nil)
		call := f.call(`{"number":"1"}`)
		first := f.deliver(t, call)
		want(t, first, ferry.Delivered, ferry.EffectDone)
		second := f.deliver(t, call)
		reference := second.Reference
		switch {
		case second.Kind.HasIt():
		case second.Kind == ferry.Unknown && second.Effect == ferry.EffectMaybe:
			r := f.lookup(t, call)
			if r.State != adapters.Found {
				t.Errorf("%s: the lookup does not find it: %+v", how, r)
			}
			reference = r.Reference
		default:
			t.Errorf("%s: verdict %s, effect %s", how, second.Kind, second.Effect)
		}
		if reference != first.Reference {
			t.Errorf("%s: reference %q, then %q", how, first.Reference, reference)
		}
		f.documents(t, call, 1)
	}
}
