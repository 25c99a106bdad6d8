// Package e2e holds the tests of the whole system: they build the two binaries,
// run them as processes of their own on loopback, beside a practice ERP, and look
// at what a sender, an operator and the ERP see.
//
// They need nothing but Go. FERRY_KILLS, FERRY_WORKER_KILLS, FERRY_MESSAGES,
// FERRY_ORDER_KEYS, FERRY_ORDER_EACH, FERRY_ORDER_KILLS, FERRY_NATS_LOOPS and
// FERRY_BACKLOG make them longer, as scripts/chaos does; FERRY_SEED=N repeats what
// a test left to chance (it prints the seed); and FERRY_INVOICES_DIR names a folder
// with more invoices for the mapping.
package e2e
