package broker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ferry"
)

const iban = "DE89370400440532013000"

func masked(o *Options) { o.Routes[0].Mask = []string{"iban"} }

// What a worker's masks missed, or no worker said, is masked before it is kept.
func TestMaskedMembersAreNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{"number":"4711","iban":"` + iban + `"}`)
		h.report(h.takeOne(orders), ferry.Rejected, rejected(), func(rc *ferry.Receipt) {
			rc.Text, rc.Effect = "no account "+iban, ferry.EffectNone
			rc.Attempts = []ferry.Attempt{{
				Number: 1, Turn: rc.Turn, Verdict: ferry.Rejected, Text: `{"iban":"X1"} ` + iban, Request: "POST https://erp.example/" + iban,
				Fields: []ferry.FieldError{{Field: "/" + iban, Text: iban + " is closed"}},
			}}
		})
		e := w.state(id, ferry.StateDeadLettered)
		text, err := json.Marshal(e)
		if err != nil || strings.Contains(string(text), iban) || e.DeadLetter.Description != "no account ***" ||
			e.Attempts[0].Text != `{"iban":"***"} ***` || len(e.Mask) != 1 {
			t.Errorf("%s, %v", text, err)
		}
		w.balanced()
	}, masked)
}

func TestMaskedMembersOfReceivers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`{"iban":"` + iban + `"}`)
		got := w.receive(0)
		if body := bodyOf(t, got); !strings.Contains(body, iban) {
			t.Errorf("a receiver gets %s", body)
		}
		if _, err := w.b.SettleLock(t.Context(), ferry.LockSettle{
			Route: orders, Message: got.ID.String(), Lock: got.Lock, Do: ferry.LockComplete, By: "erp", Reference: "DOC-" + iban,
			Text: "made for " + iban, Result: json.RawMessage(`{"iban":"` + iban + `","said":"` + iban + `"}`),
		}); err != nil {
			t.Fatal(err)
		}
		e := w.state(id, ferry.StateCompleted)
		if string(e.Result) != `{"iban":"***","said":"***"}` || e.Reference != "DOC-"+iban {
			t.Errorf("%+v, result %s", e, e.Result)
		}
	}, pulling, masked)
}

func TestMaskedMembersOfCallbacks(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.helloConfirm(orders)
		id := w.send(`{"iban":"` + iban + `"}`)
		d := h.takeOne(orders)
		call, err := w.b.ConfirmToken(id, tokenIn(t, &d.HandOut))
		if err != nil {
			t.Fatal(err)
		}
		h.report(d, ferry.InProgress, awaits(time.Hour), func(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe })
		if _, _, err := w.b.Confirm(t.Context(), id, call, ferry.Confirmation{Code: "CLOSED", Text: "closed: " + iban}, "the destination", false); err != nil {
			t.Fatal(err)
		}
		if e := w.state(id, ferry.StateDeadLettered); e.DeadLetter.Description != "closed: ***" {
			t.Errorf("%+v", e.DeadLetter)
		}
	}, public, masked)
}

// A masked value is hidden in a code also where no text comes with it, whoever says it.
func TestMaskedMembersInACodeAlone(t *testing.T) {
	shown := func(t *testing.T, w *world, id ferry.ID) {
		t.Helper()
		e := w.state(id, ferry.StateDeadLettered)
		text, err := json.Marshal(e)
		if err != nil || strings.Contains(string(text), iban) || e.DeadLetter.Code != "closed-***" {
			t.Errorf("%s, %v", text, err)
		}
		entries, err := w.b.ledger.Audit(0, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(entries); err != nil || strings.Contains(string(text), iban) {
			t.Errorf("the audit log: %s, %v", text, err)
		}
	}
	t.Run("worker", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			h := w.worker("one", orders)
			h.hello(orders)
			id := w.send(`{"iban":"` + iban + `"}`)
			h.report(h.takeOne(orders), ferry.Rejected, rejected(), func(rc *ferry.Receipt) { rc.Code, rc.Attempts = "closed-"+iban, nil })
			shown(t, w, id)
		}, masked)
	})
	t.Run("receiver", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			id := w.send(`{"iban":"` + iban + `"}`)
			got := w.receive(0)
			if _, err := w.b.SettleLock(t.Context(), ferry.LockSettle{
				Route: orders, Message: id.String(), Lock: got.Lock, Do: ferry.LockReject, By: "erp", Code: "closed-" + iban,
			}); err != nil {
				t.Fatal(err)
			}
			shown(t, w, id)
		}, pulling, masked)
	})
	t.Run("destination", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			h := w.worker("one", orders)
			h.helloConfirm(orders)
			id := w.send(`{"iban":"` + iban + `"}`)
			h.report(h.takeOne(orders), ferry.InProgress, awaits(time.Hour), func(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe })
			if _, _, err := w.b.Confirm(t.Context(), id, ferry.CallOf{}, ferry.Confirmation{Code: "closed-" + iban}, "ann", true); err != nil {
				t.Fatal(err)
			}
			shown(t, w, id)
		}, public, masked)
	})
}
