package main

import (
	"encoding/json"
	"net/http"
	"time"

	"ferry"
)

// at is a moment counted from the time that the scripts run at.
func at(d time.Duration) time.Time { return time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC).Add(d) }

func ptr[T any](v T) *T { return &v }

// The messages that the fake knows, by what became of them.
const (
	idRejected  = "01936d2e-7c1a-7f3b-9e4d-5a6b7c8d9e0f"
	idUnknown   = "01936d2e-7c1a-7f3b-9e4d-5a6bAAAAAAAA"
	idExists    = "01936d2e-7c1a-7f3b-9e4d-5a6b11111111"
	idExhausted = "01936d2e-7c1a-7f3b-9e4d-5a6b22222222"
	idGone      = "01936d2e-7c1a-7f3b-9e4d-5a6b33333333"
	idCompleted = "01936d2e-7c1a-7f3b-9e4d-5a6b44444444"
	idRetrying  = "01936d2e-7c1a-7f3b-9e4d-5a6b55555555"
	idDiscarded = "01936d2e-7c1a-7f3b-9e4d-5a6b66666666"
	idSent      = "01936d2e-7c1a-7f3b-9e4d-5a6b77777777"
)

func mustID(s string) ferry.ID {
	id, err := ferry.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func (f *fake) seed() {
	f.add(idRejected, "supplier-invoices", `{"number":"R-1","total":118.90,"lines":[{"amount":119.00}]}`, "application/json", func(e *ferry.Envelope) {
		e.IdempotencyKey, e.CorrelationID = "inv-4711", "case-9"
		e.Sender = ferry.Sender{Name: "flow-prod", Flow: &ferry.Flow{
			Name: "b81c", RunID: "08585", Operation: "Post_invoice", TrackingID: "act-9", Environment: "contoso",
			RunURL: "https://make.powerautomate.com/environments/contoso/flows/b81c/runs/08585",
		}}
		e.PossibleRepeatOf = mustID(idUnknown)
		e.Owner = &ferry.Owner{Name: "Accounts payable", Email: "ap@example.com"}
		e.Properties = map[string]string{"plant": "4", "Country": "DE"}
		e.Acts = []ferry.Act{{Act: "replay", By: "alice", At: at(-10 * time.Minute), Note: "ERP was patched"}}
		fields := []ferry.FieldError{{Field: "/total", Text: "must be 119.00"}, {Field: "/lines/0/tax", Text: "is missing"}}
		e.Attempts = []ferry.Attempt{
			{
				Number: 1, StartedAt: at(-15 * time.Minute), DurationMS: 30_000, Verdict: ferry.Failed, Effect: ferry.EffectNone,
				Status: 503, Text: "maintenance\x1b[2J", Worker: "erp-worker-1", Request: "POST https://erp.example/api/invoices",
			},
			{
				Number: 2, StartedAt: at(-4 * time.Minute), DurationMS: 120, Verdict: ferry.Rejected, Effect: ferry.EffectNone, Status: 400,
				Code: "INVALID_TOTAL", Text: "the total does not match the lines", Fields: fields, Worker: "erp-worker-1",
				Request: "POST https://erp.example/api/invoices", RemoteCorrelationID: "erp-77",
			},
		}
		e.DeadLetter = &ferry.DeadLetter{
			Reason: ferry.ReasonRejected, Code: "INVALID_TOTAL", Description: "the total does not match the lines",
			At: at(-4 * time.Minute), Group: "g1a2",
		}
	})
	f.add(idUnknown, "supplier-invoices", `{"number":"R-2"}`, "application/json", func(e *ferry.Envelope) {
		e.IdempotencyKey = "inv-4712"
		e.Attempts = []ferry.Attempt{{
			Number: 1, StartedAt: at(-2 * time.Hour), DurationMS: 30_000, Verdict: ferry.Unknown, Effect: ferry.EffectMaybe,
			Text: "the connection was cut before an answer", Worker: "erp-worker-1", Request: "POST https://erp.example/api/invoices",
		}}
		e.DeadLetter = &ferry.DeadLetter{Reason: ferry.ReasonOutcomeUnknown, Description: "the connection was cut before an answer", At: at(-2 * time.Hour)}
	})
	f.add(idExists, "orders", `<order number="7"/>`+"\n", "application/xml", func(e *ferry.Envelope) {
		e.Revision = 2
		e.DeadLetter = &ferry.DeadLetter{Reason: ferry.ReasonAlreadyExists, Description: "document PO-7 bears the key", Reference: "PO-7", At: at(-72 * time.Hour)}
	})
	f.add(idExhausted, "orders", `{"customer":"東京商事"}`, "application/json", func(e *ferry.Envelope) {
		e.AttemptsTotal, e.Mask = 8, []string{"customer"}
		e.DeadLetter = &ferry.DeadLetter{Reason: ferry.ReasonAttemptsExhausted, Code: "500", Description: "東京商事の注文を保存できませんでした: an error that goes on and on and on until it is cut", At: at(-30 * time.Second)}
	})
	f.add(idGone, "orders", "", "application/json", func(e *ferry.Envelope) {
		e.DeadLetter = &ferry.DeadLetter{Reason: ferry.ReasonBodyMissing, Description: "the body file is gone", At: at(-5 * time.Hour)}
	})
	f.add(idCompleted, "orders", `{"n":1}`, "application/json", func(e *ferry.Envelope) {
		e.State, e.Reference, e.AttemptsTotal = ferry.StateCompleted, "PO-8", 1
		e.Result = json.RawMessage(`{"number":"PO-8"}`)
	})
	f.add(idRetrying, "orders", `{"n":2}`, "application/json", func(e *ferry.Envelope) {
		e.State, e.OrderingKey = ferry.StateRetrying, "customer-1"
		e.WaitingFor = &ferry.WaitingFor{
			Reason: "dueTime", Until: ptr(at(4 * time.Minute)), Open: true,
			Text: "the lookup was not answered: Internal Server Error: the index is being rebuilt",
		}
		e.ExpiresAt = ptr(at(29 * 24 * time.Hour))
	})
	f.add(idDiscarded, "orders", "\x1b[2Jhello\n", "text/plain", func(e *ferry.Envelope) {
		e.State = ferry.StateDiscarded
		e.Discarded = &ferry.Act{Act: "discard", By: "bob", At: at(-time.Hour), Note: "a test"}
	})
}

func (f *fake) add(id, route, body, media string, fill func(*ferry.Envelope)) {
	e := ferry.Envelope{
		ID: mustID(id), Route: route, State: ferry.StateDeadLettered, Revision: 1, Generation: 1, ContentType: media, Size: int64(len(body)),
		CreatedAt: at(-80 * time.Hour), UpdatedAt: at(-4 * time.Minute), Environment: "prod", Attempts: []ferry.Attempt{},
	}
	fill(&e)
	e.AttemptsTotal = max(e.AttemptsTotal, len(e.Attempts))
	f.envs = append(f.envs, e)
	if body != "" {
		f.bodies[e.ID], f.types[e.ID] = []byte(body), media
	}
}

func routeInfos() []ferry.RouteInfo {
	return []ferry.RouteInfo{
		{
			Name: "supplier-invoices", State: ferry.RouteRunning, Worker: "erp-worker-1", Pending: 12, Completed: 98765, DeadLetters: 2,
			Calls:         &ferry.Calls{Now: 3, Limit: 3, Most: 8},
			OldestPending: ptr(at(-4 * time.Minute)), ByReason: map[ferry.Reason]int64{ferry.ReasonRejected: 1, ferry.ReasonOutcomeUnknown: 1},
		},
		{
			Name: "orders", State: ferry.RouteUnavailable, Worker: "erp-worker-1", Pending: 1, Parked: 3, Completed: 7, DeadLetters: 3,
			OldestPending: ptr(at(-50 * time.Hour)), NextProbe: ptr(at(5 * time.Second)),
			Conditions: []ferry.Condition{
				{Type: ferry.RouteUnavailable, Since: at(-20 * time.Minute), Reason: "3 messages in a row failed alike: 500 SQL_DEADLOCK", Worker: "erp-worker-1"},
				{Type: ferry.RouteThrottled, Since: at(-time.Minute), Until: ptr(at(4 * time.Minute)), Reason: "the destination asked for a pause", Worker: "erp-worker-1"},
			},
			Hint: "nothing is lost or spent", Calls: &ferry.Calls{Most: 8},
		},
	}
}

func (f *fake) status() ferry.StatusReport {
	r := ferry.StatusReport{
		Environment: "prod", Version: "1.2.3", Ready: true, LedgerBytes: 5 << 20, DiskFreeBytes: 13 << 30, StartedAt: at(-73 * time.Hour),
		Routes: routeInfos()[:1], Waiting: 12, OldestPending: ptr(at(-4 * time.Minute)), Workers: workerInfos(),
	}
	if f.empty {
		return r
	}
	r.Routes, r.CallbacksWaiting = routeInfos(), 3
	running := operation("running", 2)
	running.ExpectedEnd = ptr(at(5 * time.Minute))
	r.Operations = []ferry.Operation{running}
	r.Problems = []string{"orders: the destination cannot be reached since 20 minutes", "5 dead letters wait for a person"}
	r.DeadLetters = map[ferry.Reason]int64{ferry.ReasonRejected: 1, ferry.ReasonOutcomeUnknown: 1, ferry.ReasonAlreadyExists: 1}
	return r
}

func workerInfos() []ferry.WorkerInfo {
	return []ferry.WorkerInfo{
		{
			Name: "erp-worker-1", PublicKey: "UABC", Routes: []string{"supplier-invoices", "orders"}, Bound: []string{"supplier-invoices"},
			Inbox:       "N4RH7ZZQEOJOBYLHKBBDMWSBUN",
			Connections: []ferry.WorkerConnection{{Via: "tcp", Address: "10.1.2.3:51000", Since: at(-time.Hour)}, {Via: "/queue", Address: "192.0.2.7:40112", Since: at(-time.Minute)}},
			State:       ferry.WorkerConnected,
			Version:     "1.2.3", LastSeen: ptr(at(-4 * time.Second)), CreatedAt: at(-90 * 24 * time.Hour),
		},
		{Name: "erp-worker-2", PublicKey: "UDEF", Routes: []string{"orders"}, State: ferry.WorkerNeverSeen, CreatedAt: at(-time.Hour)},
		{Name: "erp-worker-3", PublicKey: "UGHI", Routes: []string{"orders"}, LastSeen: ptr(at(-3 * time.Hour)), CreatedAt: at(-48 * time.Hour)},
		{Name: "erp-worker-4", PublicKey: "UMNO", Routes: []string{"orders"}, State: ferry.WorkerStopped, LastSeen: ptr(at(-10 * time.Second)), CreatedAt: at(-48 * time.Hour)},
		{Name: "erp-worker-5", PublicKey: "UPQR", Routes: []string{"orders"}, State: ferry.WorkerNotSinceStart, CreatedAt: at(-48 * time.Hour)},
		{Name: "old-worker", PublicKey: "UJKL", Routes: []string{"orders"}, CreatedAt: at(-48 * time.Hour), RevokedAt: ptr(at(-time.Hour))},
	}
}

func groups() []ferry.Group {
	return []ferry.Group{
		{
			ID: "g1a2", Route: "supplier-invoices", Reason: ferry.ReasonRejected, Code: "INVALID_TOTAL", Description: "the total # does not match the lines",
			Count: 41, First: at(-3 * time.Hour), Last: at(-4 * time.Minute), Sample: mustID(idRejected),
		},
		{ID: "g3c4", Route: "orders", Reason: ferry.ReasonAttemptsExhausted, Description: "500", Count: 2, First: at(-2 * time.Hour), Last: at(-time.Hour), Sample: mustID(idExhausted)},
	}
}

func operation(state string, done int) ferry.Operation {
	o := ferry.Operation{
		ID: "op-1", Act: "replay", State: state, Filter: ferry.DeadLetterFilter{Route: "orders", Reason: ferry.ReasonRejected},
		By: "admin", Note: "ERP mended", Total: 4, Done: done, CreatedAt: at(-time.Minute),
	}
	if state != "running" {
		o.Skipped, o.FinishedAt = 1, ptr(at(0))
		o.SkippedBy = map[ferry.SkipReason]int{ferry.SkipCompleted: 1}
		o.Examples = []ferry.Skip{{ID: mustID(idCompleted), Why: ferry.SkipCompleted}}
	}
	return o
}

// stopped is an operation that its canary stopped.
func stopped() ferry.Operation {
	o := operation("stopped", 3)
	o.ID, o.FinishedAt, o.Total, o.Skipped = "op-4", nil, 40, 0
	o.SkippedBy, o.Examples = nil, nil
	o.Completed, o.FailedAgain, o.Rate = 1, 1, ferry.Rate{Calls: 50, Per: time.Second}
	o.Stopped = "group g1a2 of orders: canary message 7c8d9e0f failed as before: INVALID_TOTAL no"
	o.Canary = &ferry.OperationCanary{Size: 3, Sent: 3, Completed: 1, Alike: 1, Since: at(-time.Minute), Messages: []ferry.CanaryMessage{
		{ID: mustID(idCompleted), Route: "orders", Group: "g3c4", End: ferry.CanaryCompleted},
		{ID: mustID(idRejected), Route: "orders", Group: "g1a2", End: ferry.CanaryAlike, Error: "INVALID_TOTAL no"},
		{ID: mustID(idRetrying), Route: "orders", Group: "g1a2"},
	}}
	o.Groups = []ferry.OperationGroup{
		{Group: "g1a2", Route: "orders", Reason: ferry.ReasonRejected, Code: "INVALID_TOTAL", Description: "no", State: ferry.GroupStopped, Total: 38, Done: 2, FailedAgain: 1, Stopped: "…"},
		{Group: "g3c4", Route: "orders", Reason: ferry.ReasonRejected, Description: "busy", State: ferry.GroupDone, Total: 2, Done: 1, Completed: 1},
	}
	return o
}

func (f *fake) accessRoutes(mux *http.ServeMux) {
	key := ferry.Key{ID: "k7", Name: "flow-invoices", Role: ferry.RoleSender, Routes: []string{"supplier-invoices"}, CreatedAt: at(-2 * time.Hour), Secrets: []ferry.KeySecret{{Name: ferry.SecretPrimary, CreatedAt: at(-2 * time.Hour)}}}
	mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, r *http.Request) {
		revoked, expired, ending := key, key, key
		revoked.ID, revoked.RevokedAt = "k8", ptr(at(-time.Hour))
		expired.ID, expired.ExpiresAt = "k9", ptr(at(-time.Hour))
		ending.ID, ending.ExpiresAt, ending.Routes, ending.LastUsed = "k10", ptr(at(50*time.Hour)), nil, ptr(at(-time.Minute))
		ending.Secrets = []ferry.KeySecret{
			{Name: ferry.SecretPrimary, CreatedAt: at(-2 * time.Hour), LastUsed: ptr(at(-time.Minute))}, {Name: ferry.SecretSecondary, CreatedAt: at(-time.Hour)},
		}
		answer(w, items(f, key, revoked, expired, ending))
	})
	made := func(secret string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Name, Secret string }
			_ = json.NewDecoder(r.Body).Decode(&in)
			if in.Name == "taken" {
				refuse(w, 409, ferry.Errorf(ferry.CodeExists, "there is a key named taken"))
				return
			}
			k := ferry.NewKey{Key: key, Secret: secret, Made: firstOf(in.Secret, ferry.SecretSecondary)}
			if in.Name != "" {
				k.Made, k.Secondary = ferry.SecretPrimary, secret+"_2"
			}
			answer(w, k)
		}
	}
	mux.HandleFunc("POST /v1/keys", made("fry_k7_made_secret"))
	mux.HandleFunc("POST /v1/keys/{id}/rotate", made("fry_k7_rotated_secret"))
	mux.HandleFunc("POST /v1/keys/{id}/edit", func(w http.ResponseWriter, r *http.Request) {
		edited := key
		edited.ExpiresAt = ptr(at(90 * 24 * time.Hour))
		answer(w, edited)
	})
	mux.HandleFunc("POST /v1/keys/{id}/revoke", func(w http.ResponseWriter, r *http.Request) { answer(w, key) })
	mux.HandleFunc("GET /v1/workers", func(w http.ResponseWriter, r *http.Request) { answer(w, items(f, workerInfos()...)) })
	mux.HandleFunc("POST /v1/workers", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name   string
			Routes []string
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.Name == "taken" {
			refuse(w, 409, ferry.Errorf(ferry.CodeExists, "there is a worker named taken"))
			return
		}
		answer(w, elsewhere(ferry.NewWorker{WorkerInfo: ferry.WorkerInfo{Name: in.Name, Routes: in.Routes, PublicKey: "UABC"}, Seed: "SUSEEDTEXT"}))
	})
	mux.HandleFunc("POST /v1/workers/{name}/rotate", func(w http.ResponseWriter, r *http.Request) {
		answer(w, elsewhere(ferry.NewWorker{WorkerInfo: ferry.WorkerInfo{Name: r.PathValue("name"), Routes: []string{"orders"}}, Seed: "SUROTATED"}))
	})
	mux.HandleFunc("POST /v1/workers/{name}/revoke", func(w http.ResponseWriter, r *http.Request) {
		worker := elsewhere(ferry.NewWorker{WorkerInfo: ferry.WorkerInfo{Name: r.PathValue("name"), PublicKey: "UABC", RevokedAt: ptr(at(0))}})
		answer(w, worker.WorkerInfo)
	})
}

// elsewhere makes the worker "outside" one that logs in at a NATS server elsewhere.
func elsewhere(w ferry.NewWorker) ferry.NewWorker {
	if w.Name == "outside" {
		w.LoginElsewhere, w.LoginConfig = true, "{ nkey: UABC }\n"
	}
	if w.Name == "bus" {
		w.LoginElsewhere, w.Queue = true, "servicebus"
		w.LoginConfig, w.WorkerConfig = "az role …\n", "queue:\n  driver: servicebus\n  servicebus:\n    nkey: NKEY\n"
	}
	return w
}
