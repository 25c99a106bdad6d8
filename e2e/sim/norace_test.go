//go:build !race

package sim

// shortSeeds is how many worlds TestSeeds runs by itself.
const shortSeeds = 200
