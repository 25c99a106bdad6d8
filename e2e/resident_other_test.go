//go:build !linux

package e2e

import "testing"

// residentPeak is not told here: the heap of one process, in another test, has to do.
func residentPeak(*testing.T, ...*process) (rose func() int64) { return func() int64 { return 0 } }
