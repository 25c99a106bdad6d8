package store

import (
	"errors"

	"go.etcd.io/bbolt"
)

// years is what a ledger needs that is to be lived with for years. An older broker
// would expire what a pause holds, and carry a bulk act on without its canary and
// its rate.
func years(tx *bbolt.Tx) error {
	_, toldErr := tx.CreateBucketIfNotExists(bTold)
	return errors.Join(toldErr)
}
