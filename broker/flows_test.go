package broker

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
	"ferry/internal/logicapps"
)

// flows is the engine of flows before the HTTP surface of a world, with a sender's key.
type flows struct {
	*world
	*logicapps.Engine
	served *logicapps.Served
	key    string
	log    *lockedBuffer
	worker *hand
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const flowsAt = "https://broker.example"

func newFlows(t *testing.T, w *world) *flows {
	t.Helper()
	f := &flows{world: w, served: &logicapps.Served{}, log: &lockedBuffer{}}
	f.Engine = logicapps.New(logicapps.Options{Transport: f.served})
	key, err := w.b.CreateKey(t.Context(), ferry.KeySpec{Name: "flow", Role: ferry.RoleSender, Routes: []string{orders}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	f.key = key.Secret
	f.worker = w.worker("one", orders)
	f.worker.hello(orders)
	f.serve()
	return f
}

// serve has the broker that runs answer.
func (f *flows) serve() {
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.served.Set(api.New(f.b, api.Options{Log: log, PublicURL: flowsAt, Environment: "test"}))
}

// sendAndWait is the action of the flow.
func (f *flows) sendAndWait(key, body, waitFor string) logicapps.Action {
	a := logicapps.Action{
		Name: "Send_and_wait", Method: http.MethodPost, URI: flowsAt + "/v1/routes/orders/messages/wait",
		Headers: map[string]string{"Content-Type": "application/json"}, Authentication: "Bearer " + f.key, Body: []byte(body),
	}
	if key != "" {
		a.Headers["Idempotency-Key"] = key
	}
	if waitFor != "" {
		a.URI += "?waitFor=" + waitFor
	}
	return a
}

// running is an action under way.
type running struct {
	t    *testing.T
	out  logicapps.Outcome
	err  error // of the test's end
	done chan struct{}
}

func (f *flows) begin(run *logicapps.Run, a logicapps.Action) *running {
	r := &running{t: f.t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.out, r.err = run.HTTP(f.t.Context(), a)
	}()
	return r
}

// pending wants the action to wait on.
func (r *running) pending() {
	r.t.Helper()
	synctest.Wait()
	select {
	case <-r.done:
		r.t.Fatalf("the action does not wait: %s %d %s", r.out.Status, r.out.StatusCode, r.out.Body)
	default:
	}
}

// ended wants the action to succeed with a message in this state, within a poll.
func (r *running) ended(state ferry.State) ferry.Envelope {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(61 * time.Second):
		r.t.Fatal("the action does not end")
	}
	var e ferry.Envelope
	if err := json.Unmarshal(r.out.Body, &e); err != nil || r.err != nil || r.out.Status != logicapps.Succeeded || r.out.StatusCode != http.StatusOK || e.State != state {
		r.t.Fatalf("the action ended %s %d, the message %s (want %s): %v %s", r.out.Status, r.out.StatusCode, e.State, state, err, r.out.Body)
	}
	return e
}

// location is what the flow polls.
func (r *running) location() string {
	for _, x := range r.out.Exchanges {
		if x.Status == http.StatusAccepted && !x.Poll {
			return x.Header.Get("Location")
		}
	}
	return ""
}

// TestAFlowWaitsForHours: across an outage of the destination, restarts of the broker
// between polls and in the middle of one, until the end; and its polls are few.
func TestAFlowWaitsForHours(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		action := f.begin(f.Flow("post-invoice").Run(), f.sendAndWait("INV-1", `{"n":1}`, ""))
		synctest.Wait()
		d := f.worker.takeOne(orders)
		f.worker.report(d, ferry.Unavailable, ferry.Next{Do: ferry.DoRetry, After: 5 * time.Hour})
		time.Sleep(2 * time.Hour)
		action.pending()

		// The broker is away for half a minute: the engine's own retries are enough.
		f.served.Set(nil)
		f.stop()
		time.Sleep(30 * time.Second)
		f.start()
		f.serve()
		f.worker.hello(orders)
		action.pending()
		time.Sleep(time.Hour)

		// It stops for a minute behind a proxy, which answers 503 meanwhile.
		f.served.Set(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
		time.Sleep(40 * time.Second)
		f.serve()
		time.Sleep(2*time.Hour + time.Minute)
		action.pending()

		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		e := action.ended(ferry.StateCompleted)
		if e.Reference != "DOC-1" || e.IdempotencyKey != "INV-1" || e.StatusURL != flowsAt+"/v1/messages/"+e.ID.String() {
			t.Errorf("%+v", e)
		}
		// 5 h 2 min at 60 s, and the first few faster; every 202 leads on.
		if n := action.out.Polls(); n < 280 || n > 330 {
			t.Errorf("%d polls in five hours", n)
		}
		for i, x := range action.out.Exchanges {
			if x.Poll && (x.Sent.Get("Authorization") != "" || x.URI != action.location()) {
				t.Fatalf("poll %d asks %s with %v", i, x.URI, x.Sent)
			}
		}
		token := action.location()[strings.LastIndex(action.location(), "/")+1:]
		if strings.Contains(f.log.String(), token) || strings.Contains(f.log.String(), f.key) || !strings.Contains(f.log.String(), "/v1/results/***") {
			t.Error("the log has a token or a key, or no polls")
		}
		w.balanced()
	})
}

// TestAFlowLearnsOfADeadLetter, which is an end like any other, unless it waits for
// completed: then across the edit and the replay.
func TestAFlowLearnsOfADeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		flow := f.Flow("post-invoice")
		ended := f.begin(flow.Run(), f.sendAndWait("INV-1", `{"n":1}`, "ended"))
		synctest.Wait()
		completed := f.begin(flow.Run(), f.sendAndWait("INV-1", `{"n":1}`, "completed")) // the same message
		synctest.Wait()
		f.worker.report(f.worker.takeOne(orders), ferry.Rejected, rejected(), func(rc *ferry.Receipt) { rc.Code, rc.Text = "E42", "no such supplier" })
		e := ended.ended(ferry.StateDeadLettered)
		if e.DeadLetter == nil || e.DeadLetter.Reason != ferry.ReasonRejected || e.DeadLetter.Code != "E42" {
			t.Errorf("%+v", e.DeadLetter)
		}
		if n := ended.out.Polls(); n != 1 {
			t.Errorf("%d polls for what had ended before the first", n)
		}

		time.Sleep(26 * time.Hour) // over a night
		completed.pending()
		if _, err := f.b.Replay(t.Context(), e.ID, []byte(`{"n":2}`), "application/json", "the supplier is known now", "olga"); err != nil {
			t.Fatal(err)
		}
		completed.pending()
		f.worker.report(f.worker.takeOne(orders), ferry.Rejected, rejected())
		time.Sleep(time.Hour)
		completed.pending()
		f.restart()
		f.serve()
		f.worker.hello(orders)
		if _, err := f.b.Replay(t.Context(), e.ID, nil, "", "", "olga"); err != nil {
			t.Fatal(err)
		}
		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		if got := completed.ended(ferry.StateCompleted); got.ID != e.ID || got.Revision != 2 || got.Generation != 3 {
			t.Errorf("%+v", got)
		}
		w.balanced()
	})
}

