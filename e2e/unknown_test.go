package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// lostAnswers is an ERP that writes and does not say so: of a hundred calls it
// cuts the answer of ten, writes two late (but within settleTime) and answers
// three with a 500 although it wrote. Some calls are slow.
func lostAnswers() []practice.Fault {
	return []practice.Fault{
		{Kind: practice.FaultCutAfter, Times: -1, Chance: 0.10},
		{Kind: practice.FaultCutWriteLate, Times: -1, Chance: 0.01, Delay: 400 * time.Millisecond},
		{Kind: practice.FaultWriteLate, Times: -1, Chance: 0.01, Delay: 1200 * time.Millisecond},
		{Kind: practice.FaultStatusAfterWrite, Times: -1, Chance: 0.03},
		{Kind: practice.FaultSlow, Times: -1, Chance: 0.05, Delay: 100 * time.Millisecond},
	}
}

// lossy is a world whose ERP loses answers.
func lossy(t *testing.T, settings practice.Settings, route ...string) *world {
	t.Helper()
	_, settings.Seed = chance(t)
	w := newWorld(t, options{
		erp: settings, lock: "5s", destination: []string{"timeout: 1s", "concurrency: 8"},
		route: append(route, "settleTime: 1s", "retry: {attempts: 8, initialDelay: 100ms, maxDelay: 500ms}"),
	})
	w.start()
	w.fail(lostAnswers()...)
	return w
}

