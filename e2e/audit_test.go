package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/api"
	"ferry/broker"
	"ferry/client"
	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/secret"
	"ferry/worker"
)

// handed is the route of the audit's tests: receivers say what becomes of messages.
const handed = "handed"

// audited is a broker in this process, its surface, and an admin's key.
type audited struct {
	t     *testing.T
	b     *broker.Broker
	url   string
	key   ferry.NewKey
	admin *client.Client
}

func newAudited(t *testing.T) *audited {
	t.Helper()
	mem := memqueue.New(memqueue.Options{Lock: 30 * time.Second})
	b, err := broker.New(t.Context(), broker.Options{
		DataDir: t.TempDir(), Version: "test",
		Routes: auditedRoutes(),
		Caller: anyAddress{},
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (broker.Transport, error) {
			return memTransport{queue.New(mem.Broker(), queue.Options{})}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	w := &audited{t: t, b: b}
	if w.key, err = b.CreateKey(t.Context(), ferry.KeySpec{Name: "ada", Role: ferry.RoleAdmin}, "test"); err != nil {
		t.Fatal(err)
	}
	surface := httptest.NewServer(api.New(b, api.Options{Reload: w.reload}))
	t.Cleanup(surface.Close)
	w.url = surface.URL
	if w.admin, err = client.New(surface.URL, w.key.Secret, client.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"erp-worker", "spare-worker"} {
		w.work(mem, name)
	}
	return w
}

// reload takes over the configuration that is there.
func (w *audited) reload(ctx context.Context, by, note string) (ferry.Reload, error) {
	err := w.b.Reconfigure(ctx, broker.Settings{Routes: auditedRoutes(), Caller: anyAddress{}},
		ferry.AuditEntry{By: by, Act: "reload", Target: "configuration", Detail: "retention", Note: note})
	return ferry.Reload{Changed: []string{"retention"}}, err
}

func auditedRoutes() []ferry.Route {
	return []ferry.Route{{Name: invoices, MaxBytes: ferry.DefaultMaxBody}, {Name: handed, Pull: true, Lock: time.Minute, MaxDeliveries: 10, MaxBytes: ferry.DefaultMaxBody}}
}

// anyAddress may be called; nobody calls it.
type anyAddress struct{}

func (anyAddress) MayCall(string) error { return nil }

// work starts a worker that calls nothing; the first is bound to the route.
func (w *audited) work(mem *memqueue.Broker, name string) {
	w.t.Helper()
	t := w.t
	if _, err := w.admin.AddWorker(t.Context(), name, []string{invoices}, "a worker to bind"); err != nil {
		t.Fatal(err)
	}
	dest, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", Dialect: "rest", URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dest.Close() })
	adapter, err := dest.Route(adapters.RouteConfig{Route: invoices, URL: "/in"})
	if err != nil {
		t.Fatal(err)
	}
	q := queue.New(mem.Worker(name, invoices), queue.Options{})
	work, err := worker.New(worker.Options{
		Name: name, Version: "test", Queue: q, InboxDir: t.TempDir(),
		Routes: []worker.Route{{Name: invoices, Adapter: adapter, Timeout: time.Minute, Destination: worker.NewDest(worker.DestOptions{Name: "erp", Destination: dest, Concurrency: 1})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := work.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = work.Stop(context.Background())
		_ = q.Close(context.Background())
	})
	w.heard(name)
}

// call does one request as the admin, and wants it to succeed.
func (w *audited) call(method, path, body string) (answer map[string]any, h http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key.Secret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		w.t.Fatalf("%s %s: %d %v %s", method, path, resp.StatusCode, err, data)
	}
	_ = json.Unmarshal(data, &answer)
	return answer, resp.Header
}

// dead is the id of a new dead letter.
func (w *audited) dead() string {
	w.t.Helper()
	made, _ := w.call("POST", "/v1/routes/"+handed+"/messages", `{"n":1}`)
	for range 100 { // what an act of before sent again comes first
		_, h := w.call("POST", "/"+handed+"/messages/head?timeout=30", "")
		var lock struct{ MessageID, LockToken string }
		if err := json.Unmarshal([]byte(h.Get("BrokerProperties")), &lock); err != nil {
			w.t.Fatal(err)
		}
		w.call("DELETE", fmt.Sprintf("/%s/messages/%s/%s?outcome=rejected&code=BAD", handed, lock.MessageID, lock.LockToken), "")
		if e, err := w.admin.Message(w.t.Context(), made["id"].(string)); err == nil && e.State == ferry.StateDeadLettered {
			break
		}
	}
	return made["id"].(string)
}

func (w *audited) audit(after uint64) []ferry.AuditEntry {
	w.t.Helper()
	list, err := w.admin.Audit(w.t.Context(), after, time.Time{}, ferry.MaxListLimit)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// anAct is a call, and what the audit log has to say of it.
type anAct struct {
	path, body  string
	act, target string
	detail      string
	noNote      bool // the call takes none
}

// acts are a call of every act, by its operationId, with the note "why: …" of each.
func (w *audited) acts() map[string]func() anAct {
	const note = `"note":"why so"`
	onDead := func(act, body, name, detail string) func() anAct {
		return func() anAct {
			id := w.dead()
			return anAct{"/v1/dead-letters/" + id + "/" + act, body, name, "message " + id, detail, false}
		}
	}
	bulk := func(act, body string) func() anAct {
		return func() anAct {
			id := w.dead()
			if act == "restore" {
				w.call("POST", "/v1/dead-letters/"+id+"/discard", "{"+note+"}")
			}
			return anAct{"/v1/dead-letters/" + act, strings.ReplaceAll(body, "ID", id), act + " in bulk", "operation ", "1 messages", false}
		}
	}
	onKey := func(act, body, detail string) func() anAct {
		return func() anAct {
			key, _ := w.call("POST", "/v1/keys", `{"name":"flow","role":"sender"}`)
			return anAct{"/v1/keys/" + key["id"].(string) + "/" + act, body, "keys " + act, "key " + key["id"].(string) + " (flow)", detail, false}
		}
	}
	onWorker := func(act string) func() anAct {
		return func() anAct {
			name := "other-" + act
			w.call("POST", "/v1/workers", `{"name":"`+name+`","routes":["supplier-invoices"]}`)
			return anAct{"/v1/workers/" + name + "/" + act, "{" + note + "}", "workers " + act, "worker " + name, "routes supplier-invoices", false}
		}
	}
	onRoute := func(act, body, name, target, detail string) func() anAct {
		return func() anAct { return anAct{"/v1/routes/supplier-invoices/" + act, body, name, target, detail, false} }
	}
	subscribe := func(event string) func() anAct {
		return func() anAct {
			return anAct{path: "/v1/subscriptions/" + event, body: `{"callbackUrl":"https://hooks.example/` + event + `"}`, act: "subscriptions create", target: "subscription ", noNote: true}
		}
	}
	return map[string]func() anAct{
		"replayDeadLetter":   onDead("replay", `{"body":{"n":2},`+note+`}`, "edit", "route handed, revision 2"),
		"acceptDeadLetter":   onDead("accept", `{"reference":"4711",`+note+`}`, "accept", "route handed, reference 4711"),
		"discardDeadLetter":  onDead("discard", "{"+note+"}", "discard", "route handed"),
		"replayDeadLetters":  bulk("replay", `{"ids":["ID"],`+note+`}`),
		"discardDeadLetters": bulk("discard", `{"ids":["ID"],`+note+`}`),
		"restoreDeadLetters": bulk("restore", `{"ids":["ID"],`+note+`}`),
		"restoreDeadLetter": func() anAct {
			id := w.dead()
			w.call("POST", "/v1/dead-letters/"+id+"/discard", "{"+note+"}")
			return anAct{"/v1/dead-letters/" + id + "/restore", "{" + note + "}", "restore", "message " + id, "route handed", false}
		},
		"confirmMessage": func() anAct {
			id := w.dead()
			return anAct{"/v1/messages/" + id + "/confirm", `{"outcome":"delivered","reference":"4711","text":"why so"}`, "confirm", "message " + id, "route handed", false}
		},
		"pauseRoute":  onRoute("pause", "{"+note+"}", "pause", "route supplier-invoices", "until it is resumed"),
		"resumeRoute": onRoute("resume", "{"+note+"}", "resume", "route supplier-invoices", ""),
		"bindRoute":   onRoute("bind", `{"worker":"spare-worker",`+note+`}`, "workers bind", "route supplier-invoices to worker spare-worker", ""),
		"createKey": func() anAct {
			return anAct{"/v1/keys", `{"name":"flow","role":"sender","routes":["supplier-invoices"],` + note + `}`, "keys create", "key ", "role sender, routes supplier-invoices", false}
		},
		"rotateKey": onKey("rotate", "{"+note+"}", "the secondary secret"),
		"editKey":   onKey("edit", `{"routes":["handed"],`+note+`}`, "routes handed"),
		"revokeKey": onKey("revoke", "{"+note+"}", ""),
		"addWorker": func() anAct {
			return anAct{"/v1/workers", `{"name":"new-worker","routes":["supplier-invoices"],` + note + `}`, "workers add", "worker new-worker", "routes supplier-invoices", false}
		},
		"subscribeCompleted":    subscribe("completed"),
		"subscribeDeadLettered": subscribe("dead-lettered"),
		"rotateSubscription": func() anAct {
			made, _ := w.call("POST", "/v1/subscriptions/completed", `{"callbackUrl":"https://hooks.example/rotated"}`)
			return anAct{path: "/v1/subscriptions/" + made["id"].(string) + "/rotate", act: "subscriptions rotate", target: "subscription " + made["id"].(string), noNote: true}
		},
		"unsubscribe": func() anAct {
			made, _ := w.call("POST", "/v1/subscriptions/completed", `{"callbackUrl":"https://hooks.example/ended"}`)
			return anAct{path: "/v1/subscriptions/" + made["id"].(string), act: "subscriptions end", target: "subscription " + made["id"].(string), noNote: true}
		},
		"rotateCallbackSecret": func() anAct {
			return anAct{path: "/v1/callbacks/secret/rotate", act: "callbacks rotate", target: "callbacks that key " + w.key.ID, noNote: true}
		},
		"retryCallbacks": func() anAct {
			id := w.dead()
			w.call("POST", "/v1/dead-letters/"+id+"/discard", "{"+note+"}")
			return anAct{path: "/v1/callbacks/retry", body: `{"message":"` + id + `"}`, act: "callbacks retry", target: "message " + id, noNote: true}
		},
		"reload": func() anAct {
			return anAct{"/v1/reload", "{" + note + "}", "reload", "configuration", "retention", false}
		},
		"compactLedger": func() anAct {
			return anAct{"/v1/ledger/compact", "{" + note + "}", "compact", "ledger", "", false}
		},
		"takeBackup":   func() anAct { return anAct{path: "/v1/backup", act: "backup", target: "ledger", noNote: true} },
		"rotateWorker": onWorker("rotate"),
		"revokeWorker": onWorker("revoke"),
	}
}

// Every call that changes something for others leaves who, when, what and why in
// the audit log, in the commit of the change; and nothing that was written there
// is altered by what follows.
func TestEveryActIsAudited(t *testing.T) {
	t.Parallel()
	w := newAudited(t)
	acts := w.acts()
	before := w.audit(0)
	for id, path := range w.changes() {
		prepare, known := acts[id]
		if !known {
			continue // excused, with a reason: TestEveryChangeIsAnActOrHasAReason of package api
		}
		delete(acts, id)
		act := prepare()
		after := w.last()
		began := time.Now()
		method, _, _ := strings.Cut(path, " ")
		_, h := w.call(strings.ToUpper(method), act.path, act.body)
		entries := w.audit(after)
		i := slices.IndexFunc(entries, func(e ferry.AuditEntry) bool { return e.RequestID == h.Get("X-Request-Id") })
		if i < 0 {
			t.Errorf("%s (%s) left nothing in the audit log", id, path)
			continue
		}
		e := entries[i]
		if e.By != "ada" || e.KeyID != w.key.ID || e.At.Before(began.Add(-time.Second).Truncate(time.Millisecond)) || e.At.After(time.Now()) {
			t.Errorf("%s: who and when: %+v", id, e)
		}
		if e.Act != act.act || !strings.HasPrefix(e.Target, act.target) || e.Detail != act.detail || !act.noNote && !strings.Contains(e.Note, "why so") {
			t.Errorf("%s: what and why: %+v, want %+v", id, e, act)
		}
	}
	for id := range acts {
		t.Errorf("there is no call %s", id)
	}
	w.whole(before)
}

// changes are the surface's calls that are no GET, by operationId.
func (w *audited) changes() map[string]string {
	data, err := w.admin.OpenAPI(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		w.t.Fatal(err)
	}
	list := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if method != "get" {
				list[op.OperationID] = method + " " + path
			}
		}
	}
	return list
}

func (w *audited) last() uint64 {
	list := w.audit(0)
	return list[len(list)-1].Seq
}

// whole wants the log to begin with what it was before, and to be chained throughout.
func (w *audited) whole(before []ferry.AuditEntry) {
	w.t.Helper()
	var chain ferry.AuditChain
	for i, e := range w.audit(0) {
		if err := chain.Check(e); err != nil {
			w.t.Error(err)
		}
		if i < len(before) && e != before[i] {
			w.t.Errorf("entry %d was %+v and is %+v", e.Seq, before[i], e)
		}
	}
}

func (w *audited) heard(name string) {
	w.t.Helper()
	for range 500 {
		list, err := w.admin.Workers(w.t.Context())
		if err == nil && slices.ContainsFunc(list, func(i ferry.WorkerInfo) bool { return i.Name == name && i.LastSeen != nil }) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Fatalf("the worker %s was not heard", name)
}

// A bulk act names, in the entry of each message, the operation and who asked for it,
// although it is carried out later.
func TestBulkActsAreAuditedPerMessage(t *testing.T) {
	t.Parallel()
	w := newAudited(t)
	ids := []string{w.dead(), w.dead()}
	after := w.last()
	answer, _ := w.call("POST", "/v1/dead-letters/discard", `{"filter":{"route":"handed"},"note":"not ours"}`)
	operation := answer["operationId"].(string)
	for range 500 {
		if o, err := w.admin.Operation(w.t.Context(), operation); err == nil && o.State == "done" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	got := map[string]ferry.AuditEntry{}
	for _, e := range w.audit(after) {
		got[e.Target] = e
	}
	if e := got["operation "+operation]; e.Detail != `2 messages of {"route":"handed"}` || e.Note != "not ours" || e.KeyID != w.key.ID {
		t.Errorf("%+v", e)
	}
	for _, id := range ids {
		if e := got["message "+id]; e.Act != "discard" || e.By != "ada" || e.KeyID != w.key.ID || e.RequestID != operation || e.Note != "not ours" {
			t.Errorf("%s: %+v", id, e)
		}
	}
}
