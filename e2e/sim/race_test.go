//go:build race

package sim

// With the race detector, which takes ten times as long, fewer worlds are run, and the
// ledger is not proven at every look.
const (
	shortSeeds     = 40
	modelSeeds     = 4
	reconcileEvery = 10
)
