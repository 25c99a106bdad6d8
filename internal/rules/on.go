//go:build !ferryrules

package rules

// On says whether the rule holds: always, in an ordinary build.
func On(Rule) bool { return true }
