package adaptertest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// confirmURL is what a broker gives out, as in life.
const (
	confirmToken = "1.q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80"
	confirmURL   = "http://127.0.0.1:9/v1/messages/0193b2f0-0000-7000-8000-000000000000/confirm?token=" + confirmToken
)

// setupLater opens the adapter on an ERP that answers later; it skips where the
// adapter cannot poll.
func (h Harness) setupLater(t *testing.T, later practice.Later, change func(*adapters.DestinationConfig, *adapters.RouteConfig)) *fixture {
	t.Helper()
	if h.Expect.AtOnce {
		t.Skip("the system says at once what became of a message")
	}
	f := h.setup(t, practice.Settings{Later: later}, func(d *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Confirm = later.How
		if change != nil {
			change(d, r)
		}
	})
	if _, ok := f.adapter.(adapters.Poller); !ok {
		t.Skip("the adapter does not implement adapters.Poller")
	}
	return f
}

func (f *fixture) poll(t *testing.T, call adapters.Call, statusURL string) ferry.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	call.Awaiting, call.StatusURL = true, statusURL
	return f.adapter.(adapters.Poller).Poll(ctx, call)
}

// take delivers a message that the ERP takes, and gives the address to ask.
func (f *fixture) take(t *testing.T, call adapters.Call) string {
	t.Helper()
	v := f.deliver(t, call)
	want(t, v, ferry.InProgress, ferry.EffectMaybe)
	if !strings.HasPrefix(v.StatusURL, f.server.URL+"/operations/") {
		t.Fatalf("address to ask %q", v.StatusURL)
	}
	return v.StatusURL
}

// answersLater: a 202 proves nothing. What became of it is asked without writing.
func answersLater(t *testing.T, h Harness) {
	for name, later := range map[string]practice.Later{
		"statuses": {How: practice.LaterPoll, Polls: 2},
		"azure":    {How: practice.LaterPoll, Polls: 2, Azure: true},
		"redirect": {How: practice.LaterPoll, Polls: 2, Redirect: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := h.setupLater(t, later, nil)
			call := f.call(`{"number":"1"}`)
			status := f.take(t, call)
			f.documents(t, call, 0)
			for range 2 {
				v := f.poll(t, call, status)
				want(t, v, ferry.InProgress, ferry.EffectMaybe)
				if v.StatusURL != "" {
					status = v.StatusURL
				}
			}
			v := f.poll(t, call, status)
			want(t, v, ferry.Delivered, ferry.EffectDone)
			docs := f.written(call)
			if len(docs) != 1 || v.Reference != h.Expect.reference(docs[0].ID) {
				t.Errorf("reference %q of %+v", v.Reference, docs)
			}
			if n := f.erp.Calls(practice.OpCreate); n != 1 {
				t.Errorf("%d creates", n)
			}
		})
	}
}

func failsLater(t *testing.T, h Harness) {
	f := h.setupLater(t, practice.Later{How: practice.LaterPoll, Reject: true}, nil)
	call := f.call(`{"number":"1"}`)
	v := f.poll(t, call, f.take(t, call))
	want(t, v, ferry.Rejected, ferry.EffectNone)
	if v.Code != "credit" || !strings.Contains(v.Text, "the supplier is blocked") {
		t.Errorf("code %q, text %q", v.Code, v.Text)
	}
	f.documents(t, call, 0)
}

func pollForgotten(t *testing.T, h Harness) {
	f := h.setupLater(t, practice.Later{How: practice.LaterPoll}, nil)
	call := f.call(`{"number":"1"}`)
	for _, address := range []string{f.take(t, call) + "0", "http://127.0.0.1:9/operations/1", "", "::"} {
		v := f.poll(t, call, address)
		want(t, v, ferry.Unknown, ferry.EffectMaybe)
		if v.Code != adapters.CodeForgotten {
			t.Errorf("%q: code %q", address, v.Code)
		}
	}
}

