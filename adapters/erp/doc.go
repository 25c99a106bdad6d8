// Package erp delivers messages to ERP systems over HTTP. A dialect is one file
// with one table of verdicts; the host in this package makes the requests, and
// turns answers into verdicts by the destination's own rules, then the dialect's.
//
// What it guarantees: one delivery is at most one request; an answer of success
// is never lost behind a body that cannot be read; what may have been written is
// said to be maybe written; a secret stands in no verdict.
//
// What the destination is told besides the payload: the external key (in
// Idempotency-Key unless the route names another header), traceparent when the
// sender sent one, Ferry-Message-Id and Ferry-Attempt.
package erp