// TestAFlowWaitsForADiscardedMessage: discarded is an end for everybody.
func TestAFlowWaitsForADiscardedMessage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		action := f.begin(f.Flow("f").Run(), f.sendAndWait("INV-1", `{}`, "completed"))
		synctest.Wait()
		d := f.worker.takeOne(orders)
		f.worker.report(d, ferry.Rejected, rejected())
		time.Sleep(time.Hour)
		action.pending()
		if _, err := f.b.Discard(t.Context(), d.HandOut.ID, "not needed any more", "olga"); err != nil {
			t.Fatal(err)
		}
		action.ended(ferry.StateDiscarded)
	})
}

// TestAFlowPostsTwice: one delivery, one id, one address, whenever the second comes.
func TestAFlowPostsTwice(t *testing.T) {
	for name, again := range map[string]logicapps.Again{
		"at a time":                    {Twice: true, Together: true},
		"minutes later":                {Twice: true, After: 270 * time.Second},
		"after the end":                {Twice: true, After: 26 * time.Hour},
		"the first answer lost":        {Twice: true, After: 30 * time.Second, UseSecond: true},
		"at a time, the second counts": {Twice: true, Together: true, UseSecond: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := newFlows(t, w)
				a := f.sendAndWait("INV-1", `{"n":1}`, "completed")
				a.Again = again
				action := f.begin(f.Flow("f").Run(), a)
				synctest.Wait()
				d := f.worker.takeOne(orders)
				f.worker.report(d, ferry.Delivered, done())
				time.Sleep(again.After)
				e := action.ended(ferry.StateCompleted)
				if e.ID != d.HandOut.ID {
					t.Errorf("it waited for %s, delivered was %s", e.ID, d.HandOut.ID)
				}
				var posts int
				for _, x := range action.out.Exchanges {
					if x.Poll {
						continue
					}
					posts++
					var accepted ferry.Accepted
					if err := json.Unmarshal(x.Body, &accepted); err != nil || x.Status != http.StatusAccepted || accepted.ID != e.ID || x.Header.Get("Location") != action.location() {
						t.Errorf("post %d: %d %s %v", posts, x.Status, x.Body, x.Header)
					}
				}
				if posts != 2 {
					t.Errorf("%d posts", posts)
				}
				if left := f.worker.take(orders, 10); len(left) != 0 {
					t.Errorf("%d more deliveries", len(left))
				}
				w.balanced()
			})
		})
	}
}

