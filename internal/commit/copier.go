package commit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"go.etcd.io/bbolt"
)

// copier makes a file equal to a snapshot of another one, up to a place in the
// order of buckets and keys. It brings that place forward by copying, and goes
// over to a later snapshot by following: what differs between the two, up to the
// place, is done to the copy too. Once the place is the end, the copy is whole,
// and stays so by following alone.
//
// Afterwards a second place goes through the copy, before which every key was
// seen to be equal.
type copier struct {
	pages  pages
	fresh  *bbolt.DB
	tx     *bbolt.Tx // of the copy, as long as a step lasts
	size   int64     // written in it, bytes
	copied place
	seen   place
	until  time.Time // of what must end by then, in one transaction
}

// place is how far somebody has come.
type place struct {
	bucket []byte
	key    []byte // in the bucket: the last one behind; nil: none
	end    bool
}

// Bounds of one step of the copier: how long others wait for it.
const (
	stepBytes = 256 << 10
	stepTime  = 5 * time.Millisecond
	txBytes   = 8 << 20 // of one transaction of the copy
)

var errNested = errors.New("a bucket in a bucket cannot be copied")

// follow goes from one snapshot to a later one, and says how many keys differed.
func (c *copier) follow(was, is *bbolt.Tx) (changes int, err error) {
	names := bucketNames(is)
	for _, name := range bucketNames(was) {
		if _, still := slices.BinarySearchFunc(names, name, bytes.Compare); still || !c.reached(name) {
			continue
		}
		if err := c.tx.DeleteBucket(name); err != nil {
			return changes, err
		}
		changes++
	}
	for _, name := range names {
		if !c.reached(name) {
			break
		}
		n, err := c.followBucket(name, was.Bucket(name), is.Bucket(name))
		changes += n
		if err != nil {
			return changes, fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	return changes, nil
}

// reached says whether something of a bucket has been copied.
func (c *copier) reached(bucket []byte) bool {
	return c.copied.end || c.copied.bucket != nil && bytes.Compare(bucket, c.copied.bucket) <= 0
}

func (c *copier) followBucket(name []byte, was, is *bbolt.Bucket) (changes int, err error) {
	if err := c.keepHead(name, is); err != nil {
		return 0, err
	}
	if was != nil && was.Root() == is.Root() && is.Root() != 0 {
		return 0, nil
	}
	upTo := []byte(nil)
	if !c.copied.end && bytes.Equal(name, c.copied.bucket) {
		if upTo = c.copied.key; upTo == nil {
			return 0, nil
		}
	}
	before, err := newTree(c.pages, was)
	if err != nil {
		return 0, err
	}
	after, err := newTree(c.pages, is)
	if err != nil {
		return 0, err
	}
	err = compare(before, after, upTo, func(d change) error {
		changes++
		switch {
		case d.bucket:
			return errNested
		case d.gone:
			return c.remove(name, d.key)
		default:
			return c.put(name, d.key, d.value)
		}
	})
	return changes, err
}

// keepHead makes the bucket where it is missing, and takes over its sequence.
func (c *copier) keepHead(name []byte, from *bbolt.Bucket) error {
	b, err := c.tx.CreateBucketIfNotExists(name)
	if err == nil && b.Sequence() != from.Sequence() {
		err = b.SetSequence(from.Sequence())
	}
	return err
}

func (c *copier) put(bucket, key, value []byte) error {
	b := c.tx.Bucket(bucket)
	b.FillPercent = 0.9 // most of it is in order, and much of it grows by a little
	if err := b.Put(key, value); err != nil {
		return err
	}
	return c.count(len(key) + len(value))
}

func (c *copier) remove(bucket, key []byte) error {
	if err := c.tx.Bucket(bucket).Delete(key); err != nil {
		return err
	}
	return c.count(len(key))
}

// count bounds the memory of the copy's transaction.
func (c *copier) count(size int) error {
	c.size += int64(size)
	if !c.until.IsZero() {
		if time.Now().After(c.until) {
			return errLate
		}
		return nil
	}
	if c.size%txBytes >= int64(size) {
		return nil
	}
	return c.again()
}

// begin opens the copy's transaction.
func (c *copier) begin() (err error) {
	c.size = 0
	c.tx, err = c.fresh.Begin(true)
	return err
}

// again commits it and opens the next one.
func (c *copier) again() (err error) {
	if err := c.commit(); err != nil {
		return err
	}
	c.tx, err = c.fresh.Begin(true)
	return err
}

// commit ends it.
func (c *copier) commit() error {
	err := c.tx.Commit() // when it panics, rollback still has it
	c.tx = nil
	return err
}

// rollback ends it after an error.
func (c *copier) rollback() {
	if c.tx != nil {
		_ = c.tx.Rollback()
		c.tx = nil
	}
}

// copySome copies some of what comes next, and says how many keys.
func (c *copier) copySome(from *bbolt.Tx) (entries int, err error) {
	for s := newStep(); !c.copied.end && s.more(); {
		b := c.copied.forward(from)
		if b == nil {
			break
		}
		if err := c.keepHead(c.copied.bucket, b); err != nil {
			return entries, err
		}
		cursor := b.Cursor()
		k, v := after(cursor, c.copied.key)
		for ; k != nil && s.more(); k, v = cursor.Next() {
			if v == nil {
				return entries, fmt.Errorf("bucket %s: %w", c.copied.bucket, errNested)
			}
			if err := c.put(c.copied.bucket, k, v); err != nil {
				return entries, err
			}
			c.copied.key = append(c.copied.key[:0], k...)
			entries++
			s.did(len(k) + len(v))
		}
		if k == nil {
			c.copied.pass(from)
		}
	}
	return entries, nil
}

// seeSome compares some of what comes next with the copy.
func (c *copier) seeSome(from *bbolt.Tx) error {
	for s := newStep(); !c.seen.end && s.more(); {
		b := c.seen.forward(from)
		if b == nil {
			break
		}
		mine := c.tx.Bucket(c.seen.bucket)
		if mine == nil || mine.Sequence() != b.Sequence() {
			return fmt.Errorf("%w: bucket %s", ErrDiffers, c.seen.bucket)
		}
		theirs, ours := b.Cursor(), mine.Cursor()
		k, v := after(theirs, c.seen.key)
		mk, mv := after(ours, c.seen.key)
		for ; k != nil && s.more(); k, v = theirs.Next() {
			if !bytes.Equal(k, mk) || !bytes.Equal(v, mv) {
				return fmt.Errorf("%w: bucket %s, key %x and key %x", ErrDiffers, c.seen.bucket, k, mk)
			}
			c.seen.key = append(c.seen.key[:0], k...)
			s.did(len(k) + len(v))
			mk, mv = ours.Next()
		}
		if k == nil {
			if mk != nil {
				return fmt.Errorf("%w: bucket %s has key %x beyond the last one", ErrDiffers, c.seen.bucket, mk)
			}
			c.seen.pass(from)
		}
	}
	if c.seen.end && !slices.EqualFunc(bucketNames(from), bucketNames(c.tx), bytes.Equal) {
		return fmt.Errorf("%w: in its buckets", ErrDiffers)
	}
	return nil
}

// after is the first entry behind a key.
func after(c *bbolt.Cursor, key []byte) (k, v []byte) {
	if key == nil {
		return c.First()
	}
	if k, v = c.Seek(key); bytes.Equal(k, key) {
		return c.Next()
	}
	return k, v
}

// forward gives the bucket that the place is in. It goes to the next one when
// that bucket is gone, and to the end when there is none.
func (p *place) forward(tx *bbolt.Tx) *bbolt.Bucket {
	if p.bucket != nil {
		if b := tx.Bucket(p.bucket); b != nil {
			return b
		}
	}
	p.pass(tx)
	if p.end {
		return nil
	}
	return tx.Bucket(p.bucket)
}

// pass goes to the beginning of the next bucket.
func (p *place) pass(tx *bbolt.Tx) {
	names := bucketNames(tx)
	i := 0
	if p.bucket != nil {
		i = sort.Search(len(names), func(i int) bool { return bytes.Compare(names[i], p.bucket) > 0 })
	}
	if i == len(names) {
		p.end = true
		return
	}
	p.bucket, p.key = names[i], nil
}

// bucketNames are those of all buckets, in order.
func bucketNames(tx *bbolt.Tx) (names [][]byte) {
	_ = tx.ForEach(func(name []byte, _ *bbolt.Bucket) error { // it returns only errors of ours
		names = append(names, bytes.Clone(name))
		return nil
	})
	return names
}

// stepBound is what is left of a step.
type stepBound struct {
	bytes int
	items int
	until time.Time
	late  bool
}

func newStep() *stepBound { return &stepBound{bytes: stepBytes, until: time.Now().Add(stepTime)} }

func (s *stepBound) did(size int) {
	s.bytes -= size
	if s.items++; s.items%64 == 0 {
		s.late = time.Now().After(s.until)
	}
}

func (s *stepBound) more() bool { return s.bytes > 0 && !s.late }
