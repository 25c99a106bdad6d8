package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// noContext is for the ledger's own writes, which nobody waits out.
var noContext = context.Background()

var (
	metaSchema = []byte("schema")
	metaStarts = []byte("starts")
	metaEpoch  = []byte("epoch")  // rises when the ledger goes on from a copy of itself
	metaFile   = []byte("file")   // number of the file that it was last opened in
	metaEvents = []byte("events") // id of the last event that is no longer kept
	metaSieved = []byte("sieved") // id of the last message that retention has passed (see retention.go)
	metaDeadIn = []byte("deadIn") // key in dead up to which deadIn is filled, or deadInWhole
)

// step brings the ledger from one schema version to the next, in one
// transaction with the others.
type step func(tx *bbolt.Tx) error

// schemaSteps holds one step per schema version: step 0 makes version 1. Steps
// are never changed once released; a new version appends one.
func schemaSteps() []step {
	return []step{
		func(tx *bbolt.Tx) error {
			for _, name := range buckets() {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return tx.Bucket(bMeta).Put(metaEpoch, u64(1))
		},
		// An older broker would hand out what is claimed.
		func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bClaims)
			return err
		},
		// An older broker would hand out what a receiver holds.
		func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bLocks)
			return err
		},
		// An older broker would not wait for words that are good for hours.
		func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bLeft)
			return err
		},
		// An older broker would end messages without telling who asked to be told.
		func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bOutbox)
			return err
		},
		// An older broker would end messages without an event.
		func(tx *bbolt.Tx) error { return beginEvents(tx, time.Now()) },
		// An older broker would end messages without telling who subscribed.
		func(tx *bbolt.Tx) error {
			_, subsErr := tx.CreateBucketIfNotExists(bSubs)
			_, signersErr := tx.CreateBucketIfNotExists(bSigners)
			return errors.Join(subsErr, signersErr)
		},
		years,
	}
}

// SchemaVersion is the version of the ledgers that this build writes.
func SchemaVersion() int { return len(schemaSteps()) }

// schemaVersion is the ledger's, 0 for an empty file. A newer one than known and
// a file that is no ledger are refused; it reads only, so that they stay untouched.
func schemaVersion(tx *bbolt.Tx, known int) (version uint64, err error) {
	if meta := tx.Bucket(bMeta); meta != nil {
		if v := meta.Get(metaSchema); len(v) == 8 {
			version = binary.BigEndian.Uint64(v)
		}
	} else if name, _ := tx.Cursor().First(); name != nil {
		return 0, ferry.Errorf(ferry.CodeLedgerUnreadable, "the file ledger.db is not a ledger: it has a bucket %q and no meta", name).
			WithHint("choose an empty --data folder")
	}
	if version > uint64(known) {
		return 0, ferry.Errorf(ferry.CodeLedgerNewer, "the ledger has schema version %d, this broker knows up to %d", version, known).
			WithHint("start the newer version of the broker; the ledger was not touched")
	}
	return version, nil
}

// migrate runs the steps that the ledger does not have yet.
func migrate(tx *bbolt.Tx, steps []step) error {
	version, err := schemaVersion(tx, len(steps))
	if err != nil {
		return err
	}
	for i := version; i < uint64(len(steps)); i++ {
		if err := steps[i](tx); err != nil {
			return fmt.Errorf("migrate the ledger to schema version %d: %w", i+1, err)
		}
	}
	if version == uint64(len(steps)) {
		return nil
	}
	return tx.Bucket(bMeta).Put(metaSchema, u64(uint64(len(steps))))
}

// nextStart counts the openings of the ledger.
func nextStart(tx *bbolt.Tx) (string, error) {
	meta := tx.Bucket(bMeta)
	var n, epoch uint64
	if v := meta.Get(metaStarts); len(v) == 8 {
		n = binary.BigEndian.Uint64(v)
	}
	if v := meta.Get(metaEpoch); len(v) == 8 {
		epoch = binary.BigEndian.Uint64(v)
	}
	n++
	start := strconv.FormatUint(epoch, 36) + "-" + strconv.FormatUint(n, 36)
	return start, commit.Abort(meta.Put(metaStarts, u64(n)))
}
