package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

func removeAttempts(tx *bbolt.Tx, id ferry.ID) error {
	b := tx.Bucket(bAttempts)
	var keys [][]byte // a cursor may pass over keys while others are deleted
	c := b.Cursor()
	for k, _ := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// overdueStep is how many messages one look for overdue ones returns.
const overdueStep = 500

// Overdue lists pending messages of a route whose time to live has ended and
// that no worker can hold; parked ones excepted, which end with their heads. It
// looks at up to bound entries of the due index behind the key after (nil: from
// the start), returns at most overdueStep ids, how many entries it looked at, and
// the key to go on from: nil at the end.
func (l *Ledger) Overdue(route string, after []byte, now time.Time, bound int) (ids []ferry.ID, looked int, next []byte, err error) {
	row, err := l.published(route)
	if err != nil || row.Pending == 0 {
		return nil, 0, nil, err
	}
	if len(row.Horizon) == 28 && bytes.Compare(after, row.Horizon) < 0 {
		after = row.Horizon // what lies up to it a worker may hold
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDue).Cursor()
		for k := seekBehind(c, row.No, after); k != nil; k = nextOf(c, row.No) {
			if looked == bound || len(ids) == overdueStep {
				next = bytes.Clone(after)
				return nil
			}
			looked++
			after = k
			_, id := splitDueKey(k)
			r, err := get(tx, id)
			if err == nil && r != nil && r.ExpiresAt != 0 && r.ExpiresAt < now.UnixNano() && !row.looksFirst(r) && !row.mayBeHeld(r) {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, looked, next, err
}

// Reconcile recounts every message and holds the recount against the tallies
// and the accept numbers: promise 2, per route and UTC day of acceptance.
func (l *Ledger) Reconcile() ([]ferry.Reconciliation, error) {
	list := []ferry.Reconciliation{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		counted, highest, err := recount(tx)
		if err != nil {
			return err
		}
		rows, whole, err := acceptGaps(tx)
		if err != nil {
			return err
		}
		err = tx.Bucket(bTallies).ForEach(func(k, v []byte) error {
			key := tallyKey{binary.BigEndian.Uint32(k), int64(binary.BigEndian.Uint64(k[4:]))}
			t, err := decodeJSON[tally](v)
			if err != nil {
				return err
			}
			is, row := counted[key], rows[key.route]
			delete(counted, key)
			is.Completed += t.PurgedCompleted
			is.Discarded += t.PurgedDiscarded
			balanced := t.Accepted == is.Pending+is.Completed+is.Dead+is.Discarded &&
				is.Pending == t.Pending && is.Completed == t.Completed && is.Dead == t.Dead && is.Discarded == t.Discarded &&
				whole[key.route] && highest[key.route] <= row.Seq
			list = append(list, reconciliation(row.Name, key, t, is, balanced))
			return nil
		})
		for key, is := range counted { // days whose tally is gone
			list = append(list, reconciliation(rows[key.route].Name, key, tally{}, is, false))
		}
		return err
	})
	return list, err
}

func reconciliation(route string, key tallyKey, t, is tally, balanced bool) ferry.Reconciliation {
	return ferry.Reconciliation{
		Route: route, Day: time.Unix(key.day*86400, 0).UTC().Format(time.DateOnly), Accepted: t.Accepted,
		Pending: is.Pending, Completed: is.Completed, DeadLetters: is.Dead, Discarded: is.Discarded, Balanced: balanced,
	}
}

// acceptGaps reads the routes and says per route whether its accept numbers have no gap: the days'
// accepts add up to the last number.
func acceptGaps(tx *bbolt.Tx) (rows map[uint32]routeRow, whole map[uint32]bool, err error) {
	sums := map[uint32]int64{}
	err = tx.Bucket(bTallies).ForEach(func(k, v []byte) error {
		t, err := decodeJSON[tally](v)
		sums[binary.BigEndian.Uint32(k)] += t.Accepted
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	rows, whole = map[uint32]routeRow{}, map[uint32]bool{}
	err = eachJSON(tx, bRoutes, func(row *routeRow) {
		rows[row.No], whole[row.No] = *row, sums[row.No] == int64(row.Seq)
	})
	return rows, whole, err
}

func recount(tx *bbolt.Tx) (map[tallyKey]tally, map[uint32]uint64, error) {
	counted, highest := map[tallyKey]tally{}, map[uint32]uint64{}
	err := tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
		r, err := decodeRecord(ferry.ID(k), v)
		if err != nil {
			return fmt.Errorf("reconcile: %w", err)
		}
		key := tallyKey{r.Route, dayOf(r.CreatedAt)}
		t := counted[key]
		switch {
		case r.State.Pending():
			t.Pending++
		case r.State == ferry.StateCompleted:
			t.Completed++
		case r.State == ferry.StateDeadLettered:
			t.Dead++
		default:
			t.Discarded++
		}
		counted[key] = t
		highest[r.Route] = max(highest[r.Route], r.Seq)
		return nil
	})
	return counted, highest, err
}
