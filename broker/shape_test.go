package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ferry"
)

// form gives the first route a form.
func form(change func(r *ferry.Route)) func(*Options) {
	return func(o *Options) { change(&o.Routes[0]) }
}

func jsonSchema(text string) func(*Options) {
	return form(func(r *ferry.Route) { r.Schema = json.RawMessage(text) })
}

func keyed(key string) func(*ferry.Message) {
	return func(m *ferry.Message) { m.IdempotencyKey = key }
}

// refused sends what is to be refused, and gives the error.
func (w *world) refused(body string, change ...func(*ferry.Message)) *ferry.Error {
	w.t.Helper()
	m := ferry.Message{Route: orders, Body: []byte(body), ContentType: "application/json"}
	for _, f := range change {
		f(&m)
	}
	_, err := w.b.Accept(w.t.Context(), m)
	e, ok := err.(*ferry.Error) //nolint:errorlint // the edge of the broker
	if !ok {
		w.t.Fatalf("%s was not refused: %v", body, err)
	}
	return e
}

func TestBodiesAreHeldToTheSchema(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		e := w.refused(`{"lines":[{"n":"x"},{}],"extra":1}`)
		if e.Code != ferry.CodeInvalid || len(e.Details) != 3 || e.Details[0].Pointer != "/extra" {
			t.Errorf("%v %+v", e, e.Details)
		}
		id := w.send(`{"lines":[{"n":1.50}]}`)
		w.state(id, ferry.StateAccepted)

		// A large one is read from where it was staged, and stays there.
		large := `{"lines":[` + strings.Repeat(`{"n":1},`, 100_000) + `{"n":2}]}`
		staged, err := w.b.StageBody(t.Context(), orders, strings.NewReader(large), ferry.MaxBody)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Staged: &staged, ContentType: "application/json"})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.body(accepted.ID, 0); got != large {
			t.Errorf("%d bytes came out, %d went in", len(got), len(large))
		}
		// One that is wrong at its very end, too.
		staged, err = w.b.StageBody(t.Context(), orders, strings.NewReader(strings.Replace(large, `{"n":2}`, `{"n":"2"}`, 1)), ferry.MaxBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.b.Accept(t.Context(), ferry.Message{Route: orders, Staged: &staged}); !strings.Contains(fmt.Sprint(err), "/lines/100000/n must be a number, not a string") {
			t.Errorf("%v", err)
		}
		// And one that is too large to be looked into says so.
		staged, err = w.b.StageBody(t.Context(), orders, bytes.NewReader(make([]byte, ferry.MaxMapped+1)), ferry.MaxBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.b.Accept(t.Context(), ferry.Message{Route: orders, Staged: &staged}); ferry.CodeOf(err) != ferry.CodeTooLarge {
			t.Errorf("%v", err)
		}
		w.balanced()
	}, form(func(r *ferry.Route) {
		r.MaxBytes = ferry.MaxBody
		r.Schema = json.RawMessage(`{"additionalProperties":false,"properties":{"lines":{"items":{"required":["n"],"properties":{"n":{"type":"number"}}}}}}`)
	}))
}

func (w *world) body(id ferry.ID, revision int) string {
	w.t.Helper()
	body, err := w.b.OpenBody(w.t.Context(), id, revision)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(body); err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// A message that is taken in before the form changes is known after it: by what was
// sent, whatever the route makes of it, and also when it would refuse it now.
func TestARepeatIsKnownWhateverTheFormHasBecome(t *testing.T) {
	for name, test := range map[string]struct{ before, after func(*Options) }{
		"from none to a program":      {form(func(*ferry.Route) {}), form(func(r *ferry.Route) { r.Request = `{n: .n}` })},
		"from a program to another":   {form(func(r *ferry.Route) { r.Request = `{old: .n}` }), form(func(r *ferry.Route) { r.Request = `{new: .n}` })},
		"from a program to none":      {form(func(r *ferry.Route) { r.Request = `{old: .n}` }), form(func(*ferry.Route) {})},
		"to a schema that refuses it": {form(func(r *ferry.Route) { r.Request = `{old: .n}` }), jsonSchema(`{"required":["other"]}`)},
		"to a program that fails":     {form(func(*ferry.Route) {}), form(func(r *ferry.Route) { r.Request = `error("no more")` })},
		"to a type that is not taken": {form(func(*ferry.Route) {}), form(func(r *ferry.Route) { r.Accept = []string{ferry.AcceptXML} })},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.restart(test.before)
				id := w.send(`{"n": 1.0}`, keyed("K"))
				w.restart(test.after)
				again := ferry.Message{Route: orders, Body: []byte(`{"n": 1.0}`), ContentType: "application/json", IdempotencyKey: "K"}
				a, err := w.b.Accept(t.Context(), again)
				if err != nil || a.ID != id || !a.Duplicate {
					t.Errorf("%+v, %v", a, err)
				}
				list, errs, err := w.b.AcceptBatch(t.Context(), []ferry.Message{again, again}, false)
				if err != nil || errs[0] != nil || errs[1] != nil || list[0].ID != id || !list[1].Duplicate {
					t.Errorf("as a batch: %+v, %v, %v", list, errs, err)
				}
				again.Body = []byte(`{"n": 2.0}`)
				if a, err := w.b.Accept(t.Context(), again); err == nil {
					t.Errorf("another body under the key: %+v", a)
				}
				w.balanced()
			})
		})
	}
}

