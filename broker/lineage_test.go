package broker

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
	"ferry/internal/logicapps"
)

const keyEnvironment = "Default-11111111-2222-3333-4444-555555555555"

// post is the action of a flow that sets no key.
func (f *flows) post(name, body string) logicapps.Action {
	return logicapps.Action{
		Name: name, Method: http.MethodPost, URI: flowsAt + "/v1/routes/orders/messages",
		Headers: map[string]string{"Content-Type": "application/json"}, Authentication: "Bearer " + f.key, Body: []byte(body),
	}
}

// do runs an action to its end, and reads every answer to a post.
func (f *flows) do(run *logicapps.Run, a logicapps.Action) (logicapps.Outcome, []ferry.Accepted) {
	f.t.Helper()
	out, err := run.HTTP(f.t.Context(), a)
	if err != nil {
		f.t.Fatal(err)
	}
	var answers []ferry.Accepted
	for _, x := range out.Exchanges {
		var accepted ferry.Accepted
		if x.Status == http.StatusOK || x.Status == http.StatusCreated {
			if err := json.Unmarshal(x.Body, &accepted); err != nil {
				f.t.Fatalf("%s: %v", x.Body, err)
			}
			answers = append(answers, accepted)
		}
	}
	return out, answers
}

func (f *flows) all() []ferry.Envelope {
	f.t.Helper()
	page, err := f.b.Messages(f.t.Context(), ferry.MessageFilter{Limit: 1000})
	if err != nil {
		f.t.Fatal(err)
	}
	return page.Items
}

// duplicates is how many repeats the metrics count.
func (f *flows) duplicates() int {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.b.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	_, rest, found := strings.Cut(w.Body.String(), `ferry_duplicates_total{route="orders"} `)
	n := 0
	if found {
		if _, err := fmt.Sscan(rest, &n); err != nil {
			f.t.Fatal(err)
		}
	}
	return n
}

// between has a middle man pass requests on to the broker.
func (f *flows) between(pass func(w http.ResponseWriter, r *http.Request, broker http.Handler)) {
	broker := api.New(f.b, api.Options{Log: slog.New(slog.DiscardHandler), PublicURL: flowsAt})
	f.served.Set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pass(w, r, broker) }))
}

// TestAFlowWithoutAKeyPostsTwice: one message, the same answer but for duplicate,
// whenever the second comes within the window.
func TestAFlowWithoutAKeyPostsTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		again logicapps.Again
		want  int // messages
	}{
		"at a time":             {logicapps.Again{Twice: true, Together: true}, 1},
		"minutes later":         {logicapps.Again{Twice: true, After: 270 * time.Second}, 1},
		"the first answer lost": {logicapps.Again{Twice: true, After: time.Hour, UseSecond: true}, 1},
		"after the window":      {logicapps.Again{Twice: true, After: ferry.RepeatWindow + time.Minute}, 2},
		"within, after a start": {logicapps.Again{Twice: true, After: 90 * time.Minute}, 1},
		"not":                   {logicapps.Again{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := newFlows(t, w)
				if strings.Contains(name, "start") {
					time.AfterFunc(time.Hour, func() { f.restart(); f.serve() })
				}
				a := f.post("Post_invoice", `{"n":1}`)
				a.Again = tc.again
				out, answers := f.do(f.Flow("f").Run(), a)
				if out.Status != logicapps.Succeeded || len(f.all()) != tc.want {
					t.Errorf("%s, %d messages", out.Status, len(f.all()))
				}
				duplicates := 0
				for _, a := range answers {
					if tc.want == 1 && a.ID != answers[0].ID || !a.PossibleRepeatOf.IsZero() {
						t.Errorf("answers %+v", answers)
					}
					if a.Duplicate {
						duplicates++
					}
				}
				if want := len(answers) - tc.want; duplicates != want || !strings.Contains(name, "start") && f.duplicates() != want {
					t.Errorf("%d of %d answers were duplicates, %d counted", duplicates, len(answers), f.duplicates())
				}
				w.balanced()
			})
		})
	}
}

