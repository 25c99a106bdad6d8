package store

import (
	"errors"

	"go.etcd.io/bbolt"
)

// years is what a ledger needs that is to be lived with for years. An older broker
// would expire what a pause holds, carry a bulk act on without its canary and its
// rate, and end messages that retention has passed without a word to it.
func years(tx *bbolt.Tx) error {
	var errs []error
	for _, name := range [][]byte{bOpGroups, bEnded, bDeadIn, bTold} {
		_, err := tx.CreateBucketIfNotExists(name)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, markEarlier(tx))...)
}
