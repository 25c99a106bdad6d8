//go:build race

package sim

// shortSeeds are fewer with the race detector, which takes ten times as long.
const shortSeeds = 40