// What two bodies become does not make them one: they are what was sent.
func TestTwoBodiesThatBecomeOneAreTwo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.send(`{"n":1}`, keyed("K"))
		if e := w.refused(`{"n":2}`, keyed("K")); e.Code != ferry.CodeKeyReused {
			t.Errorf("%v", e)
		}
		_, errs, err := w.b.AcceptBatch(t.Context(), []ferry.Message{
			{Route: orders, Body: []byte(`{"n":1}`), IdempotencyKey: "L"}, {Route: orders, Body: []byte(`{"n":2}`), IdempotencyKey: "L"},
		}, false)
		if err != nil || ferry.CodeOf(errs[1]) != ferry.CodeKeyReused {
			t.Errorf("%v, %v", errs, err)
		}
	}, form(func(r *ferry.Route) { r.Request = `{}` }))
}

// The version travels with the message: to the worker, into the envelope, through a
// restart, an edit and a replacement.
func TestVersionsTravel(t *testing.T) {
	versions := form(func(r *ferry.Route) {
		r.Versions = []ferry.RouteVersion{
			{Name: "v1", Form: ferry.Form{Schema: json.RawMessage(`{"required":["no"]}`), Request: `{number: .no}`}, As: "v2"},
			{Name: "v2", Form: ferry.Form{Schema: json.RawMessage(`{"required":["number"]}`)}, Default: true},
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		w.restart(versions)
		h := w.worker("one", orders)
		h.hello(orders)
		of := func(v string) func(*ferry.Message) { return func(m *ferry.Message) { m.Version = v } }
		a, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{"no":"1"}`), Version: "v1", IdempotencyKey: "K"})
		if err != nil || a.Version != "v1" {
			t.Fatalf("%+v, %v", a, err)
		}
		w.restart(versions)
		h = w.worker("one", orders)
		h.hello(orders)
		d := h.takeOne(orders)
		if d.HandOut.Version != "v2" || string(d.HandOut.Body) != `{"number":"1"}` {
			t.Errorf("the worker gets %q of the version %s", d.HandOut.Body, d.HandOut.Version)
		}
		h.report(d, ferry.Rejected, rejected())
		if e := w.state(a.ID, ferry.StateDeadLettered); e.Version != "v1" || e.DeliverAs != "v2" {
			t.Errorf("%+v", e)
		}
		// What the program made is of no schema; the edit keeps the version.
		if err := w.b.CheckEdit(t.Context(), a.ID, []byte(`{"any":1}`), ""); err != nil {
			t.Errorf("an edit of what a program made: %v", err)
		}
		if _, err := w.b.Replay(t.Context(), a.ID, []byte(`{"number":"1a"}`), "", "typo", "op"); err != nil {
			t.Fatal(err)
		}
		d = h.takeOne(orders)
		if d.HandOut.Version != "v2" || d.HandOut.Revision != 2 {
			t.Errorf("%+v", d.HandOut)
		}
		h.report(d, ferry.Rejected, rejected())
		// The sender's own correction may be of another version; it is known afterwards,
		// as are the bodies before it.
		replaced, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{"number":"1b"}`), Version: "v2", IdempotencyKey: "K", OnConflict: ferry.OnConflictReplace})
		if err != nil || replaced.ID != a.ID || replaced.Revision != 3 || replaced.Version != "v2" {
			t.Fatalf("%+v, %v", replaced, err)
		}
		if e := w.message(a.ID); e.Version != "v2" || e.DeliverAs != "" {
			t.Errorf("%+v", e)
		}
		for body, version := range map[string]string{`{"no":"1"}`: "v1", `{"number":"1b"}`: "v2", `{"number":"1a"}`: ""} {
			if got := w.send(body, keyed("K"), of(version)); got != a.ID {
				t.Errorf("%s is another message", body)
			}
		}
		// The default version, and one that there is not.
		if e := w.message(w.send(`{"number":"2"}`)); e.Version != "v2" {
			t.Errorf("%+v", e)
		}
		if e := w.refused(`{"number":"2"}`, of("v3")); e.Code != ferry.CodeVersionNotFound || !strings.Contains(e.Hint, "v1, v2") {
			t.Errorf("%v", e)
		}
		if e := w.refused(`{}`, of("v1"), func(m *ferry.Message) { m.Route = notes }); e.Code != ferry.CodeVersionNotFound {
			t.Errorf("on a route without versions: %v", e)
		}
		w.balanced()
	})
}

