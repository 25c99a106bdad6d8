package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
)

// answers has the worker answer the broker's questions with pages, until the test
// ends; it says the first of them twice, as if its answer was lost.
func (h *hand) answers(pages ...[]queue.ReportRecord) {
	h.w.t.Helper()
	stop, err := h.q.Listen(h.w.t.Context(), func(s queue.Signal) {
		if s.Report == nil {
			return
		}
		for i, records := range pages {
			p := queue.ReportPage{Worker: h.name, Inbox: h.inbox, Nonce: s.Report.Nonce, Page: i, Records: records, Last: i == len(pages)-1}
			for range 2 {
				if _, err := h.q.Report(h.w.t.Context(), p); err != nil {
					h.w.t.Errorf("Report: %v", err)
				}
			}
		}
	})
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.w.t.Cleanup(stop)
}

func TestInboxesAreHeldAgainstTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send("{}")
		h.report(h.takeOne(orders), ferry.Delivered, done())
		pending, way := w.send("{}"), w.send("{}")
		unknown, theirs := ferry.NewID(time.Now()), w.send("{}", func(m *ferry.Message) { m.Route = notes })
		h.answers(
			[]queue.ReportRecord{
				{ID: id, Route: orders, Turn: 1, HasIt: true, Reference: "DOC-2"},
				{ID: way, Route: orders, Turn: 1, HasIt: true, Open: true, Reference: "DOC-3"},
			},
			[]queue.ReportRecord{
				{ID: pending, Route: orders, Turn: 1, HasIt: true, Reference: "DOC-4\x1b[2J"},
				{ID: unknown, Route: orders, Turn: 1, Begun: true},
				{ID: theirs, Route: notes, Turn: 9, HasIt: true},
			})
		w.worker("silent", orders).hello(orders)
		w.worker("away", orders)
		proof, err := w.b.Prove(t.Context(), ferry.ProofRequest{})
		if err != nil {
			t.Fatal(err)
		}
		want := []struct {
			kind ferry.FindingKind
			id   ferry.ID
			text string
		}{
			{ferry.FindingWorkerOther, id, "the worker's reference is DOC-2, the ledger's DOC-1"},
			{ferry.FindingWorkerDone, pending, "delivered it: DOC-4[2J; the ledger says"},
			{ferry.FindingUnknown, unknown, "began to deliver it"},
		}
		if len(proof.Findings) != len(want) {
			t.Fatalf("findings: %+v", proof.Findings)
		}
		for i, f := range proof.Findings {
			if f.Kind != want[i].kind || f.ID != want[i].id || f.Worker != "one" || f.Route != orders || !strings.Contains(f.Text, want[i].text) {
				t.Errorf("finding %+v, want %+v", f, want[i])
			}
		}
		for _, of := range proof.Workers {
			switch {
			case of.Worker == "one" && (of.Records != 5 || of.Unreached != ""),
				of.Worker == "silent" && !strings.Contains(of.Unreached, "did not answer"),
				of.Worker == "away" && !strings.Contains(of.Unreached, "not been heard"):
				t.Errorf("%+v", of)
			}
		}
		if len(proof.Workers) != 3 {
			t.Errorf("%d workers", len(proof.Workers))
		}
		// Nobody asks: pages are refused, and so is who reports as another.
		if a, err := h.q.Report(t.Context(), queue.ReportPage{Worker: "one", Nonce: "made up"}); err != nil || !a.Stop {
			t.Errorf("a page that nobody asked for: %+v, %v", a, err)
		}
		if _, err := h.q.Report(t.Context(), queue.ReportPage{Worker: "silent", Nonce: "made up"}); err == nil {
			t.Error("a worker reports as another")
		}
	})
}

func TestDoctorNamesWhatIsWrong(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		if err := os.Chmod(w.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		state := func() map[string]ferry.Check {
			t.Helper()
			d, err := w.b.Doctor(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checks := map[string]ferry.Check{}
			for _, c := range d.Checks {
				if c.State == ferry.CheckFail || c.State == ferry.CheckWarn {
					checks[c.Name] = c
				}
			}
			return checks
		}
		// The disk of the machine and its syncs are what they are.
		well := state()
		delete(well, "disk room")
		delete(well, "disk sync")
		delete(well, "clock of the disk") // the bubble's time is not the disk's
		if len(well) > 0 {
			t.Errorf("a broker that is well: %+v", well)
		}
		h.inbox = "another"
		h.hello(orders)
		w.worker("silent", orders)
		if err := os.WriteFile(filepath.Join(w.dir, "x.key"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(w.dir, "x.key"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(w.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		slow := w.worker("slow-clock", notes)
		if _, err := slow.q.Hello(t.Context(), queue.Hello{Worker: slow.name, Inbox: slow.inbox, Version: "older", Now: time.Now().Add(-time.Hour), Routes: []queue.RouteHello{{Name: notes}}}); err != nil {
			t.Fatal(err)
		}
		wrong := state()
		for name, text := range map[string]string{
			"worker one": "another inbox", "worker silent": "not been heard", "worker slow-clock": "version older", "clock": "differs from the broker's by -1h0m0s", "data folder": "x.key",
		} {
			if !strings.Contains(wrong[name].Text, text) || wrong[name].Hint == "" {
				t.Errorf("%s: %+v, want %q", name, wrong[name], text)
			}
		}
	})
}