// TestAnApplyToEachLosesNoItem: items with the same body are as many messages, also
// while each is posted twice, at a time or one after the other.
func TestAnApplyToEachLosesNoItem(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		const items = 100
		var mu sync.Mutex
		ids := map[ferry.ID]int{}
		run := f.Flow("f").Run()
		err := run.ForEach(items, 50, func(item *logicapps.Run, i int) error {
			a := f.post("Post_line", `{"line":"the same"}`)
			a.Again = logicapps.Again{Twice: i%2 == 0, Together: i%4 == 0, After: time.Minute}
			out, err := item.HTTP(t.Context(), a)
			if err != nil || out.Status != logicapps.Succeeded {
				return fmt.Errorf("item %d: %s, %w", i, out.Status, err)
			}
			var of ferry.Accepted
			mu.Lock()
			defer mu.Unlock()
			ids[of.ID] = i // as the body of the action's answer says
			return json.Unmarshal(out.Body, &of)
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(f.all()); n != items {
			t.Errorf("%d messages of %d items", n, items)
		}
		if n := f.duplicates(); n != items/2 {
			t.Errorf("%d repeats, want %d", n, items/2)
		}
		w.balanced()
	})
}

// TestAProxyTakesTheTrackingID: nothing is swallowed, and what may be a repeat says
// so. A route can settle for run and action.
func TestAProxyTakesTheTrackingID(t *testing.T) {
	for _, mode := range []ferry.Duplicates{"", ferry.DuplicatesTracking, ferry.DuplicatesRun, ferry.DuplicatesOff} {
		t.Run(string(mode), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := newFlows(t, w)
				f.between(func(w http.ResponseWriter, r *http.Request, broker http.Handler) {
					r.Header.Del("X-Ms-Action-Tracking-Id")
					broker.ServeHTTP(w, r)
				})
				a := f.post("Post_invoice", `{"n":1}`)
				a.Again = logicapps.Again{Twice: true, After: time.Minute}
				_, answers := f.do(f.Flow("f").Run(), a)
				if len(answers) != 2 {
					t.Fatalf("answers %+v", answers)
				}
				first, second := answers[0], answers[1]
				switch mode {
				case ferry.DuplicatesRun:
					if !second.Duplicate || second.ID != first.ID {
						t.Errorf("%+v", second)
					}
				case ferry.DuplicatesOff:
					if second.Duplicate || !second.PossibleRepeatOf.IsZero() || len(f.all()) != 2 {
						t.Errorf("%+v", second)
					}
				default:
					if second.Duplicate || second.PossibleRepeatOf != first.ID || len(f.all()) != 2 || f.message(second.ID).PossibleRepeatOf != first.ID {
						t.Errorf("%+v", second)
					}
				}
			}, func(o *Options) {
				for i := range o.Routes {
					o.Routes[i].Duplicates = mode
				}
			})
		})
	}
}

// TestAResubmittedRunIsNew: only a key knows that it is the same.
func TestAResubmittedRunIsNew(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		run := f.Flow("f").Run()
		f.do(run, f.post("Post_invoice", `{"n":1}`))
		_, again := f.do(run.Resubmit(), f.post("Post_invoice", `{"n":1}`))
		if again[0].Duplicate || !again[0].PossibleRepeatOf.IsZero() || len(f.all()) != 2 {
			t.Errorf("resubmitted: %+v", again)
		}
		keyed := f.post("Post_invoice", `{"n":2}`)
		keyed.Headers["Idempotency-Key"] = "INV-2"
		f.do(run, keyed)
		if _, again := f.do(run.Resubmit(), keyed); !again[0].Duplicate {
			t.Errorf("resubmitted with its key: %+v", again)
		}
	})
}

// TestTheEngineRetriesAfterALostAnswer: the message was accepted, a proxy said 504.
func TestTheEngineRetriesAfterALostAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		lost := 3
		f.between(func(w http.ResponseWriter, r *http.Request, broker http.Handler) {
			if lost--; lost >= 0 {
				broker.ServeHTTP(httptest.NewRecorder(), r)
				w.WriteHeader(http.StatusGatewayTimeout)
				return
			}
			broker.ServeHTTP(w, r)
		})
		out, answers := f.do(f.Flow("f").Run(), f.post("Post_invoice", `{"n":1}`))
		if out.Status != logicapps.Succeeded || out.StatusCode != http.StatusOK || len(answers) != 1 || !answers[0].Duplicate || len(f.all()) != 1 || f.duplicates() != 3 {
			t.Errorf("%s %d, answers %+v, %d messages, %d repeats", out.Status, out.StatusCode, answers, len(f.all()), f.duplicates())
		}
	})
}

