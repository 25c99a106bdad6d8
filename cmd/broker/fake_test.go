package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
)

// fake is a broker's HTTP interface with a few messages, spoken to by the
// scripts of testdata.
type fake struct {
	*httptest.Server

	mu       sync.Mutex
	empty    bool // every list is empty
	envs     []ferry.Envelope
	bodies   map[ferry.ID][]byte
	types    map[ferry.ID]string
	replayed []string // requests that changed something: "POST /path body"
	watched  int
	looked   int    // for events
	leaves   string // the worker that a route was bound to, away from another
	busy     string // the route that was paused while a call runs
}

func newFake(t testing.TB) *fake {
	f := &fake{bodies: map[ferry.ID][]byte{}, types: map[ferry.ID]string{}}
	f.seed()
	mux := http.NewServeMux()
	f.routes(mux)
	f.Server = httptest.NewServer(f.guard(mux))
	t.Cleanup(f.Close)
	return f
}

// guard knows three keys, and keeps what was asked to change.
func (f *fake) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); {
		case key == "fry_send_x_y" && r.URL.Path != "/v1/me":
			refuse(w, 403, ferry.Errorf(ferry.CodeForbidden, "the key flow-prod is a sender's"))
			return
		case key != "fry_good_x_y" && key != "fry_send_x_y":
			refuse(w, 401, ferry.Errorf(ferry.CodeUnauthenticated, "the key is missing or not known"))
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			line := "POST " + r.URL.Path + " " + string(body)
			for _, h := range []string{"Content-Type", "Idempotency-Key", "Ferry-Correlation-Id", "Ferry-Ordering-Key", "Ferry-Deliver-At", "Ferry-Time-To-Live", "Ferry-Callback-Url", "Ferry-On-Conflict", "Ferry-Properties"} {
				if v := r.Header.Get(h); v != "" && strings.HasSuffix(r.URL.Path, "/messages") {
					line += "\n  " + h + ": " + v
				}
			}
			f.replayed = append(f.replayed, strings.TrimSpace(line))
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, e *ferry.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	problem := map[string]any{"code": e.Code, "detail": e.Message, "hint": e.Hint, "errors": e.Details, "status": status, "requestId": "req-1"}
	if x := e.Existing; x != nil {
		problem["id"], problem["route"], problem["state"], problem["statusUrl"] = x.ID, x.Route, x.State, x.StatusURL
	}
	_ = json.NewEncoder(w).Encode(problem)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func items[T any](f *fake, all ...T) map[string]any {
	if f.empty {
		all = nil
	}
	return map[string]any{"items": all}
}

func (f *fake) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/me", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"name": "admin", "keyId": "k1", "role": "admin", "environment": "prod", "version": "1.2.3"})
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, f.status()) })
	mux.HandleFunc("GET /v1/routes", f.listRoutes)
	mux.HandleFunc("POST /v1/routes/{route}/{act}", f.routeAct)
	mux.HandleFunc("POST /v1/routes/{route}/messages", f.send)
	mux.HandleFunc("GET /v1/messages", f.listMessages)
	mux.HandleFunc("GET /v1/messages/{id}", func(w http.ResponseWriter, r *http.Request) {
		if e, ok := f.find(w, r); ok {
			answer(w, e)
		}
	})
	mux.HandleFunc("GET /v1/messages/{id}/body", func(w http.ResponseWriter, r *http.Request) {
		e, ok := f.find(w, r)
		switch {
		case !ok:
		case f.bodies[e.ID] == nil:
			refuse(w, 404, ferry.Errorf(ferry.CodeNotFound, "the body of %s is gone", e.ID))
		default:
			w.Header().Set("Content-Type", f.types[e.ID])
			_, _ = w.Write(f.bodies[e.ID])
		}
	})
	mux.HandleFunc("GET /v1/events", f.listEvents)
	mux.HandleFunc("GET /v1/dead-letters", f.listDeadLetters)
	mux.HandleFunc("GET /v1/dead-letters/groups", f.listGroups)
	mux.HandleFunc("POST /v1/dead-letters/{act}", f.bulk)
	mux.HandleFunc("POST /v1/dead-letters/{id}/{act}", f.act)
	mux.HandleFunc("GET /v1/operations", func(w http.ResponseWriter, r *http.Request) { answer(w, items(f, operation("running", 3))) })
	mux.HandleFunc("GET /v1/operations/{id}", f.operation)
	mux.HandleFunc("POST /v1/operations/{id}/cancel", func(w http.ResponseWriter, r *http.Request) { answer(w, operation("cancelled", 3)) })
	mux.HandleFunc("POST /v1/operations/{id}/continue", func(w http.ResponseWriter, r *http.Request) { answer(w, operation("running", 3)) })
	f.accessRoutes(mux)
	f.callbackRoutes(mux)
	f.compactRoutes(mux)
	mux.HandleFunc("GET /v1/reconciliation", func(w http.ResponseWriter, r *http.Request) {
		answer(w, items(f, ferry.Reconciliation{Route: "supplier-invoices", Day: "2026-11-23", Accepted: 1000, Pending: 1, Completed: 996, DeadLetters: 3, Balanced: true},
			ferry.Reconciliation{Route: "orders", Day: "2026-11-22", Accepted: 10, Completed: 9}))
	})
	mux.HandleFunc("GET /v1/usage", func(w http.ResponseWriter, r *http.Request) {
		day := ""
		if strings.Contains(r.URL.Query().Get("by"), "day") {
			day = "2026-11-23"
		}
		answer(w, items(f, ferry.UsageRow{
			Day: day, Key: "k7", Name: "=flow\x1b[2J", Route: r.URL.Query().Get("route"), Requests: 12, Accepted: 9, Repeats: 1, Refused: 3,
			ByCode:  map[ferry.Code]int64{ferry.CodeEmptyBody: 1, ferry.CodeInvalid: 2},
			BytesIn: 4096, Latency: &ferry.Latency{Count: 10, Mean: 1.5, P50: 1, P95: 4, P99: 8.5, Max: 8.5},
		}))
	})
	mux.HandleFunc("GET /v1/audit", func(w http.ResponseWriter, r *http.Request) {
		answer(w, items(f, ferry.AuditEntry{Seq: 7, At: at(-time.Hour), By: "admin", Act: "discard", Target: idRejected, Note: "test\x1b[2Jmessage"}))
	})
}

