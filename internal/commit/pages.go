package commit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// The pages of a bbolt file, as far as a compaction reads them by itself: a page
// whose number is in two trees is the same in both as long as the older tree may
// be read, so that what it leads to need not be compared.
const (
	pageHead   = 16 // number, flags, count, further pages
	branchItem = 16 // position, key's size, page
	leafItem   = 16 // flags, position, key's size, value's size

	branchPage = 0x01
	leafPage   = 0x02

	bucketItem = 0x01

	maxFurther = 1 << 19 // of a page, 2 GiB: beyond what a value can have
)

// item is an entry of a page: a key with a value, or the first key below a page.
type item struct {
	key, value []byte
	child      uint64 // the page below, of a branch
	bucket     bool   // the value is a bucket
}

// pages reads pages by plain reads, whose errors are errors.
type pages struct {
	file io.ReaderAt
	size int // of a page, bytes
}

// read gives the items of a page, and whether it is a branch. They stay valid.
func (p pages) read(id uint64) (items []item, branch bool, err error) {
	data := make([]byte, p.size)
	if _, err := p.file.ReadAt(data, int64(id)*int64(p.size)); err != nil {
		return nil, false, fmt.Errorf("%w: page %d: %w", errDamage, id, err)
	}
	further := binary.NativeEndian.Uint32(data[12:])
	if number := binary.NativeEndian.Uint64(data); number != id || further > maxFurther {
		return nil, false, fmt.Errorf("%w: page %d says that it is page %d, with %d further ones", errDamage, id, number, further)
	}
	if further > 0 {
		whole := make([]byte, (int(further)+1)*p.size)
		copy(whole, data)
		if _, err := p.file.ReadAt(whole[p.size:], (int64(id)+1)*int64(p.size)); err != nil {
			return nil, false, fmt.Errorf("%w: after page %d: %w", errDamage, id, err)
		}
		data = whole
	}
	count := int(binary.NativeEndian.Uint16(data[10:]))
	switch flags := binary.NativeEndian.Uint16(data[8:]); flags {
	case branchPage:
		items, err = branchItems(data, count)
	case leafPage:
		items, err = leafItems(data, count)
	default:
		err = fmt.Errorf("of kind %#x", flags)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: page %d: %w", errDamage, id, err)
	}
	return items, binary.NativeEndian.Uint16(data[8:]) == branchPage, nil
}

