//go:build !ferryrules

package main

import "fmt"

// without takes a rule away where the build can; this one cannot.
func without(name string) error {
	if name == "" {
		return nil
	}
	return fmt.Errorf("the rule %q holds in this build: it wants -tags ferryrules", name)
}