// leftSilently is a worker that lost a route and has said nothing.
func leftSilently() ferry.Leaving {
	return ferry.Leaving{Worker: "erp-worker-1", Until: at(20 * time.Hour), Calm: at(20*time.Hour + time.Minute), Messages: 3}
}

// routeInfos are the routes; a worker that lost one says soon that it has heard.
func (f *fake) routeInfos() []ferry.RouteInfo {
	list := routeInfos()
	info := list[0]
	info.Name, info.Worker = "orders", f.leaves
	switch f.leaves {
	case "to-heard":
		info.Leaving = []ferry.Leaving{{Worker: "erp-worker-1", Until: at(0), Calm: at(time.Minute), Stopped: true, Messages: 1}}
	case "to-silent":
		info.Leaving = []ferry.Leaving{leftSilently()}
	default:
		return list
	}
	return append(list, info)
}

func (f *fake) routeAct(w http.ResponseWriter, r *http.Request) {
	info := routeInfos()[0]
	info.Name = r.PathValue("route")
	switch r.PathValue("act") {
	case "pause":
		info.State = ferry.RoutePaused
		switch info.Name {
		case "missing":
			refuse(w, 404, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route missing").WithHint("broker routes list shows them"))
			return
		case "busy", "busy-for-long":
			f.busy, f.looked = info.Name, 0
			info.Stopping = &ferry.Stopping{Running: 1, Workers: []ferry.StoppingWorker{{Worker: "erp-worker-1", Running: 1, Heard: true}}}
		}
	case "bind":
		var in struct{ Worker string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		info.Worker = in.Worker
		if in.Worker == "to-silent" || in.Worker == "to-heard" {
			info.Leaving = []ferry.Leaving{leftSilently()}
			f.leaves = in.Worker
		}
	}
	answer(w, info)
}

// listRoutes stops while it is asked for a route whose calls end: for a moment, or for
// good.
func (f *fake) listRoutes(w http.ResponseWriter, _ *http.Request) {
	list := f.routeInfos()
	if f.busy != "" {
		if f.looked++; f.looked == 1 || f.busy == "busy-for-long" {
			refuse(w, 503, ferry.Errorf(ferry.CodeStopping, "the broker is stopping"))
			return
		}
		info := list[0]
		info.Name, info.State, info.Stopping = f.busy, ferry.RoutePaused, &ferry.Stopping{Done: true}
		list, f.busy = append(list, info), ""
	}
	answer(w, items(f, list...))
}

// send ends at once as the route's name says: good, bad, or waiting.
func (f *fake) send(w http.ResponseWriter, r *http.Request) {
	route := r.PathValue("route")
	id := mustID(idSent)
	accepted := ferry.Accepted{ID: id, Route: route, State: ferry.StateAccepted, StatusURL: "http://" + r.Host + "/v1/messages/" + idSent}
	e := ferry.Envelope{ID: id, Route: route, State: ferry.StateCompleted, Reference: "INV-1042", AttemptsTotal: 1, Attempts: []ferry.Attempt{}, CreatedAt: at(0)}
	switch {
	case route == "broken":
		refuse(w, 500, ferry.Errorf(ferry.CodeInternal, "something went wrong inside the broker"))
		return
	case route == "missing":
		refuse(w, 404, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route missing"))
		return
	case strings.Contains(r.Header.Get("Idempotency-Key"), "reused"):
		fault := ferry.Errorf(ferry.CodeKeyReused, "the key is known with another body")
		fault.Existing = &ferry.Accepted{ID: mustID(idRejected), Route: route, State: ferry.StateDeadLettered}
		refuse(w, 409, fault)
		return
	case strings.Contains(r.Header.Get("Idempotency-Key"), "known"):
		accepted.Duplicate, accepted.State = true, ferry.StateCompleted
	case route == "bad":
		e.State, e.Reference = ferry.StateDeadLettered, ""
		e.DeadLetter = &ferry.DeadLetter{Reason: ferry.ReasonRejected, Description: "no such supplier"}
	case route == "waiting":
		e.State, e.Reference, e.AttemptsTotal = ferry.StateAccepted, "", 0
		e.WaitingFor = &ferry.WaitingFor{Reason: "noWorker"}
	}
	f.envs = append(f.envs, e)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(201)
	_ = json.NewEncoder(w).Encode(accepted)
}

func (f *fake) find(w http.ResponseWriter, r *http.Request) (ferry.Envelope, bool) {
	suffix := r.PathValue("id")
	var found []ferry.Envelope
	for _, e := range f.envs {
		if strings.HasSuffix(e.ID.String(), suffix) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		refuse(w, 404, ferry.Errorf(ferry.CodeMessageNotFound, "there is no message %s", suffix))
		return ferry.Envelope{}, false
	case 1:
		return found[0], true
	default:
		refuse(w, 409, ferry.Errorf(ferry.CodeAmbiguousID, "%d ids end in %s", len(found), suffix).WithHint("give more of the id"))
		return ferry.Envelope{}, false
	}
}

func (f *fake) listMessages(w http.ResponseWriter, r *http.Request) {
	f.page(w, r, func(e ferry.Envelope) bool {
		q := r.URL.Query()
		return is(q.Get("state"), string(e.State)) && is(q.Get("route"), e.Route)
	})
}

// listEvents gives an event of each message that has ended; behind the last comes
// nothing, and behind "old" some are missing.
func (f *fake) listEvents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page := ferry.EventPage{Items: []ferry.Event{}, NextAfter: idSent}
	for i, e := range f.envs {
		if f.empty || q.Get("after") == idSent || !e.State.Terminal() || !is(q.Get("type"), string(e.State)) || !is(q.Get("route"), e.Route) {
			continue
		}
		event := ferry.Event{ID: e.ID, Type: ferry.EventType(e.State), Time: at(time.Duration(i) * time.Minute), Message: e}
		if page.Items = append(page.Items, event); q.Get("order") == "desc" {
			slices.SortFunc(page.Items, func(a, b ferry.Event) int { return b.Time.Compare(a.Time) })
		}
	}
	limit := 50
	_, _ = fmt.Sscan(q.Get("limit"), &limit)
	page.Items = page.Items[:min(limit, len(page.Items))]
	if q.Get("after") == "old" {
		page.GapUntil = ptr(at(-time.Hour))
	}
	if f.looked++; f.looked%4 == 0 { // who follows sees the broker stop
		refuse(w, 503, ferry.Errorf(ferry.CodeStopping, "the broker is stopping"))
		return
	}
	answer(w, page)
}

func (f *fake) listDeadLetters(w http.ResponseWriter, r *http.Request) {
	f.page(w, r, func(e ferry.Envelope) bool {
		q := r.URL.Query()
		return e.State == ferry.StateDeadLettered && is(q.Get("reason"), string(e.DeadLetter.Reason)) && is(q.Get("route"), e.Route)
	})
}

// listGroups gives no more than were asked for, as the broker does; of the route many
// there are 60, of the route most as many as a list may have.
func (f *fake) listGroups(w http.ResponseWriter, r *http.Request) {
	all, limit := groups(), ferry.DefaultListLimit
	for range map[string]int{"many": 60, "most": ferry.MaxListLimit}[r.URL.Query().Get("route")] - len(all) {
		all = append(all, all[len(all)-1])
	}
	_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
	if limit < 1 || limit > ferry.MaxListLimit {
		refuse(w, 400, ferry.Errorf(ferry.CodeBadFilter, "limit=%d is out of range", limit))
		return
	}
	answer(w, items(f, all[:min(limit, len(all))]...))
}

func is(wanted, got string) bool { return wanted == "" || wanted == got }

// page gives two items at a time at most, so that every longer list has pages.
func (f *fake) page(w http.ResponseWriter, r *http.Request, match func(ferry.Envelope) bool) {
	var matching []ferry.Envelope
	for _, e := range f.envs {
		if !f.empty && match(e) {
			e.Attempts = []ferry.Attempt{} // as in every list of the broker
			matching = append(matching, e)
		}
	}
	limit, start := 50, 0
	_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
	_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &start)
	end := min(start+min(limit, 2), len(matching))
	page := ferry.Page{Items: matching[start:end]}
	if end < len(matching) {
		page.NextCursor = fmt.Sprint(end)
	}
	answer(w, page)
}

func (f *fake) act(w http.ResponseWriter, r *http.Request) {
	e, ok := f.find(w, r)
	if !ok {
		return
	}
	act := r.PathValue("act")
	if (e.State == ferry.StateDeadLettered) == (act == "restore") {
		refuse(w, 409, ferry.Errorf(ferry.CodeConflict, "%s is %s", e.ID, e.State))
		return
	}
	var in struct{ Reference string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	e.State = map[string]ferry.State{
		"replay": ferry.StateAccepted, "accept": ferry.StateCompleted,
		"discard": ferry.StateDiscarded, "restore": ferry.StateDeadLettered,
	}[act]
	e.Reference = in.Reference
	answer(w, e)
}

// bulk selects by ids or reason only.
func (f *fake) bulk(w http.ResponseWriter, r *http.Request) {
	var in ferry.BulkRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, 400, ferry.Errorf(ferry.CodeBadRequest, "%w", err))
		return
	}
	out := ferry.BulkAnswer{ByRoute: map[string]map[ferry.Reason]int{}, Groups: 3}
	for _, e := range f.envs {
		if len(in.IDs) > 0 && !slices.Contains(in.IDs, e.ID) {
			continue
		}
		if r.PathValue("act") == "restore" && e.State == ferry.StateDiscarded {
			out.Count++
			out.ByRoute[e.Route] = map[ferry.Reason]int{"": 1}
			continue
		}
		if r.PathValue("act") == "restore" || f.empty || e.State != ferry.StateDeadLettered || !is(string(in.Filter.Reason), string(e.DeadLetter.Reason)) {
			continue
		}
		if e.DeadLetter.Reason == ferry.ReasonOutcomeUnknown && !in.IncludeUnknown {
			out.LeftOut++
			continue
		}
		if out.ByRoute[e.Route] == nil {
			out.ByRoute[e.Route] = map[ferry.Reason]int{}
		}
		out.ByRoute[e.Route][e.DeadLetter.Reason]++
		out.Count++
		if mayExist(e.DeadLetter.Reason) {
			out.MayExist++
		}
	}
	switch {
	case in.Expect != nil && *in.Expect != out.Count:
		refuse(w, 409, ferry.Errorf(ferry.CodeCountChanged, "the filter selects %d, not %d", out.Count, *in.Expect))
		return
	case !in.DryRun && out.Count > 0:
		out.OperationID = "op-1"
	}
	answer(w, out)
}

func (f *fake) operation(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("id") {
	case "op-1": // one step further at each look
		f.watched++
		if f.watched < 3 {
			answer(w, operation("running", f.watched))
			return
		}
		answer(w, operation("done", 3))
	case "op-2":
		answer(w, operation("cancelled", 1))
	case "op-4":
		answer(w, stopped())
	default:
		refuse(w, 404, ferry.Errorf(ferry.CodeNotFound, "there is no operation %s", r.PathValue("id")))
	}
}
