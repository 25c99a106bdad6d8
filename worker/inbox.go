package worker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
	"ferry/queue"
)

// Bounds of the inbox.
const (
	inboxFile  = "inbox.db"
	keepFor    = 7 * 24 * time.Hour // a confirmed record, after its last change
	keepMost   = 1_000_000          // records; beyond it the oldest confirmed ones go sooner
	pruneBatch = 500                // records per commit of the pruning
	pruneScan  = 20_000             // records looked at per round of the pruning

	// keepAtLeast is for how long after its end a confirmed record is kept however
	// many there are. Where the destination can neither be asked nor honours a key, the
	// record alone keeps a second copy of its turn from being posted.
	keepAtLeast = 24 * time.Hour

	// staleAfter is the age at which a publication is no longer worked on: a
	// record is kept longer, so that a pruned one can never be needed. The ledger
	// publishes a silent turn again.
	staleAfter = 3 * 24 * time.Hour
)

var (
	bucketMeta    = []byte("meta")
	bucketRecords = []byte("records") // message id -> record; its sequence is their number
	bucketOpen    = []byte("open")    // message id -> turn of a result that is not confirmed
	keyIdentity   = []byte("identity")
	keySchema     = []byte("schema")
	keyFile       = []byte("file") // number of the file that the identity was made in
)

const inboxSchema = 1

// inbox is the worker's own durable memory: one record per message. All writes
// of all routes share commits.
type inbox struct {
	db       *commit.DB
	identity string
	log      *slog.Logger

	mu        sync.Mutex
	open      map[ferry.ID]unconfirmed // results that the broker has not confirmed
	confirmed map[ferry.ID]uint64      // confirmed, not yet written down
	pruneFrom []byte                   // where the next round of pruning begins
	failing   time.Time                // since when writes fail; zero: they do not
	failure   error
}

type unconfirmed struct {
	turn   uint64
	sentAt time.Time
	sends  int
}

// openInbox opens or makes the inbox in dir. A file that is made gets a random
// identity; the broker hands messages to that identity alone. A file that was
// copied or restored gets another one: it does not know what was begun since, or
// what its original begins beside it. fileID tells one file from its copy; nil:
// by the number that the file system gave it.
func openInbox(dir string, opts commit.Options, fileID func(path string) (uint64, error)) (*inbox, error) {
	if fileID == nil {
		fileID = disk.FileID
	}
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return nil, inboxError(dir, err)
	}
	path := filepath.Join(dir, inboxFile)
	opts.Copied = stillTheSame(fileID)
	db, err := commit.Open(path, opts)
	if err != nil {
		return nil, inboxError(path, err)
	}
	b := &inbox{db: db, log: opts.Log, open: map[ferry.ID]unconfirmed{}, confirmed: map[ferry.ID]uint64{}}
	file, err := fileID(path)
	if err == nil {
		err = b.load(file)
	}
	if err != nil {
		return nil, errors.Join(inboxError(path, err), db.Close())
	}
	return b, nil
}

func (b *inbox) load(file uint64) error {
	// By reading: what is refused stays untouched.
	err := b.db.View(func(tx *bbolt.Tx) error {
		if err := knownSchema(tx); err != nil || tx.Bucket(bucketOpen) == nil {
			return err
		}
		return tx.Bucket(bucketOpen).ForEach(func(k, v []byte) error {
			if len(k) == len(ferry.ID{}) && len(v) == 8 {
				b.open[ferry.ID(k)] = unconfirmed{turn: binary.BigEndian.Uint64(v)}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	var identity string
	err = b.db.Update(context.Background(), func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return commit.Abort(err)
		}
		for _, name := range [][]byte{bucketRecords, bucketOpen} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return commit.Abort(err)
			}
		}
		number := fileNumber(file)
		before, was := string(meta.Get(keyIdentity)), meta.Get(keyFile)
		same := len(was) == 0 || file == 0 || bytes.Equal(was, number)
		if identity = before; before == "" || !same {
			identity = rand.Text()
		}
		if before != "" && !same {
			b.log.Warn("inbox.copied", "error", "the inbox was copied or restored since it was last open: it is another inbox now",
				"hint", "when the original is gone for good, bind its routes to this one: broker workers bind WORKER ROUTE")
		}
		return commit.Abort(errors.Join(
			meta.Put(keyIdentity, []byte(identity)), meta.Put(keyFile, number), meta.Put(keySchema, []byte{inboxSchema})))
	})
	b.identity = identity
	return err
}

// find gives the record of a message, nil when there is none.
func (b *inbox) find(id ferry.ID) (*record, error) {
	var found *record
	err := b.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucketRecords).Get(id[:])
		if data == nil {
			return nil
		}
		r, err := decodeRecord(data)
		if err != nil {
			return fmt.Errorf("message %s: %w", id, err)
		}
		found = &r
		return nil
	})
	return found, err
}