func TestEditsAreHeldToTheSchema(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{"n":1}`)
		h.report(h.takeOne(orders), ferry.Rejected, rejected())
		w.state(id, ferry.StateDeadLettered)
		err := w.b.CheckEdit(t.Context(), id, []byte(`{"m":1}`), "")
		if e, ok := err.(*ferry.Error); !ok || e.Code != ferry.CodeInvalid || e.Details[0].Pointer != "/n" { //nolint:errorlint // the edge
			t.Errorf("%v", err)
		}
		if err := w.b.CheckEdit(t.Context(), id, []byte(`{"n":2}`), ""); err != nil {
			t.Error(err)
		}
	}, jsonSchema(`{"required":["n"]}`))
}

// The end of a message is never lost to a program that shows its result.
func TestResultsAreTold(t *testing.T) {
	for name, test := range map[string]struct{ program, result, want, note string }{
		"told":  {`{number: $reference, total: .total}`, `{"total":10.00,"secret":"x"}`, `{"number":"DOC-1","total":10.00}`, ""},
		"fails": {`.total | error`, `{"total":"no"}`, `{"total":"no"}`, "the route's result program failed"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.worker("one", orders)
				h.hello(orders)
				id := w.send(`{}`)
				h.report(h.takeOne(orders), ferry.Delivered, done(), func(rc *ferry.Receipt) { rc.Result = json.RawMessage(test.result) })
				e := w.state(id, ferry.StateCompleted)
				if string(e.Result) != test.want || !strings.Contains(e.ResultNote, test.note) || (test.note == "") != (e.ResultNote == "") || e.Reference != "DOC-1" {
					t.Errorf("%s, %q", e.Result, e.ResultNote)
				}
				w.restart()
				if again := w.message(id); again.ResultNote != e.ResultNote || string(again.Result) != string(e.Result) {
					t.Errorf("after a restart: %+v", again)
				}
			}, form(func(r *ferry.Route) { r.Result = test.program }))
		})
	}
}

// Programs quote what they fail on; what the route masks stays masked.
func TestErrorsOfProgramsAreMasked(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		e := w.refused(`{"iban":"` + iban + `"}`)
		if text := fmt.Sprint(e.Message, e.Hint, e.Details); strings.Contains(text, iban) || !strings.Contains(text, "***") {
			t.Error(text)
		}
	}, masked, form(func(r *ferry.Route) { r.Request = `error("no account " + .iban)` }))
}

// orderBy and searchKeys read what is delivered.
func TestKeysAreFoundInWhatIsDelivered(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`<o><n>7</n></o>`, func(m *ferry.Message) { m.ContentType = "text/xml" })
		e := w.message(id)
		if e.OrderingKey != "7" || e.ContentType != "application/json" || w.body(id, 0) != `{"number":"7"}` {
			t.Errorf("%+v: %s", e, w.body(id, 0))
		}
	}, form(func(r *ferry.Route) {
		r.OrderBy, r.Accept, r.Request = ".number", []string{ferry.AcceptXML}, `{number: .o.n}`
	}))
}

// The same event is one message, however it is wrapped.
func TestAnEventIsOneMessage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		asEvent := func(m *ferry.Message) { m.ContentType = "application/cloudevents+json" }
		id := w.send(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1}}`, asEvent)
		e := w.message(id)
		if e.IdempotencyKey != "/s 1" || e.Properties["ce-type"] != "t" || w.body(id, 0) != `{"got":1}` {
			t.Errorf("%+v: %s", e, w.body(id, 0))
		}
		if got := w.send(`{"type":"t","time":"2026-11-26T00:00:00Z","id":"1","source":"/s","specversion":"1.0", "data" : {"n":1} }`, asEvent); got != id {
			t.Error("in another order it is another message")
		}
		if got := w.send(`{"n":1}`, keyed("/s 1")); got != id {
			t.Error("with its attributes beside it, it is another message")
		}
		if e := w.refused(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":2}}`, asEvent); e.Code != ferry.CodeKeyReused {
			t.Errorf("%v", e)
		}
		if e := w.refused(`{"specversion":"1.0","id":"2","source":"/s","type":"t"}`, asEvent); e.Code != ferry.CodeEmptyBody {
			t.Errorf("%v", e)
		}
	}, form(func(r *ferry.Route) { r.CloudEvents, r.Request = true, `{got: .n}` }))
}
