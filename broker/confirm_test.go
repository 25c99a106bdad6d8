package broker

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

func public(o *Options) { o.PublicURL = "https://broker.example/" }

// helloConfirm greets as a worker whose destination calls back.
func (h *hand) helloConfirm(route string) {
	h.w.t.Helper()
	if _, err := h.q.Hello(h.w.t.Context(), queue.Hello{
		Worker: h.name, Inbox: h.inbox, Routes: []queue.RouteHello{{Name: route, Bound: time.Minute, WantsConfirm: true}},
	}); err != nil {
		h.w.t.Fatal(err)
	}
}

func tokenIn(t *testing.T, h *ferry.HandOut) string {
	t.Helper()
	u, err := url.Parse(h.ConfirmURL)
	if err != nil || u.Host != "broker.example" || u.Path != "/v1/messages/"+h.ID.String()+"/confirm" {
		t.Fatalf("address to call back %q, %v", h.ConfirmURL, err)
	}
	return u.Query().Get("token")
}

func awaits(after time.Duration) ferry.Next {
	return ferry.Next{Do: ferry.DoRetry, After: after, Doubt: true, Awaits: true}
}

func TestTheDestinationConfirmsByItsToken(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.helloConfirm(orders)
		id, other := w.send(`{}`), w.send(`{}`)
		handed := h.take(orders, 10)
		token := tokenIn(t, &handed[0].HandOut)

		good, err := w.b.ConfirmToken(id, token)
		if err != nil || good != (ferry.CallOf{Generation: 1, Turn: 1}) {
			t.Fatalf("its own token: %+v, %v", good, err)
		}
		for _, bad := range []struct {
			id    ferry.ID
			token string
		}{
			{other, token},
			{id, ""},
			{id, "."},
			{id, "1"},
			{id, "1.2" + token[3:]},
			{id, "2" + token[1:]},
			{id, "-1" + token[1:]},
			{id, token + "A"},
			{id, token[:len(token)-1]},
			{id, strings.ToUpper(token)},
			{ferry.NewID(time.Now()), token},
		} {
			if _, err := w.b.ConfirmToken(bad.id, bad.token); ferry.CodeOf(err) != ferry.CodeUnauthenticated {
				t.Errorf("token %q of %s: %v", bad.token, bad.id.Short(), err)
			}
		}

		// It outlives a restart, beside the ledger and for its owner alone.
		h.report(handed[0], ferry.InProgress, awaits(time.Hour), func(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe })
		w.restart(public)
		if info, err := os.Stat(filepath.Join(w.dir, ConfirmKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the key: %v, %v", info, err)
		}
		if _, err := w.b.ConfirmToken(id, token); err != nil {
			t.Fatalf("after a restart: %v", err)
		}
		if infos, err := w.b.RouteInfos(t.Context()); err != nil || infos[0].Awaiting != 1 {
			t.Fatalf("%+v, %v", infos, err)
		}
		said := ferry.Confirmation{Delivered: true, Reference: "INV-1"}
		for range 2 {
			if state, kept, err := w.b.Confirm(t.Context(), id, good, said, "the destination", false); err != nil || kept || state != ferry.StateCompleted {
				t.Fatalf("%s, %v, %v", state, kept, err)
			}
		}
		if e := w.state(id, ferry.StateCompleted); e.Reference != "INV-1" {
			t.Errorf("%+v", e)
		}
		if _, _, err := w.b.Confirm(t.Context(), id, good, ferry.Confirmation{}, "the destination", false); ferry.CodeOf(err) != ferry.CodeConflict {
			t.Errorf("another outcome: %v", err)
		}
		w.balanced()
	}, public)
}

func TestARejectionBeforeItsReceiptIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.helloConfirm(orders)
		id := w.send(`{}`)
		d := h.takeOne(orders)
		state, kept, err := w.b.Confirm(t.Context(), id, ferry.CallOf{Generation: 1, Turn: 1}, ferry.Confirmation{Code: "credit"}, "the destination", false)
		if err != nil || !kept || !state.Pending() {
			t.Fatalf("%s, %v, %v", state, kept, err)
		}
		h.report(d, ferry.InProgress, awaits(time.Hour), func(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe })
		if e := w.state(id, ferry.StateDeadLettered); e.DeadLetter.Reason != ferry.ReasonRejected || e.DeadLetter.Code != "credit" {
			t.Errorf("%+v", e.DeadLetter)
		}
	}, public)
}

// Addresses are made for those who want them only: they cost bytes and time.
func TestConfirmAddressesAreForThoseWhoWantThem(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		synctest.Wait()
		w.send(`{}`)
		if d := h.takeOne(orders); d.HandOut.ConfirmURL != "" {
			t.Errorf("unwanted: %q", d.HandOut.ConfirmURL)
		}
		// Not heard in this run: nobody knows.
		w.restart(public)
		if d := h.takeOne(orders); tokenIn(t, &d.HandOut) == "" {
			t.Error("no token")
		}
	}, public)
	bubble(t, func(t *testing.T, w *world) { // no public address
		h := w.worker("one", orders)
		h.helloConfirm(orders)
		w.send(`{}`)
		if d := h.takeOne(orders); d.HandOut.ConfirmURL != "" {
			t.Errorf("an address of nowhere: %q", d.HandOut.ConfirmURL)
		}
	})
}

func TestABadConfirmKeyEndsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfirmKeyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Options{DataDir: dir, MinFree: -1}); ferry.CodeOf(err) != ferry.CodeBadConfig {
		t.Fatalf("New: %v", err)
	}
}

func BenchmarkConfirmURL(b *testing.B) {
	broker := &Broker{opts: Options{PublicURL: "https://broker.example"}, confirmKey: make([]byte, tokenKeyBytes)}
	h := ferry.HandOut{ID: ferry.NewID(time.Now()), Generation: 1}
	b.ReportAllocs()
	for b.Loop() {
		_ = broker.confirmURL(&h)
	}
}
