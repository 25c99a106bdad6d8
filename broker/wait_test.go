package broker

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/api"
	"ferry/queue"
	"ferry/queue/memqueue"
)

func TestResultTokensAreOfOneMessageAndEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id, other := w.send(`{}`), w.send(`{}`)
		tokens := map[string]bool{}
		for _, of := range []ferry.ID{id, other} {
			for _, until := range ferry.WaitFors() {
				token := w.b.ResultToken(of, until)
				if token != w.b.ResultToken(of, until) || tokens[token] || len(token) != 66 || strings.Contains(token, of.String()) {
					t.Errorf("the token %q of %s and %s", token, of, until)
				}
				tokens[token] = true
				if got, what, ok := w.b.ResultOf(token); !ok || got != of || what != until {
					t.Errorf("%s, %s is read as %s, %s, %t", of, until, got, what, ok)
				}
			}
		}
		ended, completed := w.b.ResultToken(id, ferry.WaitEnded), w.b.ResultToken(id, ferry.WaitCompleted)
		confirm := w.b.confirmToken(id, ferry.CallOf{Generation: 1, Turn: 1})
		raw, err := base64.RawURLEncoding.DecodeString(ended)
		if err != nil {
			t.Fatal(err)
		}
		altered := func(change func(raw []byte)) string {
			b := append([]byte{}, raw...)
			change(b)
			return base64.RawURLEncoding.EncodeToString(b)
		}
		for name, bad := range map[string]string{
			"nothing":         "",
			"cut":             ended[:65],
			"longer":          ended + "A",
			"cut to its id":   ended[:23],
			"head of another": completed[:2] + ended[2:],
			"tail of another": ended[:40] + completed[40:],
			"another end":     altered(func(b []byte) { b[0] = tokenCompleted }),
			"another message": altered(func(b []byte) { copy(b[1:], other[:]) }),
			"no MAC":          altered(func(b []byte) { clear(b[17:]) }),
			"a bit":           altered(func(b []byte) { b[48] ^= 1 }),
			"padded":          ended + "==",
			"trailing bits":   ended[:65] + string(ended[65]+1), // four of the last six count for nothing
			"standard":        base64.StdEncoding.EncodeToString(raw),
			"a line":          ended[:65] + "\n",
			"of a call back":  confirm,
			"an id":           id.String(),
		} {
			if got, until, ok := w.b.ResultOf(bad); ok || !got.IsZero() || until != "" {
				t.Errorf("%s: %q is read as %s, %s", name, bad, got, until)
			}
		}
		// Another use of the same way of making tokens has another key.
		if string(w.b.confirmKey) == string(w.b.resultKey) {
			t.Error("two purposes have one key")
		}
	})
}

// TestResultTokensOutliveARestart, and are those of one data folder.
func TestResultTokensOutliveARestart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`{}`)
		token := w.b.ResultToken(id, ferry.WaitCompleted)
		key := filepath.Join(w.dir, ResultKeyFile)
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the key: %v, %v", info, err)
		}
		w.restart()
		if got, until, ok := w.b.ResultOf(token); !ok || got != id || until != ferry.WaitCompleted || w.b.ResultToken(id, until) != token {
			t.Fatalf("after a restart: %s, %s, %t", got, until, ok)
		}

		// A backup of the folder, restored elsewhere, answers at the same addresses.
		w.stop()
		backup := t.TempDir()
		for _, name := range []string{"ledger.db", ConfirmKeyFile, ResultKeyFile} {
			text, err := os.ReadFile(filepath.Join(w.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(backup, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.dir = backup
		w.start()
		if got, _, ok := w.b.ResultOf(token); !ok || got != id || w.message(got).ID != id {
			t.Fatal("after a restore the token is not known")
		}

		// Without it there is a new one, which knows nothing of what was given out.
		w.stop()
		if err := os.Remove(filepath.Join(backup, ResultKeyFile)); err != nil {
			t.Fatal(err)
		}
		w.start()
		if _, _, ok := w.b.ResultOf(token); ok {
			t.Error("a token of another key is good")
		}
	})
}

func TestABadResultKeyEndsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ResultKeyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(t.Context(), Options{DataDir: dir, MinFree: -1})
	if ferry.CodeOf(err) != ferry.CodeBadConfig || strings.Contains(err.Error(), "short") {
		t.Fatalf("New: %v", err)
	}
}

