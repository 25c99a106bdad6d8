//go:build ferryrules

package rules

import "sync/atomic"

// off holds what a test has switched off. It is the only state of a package in
// this project, and no program is built with it.
var off [last]atomic.Bool

// On says whether the rule holds.
func On(r Rule) bool { return !off[r].Load() }

// Without takes the rule away until restore is called. Tests that do so run
// alone in their process.
func Without(r Rule) (restore func()) {
	off[r].Store(true)
	return func() { off[r].Store(false) }
}
