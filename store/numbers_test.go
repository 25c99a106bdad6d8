package store

import (
	"slices"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// Numbers that are added, and marks of removed ones, leave exactly the gaps that a
// plain set has.
func TestNumberSetHasTheGapsOfASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 3 * blockNumbers
		s, plain := newNumberSet(0), map[uint64]bool{}
		for range rapid.IntRange(0, 6).Draw(t, "runs") {
			first := rapid.Uint64Range(1, most).Draw(t, "first")
			last := min(first+rapid.Uint64Range(0, 2*blockNumbers).Draw(t, "length"), most)
			for n := first; n <= last; n++ {
				if s.add(n) == plain[n] {
					t.Fatalf("number %d: whether it was there is told wrong", n)
				}
				plain[n] = true
			}
		}
		to := rapid.Uint64Range(0, most).Draw(t, "to")
		var got, want []uint64
		s.gaps(0, to, func(first, last uint64) {
			for n := first; n <= last; n++ {
				got = append(got, n)
			}
		})
		for n := uint64(1); n <= to; n++ {
			if !plain[n] {
				want = append(want, n)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d numbers are missing, want %d", len(got), len(want))
		}
	})
}

// Marks of removed numbers take room only while others of their block are there.
func TestMarksOfWholeBlocksTakeNoRoom(t *testing.T) {
	l := newLedger(t)
	row := &routeRow{No: 1, Name: testRoute}
	keys := func() (n int) {
		must0(t, l.db.View(func(tx *bbolt.Tx) error { n = tx.Bucket(bPurged).Stats().KeyN; return nil }))
		return n
	}
	mark := func(first, last uint64) {
		must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error {
			for n := first; n <= last; n++ {
				if err := markGone(tx, row, n); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	mark(2, 2*blockNumbers)
	if row.PurgedTo != 0 || keys() != 2 {
		t.Fatalf("all but the first: up to %d, %d keys", row.PurgedTo, keys())
	}
	mark(1, 1)
	if row.PurgedTo != 2*blockNumbers || keys() != 0 {
		t.Fatalf("all: up to %d, %d keys", row.PurgedTo, keys())
	}
	must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error { return markRun(tx, row, 2*blockNumbers+5, 5*blockNumbers+3) }))
	if row.PurgedTo != 2*blockNumbers || keys() != 4 {
		t.Fatalf("a run: up to %d, %d keys", row.PurgedTo, keys())
	}
	s := newNumberSet(row.PurgedTo)
	must0(t, l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bPurged).ForEach(func(k, v []byte) error { s.addMarks(uint64(k[11]), v); return nil })
	}))
	var gaps []uint64
	s.gaps(0, 5*blockNumbers+4, func(first, last uint64) { gaps = append(gaps, first, last) })
	if want := []uint64{2*blockNumbers + 1, 2*blockNumbers + 4, 5*blockNumbers + 4, 5*blockNumbers + 4}; !slices.Equal(gaps, want) {
		t.Fatalf("gaps %v, want %v", gaps, want)
	}
}