func keptForAnHour(o *Options) {
	o.Retention, o.IdempotencyWindow = ferry.Retention{Completed: time.Hour, Discarded: time.Hour}, time.Hour
}

// TestResultsAreKeptForTheRetention: who asks later than that learns that, and not
// that there was nothing.
func TestResultsAreKeptForTheRetention(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		completed := w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		dead := w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Rejected, rejected())
		time.Sleep(3 * time.Hour)
		if _, err := w.b.Message(context.Background(), completed); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
			t.Errorf("a completed one beyond the retention: %v", err)
		}
		if id, _, ok := w.b.ResultOf(w.b.ResultToken(completed, ferry.WaitEnded)); !ok || id != completed {
			t.Error("its token is not known any more")
		}
		w.state(dead, ferry.StateDeadLettered) // it waits for a person, and so may a flow
	}, keptForAnHour)
}

func FuzzResultOf(f *testing.F) {
	b := &Broker{resultKey: make([]byte, tokenKeyBytes)}
	id := ferry.NewID(time.Unix(1_800_000_000, 0))
	for _, until := range ferry.WaitFors() {
		token := b.ResultToken(id, until)
		f.Add(token)
		f.Add(token[:65])
		f.Add(token + "A")
	}
	f.Add("")
	f.Add(strings.Repeat("_", 66))
	f.Fuzz(func(t *testing.T, token string) {
		id, until, ok := b.ResultOf(token)
		if ok && b.ResultToken(id, until) != token {
			t.Fatalf("%q is taken for the token of %s, %s", token, id, until)
		}
		if !ok && (!id.IsZero() || until != "") {
			t.Fatalf("%q is refused, and tells %s, %s", token, id, until)
		}
	})
}

func BenchmarkResultToken(b *testing.B) {
	broker := &Broker{resultKey: make([]byte, tokenKeyBytes)}
	id := ferry.NewID(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := broker.ResultOf(broker.ResultToken(id, ferry.WaitEnded)); !ok {
			b.Fatal("its own token is not known")
		}
	}
}

// BenchmarkPoll is what a flow that waits costs per poll, with a history of attempts.
func BenchmarkPoll(b *testing.B) {
	for _, attempts := range []int{0, ferry.MaxAttemptsKept} {
		b.Run(strconv.Itoa(attempts)+" attempts", func(b *testing.B) {
			mem := memqueue.New(memqueue.Options{Lock: time.Minute})
			broker, err := New(b.Context(), Options{
				DataDir: b.TempDir(), MinFree: -1, Routes: []ferry.Route{{Name: orders}},
				OpenTransport: func(context.Context, []ferry.WorkerInfo) (Transport, error) {
					return memTransport{q: queue.New(mem.Broker(), queue.Options{}), mem: mem, n: new(int)}, nil
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = broker.Stop(context.Background()) }()
			a, err := broker.Accept(b.Context(), ferry.Message{Route: orders, Body: []byte("{}")})
			if err != nil {
				b.Fatal(err)
			}
			receipt := ferry.Receipt{ID: a.ID, Route: orders, Turn: 1, Revision: 1, Generation: 1, Verdict: ferry.Unavailable, Effect: ferry.EffectNone, Next: ferry.Next{Do: ferry.DoRetry, After: time.Hour}}
			for i := range attempts {
				receipt.Attempts = append(receipt.Attempts, ferry.Attempt{Number: i + 1, Turn: uint64(i + 1), Revision: 1, Generation: 1, Verdict: ferry.Unavailable, Text: "no connection to the ERP"})
			}
			if _, err := broker.ledger.ApplyReceipts(b.Context(), []ferry.Receipt{receipt}, broker.continueAfterDead); err != nil {
				b.Fatal(err)
			}
			handler := api.New(broker, api.Options{PublicURL: flowsAt})
			r := httptest.NewRequest(http.MethodGet, "/v1/results/"+broker.ResultToken(a.ID, ferry.WaitEnded), http.NoBody)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if handler.ServeHTTP(w, r); w.Code != http.StatusAccepted {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
