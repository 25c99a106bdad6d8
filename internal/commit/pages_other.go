//go:build !linux

package commit

import "go.etcd.io/bbolt"

// GiveBack does nothing: see pages_linux.go.
func GiveBack(*bbolt.Tx) {}

// Mapped is not known here.
func Mapped() int64 { return 0 }