// TestADeadLetterLeadsToItsRun: with what the engine sends, and the environment of
// the key.
func TestADeadLetterLeadsToItsRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		key, err := f.b.CreateKey(t.Context(), ferry.KeySpec{Name: "maker", Role: ferry.RoleSender, Environment: keyEnvironment}, "test")
		if err != nil {
			t.Fatal(err)
		}
		f.key = key.Secret
		flow := f.Flow("f")
		run := flow.Run()
		_, answers := f.do(run, f.post("Post_invoice", `{"n":1}`))
		f.worker.report(f.worker.takeOne(orders), ferry.Rejected, rejected())
		page, err := f.b.DeadLetters(t.Context(), ferry.DeadLetterFilter{Flow: run.ID})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != answers[0].ID {
			t.Fatalf("%+v, %v", page, err)
		}
		got := page.Items[0].Sender.Flow
		want := "https://make.powerautomate.com/environments/" + keyEnvironment + "/flows/" + flow.Name + "/runs/" + run.ID
		if got.RunURL != want || got.Operation != "Post_invoice" || got.TrackingID == "" || got.WorkflowID != flow.ID || got.Platform != ferry.PlatformPowerAutomate {
			t.Errorf("%+v, want %s", got, want)
		}
		for _, q := range []string{run.ID, run.ID[:12], flow.Name, got.TrackingID, flow.ID} {
			if page, err := f.b.Messages(t.Context(), ferry.MessageFilter{Q: q, Limit: 10}); err != nil || len(page.Items) != 1 {
				t.Errorf("%q finds %d messages, %v", q, len(page.Items), err)
			}
		}
		for _, name := range []string{run.ID, flow.Name, "another"} {
			if page, err := f.b.Messages(t.Context(), ferry.MessageFilter{Flow: name, Limit: 10}); err != nil || len(page.Items) == 1 != (name != "another") {
				t.Errorf("flow %q: %d messages, %v", name, len(page.Items), err)
			}
		}

		// Logic Apps: to the Azure portal.
		engine := logicapps.New(logicapps.Options{Transport: f.served, LogicApps: true})
		run = engine.Flow("invoices").Run()
		_, answers = f.do(run, f.post("HTTP", `{"n":2}`))
		got = f.message(answers[0].ID).Sender.Flow
		if !strings.HasPrefix(got.RunURL, "https://portal.azure.com/#view/") || !strings.HasSuffix(got.RunURL, "%2Fproviders%2FMicrosoft.Logic%2Fworkflows%2Finvoices%2Fruns%2F"+run.ID) || got.Environment != "" {
			t.Errorf("%+v", got)
		}
		// The link is made when it is shown; what is stored outlives its form.
		f.restart()
		if again := f.message(answers[0].ID).Sender.Flow; again.RunURL != got.RunURL {
			t.Errorf("after a start: %+v", again)
		}
	})
}

// TestChunkingTellsWhatToTurnOff: the maker sees it in the run history.
func TestChunkingTellsWhatToTurnOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		for _, path := range []string{"", "/wait", "/batch"} {
			a := f.post("HTTP", `[{"body":1}]`)
			a.URI += path
			a.AllowChunking = true
			out, _ := f.do(f.Flow("f").Run(), a)
			if out.Status != logicapps.Failed || out.StatusCode != http.StatusBadRequest || len(out.Exchanges) != 1 ||
				!strings.Contains(string(out.Body), "chunkingNotSupported") || !strings.Contains(string(out.Body), `\"Allow chunking\"`) {
				t.Errorf("%s: %s %d %s", path, out.Status, out.StatusCode, out.Body)
			}
		}
		if n := len(f.all()); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestAFlowPollsEvents: a host that cannot be called learns every end once, over
