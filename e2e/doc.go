// Package e2e holds the tests of the whole system: they build the two binaries,
// run them as processes of their own on loopback, beside a practice ERP, and look
// at what a sender, an operator and the ERP see.
//
// They need nothing but Go. FERRY_KILL_LOOPS=20 makes the kill loops long,
// FERRY_NATS_LOOPS=10 the loops in which the queue is lost, FERRY_BACKLOG=1000000
// what waits, and FERRY_INVOICES_DIR names a folder with more invoices for the
// mapping.
package e2e
