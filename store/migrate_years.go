package store

import (
	"errors"

	"go.etcd.io/bbolt"
)

// years is what a ledger needs that is to be lived with for years. An older broker
// would expire what a pause holds, carry a bulk act on without its canary and its
// rate, and end messages that retention has passed without a word to it.
func years(tx *bbolt.Tx) error {
	_, groupsErr := tx.CreateBucketIfNotExists(bOpGroups)
	_, endedErr := tx.CreateBucketIfNotExists(bEnded)
	_, deadErr := tx.CreateBucketIfNotExists(bDeadIn)
	return errors.Join(groupsErr, endedErr, deadErr, markEarlier(tx))
}
