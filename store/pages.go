package store

import (
	"go.etcd.io/bbolt"

	"ferry/internal/commit"
)

const (
	// givenBackEvery is after how many records a walk through many gives back the pages
	// that it looked at: some 8 MiB.
	givenBackEvery = 1 << 14
	// mostMapped is how much of the ledger may stay in the process's memory between
	// two calls of Trim.
	mostMapped = 96 << 20
)

// Trim gives back what is in memory of the ledger's file, where it is much. The
// system's cache keeps it; the process's memory is what operators set limits to.
func (l *Ledger) Trim() {
	if commit.Mapped() < mostMapped {
		return
	}
	_ = l.db.View(func(tx *bbolt.Tx) error {
		commit.GiveBack(tx)
		return nil
	})
}
