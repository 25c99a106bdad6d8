package adaptertest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// hidden asserts that nothing of v shows the API key.
func hidden(t *testing.T, what string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), APIKey) || strings.Contains(fmt.Sprintf("%+v", v), APIKey) {
		t.Errorf("%s shows the secret: %s", what, data)
	}
}

func secretsNeverShow(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	echo := "you sent " + APIKey + " and that is wrong"
	for _, fault := range []practice.Fault{
		{Kind: practice.FaultStatus, Status: 401, Text: echo, Code: APIKey},
		{Kind: practice.FaultStatus, Status: 400, Text: echo},
		{Kind: practice.FaultCutBefore},
	} {
		fault.Times = -1 // a session may be made anew, and the call repeated
		f.fail(t, fault)
		v := f.deliver(t, f.call(`{"number":"1"}`))
		f.erp.ClearFaults()
		hidden(t, "a verdict", v)
		if fault.Text != "" && !strings.Contains(v.Text, "you sent *** and that is wrong") {
			t.Errorf("the rest of the text is lost: %q", v.Text)
		}
	}
	before := f.erp.Calls(practice.OpCreate)
	p, err := f.adapter.Preview(t.Context(), f.call(`{"number":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	hidden(t, "a preview", p)
	shown := p.URL + "\n" + p.Body
	for name, value := range p.Header {
		shown += "\n" + name + ": " + value
	}
	if !strings.Contains(shown, "***") || p.Body == "" || p.Method == "" {
		t.Errorf("the preview hides where the credentials go: %+v", p)
	}
	if n := f.erp.Calls(practice.OpCreate) - before; n != 0 {
		t.Errorf("the preview made %d calls", n)
	}
	f.server.Close()
	hidden(t, "a verdict", f.deliver(t, f.call(`{"number":"1"}`)))
	if err := f.dest.Check(t.Context()); err == nil || strings.Contains(err.Error(), APIKey) {
		t.Errorf("Check: %v", err)
	}
}

func rotation(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	prints, ok := f.dest.(adapters.Fingerprinter)
	if !ok {
		t.Fatal("the destination does not tell when its credentials change")
	}
	good := prints.Fingerprint()
	if good == "" || strings.Contains(good, APIKey) || strings.Contains(good, adapters.Unreadable) || good != prints.Fingerprint() {
		t.Fatalf("fingerprint %q", good)
	}
	writeKey(t, f.keyFile, "another-key")
	if prints.Fingerprint() == good {
		t.Error("the fingerprint does not change with the secret")
	}
	want(t, f.deliver(t, f.call(`{"number":"1"}`)), ferry.Unauthorized, ferry.EffectNone)
	if err := f.dest.Check(t.Context()); err != nil {
		t.Logf("Check with a refused key: %v", err) // the practice ERP's ping asks for none
	}
	writeKey(t, f.keyFile, APIKey)
	want(t, f.deliver(t, f.call(`{"number":"1"}`)), ferry.Delivered, ferry.EffectDone)
}

func missingSecret(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	if err := os.Remove(f.keyFile); err != nil {
		t.Fatal(err)
	}
	want(t, f.deliver(t, f.call(`{"number":"1"}`)), ferry.Unauthorized, ferry.EffectNone)
	if n := f.erp.Calls(practice.OpCreate); n != 0 {
		t.Errorf("%d calls without credentials", n)
	}
	if p, ok := f.dest.(adapters.Fingerprinter); ok && !strings.Contains(p.Fingerprint(), adapters.Unreadable) {
		t.Errorf("the fingerprint %s does not tell that the secret cannot be read", p.Fingerprint())
	}
	if err := f.dest.Check(t.Context()); err == nil {
		t.Error("Check: no error without the secret")
	}
}

func textIsCut(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, nil)
	f.fail(t, practice.Fault{Kind: practice.FaultStatus, Status: 400, Text: strings.Repeat("ä€ ", 5000), Code: strings.Repeat("c", 1000)})
	v := f.deliver(t, f.call(`{"number":"1"}`))
	if len(v.Text) > ferry.MaxAttemptText || len(v.Text) < 1000 || !utf8.ValidString(v.Text) || len(v.Code) > 256 {
		t.Errorf("text of %d bytes, valid %t, code of %d", len(v.Text), utf8.ValidString(v.Text), len(v.Code))
	}
}

func brokenBody(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) {
		r.Map = `{number: (.invoice.number | ascii_downcase)}`
	})
	for _, body := range []string{"", "{", "[]", "null", `{"invoice":7}`, "<xml/>", "\xff\xfe", `{"invoice":{"number":{}}}`} {
		v := f.deliver(t, f.call(body))
		want(t, v, ferry.Rejected, ferry.EffectNone)
		if v.Code != adapters.CodeMappingFailed || v.Text == "" {
			t.Errorf("body %q: code %q, text %q", body, v.Code, v.Text)
		}
		if _, err := f.adapter.Preview(t.Context(), f.call(body)); err == nil {
			t.Errorf("body %q: the preview gives no error", body)
		}
	}
	if n := f.erp.Calls(practice.OpCreate); n != 0 {
		t.Errorf("%d calls", n)
	}
	// A map that is stopped for its time may have met a busy machine.
	slow := h.setup(t, practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Map = `def f: f; f` })
	v := slow.deliver(t, slow.call(`{}`))
	want(t, v, ferry.Failed, ferry.EffectNone)
	if v.Code != adapters.CodeMappingFailed {
		t.Errorf("code %q", v.Code)
	}
}
