package adaptertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

type testCase struct {
	name string
	run  func(*testing.T, Harness)
}

// Run runs the suite. The names of the cases are the specification.
func Run(t *testing.T, h Harness) {
	cases := []testCase{
		{"DeliveredWithReference", deliveredWithReference},
		{"RejectedTellsFieldsAndText", rejectedTellsFields},
		{"StatusesBecomeVerdicts", statuses},
		{"RetryAfterIsKeptAndBounded", retryAfter},
		{"TimeoutIsUnknownAndSentOnce", timeoutIsUnknown},
		{"WrittenLateIsUnknown", writtenLate},
		{"CutConnectionIsUnknownAndSentOnce", cutConnection},
		{"DeadReusedConnectionIsSentOnce", deadReusedConnection},
		{"RefusedHasNoEffect", refused},
		{"CancelledBeforeTheCallIsNotTried", cancelled},
		{"SuccessSurvivesABadAnswer", badAnswer},
		{"SecretsNeverShow", secretsNeverShow},
		{"RefusedCredentialsAndRotation", rotation},
		{"MissingSecretIsUnauthorized", missingSecret},
		{"TextIsCut", textIsCut},
		{"BrokenBodyIsNoPanic", brokenBody},
		{"LargeBodyIsStreamed", largeBody},
		{"LargeBodyIsSentOnce", largeBodySentOnce},
		{"ProbeAndCheck", probeAndCheck},
		{"CloseClosesIdleConnections", closeCloses},
		{"LookupFindsAndMisses", lookupFinds},
		{"LookupThatIsNotAnsweredProvesNothing", lookupUnanswered},
		{"DuplicateIsFound", duplicateIsFound},
		{"AnswersLaterAndIsAsked", answersLater},
		{"FailsLater", failsLater},
		{"PollForgottenIsUnknown", pollForgotten},
		{"PollThatIsNotAnsweredProvesNothing", pollUnanswered},
		{"AddressOfAnotherHostIsNotAsked", foreignAddress},
		{"AddressWithACredentialIsNotKept", signedAddress},
		{"CallsBackAndTheTokenNeverShows", callsBack},
	}
	for name := range h.Skip {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			t.Errorf("Skip names %s, which is no case", name)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if why, left := h.Skip[c.name]; left {
				t.Skip(why)
			}
			t.Parallel()
			c.run(t, h)
		})
	}
}

func deliveredWithReference(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	call := f.call(`{"number":"A-1","total":12.50}`)
	v := f.deliver(t, call)
	want(t, v, ferry.Delivered, ferry.EffectDone)
	docs := f.written(call)
	if len(docs) != 1 || v.Reference != h.Expect.reference(docs[0].ID) || docs[0].MessageID != call.ID.String() {
		t.Errorf("reference %q, documents %+v", v.Reference, docs)
	}
	if v.Status != h.Expect.created() || !strings.Contains(v.Request, " "+f.server.URL) {
		t.Errorf("status %d, request %q", v.Status, v.Request)
	}
}

func rejectedTellsFields(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{Required: []string{"number", "supplier"}}, nil)
	call := f.call(`{"total":-1}`)
	v := f.deliver(t, call)
	want(t, v, ferry.Rejected, ferry.EffectNone)
	f.documents(t, call, 0)
	wanted, fields := h.Expect.invalid(), map[string]string{}
	for _, e := range v.Fields {
		fields[e.Field] = e.Text
	}
	for name, text := range wanted.Fields {
		if !strings.Contains(fields[name], text) {
			t.Errorf("field %s: %q, want %q in %+v", name, fields[name], text, v.Fields)
		}
	}
	if len(v.Fields) != len(wanted.Fields) {
		t.Errorf("fields %+v, want %d", v.Fields, len(wanted.Fields))
	}
	if len(wanted.Fields) == 0 && !strings.Contains(v.Text, "number is required") {
		t.Errorf("the text does not say what is wrong: %q", v.Text)
	}
	if v.Code != wanted.Code || !strings.Contains(v.Text, wanted.Text) || v.Status != wanted.Status {
		t.Errorf("code %q, text %q, status %d", v.Code, v.Text, v.Status)
	}
}

