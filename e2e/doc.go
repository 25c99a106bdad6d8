// Package e2e holds the tests of the whole system: they build the two binaries,
// run them as processes of their own on loopback, beside a practice ERP, and look
// at what a sender, an operator and the ERP see.
//
// They need nothing but Go; those of a failing disk need root and /dev/fuse, those
// of Windows authentication FERRY_WINDOWS_AUTH (internal/windowsauth), and skip
// elsewhere. FERRY_KILLS, FERRY_WORKER_KILLS, FERRY_MESSAGES,
// FERRY_ORDER_KEYS, FERRY_ORDER_EACH, FERRY_ORDER_KILLS, FERRY_NATS_LOOPS,
// FERRY_BACKLOG and FERRY_POWER_CUTS make them longer, as scripts/chaos does;
// FERRY_SEED=N and FERRY_POWER_SEED=N repeat what a test left to chance (it prints
// the seed); FERRY_KEEP names a folder that gets what was durable when a test of
// the disk fails; and FERRY_INVOICES_DIR names a folder
// with more invoices for the mapping.
package e2e
