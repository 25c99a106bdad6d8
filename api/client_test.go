package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/client"
)

func (s *surface) client(key string) *client.Client {
	s.t.Helper()
	c, err := client.New("http://broker.test", key, client.Options{HTTP: &http.Client{Transport: s}})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// try calls and wants no error.
func try[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%v (%s)", err, ferry.CodeOf(err))
		}
		return v
	}
}

// TestClientAndDescription calls every endpoint through the typed client: each
// exchange is checked against openapi.json, and every operation that it lists
// must have been answered.
func TestClientAndDescription(t *testing.T) {
	s := newSurface(t)
	ctx := t.Context()
	sender, operator, admin := s.client("sender-key"), s.client("operator-key"), s.client("admin-key")

	m := ferry.Message{
		Body: []byte(`{"n":1}`), ContentType: "application/json", IdempotencyKey: `k"\1`, CorrelationID: "c", OrderingKey: "o",
		TimeToLive: 36 * time.Hour, DeliverAt: time.Now().Add(time.Hour), CallbackURL: "https://h/cb",
		Properties: map[string]string{"Größe": "x"},
	}
	if _, err := sender.Send(ctx, "invoices", m); ferry.CodeOf(err) != ferry.CodeBadRequest {
		t.Errorf("a property's name is not checked: %v", err)
	}
	m.Properties = map[string]string{"Size": "groß 𝄞"}
	a := try(sender.Send(ctx, "invoices", m))(t)
	kept := s.fake.messages[a.ID].msg
	if kept.IdempotencyKey != m.IdempotencyKey || kept.Properties["Size"] != "groß 𝄞" || kept.TimeToLive != m.TimeToLive {
		t.Errorf("message sent: %+v", kept)
	}
	again := try(sender.Send(ctx, "invoices", m))(t)
	if !again.Duplicate || again.ID != a.ID {
		t.Errorf("sent again: %+v", again)
	}
	m.Body = []byte(`{"n":2}`)
	_, err := sender.Send(ctx, "invoices", m)
	var e *ferry.Error
	if !errors.As(err, &e) || e.Code != ferry.CodeKeyReused || e.Existing == nil || e.Existing.ID != a.ID || e.RequestID == "" {
		t.Errorf("reused key: %#v", err)
	}
	b := try(sender.SendBatch(ctx, "invoices", []ferry.Message{{Body: []byte("\xff")}, m}, true))(t)
	if b.Accepted != 1 || b.Refused != 1 || b.Items[0].Accepted.ID.IsZero() || b.Items[1].Err.Code != ferry.CodeKeyReused || b.Items[1].Status != 409 {
		t.Errorf("batch: %+v", b)
	}
	if _, err := sender.SendBatch(ctx, "invoices", []ferry.Message{m}, false); ferry.CodeOf(err) != ferry.CodeInvalid {
		t.Errorf("whole batch: %v", err)
	}

	id := a.ID.String()
	got := try(sender.Message(ctx, id))(t)
	if got.ID != a.ID || got.StatusURL != a.StatusURL || got.Environment != "test" || !got.CreatedAt.Equal(now) {
		t.Errorf("message: %+v", got)
	}
	if byEnd := try(sender.Message(ctx, a.ID.Short()))(t); byEnd.ID != a.ID {
		t.Errorf("by its end: %s", byEnd.ID)
	}
	body, contentType, err := sender.Body(ctx, id, 1)
	if err != nil || string(body) != `{"n":1}` || contentType != "application/json" {
		t.Errorf("body %q %q %v", body, contentType, err)
	}
	if e, done, err := sender.Result(ctx, id, ferry.WaitEnded); err != nil || done || e.State != ferry.StateAccepted {
		t.Errorf("result %v %t %v", e.State, done, err)
	}
	if p := try(sender.Messages(ctx, ferry.MessageFilter{Route: "invoices", State: ferry.StateAccepted, Since: now.Add(-time.Hour), Limit: 1}))(t); len(p.Items) != 1 || p.NextCursor == "" {
		t.Errorf("page: %+v", p)
	}
	n := 0
	for _, err := range sender.AllMessages(ctx, ferry.MessageFilter{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d messages walked over, want 2", n)
	}

	s.fake.kill(a.ID)
	if e, done, err := sender.Result(ctx, id, ferry.WaitEnded); err != nil || !done || e.DeadLetter == nil {
		t.Errorf("result %+v %t %v", e, done, err)
	}
	after := ferry.FirstID(now.Add(-time.Hour))
	events := try(sender.Events(ctx, client.Events{After: after.String(), Order: "desc", Route: "invoices", Type: ferry.EventDeadLettered, Limit: 7}))(t)
	if len(events.Items) != 1 || events.NextAfter != id || events.Items[0].Message.StatusURL != a.StatusURL || events.Items[0].Message.Environment != "test" {
		t.Errorf("events: %+v", events)
	}
	s.asked(t, "events %+v", ferry.EventFilter{After: after, Newest: true, Route: "invoices", Routes: []string{"invoices", "small", "pings", "gone"}, Type: ferry.EventDeadLettered, Limit: 7})
	all := ferry.DeadLetterFilter{Route: "invoices", Reason: ferry.ReasonRejected, Group: "g1", Code: "E42", Sender: "flow", Flow: "f", Owner: "o", Q: "q", Since: now, Until: now.Add(time.Hour), Limit: 2}
	if p := try(operator.DeadLetters(ctx, all))(t); len(p.Items) != 1 || p.Items[0].Attempts[0].Status != 400 {
		t.Errorf("dead letters: %+v", p)
	}
	asked := ferry.DeadLetterFilter{Route: "invoices", Reason: ferry.ReasonRejected, Group: "g1", Code: "E42", Sender: "flow", Flow: "f", Owner: "o", Q: "q", Since: now.UTC(), Until: now.Add(time.Hour).UTC(), Limit: 2}
	s.asked(t, "deadLetters %+v", asked)
	if g := try(operator.Groups(ctx, ferry.DeadLetterFilter{}))(t); len(g) != 1 || g[0].Count != 2 {
		t.Errorf("groups: %+v", g)
	}
	try(operator.Discard(ctx, id, "not wanted"))(t)
	s.asked(t, `discard "not wanted" by=olga`)
	try(operator.Restore(ctx, id, ""))(t)
	s.asked(t, `restore "" by=olga`)
	try(operator.Replay(ctx, id, client.Replay{}))(t)
	s.asked(t, `replay body="" nil=true type="" note="" by=olga`)
	if e := try(operator.Replay(ctx, id, client.Replay{Body: []byte(`{"n": 3.0}`), Note: "typo"}))(t); e.State != ferry.StateQueued {
		t.Errorf("replayed: %+v", e)
	}
	s.asked(t, `replay body="{\"n\": 3.0}" nil=false type="application/json" note="typo" by=olga`)
	if e := try(operator.AcceptDeadLetter(ctx, id, "4711", "seen"))(t); e.Reference != "4711" || e.State != ferry.StateCompleted {
		t.Errorf("accepted: %+v", e)
	}
	expect := 3
	for _, act := range []string{"replay", "discard", "restore"} {
		req := ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Route: "invoices"}, Expect: &expect, Note: "all"}
		if b := try(operator.Bulk(ctx, act, req))(t); b.OperationID != "op1" || b.ByRoute["invoices"][ferry.ReasonRejected] != 3 {
			t.Errorf("bulk %s: %+v", act, b)
		}
		s.asked(t, "bulk %s %+v by=olga", act, req.Filter)
		if b := try(operator.Bulk(ctx, act, ferry.BulkRequest{All: true, DryRun: true}))(t); b.OperationID != "" || b.Count != 3 {
			t.Errorf("dry run of %s: %+v", act, b)
		}
	}
	if o := try(operator.Operations(ctx))(t); len(o) != 1 {
		t.Errorf("operations: %+v", o)
	}
	if o := try(operator.Operation(ctx, "op1"))(t); o.Total != 3 {
		t.Errorf("operation: %+v", o)
	}
	if o := try(operator.CancelOperation(ctx, "op1", "why"))(t); o.State != "cancelled" {
		t.Errorf("operation: %+v", o)
	}

	if r := try(sender.Routes(ctx))(t); len(r) != 1 || r[0].Name != "invoices" {
		t.Errorf("a sender's routes: %+v", r)
	}
	if r := try(operator.Routes(ctx))(t); len(r) != 3 {
		t.Errorf("routes: %+v", r)
	}
	till := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if r := try(operator.Pause(ctx, "orders", "month end", till))(t); r.State != ferry.RoutePaused {
		t.Errorf("paused: %+v", r)
	}
	s.asked(t, "pause orders %q %s by=olga", "month end", till.Format(time.RFC3339))
	try(operator.Resume(ctx, "orders", "done"))(t)
	s.asked(t, `resume orders "done" by=olga`)
	if r := try(admin.BindRoute(ctx, "orders", "erp-2", false, "moved"))(t); r.Worker != "erp-2" {
		t.Errorf("bound: %+v", r)
	}
	try(admin.BindRoute(ctx, "orders", "erp-2", true, "its disk died"))(t)
	s.asked(t, `bind orders erp-2 gone=true "its disk died" by=root`)
	if _, err := admin.BindRoute(ctx, "orders", "erp-2", true, ""); ferry.CodeOf(err) != ferry.CodeNoteRequired {
		t.Errorf("gone, and nobody says why: %v", err)
	}
	if r := try(operator.Status(ctx))(t); !r.Ready {
		t.Errorf("status: %+v", r)
	}
	if f := try(operator.LedgerFile(ctx))(t); f.Size == 0 || f.Last == nil || f.Last.Outcome != ferry.CompactionNoRoom {
		t.Errorf("the ledger's file: %+v", f)
	}
	if f := try(operator.CompactLedger(ctx, "the disk"))(t); !f.Compacting {
		t.Errorf("compact: %+v", f)
	}
	if r := try(operator.Reconcile(ctx))(t); len(r) != 1 || !r[0].Balanced {
		t.Errorf("reconciliation: %+v", r)
	}
	if rows := try(operator.Usage(ctx, "7d", "", "flow", "invoices", "day,key"))(t); len(rows) != 1 || rows[0].Accepted != 2 || rows[0].ByCode[ferry.CodeEmptyBody] != 1 {
		t.Errorf("usage: %+v", rows)
	}
	if r := try(admin.Audit(ctx, 7, time.Time{}, 3))(t); len(r) != 1 || r[0].Seq != 8 {
		t.Errorf("audit: %+v", r)
	}
	s.asked(t, "audit 7 3")
	want := client.Me{Identity: fakeKeys["sender-key"], Environment: "test", Version: "1.2.3"}
	if diff := cmp.Diff(want, try(sender.Me(ctx))(t)); diff != "" {
		t.Errorf("me (-want +got):\n%s", diff)
	}

	if k := try(admin.CreateKey(ctx, ferry.KeySpec{Name: "new-flow", Role: ferry.RoleSender, Routes: []string{"orders"}, Expires: till}))(t); k.Secret == "" || k.CreatedBy != "root" || !k.ExpiresAt.Equal(till) {
		t.Errorf("key: %+v", k)
	}
	if k := try(admin.Keys(ctx))(t); len(k) != 0 {
		t.Errorf("keys: %+v", k)
	}
	if k := try(admin.RotateKey(ctx, "k1", "secondary", "why"))(t); k.ID != "k1" || k.Secret == "" {
		t.Errorf("key: %+v", k)
	}
	s.asked(t, "rotate k1 secondary why")
	if k := try(admin.EditKey(ctx, "k1", ferry.KeyEdit{Expires: &till, Routes: &[]string{"orders"}}))(t); !k.ExpiresAt.Equal(till) || len(k.Routes) != 1 {
		t.Errorf("key: %+v", k)
	}
	if k := try(admin.RevokeKey(ctx, "k1", "why"))(t); k.RevokedAt == nil {
		t.Errorf("key: %+v", k)
	}
	if w := try(admin.AddWorker(ctx, "erp-2", []string{"orders"}, "why"))(t); w.Seed == "" || w.Name != "erp-2" {
		t.Errorf("worker: %+v", w)
	}
	if w := try(operator.Workers(ctx))(t); len(w) != 1 {
		t.Errorf("workers: %+v", w)
	}
	if w := try(admin.RotateWorker(ctx, "erp-2", "why"))(t); w.Seed == "" {
		t.Errorf("worker: %+v", w)
	}
	if w := try(admin.RevokeWorker(ctx, "erp-2", "why"))(t); w.Name != "erp-2" {
		t.Errorf("worker: %+v", w)
	}
	s.connector(t)
	s.callbacks(t)
	confirmed := try(operator.Confirm(ctx, id, client.Confirmation{Outcome: "delivered", Reference: "INV-1"}))(t)
	if confirmed.State != ferry.StateCompleted {
		t.Errorf("confirmed: %+v", confirmed)
	}
	if err := errors.Join(sender.Healthy(ctx), sender.Ready(ctx)); err != nil {
		t.Error(err)
	}
	if text := try(operator.Metrics(ctx))(t); !strings.Contains(string(text), "ferry_up 1") {
		t.Errorf("metrics: %s", text)
	}

	s.waits(ctx, sender)
	s.serviceBus() // the clients of which are other programs
	s.versions()

	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(try(sender.OpenAPI(ctx))(t), &doc); err != nil {
		t.Fatal(err)
	}
	described := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			described++
			if !s.seen[op.OperationID] {
				t.Errorf("%s %s (%s) was never answered in this test", method, path, op.OperationID)
			}
		}
	}
	if described < 35 {
		t.Errorf("only %d operations are described", described)
	}
}

// asked wants the broker's last act to be this.
func (s *surface) asked(t *testing.T, format string, args ...any) {
	t.Helper()
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	want := fmt.Sprintf(format, args...)
	if len(s.fake.acts) == 0 || s.fake.acts[len(s.fake.acts)-1] != want {
		t.Errorf("the broker was asked\n%q, want last\n%q", s.fake.acts, want)
	}
}