// put writes a record and returns when it is on disk. A result is preceded by
// expect, and sent again until it is confirmed.
func (b *inbox) put(ctx context.Context, id ferry.ID, r *record) error {
	data := r.encode()
	var turn [8]byte
	binary.BigEndian.PutUint64(turn[:], r.turn)
	err := b.update(ctx, len(data), func(tx *bbolt.Tx) error {
		records, open := tx.Bucket(bucketRecords), tx.Bucket(bucketOpen)
		if records.Get(id[:]) == nil {
			if err := records.SetSequence(records.Sequence() + 1); err != nil {
				return commit.Abort(err)
			}
		}
		if err := records.Put(id[:], data); err != nil {
			return commit.Abort(err)
		}
		if r.state == result && b.expects(id, r.turn) {
			return commit.Abort(open.Put(id[:], turn[:]))
		}
		// A later turn proves that the ledger has the earlier one's receipt.
		return commit.Abort(open.Delete(id[:]))
	})
	if err == nil && r.state == begun {
		b.mu.Lock()
		delete(b.open, id)
		b.mu.Unlock()
	}
	return err
}

// expect notes that a receipt is about to be sent, so that its confirmation is
// recognised, which may come before the result's own commit.
func (b *inbox) expect(id ferry.ID, turn uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.confirmed, id)
	b.open[id] = unconfirmed{turn: turn, sentAt: time.Now(), sends: 1}
}

func (b *inbox) expects(id ferry.ID, turn uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, ok := b.open[id]
	return ok && u.turn == turn
}

// unconfirmed counts the results that are still to be confirmed.
func (b *inbox) unconfirmed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

// confirm notes that the ledger's commit of a receipt is on disk. It is written
// down later: forgetting it only sends the receipt once more.
func (b *inbox) confirm(list []queue.Confirmed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range list {
		if u, ok := b.open[c.ID]; ok && u.turn == c.Turn {
			delete(b.open, c.ID)
			b.confirmed[c.ID] = c.Turn
		}
	}
}

// writeConfirmed writes down what was confirmed, in small commits.
func (b *inbox) writeConfirmed(ctx context.Context) error {
	for {
		ids := b.someConfirmed()
		if len(ids) == 0 {
			return nil
		}
		err := b.update(ctx, 0, func(tx *bbolt.Tx) error {
			open := tx.Bucket(bucketOpen)
			for id, turn := range ids {
				if v := open.Get(id[:]); len(v) == 8 && binary.BigEndian.Uint64(v) == turn {
					if err := open.Delete(id[:]); err != nil {
						return commit.Abort(err)
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.mu.Lock()
		for id, turn := range ids {
			if b.confirmed[id] == turn {
				delete(b.confirmed, id)
			}
		}
		b.mu.Unlock()
	}
}

func (b *inbox) someConfirmed() map[ferry.ID]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	some := make(map[ferry.ID]uint64, min(len(b.confirmed), pruneBatch))
	for id, turn := range b.confirmed {
		if len(some) == pruneBatch {
			break
		}
		some[id] = turn
	}
	return some
}

// Close closes the file.
func (b *inbox) close() error { return b.db.Close() }