// starts, newest first as a connector's polling trigger or oldest first, and only
// of its key's routes.
func TestAFlowPollsEvents(t *testing.T) {
	for _, order := range []string{"asc", "desc"} {
		t.Run(order, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := newFlows(t, w)
				other, err := f.b.CreateKey(t.Context(), ferry.KeySpec{Name: "stranger", Role: ferry.RoleSender, Routes: []string{notes}}, "test")
				if err != nil {
					t.Fatal(err)
				}
				poll := func(key, after string) ferry.EventPage {
					a := logicapps.Action{Name: "Poll", Method: http.MethodGet, URI: flowsAt + "/v1/events?limit=2&order=" + order + "&after=" + after, Authentication: "Bearer " + key}
					out, err := f.Flow("p").Run().HTTP(t.Context(), a)
					if err != nil || out.StatusCode != http.StatusOK {
						t.Fatalf("%d %s, %v", out.StatusCode, out.Body, err)
					}
					var page ferry.EventPage
					if err := json.Unmarshal(out.Body, &page); err != nil {
						t.Fatal(err)
					}
					return page
				}
				first := w.send(`{"n":0}`)
				f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
				page := poll(f.key, "")
				if len(page.Items) != 1 || page.Items[0].Message.ID != first {
					t.Fatalf("%+v", page)
				}
				after, want, seen := page.NextAfter, []string{}, []string{}
				for round := range 4 {
					for i := range 5 {
						id := w.send(fmt.Sprint(round, i))
						verdict, next := ferry.Delivered, done()
						if i%2 == 1 {
							verdict, next = ferry.Rejected, rejected()
						}
						f.worker.report(f.worker.takeOne(orders), verdict, next)
						e := f.message(id)
						want = append(want, id.String()+" "+string(e.State))
					}
					synctest.Wait()
					if round == 1 {
						f.restart()
						f.serve()
						f.worker.hello(orders)
					}
					for {
						page := poll(f.key, after)
						if page.GapUntil != nil {
							t.Fatalf("a gap until %s", page.GapUntil)
						}
						if len(page.Items) == 0 {
							break
						}
						lines := make([]string, len(page.Items))
						for i, e := range page.Items {
							at := i
							if order == "desc" {
								at = len(lines) - 1 - i
							}
							lines[at] = e.Message.ID.String() + " " + string(e.Type)
							if e.Message.StatusURL != flowsAt+"/v1/messages/"+e.Message.ID.String() || len(e.Message.Attempts) != 1 {
								t.Errorf("%+v", e)
							}
						}
						seen = append(seen, lines...)
						newest := page.Items[len(page.Items)-1].ID
						if order == "desc" {
							newest = page.Items[0].ID
						}
						if after = page.NextAfter; after != newest.String() {
							t.Fatalf("next after %s, the newest is %s", after, newest)
						}
					}
				}
				if strings.Join(seen, "\n") != strings.Join(want, "\n") {
					t.Errorf("seen\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
				}
				if page := poll(other.Secret, ""); len(page.Items) != 0 {
					t.Errorf("another sender sees %+v", page.Items)
				}
			})
		})
	}
}

// TestEventsAreDropped by the janitor, after a week.
func TestEventsAreDropped(t *testing.T) {
	days(t)
	bubble(t, func(t *testing.T, w *world) {
		f := newFlows(t, w)
		w.send(`{}`)
		f.worker.report(f.worker.takeOne(orders), ferry.Delivered, done())
		page, err := w.b.Events(t.Context(), ferry.EventFilter{})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		before := ferry.FirstID(page.Items[0].Time)
		time.Sleep(ferry.EventLife - time.Minute)
		if page, err := w.b.Events(t.Context(), ferry.EventFilter{After: before}); err != nil || len(page.Items) != 1 || page.GapUntil != nil {
			t.Errorf("inside the week: %+v, %v", page, err)
		}
		time.Sleep(3 * time.Minute)
		if page, err := w.b.Events(t.Context(), ferry.EventFilter{After: before}); err != nil || len(page.Items) != 0 || page.GapUntil == nil {
			t.Errorf("beyond the week: %+v, %v", page, err)
		}
	})
}
