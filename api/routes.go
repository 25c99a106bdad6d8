package api

import (
	"net/http"

	"ferry"
)

// Who may what, besides admin.
var (
	anyone    = ferry.Roles()
	senders   = []ferry.Role{ferry.RoleSender}
	readers   = []ferry.Role{ferry.RoleSender, ferry.RoleOperator}
	operators = []ferry.Role{ferry.RoleOperator}
	admins    = []ferry.Role(nil)
)

// endpoints is the whole surface. The mux and openapi.json are made from it.
func (a *api) endpoints() []endpoint {
	const get, post = http.MethodGet, http.MethodPost
	envelope := []reply{{200, "the message", ferry.Envelope{}, nil, nil}}
	routeInfo := []reply{{200, "the route", ferry.RouteInfo{}, nil, nil}}
	bulkReplies := []reply{
		{202, "the operation that does it has started", ferry.BulkAnswer{}, nil, nil},
		{200, "a dry run, or nothing to do", ferry.BulkAnswer{}, nil, nil},
	}
	noteBody := &body{of: NoteRequest{}, optional: true}
	bulkBody := &body{of: ferry.BulkRequest{}, text: "one of filter, ids and all; of a restore, or operation"}

	list := []endpoint{
		// Senders.
		{
			method: post, path: "/v1/routes/{route}/messages", id: "sendMessage", roles: senders, sends: true, handle: (*call).send,
			summary: "Send a message", text: "The body of the request is the payload, of any content type, and passes through to the byte.",
			params: sendParams(), body: &body{text: "the payload"},
			answers: []reply{
				{201, "the message is on disk", ferry.Accepted{}, nil, []string{"Location"}},
				{200, "the key was known with the same body, or the body replaced that of a dead letter", ferry.Accepted{}, nil, nil},
			},
		},
		{
			method: post, path: "/v1/routes/{route}/messages/batch", id: "sendBatch", roles: senders, sends: true, handle: (*call).sendBatch,
			summary: "Send up to 500 messages", text: "All are accepted or none (422, with pointers), unless partial.",
			params:  batchParams(),
			body:    batchBody(),
			answers: []reply{{200, "one result per message", BatchAnswer{}, nil, nil}},
		},

		// Messages: a sender sees those of its own routes.
		{
			method: get, path: "/v1/messages", id: "listMessages", roles: readers, handle: (*call).listMessages, summary: "List and search messages, newest first",
			params: filterParams(
				param{name: "state", in: inQuery, enum: enum(ferry.States()), text: "only this state"},
				param{name: "flow", in: inQuery, text: "only this flow, by its name or run id"},
				param{name: "q", in: inQuery, text: "exact, or beginning of an id, key, correlation id, ordering key, reference, sender or flow run"},
			),
			answers: []reply{{200, "a page", ferry.Page{}, nil, nil}},
		},
		{method: get, path: "/v1/messages/{id}", id: "getMessage", roles: readers, handle: (*call).getMessage, summary: "Read a message", answers: []reply{{200, "the message; as a CloudEvent where Accept asks for one", ferry.Envelope{}, eventTypes(), nil}}},
		{
			method: get, path: "/v1/messages/{id}/body", id: "getMessageBody", roles: readers, handle: (*call).getBody, summary: "Read a payload",
			params: []param{
				{name: "revision", in: inQuery, kind: "integer", low: 1, text: "default: the current one"},
				{name: "Range", in: inHeader, text: "one part of the payload, such as bytes=0-1048575"},
			},
			answers: []reply{
				{200, "the payload, as it was sent; Repr-Digest has its SHA-256", nil, []string{"*/*"}, []string{"Repr-Digest"}},
				{206, "the part that Range asks for", nil, []string{"*/*"}, []string{"Content-Range", "Repr-Digest"}},
			},
		},
		{
			method: post, path: "/v1/messages/{id}/confirm", id: "confirmMessage", act: true, roles: confirmers, byToken: true, handle: (*call).confirm,
			summary: "Say what became of a message that the destination took",
			text:    "For destinations that answer later. Needs the token of the address that the destination was given, or a key. Delivered completes the message whatever its state; rejected sets it aside. A repeat changes nothing.",
			params:  []param{{name: "token", in: inQuery, text: "as it stands in the address that the destination was given; good for this message alone"}},
			body:    &body{of: ConfirmRequest{}},
			answers: []reply{{200, "it is on disk", ConfirmAnswer{}, nil, nil}},
		},

		// Dead letters.
		{method: get, path: "/v1/dead-letters", id: "listDeadLetters", roles: operators, handle: (*call).listDeadLetters, summary: "List dead letters, newest first", params: deadLetterParams(), answers: []reply{{200, "a page", ferry.Page{}, nil, nil}}},
		{method: get, path: "/v1/dead-letters/groups", id: "listDeadLetterGroups", roles: operators, handle: (*call).listGroups, summary: "List groups of dead letters that failed alike", params: deadLetterParams(), answers: []reply{{200, "the groups", List[ferry.Group]{}, nil, nil}}},
		{method: post, path: "/v1/dead-letters/{id}/replay", id: "replayDeadLetter", act: true, roles: operators, handle: (*call).replay, summary: "Send a dead letter again, as it is or edited", body: &body{of: ReplayRequest{}, optional: true, text: "absent: as it is"}, answers: envelope},
		{method: post, path: "/v1/dead-letters/{id}/accept", id: "acceptDeadLetter", act: true, roles: operators, handle: (*call).acceptDeadLetter, summary: "Complete a dead letter that is in the destination after all", body: &body{of: AcceptRequest{}}, answers: envelope},
		{method: post, path: "/v1/dead-letters/{id}/discard", id: "discardDeadLetter", act: true, roles: operators, handle: (*call).discard, summary: "End a dead letter, or a pending message that no worker can hold", body: &body{of: NoteRequest{}, text: "the note is required"}, answers: envelope},
		{method: post, path: "/v1/dead-letters/{id}/restore", id: "restoreDeadLetter", act: true, roles: operators, handle: (*call).restore, summary: "Bring a discarded message back", body: noteBody, answers: envelope},
		{method: post, path: "/v1/dead-letters/replay", id: "replayDeadLetters", act: true, roles: operators, handle: (*call).bulkReplay, summary: "Send many dead letters again", body: bulkBody, answers: bulkReplies},
		{method: post, path: "/v1/dead-letters/discard", id: "discardDeadLetters", act: true, roles: operators, handle: (*call).bulkDiscard, summary: "End many dead letters", body: bulkBody, answers: bulkReplies},
		{method: post, path: "/v1/dead-letters/restore", id: "restoreDeadLetters", act: true, roles: operators, handle: (*call).bulkRestore, summary: "Bring many discarded messages back", body: bulkBody, answers: bulkReplies},
		{method: get, path: "/v1/operations", id: "listOperations", roles: operators, handle: (*call).listOperations, summary: "List bulk acts", answers: []reply{{200, "the operations", List[ferry.Operation]{}, nil, nil}}},
		{method: get, path: "/v1/operations/{id}", id: "getOperation", roles: operators, handle: (*call).getOperation, summary: "Read a bulk act", answers: []reply{{200, "the operation", ferry.Operation{}, nil, nil}}},
		{method: post, path: "/v1/operations/{id}/cancel", id: "cancelOperation", act: true, roles: operators, handle: (*call).cancelOperation, summary: "Stop a bulk act; what is done stays done", body: noteBody, answers: []reply{{200, "the operation", ferry.Operation{}, nil, nil}}},
		{method: post, path: "/v1/operations/{id}/continue", id: "continueOperation", act: true, roles: operators, handle: (*call).continueOperation, summary: "Go on with a bulk act that was stopped", text: "A replay is stopped by its canary, or by many messages in a row that failed as before.", body: noteBody, answers: []reply{{200, "the operation", ferry.Operation{}, nil, nil}}},

		// Routes and how the broker stands.
		{method: get, path: "/v1/routes", id: "listRoutes", roles: readers, handle: (*call).listRoutes, summary: "List routes and their state", answers: []reply{{200, "the routes that the key may see", List[ferry.RouteInfo]{}, nil, nil}}},
		{method: post, path: "/v1/routes/{route}/pause", id: "pauseRoute", act: true, roles: operators, handle: (*call).pauseRoute, summary: "Stop the deliveries of a route; accepting goes on", body: &body{of: PauseRequest{}, optional: true}, answers: routeInfo},
		{method: post, path: "/v1/routes/{route}/resume", id: "resumeRoute", act: true, roles: operators, handle: (*call).resumeRoute, summary: "Let a route deliver again", body: noteBody, answers: routeInfo},
		{method: post, path: "/v1/routes/{route}/bind", id: "bindRoute", act: true, roles: admins, handle: (*call).bindRoute, summary: "Let another worker deliver a route", body: &body{of: BindRequest{}}, answers: routeInfo},
		{method: get, path: "/v1/status", id: "getStatus", roles: operators, handle: (*call).brokerStatus, summary: "How the broker stands", answers: []reply{{200, "the report", ferry.StatusReport{}, nil, nil}}},
		{
			method: get, path: "/v1/audit", id: "listAudit", roles: admins, handle: (*call).listAudit, summary: "List what operators did, oldest first",
			params: []param{
				{name: "after", in: inQuery, kind: "integer", text: "only entries with a higher number"},
				{name: "since", in: inQuery, text: "at or after: RFC 3339 with an offset, or how long ago, such as 24h or 7d"},
				{name: "limit", in: inQuery, kind: "integer", low: 1, high: ferry.MaxListLimit, text: "most entries; default 50"},
			},
			answers: []reply{{200, "the entries", List[ferry.AuditEntry]{}, nil, nil}},
		},
		{method: get, path: "/v1/me", id: "getMe", roles: anyone, handle: (*call).me, summary: "Who the key is", answers: []reply{{200, "name, role, routes, environment and version", Me{}, nil, nil}}},

		// Keys and workers.
		{method: get, path: "/v1/keys", id: "listKeys", roles: admins, handle: (*call).listKeys, summary: "List API keys, without their text", answers: []reply{{200, "the keys", List[ferry.Key]{}, nil, nil}}},
		{method: post, path: "/v1/keys", id: "createKey", act: true, roles: admins, handle: (*call).createKey, summary: "Make an API key", body: &body{of: KeyRequest{}}, answers: []reply{{201, "the key; its text is shown this once", ferry.NewKey{}, nil, nil}}},
		{method: post, path: "/v1/keys/{id}/rotate", id: "rotateKey", act: true, roles: admins, handle: (*call).rotateKey, summary: "Give one of a key's two secrets another text; the other goes on", body: &body{of: RotateKeyRequest{}, optional: true}, answers: []reply{{200, "the key; its text is shown this once", ferry.NewKey{}, nil, nil}}},
		{method: post, path: "/v1/keys/{id}/edit", id: "editKey", act: true, roles: admins, handle: (*call).editKey, summary: "Change what a key may, and until when", body: &body{of: EditKeyRequest{}}, answers: []reply{{200, "the key", ferry.Key{}, nil, nil}}},
		{method: post, path: "/v1/keys/{id}/revoke", id: "revokeKey", act: true, roles: admins, handle: (*call).revokeKey, summary: "End a key at once", body: noteBody, answers: []reply{{200, "the key", ferry.Key{}, nil, nil}}},
		{method: get, path: "/v1/workers", id: "listWorkers", roles: operators, handle: (*call).listWorkers, summary: "List workers", answers: []reply{{200, "the workers", List[ferry.WorkerInfo]{}, nil, nil}}},
		{method: post, path: "/v1/workers", id: "addWorker", act: true, roles: admins, handle: (*call).addWorker, summary: "Make a worker for routes", body: &body{of: WorkerRequest{}}, answers: []reply{{201, "the worker; its seed is shown this once", ferry.NewWorker{}, nil, nil}}},
		{method: post, path: "/v1/workers/{name}/rotate", id: "rotateWorker", act: true, roles: admins, handle: (*call).rotateWorker, summary: "Give a worker another seed", body: noteBody, answers: []reply{{200, "the worker; its seed is shown this once", ferry.NewWorker{}, nil, nil}}},
		{method: post, path: "/v1/workers/{name}/revoke", id: "revokeWorker", act: true, roles: admins, handle: (*call).revokeWorker, summary: "Cut a worker off at once", body: noteBody, answers: []reply{{200, "the worker", ferry.WorkerInfo{}, nil, nil}}},

		// Probes and descriptions.
		{method: get, path: "/healthz", id: "getHealth", open: true, on: bothListeners, handle: (*call).health, summary: "Does the process answer", answers: []reply{{200, "it does", Health{}, nil, nil}}},
		{method: get, path: "/readyz", id: "getReadiness", open: true, on: bothListeners, handle: (*call).ready, summary: "Can messages be accepted", answers: []reply{{200, "they can", Health{}, nil, nil}}},
		{method: get, path: "/metrics", id: "getMetrics", open: true, on: AdminListener, handle: (*call).metrics, summary: "Prometheus metrics", text: "Needs an operator's key, unless the request comes from the broker's own machine.", answers: []reply{{200, "the metrics", nil, []string{"text/plain"}, nil}}},
		{method: get, path: "/openapi.json", id: "getOpenAPI", open: true, on: bothListeners, handle: (*call).openAPI, summary: "This description", answers: []reply{{200, "OpenAPI 3.0.3", map[string]any{}, nil, nil}}},
	}
	for _, more := range [][]endpoint{
		waiting(), subscriptions(), events(), usage(), connectorCalls(), versions(),
		rescue(),
		ledgerFile(),
		reloading(),
		queueLink(),
		operatorEvents(),
		serviceBus(),
	} {
		list = append(list, more...)
	}
	return list
}
