// Package e2e holds the tests of the whole system: they build the two binaries,
// run them as processes of their own on loopback, beside a practice ERP, and look
// at what a sender, an operator and the ERP see.
//
// They need nothing but Go; those of a failing disk need root and /dev/fuse, and
// skip elsewhere. FERRY_KILL_LOOPS=20 makes the kill loops long,
// FERRY_POWER_CUTS=50 the power cuts and the walks over every write.
// FERRY_POWER_SEED repeats a run of power cuts, and FERRY_KEEP names a folder that
// gets what was durable when such a test fails. FERRY_INVOICES_DIR names a folder
// with more invoices for the mapping.
package e2e
