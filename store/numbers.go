package store

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"go.etcd.io/bbolt"

	"ferry"
)

// Each route numbers its accepts without gaps, and each number is a record, or one
// that retention removed. Which ones were removed is kept as bits, in blocks; a
// block that is gone whole takes a byte, and nothing once all before it are gone
// too. So a record that is missing is told from one that was removed, for ever.

// blockNumbers is how many accept numbers one block holds.
const blockNumbers = 4096

// blockGone is a block of which every number was removed.
var blockGone = []byte{1}

func blockOf(number uint64) (block uint64, bit int) {
	return (number - 1) / blockNumbers, int((number - 1) % blockNumbers)
}

func blockKey(route uint32, block uint64) []byte {
	return binary.BigEndian.AppendUint64(u32(route), block)
}

// markPurged notes that retention removes the record, in the commit that does.
func (l *Ledger) markPurged(tx *bbolt.Tx, r *record) error {
	row := l.row(r.Route)
	row.Purged++
	if string(r.ID[:]) > string(row.LastPurged[:]) {
		row.LastPurged = r.ID
	}
	return markGone(tx, row, r.Seq)
}

func markGone(tx *bbolt.Tx, row *routeRow, number uint64) error {
	if number <= row.PurgedTo {
		return nil
	}
	b := tx.Bucket(bPurged)
	block, bit := blockOf(number)
	key := blockKey(row.No, block)
	v := b.Get(key)
	if len(v) == len(blockGone) {
		return nil
	}
	marks := make([]byte, blockNumbers/8)
	copy(marks, v)
	marks[bit/8] |= 1 << (bit % 8)
	if onesIn(marks) < blockNumbers {
		return b.Put(key, marks)
	}
	return putGone(tx, row, block)
}

// putGone marks a whole block, and forgets the blocks that everything is gone up to.
func putGone(tx *bbolt.Tx, row *routeRow, block uint64) error {
	b := tx.Bucket(bPurged)
	if err := b.Put(blockKey(row.No, block), blockGone); err != nil {
		return err
	}
	for {
		key := blockKey(row.No, row.PurgedTo/blockNumbers)
		if len(b.Get(key)) != len(blockGone) {
			return nil
		}
		if err := b.Delete(key); err != nil {
			return err
		}
		row.PurgedTo += blockNumbers
	}
}

func onesIn(marks []byte) (n int) {
	for _, m := range marks {
		n += bits.OnesCount8(m)
	}
	return n
}

// markEarlier is for a ledger of before the marks: whatever number has no record
// was removed, as far as anybody can tell now. The tallies of the days still know
// how many these may be.
func markEarlier(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bPurged); err != nil {
		return err
	}
	there, rows := map[uint32]*numberSet{}, map[uint32]*routeRow{}
	if err := eachJSON(tx, bRoutes, func(row *routeRow) {
		if row.Purged > 0 {
			rows[row.No], there[row.No] = row, newNumberSet(0)
		}
	}); err != nil || len(rows) == 0 {
		return err
	}
	if err := tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
		if there[routeIn(v)] == nil {
			return nil
		}
		if r, err := decodeRecord(ferry.ID(k), v); err == nil && r.Seq > 0 {
			there[r.Route].add(r.Seq)
		}
		return nil
	}); err != nil {
		return err
	}
	for no, row := range rows {
		var fault error
		there[no].gaps(0, row.Seq, func(first, last uint64) {
			fault = errors.Join(fault, markRun(tx, row, first, last))
		})
		if err := errors.Join(fault, putJSON(tx, bRoutes, u32(no), row)); err != nil {
			return err
		}
	}
	return nil
}

// markRun is markGone of a run of numbers.
func markRun(tx *bbolt.Tx, row *routeRow, first, last uint64) error {
	for n := first; n <= last; n++ {
		var err error
		if block, bit := blockOf(n); bit == 0 && last-n >= blockNumbers-1 {
			err = putGone(tx, row, block)
			n += blockNumbers - 1
		} else {
			err = markGone(tx, row, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// routeIn is the route of an encoded record, read without the rest of it: its
// first field. 0: it has none there.
func routeIn(b []byte) uint32 {
	if len(b) < 2 || b[0] != tRoute {
		return 0
	}
	v, _ := binary.Uvarint(b[1:])
	return uint32(v)
}

// numberSet is a set of accept numbers in little memory: a bit for each where some
// are missing, nothing where none is.
type numberSet struct {
	base   uint64                  // every number up to it is in the set
	blocks map[uint64]*numberBlock // nil: the whole block is
}

type numberBlock struct {
	n    int
	bits [blockNumbers / 64]uint64
}

func newNumberSet(base uint64) *numberSet {
	return &numberSet{base: base, blocks: map[uint64]*numberBlock{}}
}

// add says whether the number was not in the set yet.
func (s *numberSet) add(number uint64) (fresh bool) {
	if number <= s.base {
		return false
	}
	no, bit := blockOf(number)
	b, known := s.blocks[no]
	switch {
	case known && b == nil:
		return false
	case !known:
		b = &numberBlock{}
		s.blocks[no] = b
	}
	word, mask := bit/64, uint64(1)<<(bit%64)
	if b.bits[word]&mask != 0 {
		return false
	}
	b.bits[word] |= mask
	if b.n++; b.n == blockNumbers {
		s.blocks[no] = nil
	}
	return true
}

// addMarks adds the numbers of a block that are marked as removed.
func (s *numberSet) addMarks(block uint64, marks []byte) {
	if len(marks) == len(blockGone) {
		s.blocks[block] = nil
		return
	}
	for i, m := range marks {
		for ; m != 0; m &= m - 1 {
			s.add(block*blockNumbers + uint64(i*8+bits.TrailingZeros8(m)) + 1)
		}
	}
}

// gaps calls found with every run of numbers behind from and up to to that are not
// in the set.
func (s *numberSet) gaps(from, to uint64, found func(first, last uint64)) {
	var first uint64 // of the run at hand; 0: none
	for n := max(from, s.base) + 1; n <= to; {
		no, bit := blockOf(n)
		b, known := s.blocks[no]
		length, in := uint64(1), known && b == nil
		if b == nil { // all of it, or nothing
			length = min(uint64(blockNumbers-bit), to-n+1)
		} else {
			in = b.bits[bit/64]&(1<<(bit%64)) != 0
		}
		switch {
		case in && first != 0:
			found(first, n-1)
			first = 0
		case !in && first == 0:
			first = n
		}
		n += length
	}
	if first != 0 {
		found(first, to)
	}
}
