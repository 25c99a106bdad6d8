// Package sim holds the tests that run the whole protocol in one process, in
// every order that a seed draws: the real broker, ledger, worker and settle code
// on a queue in memory, inside a synctest bubble, with faults and operators' acts
// in between. docs/simulation.md tells how it works and how to replay a seed.
package sim
