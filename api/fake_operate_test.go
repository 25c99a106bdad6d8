package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ferry"
)

var fakeOperation = ferry.Operation{ID: "op1", Act: "replay", State: "running", By: "olga", Total: 3, CreatedAt: now}

func (f *fake) Operations(context.Context) ([]ferry.Operation, error) {
	return []ferry.Operation{fakeOperation}, f.err
}

func (f *fake) Operation(_ context.Context, id string) (ferry.Operation, error) {
	if id != "op1" {
		return ferry.Operation{}, ferry.Errorf(ferry.CodeNotFound, "there is no operation %s", id)
	}
	return fakeOperation, f.err
}

func (f *fake) ContinueOperation(ctx context.Context, id, _, _ string) (ferry.Operation, error) {
	return f.Operation(ctx, id)
}

func (f *fake) CancelOperation(ctx context.Context, id, _, _ string) (ferry.Operation, error) {
	f.caller = ferry.CallerOf(ctx)
	o, err := f.Operation(ctx, id)
	o.State = "cancelled"
	return o, err
}

func routeInfo(name string) ferry.RouteInfo {
	return ferry.RouteInfo{Name: name, State: ferry.RouteRunning}
}

func (f *fake) RouteInfos(context.Context) ([]ferry.RouteInfo, error) {
	return []ferry.RouteInfo{routeInfo("invoices"), routeInfo("orders"), routeInfo("typed")}, f.err
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, fmt.Sprintf(format, args...))
}

func (f *fake) Pause(_ context.Context, route, note string, until time.Time, by string) (ferry.RouteInfo, error) {
	f.note("pause %s %q %s by=%s", route, note, until.Format(time.RFC3339), by)
	r := routeInfo(route)
	r.State = ferry.RoutePaused
	r.Conditions = []ferry.Condition{{Type: ferry.RoutePaused, Since: now}}
	return r, f.err
}

func (f *fake) AwaitRest(_ context.Context, route string, within time.Duration) (ferry.RouteInfo, error) {
	r := routeInfo(route)
	r.State = ferry.RoutePaused
	r.Conditions = []ferry.Condition{{Type: ferry.RoutePaused, Since: now}}
	r.Stopping = &ferry.Stopping{Running: int(within / time.Second), Workers: []ferry.StoppingWorker{}}
	return r, f.err
}

func (f *fake) Resume(_ context.Context, route, note, by string) (ferry.RouteInfo, error) {
	f.note("resume %s %q by=%s", route, note, by)
	return routeInfo(route), f.err
}

func (f *fake) BindRoute(_ context.Context, route, worker string, gone bool, note, by string) (ferry.RouteInfo, error) {
	f.note("bind %s %s gone=%t %q by=%s", route, worker, gone, note, by)
	r := routeInfo(route)
	r.Worker = worker
	return r, f.err
}

func (f *fake) Status(context.Context) (ferry.StatusReport, error) {
	return ferry.StatusReport{Version: "1", Ready: true, StartedAt: now}, f.err
}

func (f *fake) Prove(context.Context, ferry.ProofRequest) (ferry.Proof, error) {
	return ferry.Proof{Items: []ferry.Reconciliation{{Route: "invoices", Day: "2026-11-23", Accepted: 1, Pending: 1, Balanced: true}}, Findings: []ferry.Finding{}}, f.err
}

func (f *fake) Doctor(context.Context) (ferry.Diagnosis, error) {
	return ferry.Diagnosis{Version: "test", Checks: []ferry.Check{{Name: "disk room", State: ferry.CheckOK, Text: "enough"}}}, f.err
}

func (f *fake) Backup(_ context.Context, _ string, take func(about ferry.Backup, write func(io.Writer) error) error) error {
	if f.err != nil {
		return f.err
	}
	return take(ferry.Backup{Format: 1}, func(w io.Writer) error {
		_, err := io.WriteString(w, "a tar")
		return errors.Join(err, f.backupFails)
	})
}

func (f *fake) Audit(_ context.Context, after uint64, _ time.Time, limit int) ([]ferry.AuditEntry, error) {
	f.note("audit %d %d", after, limit)
	return []ferry.AuditEntry{{Seq: after + 1, At: now, By: "olga", Act: "replay", Target: "x"}}, f.err
}

