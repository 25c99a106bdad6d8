//go:build !race

package main

// raceEnabled has fewer hostile requests made: each takes ten times as long.
const raceEnabled = false
