package practice

import (
	"net/http"
	"time"
)

// later: a request that prefers an asynchronous answer gets one; Settings.Later
// says how long it takes, and what it comes to.
func (m netsuiteMode) later(r *http.Request, set Later) Later {
	if r.Header.Get("Prefer") != "respond-async" {
		return Later{}
	}
	set.How = LaterPoll
	return set
}

func (netsuiteMode) operationAddress(id string) string { return netsuiteJobs + id }

// jobOf is the job of a request that was taken under an idempotency key; "": none.
func (m netsuiteMode) jobOf(requestID string) string {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	for id, op := range m.e.operations {
		if requestID != "" && op.doc.RequestID == requestID {
			return id
		}
	}
	return ""
}

// asked is a question about a job: faults come first.
func (m netsuiteMode) asked(w http.ResponseWriter, r *http.Request, answer func(op *operation, later Later)) {
	defer m.e.count(OpPoll)()
	usual := func() {
		m.e.mu.Lock()
		op, later := m.e.operations[r.PathValue("job")], m.e.settings.Later
		m.e.mu.Unlock()
		if op == nil || later.Forgotten {
			m.refuse(w, failure{status: http.StatusNotFound, text: "The job does not exist."})
			return
		}
		answer(op, later)
	}
	if fault, ok := m.e.meet(OpPoll, ""); ok {
		m.e.fail(w, r, fault, Document{}, usual)
		return
	}
	usual()
}

// job tells how far a job, or its one task, is.
func (m netsuiteMode) job(w http.ResponseWriter, r *http.Request) {
	m.asked(w, r, func(op *operation, later Later) {
		m.e.mu.Lock()
		op.polls++
		running := !op.ended && (later.Never || op.polls <= later.Polls || time.Now().Before(op.due))
		m.e.mu.Unlock()
		answer := map[string]any{
			"links": link("self", r, r.URL.Path), "completed": !running, "id": op.id, "progress": "pending",
			"task": map[string]any{"links": link("self", r, netsuiteJobs+op.id+"/task")},
		}
		if !running {
			m.e.end(op)
			answer["progress"] = "succeeded"
			if op.reject {
				answer["progress"] = "failed"
			}
		}
		reply(w, http.StatusOK, answer)
	})
}

func (m netsuiteMode) tasks(w http.ResponseWriter, r *http.Request) {
	m.asked(w, r, func(op *operation, _ Later) {
		task := map[string]any{"links": link("self", r, netsuiteJobs+op.id+"/task/1"), "id": "1"}
		reply(w, http.StatusOK, map[string]any{"links": []any{}, "count": 1, "hasMore": false, "items": []any{task}, "totalResults": 1})
	})
}

// result is the answer that the request would have had at once.
func (m netsuiteMode) result(w http.ResponseWriter, r *http.Request) {
	m.asked(w, r, func(op *operation, _ Later) {
		doc := m.e.end(op)
		if op.reject {
			m.refuse(w, failure{
				status: http.StatusBadRequest, code: "INVALID_CONTENT", text: "the supplier is blocked",
				fields: []fieldFault{{Detail: "Invalid Field Value", Pointer: "#/entity"}},
			})
			return
		}
		m.accept(w, doc, http.StatusCreated)
	})
}

// link is an address as NetSuite writes it: whole, by the name that was asked for.
func link(relation string, r *http.Request, path string) []any {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return []any{map[string]any{"rel": relation, "href": scheme + "://" + r.Host + path}}
}