func (f *fake) LedgerFile(context.Context) (ferry.LedgerFile, error) {
	return ferry.LedgerFile{Size: 1 << 30, Free: 600 << 20, Last: &ferry.Compaction{
		StartedAt: now, EndedAt: now, By: "broker", Outcome: ferry.CompactionNoRoom, Before: 1 << 30, After: 1 << 30, Error: "the ledger was not compacted", Hint: "make room",
	}}, f.err
}

func (f *fake) CompactLedger(_ context.Context, note, by string) (ferry.LedgerFile, error) {
	f.note("compact %q by=%s", note, by)
	return ferry.LedgerFile{Size: 1 << 30, Free: 600 << 20, Compacting: true}, f.err
}

func (f *fake) Ready(context.Context) error { return f.err }

func (f *fake) CreateKey(_ context.Context, spec ferry.KeySpec, by string) (ferry.NewKey, error) {
	k := ferry.Key{ID: "k9", Name: spec.Name, Role: spec.Role, Routes: spec.Routes, CreatedAt: now, CreatedBy: by, Limit: spec.Limit}
	if !spec.Expires.IsZero() {
		k.ExpiresAt = &spec.Expires
	}
	return ferry.NewKey{Key: k, Secret: "fry_k9_secret_check"}, f.err
}

func (f *fake) Keys(context.Context) ([]ferry.Key, error) { return nil, f.err }

func (f *fake) RotateKey(_ context.Context, id, secret, note, _ string) (ferry.NewKey, error) {
	f.note("rotate %s %s %s", id, secret, note)
	return ferry.NewKey{Key: ferry.Key{ID: id, Name: "n1", Role: ferry.RoleSender, CreatedAt: now}, Secret: "fry_"}, f.err
}

func (f *fake) EditKey(_ context.Context, id string, edit ferry.KeyEdit, _ string) (ferry.Key, error) {
	k := ferry.Key{ID: id, Name: "n1", Role: ferry.RoleSender, CreatedAt: now, ExpiresAt: edit.Expires}
	if edit.Routes != nil {
		k.Routes = *edit.Routes
	}
	if edit.Environment != nil {
		k.Environment = *edit.Environment
	}
	return k, f.err
}

func (f *fake) RevokeKey(_ context.Context, id, _, _ string) (ferry.Key, error) {
	return ferry.Key{ID: id, Name: "n1", Role: ferry.RoleSender, CreatedAt: now, RevokedAt: &now}, f.err
}

func worker(name string, routes ...string) ferry.WorkerInfo {
	return ferry.WorkerInfo{Name: name, PublicKey: "UABC", Routes: routes, CreatedAt: now}
}

func (f *fake) AddWorker(_ context.Context, name string, routes []string, _, _ string) (ferry.NewWorker, error) {
	return ferry.NewWorker{WorkerInfo: worker(name, routes...), Seed: "SUABC"}, f.err
}

func (f *fake) Workers(context.Context) ([]ferry.WorkerInfo, error) {
	return []ferry.WorkerInfo{worker("erp-worker", "invoices")}, f.err
}

func (f *fake) RotateWorker(_ context.Context, name, _, _ string) (ferry.NewWorker, error) {
	return ferry.NewWorker{WorkerInfo: worker(name), Seed: "SUABC"}, f.err
}

func (f *fake) RevokeWorker(_ context.Context, name, _, _ string) (ferry.WorkerInfo, error) {
	return worker(name), f.err
}

// Events tells the dead letters as events, and notes what was asked for.
func (f *fake) Events(_ context.Context, filter ferry.EventFilter) (ferry.EventPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, fmt.Sprintf("events %+v", filter))
	page := ferry.EventPage{Items: []ferry.Event{}, NextAfter: filter.After.String()}
	for _, id := range f.order {
		if e := f.messages[id].envelope; e.State == ferry.StateDeadLettered {
			page.Items = append(page.Items, ferry.Event{ID: id, Type: ferry.EventDeadLettered, Time: now, Message: e})
			page.NextAfter = id.String()
		}
	}
	return page, f.err
}
