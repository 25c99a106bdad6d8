//go:build unix

package main

import (
	"fmt"
	"syscall"
	"time"
)

// cpuTime is the processor time that this process has had, in its own code and
// in the kernel's for it.
func cpuTime() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}
