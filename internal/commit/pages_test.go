package commit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// counting counts the pages that were read.
type counting struct {
	file  io.ReaderAt
	reads int
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	c.reads++
	return c.file.ReadAt(b, at)
}

func content(b *bbolt.Bucket) map[string]string {
	all := map[string]string{}
	if b != nil {
		_ = b.ForEach(func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		})
	}
	return all
}

// apply changes some keys of a bucket: in a corner of it, at its edge, or all over.
func apply(t *testing.T, b *bbolt.Bucket, rnd *rand.Rand, n int) {
	t.Helper()
	low, span := rnd.IntN(20_000), 20_000
	if rnd.IntN(2) == 0 {
		span = 200
	}
	for range n {
		key := fmt.Appendf(nil, "%08d", low+rnd.IntN(span))
		var err error
		switch rnd.IntN(3) {
		case 0:
			err = b.Delete(key)
		case 1:
			size := 10 + rnd.IntN(60)
			if rnd.IntN(50) == 0 {
				size = rnd.IntN(30_000)
			}
			err = b.Put(key, bytes.Repeat([]byte{byte(rnd.Uint32())}, size))
		default:
			err = b.Put(key, binary.BigEndian.AppendUint64(nil, rnd.Uint64N(3)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCompareTellsWhatDiffers: what compare tells between two snapshots makes the
// earlier one equal to the later one, and nothing of it is superfluous; between
// snapshots that differ by little, few pages are read.
func TestCompareTellsWhatDiffers(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			db := open(t, file(t), Options{})
			h := db.current()
			unsynced(db, true)
			whole := 0
			for round := range 9 {
				was, err := h.bolt.Begin(false)
				if err != nil {
					t.Fatal(err)
				}
				few := round%3 == 2
				for range 1 + rnd.IntN(2) {
					if err := h.bolt.Update(func(tx *bbolt.Tx) error {
						if round == 7 { // as good as empty
							c := tx.Bucket(bucket).Cursor()
							for k, _ := c.First(); k != nil && rnd.IntN(5000) != 0; k, _ = c.Next() {
								if err := c.Delete(); err != nil {
									return err
								}
							}
						}
						n := rnd.IntN(2500)
						if few {
							n = 1
						}
						apply(t, tx.Bucket(bucket), rnd, n)
						return nil
					}); err != nil {
						t.Fatal(err)
					}
				}
				is, err := h.bolt.Begin(false)
				if err != nil {
					t.Fatal(err)
				}
				reader := &counting{file: h.file}
				before, after := content(was.Bucket(bucket)), content(is.Bucket(bucket))
				upTo := []byte(nil)
				if rnd.IntN(2) == 0 {
					upTo = fmt.Appendf(nil, "%08d", rnd.IntN(30_000))
					beyond := func(k, _ string) bool { return k > string(upTo) }
					maps.DeleteFunc(before, beyond)
					maps.DeleteFunc(after, beyond)
				}
				got := maps.Clone(before)
				a, errA := newTree(pages{reader, h.bolt.Info().PageSize}, was.Bucket(bucket))
				b, errB := newTree(pages{reader, h.bolt.Info().PageSize}, is.Bucket(bucket))
				if err := errors.Join(errA, errB, compare(a, b, upTo, func(c change) error {
					old, there := got[string(c.key)]
					if c.gone && !there || !c.gone && there && old == string(c.value) {
						t.Errorf("round %d: %q was told and does not differ", round, c.key)
					}
					got[string(c.key)] = string(c.value)
					if c.gone {
						delete(got, string(c.key))
					}
					return nil
				})); err != nil {
					t.Fatal(err)
				}
				if !maps.Equal(after, got) {
					t.Fatalf("round %d: (-want +got)\n%s", round, cmp.Diff(after, got))
				}
				if few && upTo == nil && whole > 40 && reader.reads > whole/2 {
					t.Errorf("round %d: %d pages were read for a few keys; a round of many read %d", round, reader.reads, whole)
				}
				whole = max(whole, reader.reads)
				_ = was.Rollback()
				_ = is.Rollback()
			}
		})
	}
}

// TestPagesThatMakeNoSense: whatever lies on a page is an error, or items.
func TestPagesThatMakeNoSense(t *testing.T) {
	const size = 4096
	rnd := rand.New(rand.NewPCG(3, 3))
	page := func(id uint64, flags, count uint16, further uint32) []byte {
		b := make([]byte, size)
		for i := pageHead; i < size; i++ {
			b[i] = byte(rnd.Uint32() >> 8)
		}
		binary.NativeEndian.PutUint64(b, id)
		binary.NativeEndian.PutUint16(b[8:], flags)
		binary.NativeEndian.PutUint16(b[10:], count)
		binary.NativeEndian.PutUint32(b[12:], further)
		return b
	}
	for name, data := range map[string][]byte{
		"another page":     page(1, leafPage, 0, 0),
		"a kind of page":   page(0, 0x04, 1, 0),
		"two kinds":        page(0, leafPage|branchPage, 1, 0),
		"an empty branch":  page(0, branchPage, 0, 0),
		"items of a leaf":  page(0, leafPage, 0xffff, 0),
		"items of branch":  page(0, branchPage, 0xffff, 0),
		"far too long":     page(0, leafPage, 1, 1<<31),
		"longer than this": page(0, leafPage, 1, 3),
		"half a page":      page(0, leafPage, 1, 0)[:100],
	} {
		if _, _, err := (pages{bytes.NewReader(data), size}).read(0); !errors.Is(err, errDamage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2000 { // no panic
		data := page(0, 1+uint16(rnd.IntN(2)), uint16(rnd.IntN(300)), 0)
		if rnd.IntN(2) == 0 {
			for i := pageHead; i < size; i += 4 {
				binary.NativeEndian.PutUint32(data[i:], uint32(rnd.IntN(5000)))
			}
		}
		items, _, err := pages{bytes.NewReader(data), size}.read(0)
		if err != nil && !errors.Is(err, errDamage) {
			t.Fatal(err)
		}
		for _, i := range items {
			if len(i.key)+len(i.value) > size {
				t.Fatal("an item larger than its page")
			}
		}
	}
}