// sendMany sends n messages from eight senders, and gives their ids by key.
func (w *world) sendMany(prefix string, n int) map[string]ferry.ID {
	w.t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]ferry.ID{}
	next := make(chan string, n)
	for i := range n {
		next <- fmt.Sprintf("%s-%05d", prefix, i)
	}
	close(next)
	for range 8 {
		group.Go(func() {
			for key := range next {
				a, err := w.client.Send(w.t.Context(), invoices, ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key})
				if err != nil {
					w.t.Errorf("send %s: %v", key, err)
					return
				}
				mu.Lock()
				ids[key] = a.ID
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return ids
}

// lost is how many answers the ERP kept to itself although it wrote.
func (w *world) lost() int {
	met := w.erp.State().Met
	return met[string(practice.FaultCutAfter)] + met[string(practice.FaultCutWriteLate)] + met[string(practice.FaultWriteLate)] +
		met[string(practice.FaultStatusAfterWrite)]
}

// wantLost fails unless answers were lost: a test that lost none proves nothing.
func (w *world) wantLost(messages int) {
	w.t.Helper()
	w.t.Logf("%d messages, %d answers lost, %d creates, %d lookups", messages, w.lost(), w.erp.Calls(practice.OpCreate), w.erp.Calls(practice.OpLookup))
	if w.lost() < messages/20 {
		w.t.Errorf("of %d messages only %d answers were lost", messages, w.lost())
	}
}

// TestLostAnswersAreLookedUp: where the destination can be asked, every message
// is there once, and known by its number.
func TestLostAnswersAreLookedUp(t *testing.T) {
	t.Parallel()
	n := int(number(t, "FERRY_MESSAGES", 250, 100_000))
	w := lossy(t, practice.Settings{}, `lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`)
	ids := w.sendMany("ask", n)
	w.wantOnce(ids)
	w.wantLost(n)
}

// TestLostAnswersAreRepeated: a destination that honours the key gets the call
// again, and makes one document.
func TestLostAnswersAreRepeated(t *testing.T) {
	t.Parallel()
	n := int(number(t, "FERRY_MESSAGES", 250, 100_000))
	w := lossy(t, practice.Settings{OnDuplicate: practice.Repeat}, "onUnknown: repost")
	ids := w.sendMany("repeat", n)
	w.wantOnce(ids)
	w.wantLost(n)
	if lookups := w.erp.Calls(practice.OpLookup); lookups > 0 {
		t.Errorf("%d lookups, and none is configured", lookups)
	}
}

// TestLostAnswersAreHeld: where nobody can be asked, what got no answer is a dead
// letter that is never sent again by itself, and a person ends it.
func TestLostAnswersAreHeld(t *testing.T) {
	t.Parallel()
	n := int(number(t, "FERRY_MESSAGES", 150, 100_000))
	w := lossy(t, practice.Settings{}, "onUnknown: hold")
	ids := w.sendMany("hold", n)
	w.awaitDrained(120 * time.Second)
	// What is written late is written by now.
	eventually(t, 5*time.Second, func() string {
		if docs := len(w.erp.Documents("")); docs != n {
			return fmt.Sprintf("the ERP has %d documents of %d messages", docs, n)
		}
		return ""
	})
	held := map[string]ferry.ID{}
	for key, id := range ids {
		d, e := w.document(key), w.message(id)
		switch {
		case e.State == ferry.StateCompleted && e.Reference == d.ID:
		case e.State == ferry.StateDeadLettered && e.DeadLetter.Reason == ferry.ReasonOutcomeUnknown && e.AttemptsTotal == 1:
			held[key] = id
		default:
			t.Errorf("%s is %s as %q: %+v, attempts %+v", key, e.State, e.Reference, e.DeadLetter, e.Attempts)
		}
	}
	w.wantLost(n)
	if len(held) != w.lost() {
		t.Errorf("%d messages are held, and %d answers were lost", len(held), w.lost())
	}
	if creates := w.erp.Calls(practice.OpCreate); creates != n {
		t.Errorf("%d creates of %d messages", creates, n)
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: int64(n), Completed: int64(n - len(held)), DeadLetters: int64(len(held))}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	w.wantRiskTold(held)
	for key, id := range held {
		if _, err := w.client.AcceptDeadLetter(t.Context(), id.String(), w.document(key).ID, "seen in the ERP"); err != nil {
			t.Errorf("accept %s: %v", key, err)
		}
	}
	w.wantOnce(ids)
	if creates := w.erp.Calls(practice.OpCreate); creates != n {
		t.Errorf("%d creates of %d messages, after a person had looked", creates, n)
	}
}

// wantRiskTold: a person who would send again what may exist is told so first,
// one at a time and in bulk; one of them is accepted by command.
func (w *world) wantRiskTold(held map[string]ferry.ID) {
	w.t.Helper()
	for key, id := range held {
		show := w.cli("dlq", "show", id.Short())
		for _, text := range []string{"OutcomeUnknown", "may have been written", "careful: the destination may have it; look there for " + key, "broker dlq accept " + id.String()} {
			if !strings.Contains(show, text) {
				w.t.Errorf("`dlq show` lacks %q:\n%s", text, show)
			}
		}
		if r := w.try("dlq", "replay", id.Short()); r.code != 2 || !strings.Contains(r.errOut, "it may exist at the destination") {
			w.t.Errorf("`dlq replay` without a word of the risk: exit code %d\n%s%s", r.code, r.out, r.errOut)
		}
		if r := w.try("dlq", "replay", "--route", invoices, "--yes", "--expect", "0"); !strings.Contains(r.errOut, fmt.Sprint(len(held), " left out")) {
			w.t.Errorf("a bulk replay does not leave out what may exist: exit code %d\n%s%s", r.code, r.out, r.errOut)
		}
		if r := w.try("send", invoices, "--key", key, "--wait", "--timeout", "5s", "-f", w.bodyFile(key)); r.code != 4 || !strings.Contains(r.out, "OutcomeUnknown") {
			w.t.Errorf("`send --wait`: exit code %d\n%s%s", r.code, r.out, r.errOut)
		}
		w.cli("dlq", "accept", id.Short(), "--reference", w.document(key).ID, "--note", "seen in the ERP")
		delete(held, key)
		return
	}
}

func (w *world) bodyFile(key string) string {
	w.write(key+".json", kibibyte(key))
	return w.path(key + ".json")
}

// TestReplayOfUnknownIsARisk: what was not written after all is sent again when
// a person says so, once.
func TestReplayOfUnknownIsARisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{route: []string{"onUnknown: hold"}})
	w.start()
	w.fail(practice.Fault{Kind: practice.FaultCutBefore, Times: 2})
	a := w.send(invoices, "blind-1", kibibyte("blind-1"))
	w.await(a.ID, ferry.StateDeadLettered, 10*time.Second)
	// The risk is accepted for one turn: the second lost answer stops it again.
	w.cli("dlq", "replay", a.ID.Short(), "--include-unknown", "--note", "it is not in the ERP")
	e := w.await(a.ID, ferry.StateDeadLettered, 10*time.Second)
	if e.DeadLetter.Reason != ferry.ReasonOutcomeUnknown || e.AttemptsTotal != 2 {
		t.Errorf("after the replay: %+v, %d attempts", e.DeadLetter, e.AttemptsTotal)
	}
	w.cli("dlq", "replay", a.ID.Short(), "--yes", "--note", "nor is it now")
	e = w.await(a.ID, ferry.StateCompleted, 10*time.Second)
	if d := w.document("blind-1"); e.Reference != d.ID {
		t.Errorf("completed as %q; the ERP has %s", e.Reference, d.ID)
	}
}