func pollUnanswered(t *testing.T, h Harness) {
	f := h.setupLater(t, practice.Later{How: practice.LaterPoll}, shortTimeout)
	call := f.call(`{"number":"1"}`)
	status := f.take(t, call)
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
		{practice.Fault{Kind: practice.FaultStatus, Status: 303, Location: "http://127.0.0.1:9/invoices/1"}, ferry.Failed},
		{practice.Fault{Kind: practice.FaultHang}, ferry.Unavailable},
		{practice.Fault{Kind: practice.FaultCutBefore, Times: 5}, ferry.Unavailable},
	} {
		c.fault.On = practice.OpPoll
		f.erp.ClearFaults()
		f.fail(t, c.fault)
		v := f.poll(t, call, status)
		if v.Kind != c.kind || v.Effect != ferry.EffectNone {
			t.Errorf("%s %d: %s, effect %s; want %s, none", c.fault.Kind, c.fault.Status, v.Kind, v.Effect, c.kind)
		}
	}
	f.erp.ClearFaults()
	want(t, f.poll(t, call, status), ferry.Delivered, ferry.EffectDone)
}

// foreignAddress: credentials go with the question, so it is asked of the
// destination alone; what was taken and cannot be asked is unknown.
func foreignAddress(t *testing.T, h Harness) {
	for _, address := range []string{
		"-", "http://elsewhere.example/operations/1", "https://127.0.0.1/operations/1", "//127.0.0.1:9/operations/1",
		"http://user:secret@127.0.0.1:9/x", "/" + strings.Repeat("x", ferry.MaxStatusURL), "%zz",
	} {
		f := h.setupLater(t, practice.Later{How: practice.LaterPoll, Address: address}, nil)
		v := f.deliver(t, f.call(`{"number":"1"}`))
		want(t, v, ferry.Unknown, ferry.EffectMaybe)
		if v.Text == "" || v.StatusURL != "" || strings.Contains(v.Text, "secret@") {
			t.Errorf("%.40q: text %q, address %q", address, v.Text, v.StatusURL)
		}
	}
}

// signedAddress: what would log on by itself is not kept, and can be asked all
// the same while the adapter lives.
func signedAddress(t *testing.T, h Harness) {
	later := practice.Later{How: practice.LaterPoll, Address: "/operations/op-000001?sig=s3cretsignature&v=2"}
	f := h.setupLater(t, later, nil)
	call := f.call(`{"number":"1"}`)
	v := f.deliver(t, call)
	want(t, v, ferry.InProgress, ferry.EffectMaybe)
	if strings.Contains(v.StatusURL, "s3cret") || !strings.Contains(v.StatusURL, "v=2") {
		t.Fatalf("address to ask %q", v.StatusURL)
	}
	done := f.poll(t, call, v.StatusURL)
	want(t, done, ferry.Delivered, ferry.EffectDone)
	if text, _ := json.Marshal(done); strings.Contains(string(text), "s3cret") {
		t.Errorf("the verdict shows it: %s", text)
	}
	// A new start has forgotten it.
	again := f.poll(t, call, v.StatusURL)
	want(t, again, ferry.Unknown, ferry.EffectMaybe)
	if again.Code != adapters.CodeForgotten {
		t.Errorf("code %q, text %q", again.Code, again.Text)
	}
}

// callsBack: the destination is told where to call, and nobody else is.
func callsBack(t *testing.T, h Harness) {
	f := h.setupLater(t, practice.Later{How: practice.LaterCallback, Never: true}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Query = map[string]string{"callback": "{confirmUrl}"}
	})
	call := f.call(`{"number":"1"}`)
	want(t, f.deliver(t, call), ferry.NotTried, ferry.EffectNone) // without an address nobody could confirm it
	if n := f.erp.Calls(practice.OpCreate); n != 0 {
		t.Fatalf("%d creates", n)
	}
	call.ConfirmURL = confirmURL
	v := f.deliver(t, call)
	want(t, v, ferry.InProgress, ferry.EffectMaybe)
	if v.StatusURL != "" {
		t.Errorf("an address to ask: %q", v.StatusURL)
	}
	hides := func(what string, v any) {
		t.Helper()
		if text, _ := json.Marshal(v); strings.Contains(string(text), confirmToken) {
			t.Errorf("%s shows the token: %s", what, text)
		}
	}
	hides("a verdict", v)
	f.fail(t, practice.Fault{Kind: practice.FaultStatus, Status: 400, Text: "cannot reach " + confirmURL, Code: confirmToken})
	refused := f.deliver(t, call)
	want(t, refused, ferry.Rejected, ferry.EffectNone)
	hides("a refusal", refused)
	p, err := f.adapter.Preview(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	hides("a preview", p)
	if p.Header["Ferry-Confirm-Url"] == "" {
		t.Errorf("the preview does not show where the address goes: %+v", p)
	}
}