func branchItems(data []byte, count int) ([]item, error) {
	if count == 0 {
		return nil, fmt.Errorf("a branch without a page below")
	}
	items := make([]item, count)
	for i := range items {
		at := pageHead + i*branchItem
		head, err := span(data, at, 0, branchItem)
		if err != nil {
			return nil, err
		}
		from, size := binary.NativeEndian.Uint32(head), binary.NativeEndian.Uint32(head[4:])
		items[i].child = binary.NativeEndian.Uint64(head[8:])
		if items[i].key, err = span(data, at, from, size); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func leafItems(data []byte, count int) ([]item, error) {
	items := make([]item, count)
	for i := range items {
		at := pageHead + i*leafItem
		head, err := span(data, at, 0, leafItem)
		if err != nil {
			return nil, err
		}
		items[i].bucket = binary.NativeEndian.Uint32(head)&bucketItem != 0
		from, key, value := binary.NativeEndian.Uint32(head[4:]), binary.NativeEndian.Uint32(head[8:]), binary.NativeEndian.Uint32(head[12:])
		if items[i].key, err = span(data, at, from, key); err != nil {
			return nil, err
		}
		if items[i].value, err = span(data, at+int(key), from, value); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// span is a part of a page, by its place after an item's.
func span(data []byte, item int, from, size uint32) ([]byte, error) {
	begin := int64(item) + int64(from)
	if end := begin + int64(size); end <= int64(len(data)) {
		return data[begin:end:end], nil
	}
	return nil, fmt.Errorf("an item lies outside of it")
}

// tree walks the items of a bucket in the order of their keys. It stands before a
// page or an entry, whose height is how many pages lie between it and the entries.
type tree struct {
	pages  pages
	levels []level
	height int // of the items of the first level
}

type level struct {
	items []item
	next  int
}

// newTree is the tree of a bucket; nil has none.
func newTree(p pages, b *bbolt.Bucket) (*tree, error) {
	t := &tree{pages: p}
	if b == nil {
		return t, nil
	}
	if b.Root() == 0 { // so small that it lies in its parent's page
		var items []item
		err := b.ForEach(func(k, v []byte) error {
			items = append(items, item{key: k, value: v, bucket: v == nil})
			return nil
		})
		t.levels = append(t.levels, level{items: items})
		return t, err
	}
	first := uint64(b.Root())
	for {
		items, branch, err := p.read(first)
		if err != nil {
			return nil, err
		}
		if len(t.levels) == 0 {
			t.levels = append(t.levels, level{items: items})
		}
		if !branch {
			return t, nil
		}
		if t.height++; t.height > 64 {
			return nil, fmt.Errorf("%w: page %d: a tree without an end", errDamage, first)
		}
		first = items[0].child
	}
}

// head is the next item and its height; nil at the end.
func (t *tree) head() (*item, int) {
	for n := len(t.levels); n > 0; n-- {
		if l := &t.levels[n-1]; l.next < len(l.items) {
			return &l.items[l.next], t.height - (n - 1)
		}
		t.levels = t.levels[:n-1]
	}
	return nil, 0
}

// skip goes past the next item, and all that is below it.
func (t *tree) skip() { t.levels[len(t.levels)-1].next++ }

// descend goes to the first item of the page below the next one.
func (t *tree) descend() error {
	l := &t.levels[len(t.levels)-1]
	child := l.items[l.next].child
	deep := t.height - len(t.levels) // the height of what is below
	l.next++
	items, branch, err := t.pages.read(child)
	if err == nil && branch != (deep > 0) {
		err = fmt.Errorf("%w: page %d: its tree is not of one height", errDamage, child)
	}
	t.levels = append(t.levels, level{items: items})
	return err
}

// change is what differs in one key; gone: it is not there any more.
type change struct {
	item
	gone bool
}

// compare tells what must be done to was to make it is, for the keys up to one;
// nil: for all. Pages that are in both trees are not looked at.
func compare(was, is *tree, upTo []byte, tell func(change) error) error {
	for {
		a, ha := was.head()
		b, hb := is.head()
		if a != nil && upTo != nil && bytes.Compare(a.key, upTo) > 0 {
			a = nil
		}
		if b != nil && upTo != nil && bytes.Compare(b.key, upTo) > 0 {
			b = nil
		}
		order := 0
		switch {
		case a == nil && b == nil:
			return nil
		case a == nil:
			order = 1
		case b == nil:
			order = -1
		default:
			order = bytes.Compare(a.key, b.key)
		}
		if err := step(was, is, a, b, ha, hb, order, tell); err != nil {
			return err
		}
	}
}

// step goes past what comes first of both trees, or into it.
func step(was, is *tree, a, b *item, ha, hb, order int, tell func(change) error) error {
	switch {
	case a != nil && b != nil && ha > 0 && hb > 0 && a.child == b.child:
		was.skip()
		is.skip()
		return nil
	case order < 0 && ha > 0, order == 0 && ha > hb:
		return was.descend()
	case order > 0 && hb > 0, order == 0 && hb > ha:
		return is.descend()
	case order < 0:
		was.skip()
		return tell(change{item: *a, gone: true})
	case order > 0:
		is.skip()
		return tell(change{item: *b})
	case ha > 0: // pages that begin with the same key
		if err := was.descend(); err != nil {
			return err
		}
		return is.descend()
	default:
		was.skip()
		is.skip()
		if a.bucket == b.bucket && bytes.Equal(a.value, b.value) {
			return nil
		}
		return tell(change{item: *b})
	}
}