// TestUnansweredLookupIsShown: while the destination does not answer the lookup,
// people see that an outcome is open, and what the lookup got; nothing is sent.
func TestUnansweredLookupIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{route: []string{`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`, "settleTime: 100ms"}})
	w.start()
	w.fail(
		practice.Fault{Kind: practice.FaultCutAfter},
		practice.Fault{Kind: practice.FaultStatus, On: practice.OpLookup, Times: -1, Text: "the index is being rebuilt"},
	)
	a := w.send(invoices, "doubt-1", kibibyte("doubt-1"))
	eventually(t, 10*time.Second, func() string {
		show := w.cli("messages", "show", a.ID.Short())
		for _, text := range []string{
			"unknown, may have been written", "outcome", "open: an earlier call may have been written", "asked for doubt-1",
			"the lookup was not answered: Internal Server Error: the index is being rebuilt",
		} {
			if !strings.Contains(show, text) {
				return fmt.Sprintf("`messages show` lacks %q:\n%s", text, show)
			}
		}
		return ""
	})
	r := w.try("send", invoices, "--key", "doubt-1", "--wait", "--timeout", "500ms", "-f", w.bodyFile("doubt-1"))
	if r.code != 5 || !strings.Contains(r.out, "an earlier call may have been written") || !strings.Contains(r.out, "the index is being rebuilt") {
		t.Errorf("`send --wait`: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if docs := len(w.erp.Documents("doubt-1")); docs != 1 || w.erp.Calls(practice.OpCreate) != 1 {
		t.Errorf("%d documents of %d creates", docs, w.erp.Calls(practice.OpCreate))
	}
}

// TestLookupTellsAnotherDocument: an ERP that writes, and then says that the
// message is no good. Mended, the message meets its own document of before, and
// lookup.same tells whether it is of this body.
func TestLookupTellsAnotherDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{
		erp: practice.Settings{OnDuplicate: practice.Conflict},
		route: []string{
			`lookup: {url: "/documents?externalId={externalKey}", reference: ".items[0].id", same: ".answer.items[0].body.total == .mapped.total"}`,
			"settleTime: 300ms",
		},
	})
	w.start()
	w.fail(practice.Fault{Kind: practice.FaultStatusAfterWrite, Status: http.StatusUnprocessableEntity, Code: "odd", Text: "refused, and written all the same"})
	a := w.send(invoices, "same-1", `{"number":"N-1","total":10.00}`)
	w.await(a.ID, ferry.StateDeadLettered, 10*time.Second)
	first := w.document("same-1")

	w.write("other.json", `{"number":"N-1","total":12.50}`)
	w.cli("dlq", "edit", a.ID.Short(), "-f", "other.json", "--yes")
	var e ferry.Envelope
	eventually(t, 10*time.Second, func() string {
		if e = w.message(a.ID); e.DeadLetter == nil || e.DeadLetter.Reason != ferry.ReasonAlreadyExists {
			return fmt.Sprintf("the message is %s: %+v", e.State, e.DeadLetter)
		}
		return ""
	})
	if e.DeadLetter.Reference != first.ID || !strings.Contains(e.DeadLetter.Description, "not of this body") {
		t.Errorf("the dead letter tells %+v; the ERP has %s", e.DeadLetter, first.ID)
	}
	if show := w.cli("dlq", "show", a.ID.Short()); !strings.Contains(show, first.ID) || !strings.Contains(show, "not of this body") {
		t.Errorf("`dlq show` does not tell what the lookup found:\n%s", show)
	}

	// With the body that is there, it is this message's document.
	w.write("again.json", `{"number":"N-1","total":10.00}`)
	w.cli("dlq", "edit", a.ID.Short(), "-f", "again.json", "--yes")
	e = w.await(a.ID, ferry.StateCompleted, 10*time.Second)
	if d := w.document("same-1"); e.Reference != d.ID || e.Revision != 3 {
		t.Errorf("completed as %q, revision %d; the ERP has %s", e.Reference, e.Revision, d.ID)
	}
}

// TestLostAnswerOfTheSameBody: a lost answer whose document is of this body is
// completed; one that the ERP holds of another body under this key is not.
func TestLostAnswerOfTheSameBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{route: []string{
		`lookup: {url: "/documents?externalId={externalKey}", reference: ".items[0].id", same: ".answer.items[0].body.number == .mapped.number"}`,
		"settleTime: 300ms",
	}})
	w.start()
	w.fail(practice.Fault{Kind: practice.FaultCutAfter, Key: "mine"}, practice.Fault{Kind: practice.FaultCutBefore, Key: "theirs"})
	mine := w.send(invoices, "mine", kibibyte("mine"))
	if e := w.await(mine.ID, ferry.StateCompleted, 10*time.Second); e.Reference != w.document("mine").ID {
		t.Errorf("completed as %q; the ERP has %s", e.Reference, w.document("mine").ID)
	}
	// Somebody else entered an invoice under the key.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.erpURL+"/invoices", strings.NewReader(kibibyte("not-yours")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Ferry-Message-Id", "theirs")
	theirs := w.send(invoices, "theirs", kibibyte("theirs"))
	eventually(t, 5*time.Second, func() string {
		if w.erp.Calls(practice.OpCreate) < 2 {
			return "the ERP was not called for it"
		}
		return ""
	})
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	e := w.await(theirs.ID, ferry.StateDeadLettered, 10*time.Second)
	if e.DeadLetter.Reason != ferry.ReasonAlreadyExists || e.DeadLetter.Reference != w.document("theirs").ID {
		t.Errorf("the dead letter tells %+v", e.DeadLetter)
	}
}