// TestAFlowPostsTwiceWithoutAKey: the headers of the engine tell the repeat, and never
// two equal items of one Apply to each from one another.
func TestAFlowPostsTwiceWithoutAKey(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		run := f.Flow("f").Run()
		var items []*running
		for range 3 {
			a := f.sendAndWait("", `{"same":true}`, "")
			a.Again = logicapps.Again{Twice: true, After: 30 * time.Second, UseSecond: true}
			items = append(items, f.begin(run.Item(), a))
		}
		time.Sleep(time.Minute)
		deliveries := f.worker.take(orders, 10)
		if len(deliveries) != 3 {
			t.Fatalf("%d deliveries of 3 items that were posted twice", len(deliveries))
		}
		for _, d := range deliveries {
			f.worker.report(d, ferry.Delivered, done())
		}
		ids := map[ferry.ID]bool{}
		for _, item := range items {
			ids[item.ended(ferry.StateCompleted).ID] = true
		}
		if len(ids) != 3 {
			t.Errorf("3 items waited for %d messages", len(ids))
		}
	}, func(o *Options) { o.Routes[0].Window = 20 })
}

// TestAFlowIsResubmitted: by the maker's key it is the same message, also when it
// ended long ago; another body is told, and may replace a dead letter.
func TestAFlowIsResubmitted(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		run := f.Flow("f").Run()
		first := f.begin(run, f.sendAndWait("INV-1", `{"n":1}`, ""))
		synctest.Wait()
		f.worker.report(f.worker.takeOne(orders), ferry.Rejected, rejected())
		id := first.ended(ferry.StateDeadLettered).ID

		time.Sleep(24 * time.Hour)
		again := f.begin(run.Resubmit(), f.sendAndWait("INV-1", `{"n":1}`, ""))
		if e := again.ended(ferry.StateDeadLettered); e.ID != id || again.location() != first.location() {
			t.Errorf("%+v at %s", e, again.location())
		}

		other := f.begin(run.Resubmit(), f.sendAndWait("INV-1", `{"n":2}`, ""))
		<-other.done
		if other.out.Status != logicapps.Failed || other.out.StatusCode != http.StatusConflict || len(other.out.Exchanges) != 1 {
			t.Errorf("another body: %+v", other.out)
		}

		a := f.sendAndWait("INV-1", `{"n":2}`, "ended")
		a.URI += "&onConflict=replace"
		corrected := f.begin(run.Resubmit(), a)
		synctest.Wait()
		d := f.worker.takeOne(orders)
		if string(d.HandOut.Body) != `{"n":2}` || d.HandOut.ID != id {
			t.Fatalf("%s %s", d.HandOut.ID, d.HandOut.Body)
		}
		f.worker.report(d, ferry.Delivered, done())
		if e := corrected.ended(ferry.StateCompleted); e.ID != id || e.Revision != 2 || corrected.location() != first.location() {
			t.Errorf("%+v at %s", e, corrected.location())
		}
	})
}

// TestAFlowAsksForTheResultOfAMessage that it sent before, with its key: the polls
// come without it.
func TestAFlowAsksForTheResultOfAMessage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		id := w.send(`{}`)
		action := f.begin(f.Flow("f").Run(), logicapps.Action{
			Name: "Wait", Method: http.MethodGet, URI: flowsAt + "/v1/messages/" + id.String() + "/result?waitFor=completed",
			Headers: map[string]string{"Ocp-Apim-Subscription-Key": f.key},
		})
		synctest.Wait()
		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		action.ended(ferry.StateCompleted)
		if action.out.Polls() == 0 {
			t.Error("it did not poll")
		}
	})
}

// TestAFlowComesAfterTheRetention: its action fails at once, and says why.
func TestAFlowComesAfterTheRetention(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		action := f.begin(f.Flow("f").Run(), f.sendAndWait("INV-1", `{}`, ""))
		synctest.Wait()
		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		action.ended(ferry.StateCompleted)
		time.Sleep(3 * time.Hour)
		late := f.begin(f.Flow("f").Run(), logicapps.Action{Method: http.MethodGet, URI: action.location()})
		<-late.done
		if late.out.StatusCode != http.StatusGone || len(late.out.Exchanges) != 1 || !strings.Contains(string(late.out.Body), string(ferry.CodeResultGone)) {
			t.Errorf("%+v %s", late.out, late.out.Body)
		}
	}, keptForAnHour)
}
