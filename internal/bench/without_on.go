//go:build ferryrules

package main

import (
	"fmt"

	"ferry/internal/rules"
)

// without takes a rule of the protocol away for as long as this process lives.
func without(name string) error {
	if name == "" {
		return nil
	}
	for _, r := range rules.All() {
		if r.String() == name {
			rules.Without(r) // the process ends with its run: nothing to restore
			return nil
		}
	}
	return fmt.Errorf("there is no rule %q", name)
}