func statuses(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	made := 0
	for _, c := range []struct {
		status int
		kind   ferry.VerdictKind
		effect ferry.Effect
	}{
		{302, ferry.Rejected, ferry.EffectNone},
		{400, ferry.Rejected, ferry.EffectNone},
		{401, ferry.Unauthorized, ferry.EffectNone},
		{403, ferry.Unauthorized, ferry.EffectNone},
		{404, ferry.Rejected, ferry.EffectNone},
		{407, ferry.Unauthorized, ferry.EffectNone},
		{408, ferry.Unknown, ferry.EffectMaybe},
		{413, ferry.Rejected, ferry.EffectNone},
		{422, ferry.Rejected, ferry.EffectNone},
		{425, ferry.Throttled, ferry.EffectNone},
		{429, ferry.Throttled, ferry.EffectNone},
		{500, ferry.Unknown, ferry.EffectMaybe},
		{501, ferry.Failed, ferry.EffectNone},
		{502, ferry.Unknown, ferry.EffectMaybe},
		{503, ferry.Unavailable, ferry.EffectNone},
		{504, ferry.Unknown, ferry.EffectMaybe},
		{524, ferry.Unknown, ferry.EffectMaybe},
	} {
		wanted, ok := h.Expect.outcome(c.status, Outcome{Kind: c.kind, Effect: c.effect})
		if !ok {
			continue
		}
		// Until it is cleared: a session may be made anew, and the call repeated.
		f.fail(t, practice.Fault{Kind: practice.FaultStatus, Status: c.status, Times: -1, Location: f.server.URL + "/invoices/elsewhere", Text: "as asked"})
		call := f.call(`{"number":"1"}`)
		v := f.deliver(t, call)
		f.erp.ClearFaults()
		made++
		if v.Kind != wanted.Kind || v.Effect != wanted.Effect || v.Status != wanted.Status || !strings.Contains(v.Text, "as asked") {
			t.Errorf("status %d: %s, effect %s, status %d, text %q; want %+v", c.status, v.Kind, v.Effect, v.Status, v.Text, wanted)
		}
		f.documents(t, call, 0)
	}
	asked := 0
	if h.Expect.Searches {
		asked = made
	}
	if n := f.erp.Calls(practice.OpLookup); n != asked {
		t.Errorf("a redirect was followed, or a lookup made: %d, want %d", n, asked)
	}
}

func retryAfter(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	for _, c := range []struct {
		status     int
		header     string
		least, top time.Duration
	}{
		{429, "7", 7 * time.Second, 7 * time.Second},
		{503, "120", 2 * time.Minute, 2 * time.Minute},
		{429, "999999", ferry.MaxRetryAfter, ferry.MaxRetryAfter},
		{429, time.Now().Add(30 * time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), 20 * time.Second, 31 * time.Second},
		{429, "soon", 0, 0},
		{429, "-5", 0, 0},
		{503, "", 0, 0},
	} {
		f.fail(t, practice.Fault{Kind: practice.FaultStatus, Status: c.status, RetryAfter: c.header})
		v := f.deliver(t, f.call(`{"number":"1"}`))
		if v.RetryAfter < c.least || v.RetryAfter > c.top {
			t.Errorf("Retry-After %q became %s", c.header, v.RetryAfter)
		}
	}
}

func timeoutIsUnknown(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, shortTimeout)
	f.warm(t)
	before := f.erp.Calls(practice.OpCreate)
	f.fail(t, practice.Fault{Kind: practice.FaultHang})
	call := f.call(`{"number":"1"}`)
	start := time.Now()
	want(t, f.deliver(t, call), ferry.Unknown, ferry.EffectMaybe)
	if d := time.Since(start); d < timeout || d > 5*time.Second {
		t.Errorf("the call took %s with a time-out of %s", d, timeout)
	}
	if n := f.erp.Calls(practice.OpCreate) - before; n != 1 {
		t.Errorf("%d calls", n)
	}
	// The caller's own deadline ends it too.
	f.fail(t, practice.Fault{Kind: practice.FaultHang})
	ctx, cancel := context.WithTimeout(t.Context(), timeout/2)
	defer cancel()
	want(t, f.adapter.Deliver(ctx, f.call(`{"number":"2"}`)), ferry.Unknown, ferry.EffectMaybe)
}

func writtenLate(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, shortTimeout)
	f.warm(t)
	f.fail(t, practice.Fault{Kind: practice.FaultWriteLate, Delay: timeout + timeout/4})
	call := f.call(`{"number":"1"}`)
	want(t, f.deliver(t, call), ferry.Unknown, ferry.EffectMaybe)
	eventually(t, "the late document", func() bool { return len(f.written(call)) == 1 })
}

func cutConnection(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	for kind, left := range map[practice.FaultKind]int{practice.FaultCutBefore: 0, practice.FaultCutAfter: 1} {
		f.fail(t, practice.Fault{Kind: kind, Times: 1})
		before := f.erp.Calls(practice.OpCreate)
		call := f.call(`{"number":"1"}`)
		want(t, f.deliver(t, call), ferry.Unknown, ferry.EffectMaybe)
		f.documents(t, call, left)
		if n := f.erp.Calls(practice.OpCreate) - before; n != 1 {
			t.Errorf("%s: %d calls", kind, n)
		}
	}
}

