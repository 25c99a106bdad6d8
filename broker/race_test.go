//go:build race

package broker

// raceEnabled says that what happens in days takes minutes here.
const raceEnabled = true
