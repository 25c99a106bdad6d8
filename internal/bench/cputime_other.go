//go:build !unix

package main

import (
	"errors"
	"time"
)

func cpuTime() (time.Duration, error) {
	return 0, errors.New("the processor time is measured on Unix only: leave the part cost out with -only")
}