// deadReusedConnection: a request on a connection that served before and dies
// now must not be sent again, although it bears a key that net/http takes for a
// permission to do so.
func deadReusedConnection(t *testing.T, h Harness) {
	bodies := []string{`{"number":"1"}`, ""}
	if h.Expect.Objects {
		bodies = bodies[:1]
	}
	for _, body := range bodies {
		f := h.setup(t, practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Map = "" })
		for range 5 {
			want(t, f.deliver(t, f.call(`{"number":"0"}`)), ferry.Delivered, ferry.EffectDone)
			before := f.erp.Calls(practice.OpCreate)
			f.fail(t, practice.Fault{Kind: practice.FaultCutBefore, Times: -1})
			v := f.deliver(t, f.call(body))
			f.erp.ClearFaults()
			if n := f.erp.Calls(practice.OpCreate) - before; n != 1 {
				t.Fatalf("body %q: sent %d times", body, n)
			}
			want(t, v, ferry.Unknown, ferry.EffectMaybe)
		}
	}
}

func refused(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	f.server.Close()
	call := f.call(`{"number":"1"}`)
	want(t, f.deliver(t, call), ferry.Unavailable, ferry.EffectNone)
	if h.CannotLookup {
		return
	}
	if r := f.lookup(t, call); r.State != adapters.Unanswered || r.Verdict.Kind != ferry.Unavailable || r.Verdict.Effect != ferry.EffectNone {
		t.Errorf("lookup: %+v", r)
	}
}

func cancelled(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, f.adapter.Deliver(ctx, f.call(`{"number":"1"}`)), ferry.NotTried, ferry.EffectNone)
	if n := f.erp.Calls(practice.OpCreate); n != 0 {
		t.Errorf("%d calls", n)
	}
	// Cancelled during the call: it may have been written.
	f.fail(t, practice.Fault{Kind: practice.FaultHang})
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		for f.erp.Calls(practice.OpCreate) == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	want(t, f.adapter.Deliver(ctx, f.call(`{"number":"2"}`)), ferry.Unknown, ferry.EffectMaybe)
	cancel()
}

func badAnswer(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	for _, kind := range []practice.FaultKind{practice.FaultGarbled, practice.FaultOversized, practice.FaultCutAnswer} {
		f.fail(t, practice.Fault{Kind: kind})
		call := f.call(`{"number":"1"}`)
		v := f.deliver(t, call)
		f.documents(t, call, 1)
		if h.Expect.BodyTells {
			want(t, v, ferry.Unknown, ferry.EffectMaybe)
			continue
		}
		want(t, v, ferry.Delivered, ferry.EffectDone)
		if !h.Expect.NumberElsewhere && !strings.Contains(v.Text, "reference") {
			t.Errorf("%s: the text does not say that the reference is missing: %q", kind, v.Text)
		}
	}
}

func shortTimeout(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Timeout = timeout }

func probeAndCheck(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	ctx := t.Context()
	if err := f.dest.Probe(ctx); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if err := f.dest.Check(ctx); err != nil {
		t.Errorf("Check: %v", err)
	}
	f.fail(t, practice.Fault{Kind: practice.FaultStatus, Status: 503, On: practice.OpPing, Times: -1})
	if err := f.dest.Probe(ctx); err == nil {
		t.Error("Probe: no error on 503")
	}
	if err := f.dest.Check(ctx); err == nil {
		t.Error("Check: no error on 503")
	}
	f.erp.ClearFaults()
	f.fail(t, practice.Fault{Kind: practice.FaultStatus, Status: 401, On: practice.OpPing, Times: -1}) // also when a session was made anew
	if err := f.dest.Probe(ctx); !errors.Is(err, adapters.ErrRefused) {
		t.Errorf("Probe: an answer of 401 is a refusal of the credentials, got %v", err)
	}
	if err := f.dest.Check(ctx); err == nil {
		t.Error("Check: no error on 401")
	}
	f.server.Close()
	if err := f.dest.Probe(ctx); err == nil {
		t.Error("Probe: no error with nobody there")
	}
	if h.Expect.OwnHealth {
		return
	}
	none := h.setup(t, practice.Settings{}, func(d *adapters.DestinationConfig, _ *adapters.RouteConfig) { d.Health = nil })
	if err := none.dest.Probe(ctx); !errors.Is(err, adapters.ErrNoProbe) {
		t.Errorf("Probe without a health request: %v", err)
	}
}

func closeCloses(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	f.deliver(t, f.call(`{"number":"1"}`))
	if n := f.conns.Load(); n == 0 {
		t.Fatal("no connection is kept")
	}
	if err := f.dest.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "idle connections closed", func() bool { return f.conns.Load() == 0 })
}
