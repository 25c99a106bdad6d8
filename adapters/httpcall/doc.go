// Package httpcall makes one HTTP call and tells what can be known of it: the
// answer, or whether any byte of the request left; and it judges answers by
// ordered tables of rules.
//
// A request that may write is sent at most once. net/http would send it again
// by itself in two cases, on a reused connection that turns out dead: when it
// bears an Idempotency-Key, and when it has no body. [NewRequest] makes requests
// that it does not send again. No redirects are followed, no cookies kept.
//
// HTTP/1.1 only: there a connection carries one request at a time, so that the
// bytes written on it tell whether this request has left.
package httpcall
