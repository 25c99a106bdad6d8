//go:build !race

package sim

const (
	shortSeeds     = 200 // how many worlds TestSeeds runs by itself
	modelSeeds     = 12  // and TestModel for each scenario
	reconcileEvery = 1   // looks at the world for one proof of the ledger
)
