package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	blockSize  = 4096
	sectorSize = 512
	rootIno    = 1
	// maxFile bounds a file, bytes: a test that goes wild fails before the machine does.
	maxFile = 1 << 30
)

// content is the bytes of a file. A block that is missing is zeros; blocks are
// shared between contents and never changed once they are.
type content struct {
	size   int64
	blocks map[int64]*[blockSize]byte
}

// node is a file or a directory.
type node struct {
	ino   uint64
	dir   bool
	mode  uint32
	mtime time.Time

	now, disk content        // of a file: as it is seen, and what is durable
	dirty     map[int64]bool // blocks in which the two differ

	names, durable map[string]*node // of a directory

	parent         *node // of its newest name
	name           string
	links, onDisk  int // names, and durable names
	lookups, opens uint64
}

// path is slash-separated and begins below the root.
func (n *node) path() string {
	if n.parent == nil {
		return n.name
	}
	return strings.TrimPrefix(n.parent.path()+"/"+n.name, "/")
}

// rename is one or two names that change at once. A nil node: the name goes.
type rename []struct {
	dir  *node
	name string
	to   *node
}

// disk is the tree, and the changes of names that are not durable yet.
type disk struct {
	mu     sync.Mutex
	nodes  map[uint64]*node
	root   *node
	last   uint64   // inode number
	log    []rename // oldest first
	faults []*Injected
}

func newDisk() *disk {
	d := &disk{nodes: map[uint64]*node{}}
	d.root = d.add(true, 0o755)
	d.root.links, d.root.onDisk = 1, 1
	return d
}

func (d *disk) add(dir bool, mode uint32) *node {
	d.last++
	n := &node{ino: d.last, dir: dir, mode: mode, mtime: time.Now()}
	if dir {
		n.names, n.durable = map[string]*node{}, map[string]*node{}
	} else {
		n.now.blocks, n.disk.blocks, n.dirty = map[int64]*[blockSize]byte{}, map[int64]*[blockSize]byte{}, map[int64]bool{}
	}
	d.nodes[n.ino] = n
	return n
}

// change changes names as they are seen, and remembers that it is not durable.
func (d *disk) change(r rename) {
	for _, s := range r {
		if old := s.dir.names[s.name]; old != nil {
			old.links--
			defer d.release(old)
		}
		delete(s.dir.names, s.name)
		if s.to != nil {
			s.dir.names[s.name] = s.to
			s.to.links++
			s.to.parent, s.to.name = s.dir, s.name
		}
		s.dir.mtime = time.Now()
	}
	d.log = append(d.log, r)
}

// release forgets a node that has no name and that nobody knows any more.
func (d *disk) release(n *node) {
	if n.links == 0 && n.onDisk == 0 && n.lookups == 0 && n.opens == 0 {
		delete(d.nodes, n.ino)
	}
}

// persist makes the wanted changes of names durable, and the earlier ones of the
// same names.
func (d *disk) persist(want func(rename) bool) {
	type key struct {
		dir  *node
		name string
	}
	keys := map[key]bool{}
	var todo, rest []rename
	for _, r := range slices.Backward(d.log) {
		wanted := want(r)
		for _, s := range r {
			wanted = wanted || keys[key{s.dir, s.name}]
		}
		if !wanted {
			rest = append(rest, r)
			continue
		}
		todo = append(todo, r)
		for _, s := range r {
			keys[key{s.dir, s.name}] = true
		}
	}
	for _, r := range slices.Backward(todo) {
		d.apply(r)
	}
	slices.Reverse(rest)
	d.log = rest
}

func (d *disk) apply(r rename) {
	for _, s := range r {
		if old := s.dir.durable[s.name]; old != nil {
			old.onDisk--
			defer d.release(old)
		}
		delete(s.dir.durable, s.name)
		if s.to != nil {
			s.dir.durable[s.name] = s.to
			s.to.onDisk++
		}
	}
}

// syncDir makes the names in a directory durable.
func (d *disk) syncDir(dir *node) {
	d.persist(func(r rename) bool {
		for _, s := range r {
			if s.dir == dir {
				return true
			}
		}
		return false
	})
}

// sync makes a file durable, with its name when it is new.
func (d *disk) sync(n *node) {
	for i := range n.dirty {
		if b := n.now.blocks[i]; b != nil {
			n.disk.blocks[i] = b
		} else {
			delete(n.disk.blocks, i)
		}
	}
	n.disk.size = n.now.size
	clear(n.dirty)
	if n.onDisk == 0 && n.links > 0 {
		d.persist(func(r rename) bool {
			for _, s := range r {
				if s.to == n {
					return true
				}
			}
			return false
		})
	}
}

// revert drops the blocks that are not durable: what is left of a file whose
// fsync failed. Its size stays.
func (n *node) revert() {
	for i := range n.dirty {
		if b := n.disk.blocks[i]; b != nil {
			n.now.blocks[i] = b
		} else {
			delete(n.now.blocks, i)
		}
	}
	clear(n.dirty)
}

func (c *content) readAt(p []byte, at int64) int {
	p = p[:max(0, min(int64(len(p)), c.size-at))]
	for done := 0; done < len(p); {
		i, in := (at+int64(done))/blockSize, (at+int64(done))%blockSize
		part := p[done:min(len(p), done+int(blockSize-in))]
		if b := c.blocks[i]; b != nil {
			copy(part, b[in:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(p)
}

func (n *node) writeAt(p []byte, at int64) {
	n.now.size = max(n.now.size, at+int64(len(p)))
	for len(p) > 0 {
		i, in := at/blockSize, at%blockSize
		k := copy(n.own(i)[in:], p)
		p, at = p[k:], at+int64(k)
	}
	n.mtime = time.Now()
}

// needsRoom says whether a write needs a block that the file does not have.
func (n *node) needsRoom(at, length int64) bool {
	for i := at / blockSize; i*blockSize < at+length; i++ {
		if n.now.blocks[i] == nil {
			return true
		}
	}
	return false
}

// own is a block of what is seen that may be written to.
func (n *node) own(i int64) *[blockSize]byte {
	b := n.now.blocks[i]
	if b == nil || b == n.disk.blocks[i] {
		fresh := new([blockSize]byte)
		if b != nil {
			*fresh = *b
		}
		b = fresh
		n.now.blocks[i] = b
	}
	n.dirty[i] = true
	return b
}

func (n *node) truncate(size int64) {
	if in := size % blockSize; size < n.now.size && in != 0 && n.now.blocks[size/blockSize] != nil {
		clear(n.own(size / blockSize)[in:])
	}
	for i := range n.now.blocks {
		if i*blockSize >= size {
			delete(n.now.blocks, i)
			n.dirty[i] = true
		}
	}
	n.now.size, n.mtime = size, time.Now()
}

// cut leaves what is durable; with chance, some of the rest too.
func (d *disk) cut(chance *rand.Rand) {
	if chance != nil {
		for _, ino := range slices.Sorted(maps.Keys(d.nodes)) {
			if n := d.nodes[ino]; !n.dir {
				n.survive(chance)
			}
		}
		for _, r := range d.log[:chance.IntN(len(d.log)+1)] {
			d.apply(r)
		}
	}
	d.log = nil
	d.nodes = map[uint64]*node{}
	d.restore(d.root)
	d.root.links = 1
}

func (d *disk) restore(n *node) {
	n.links++
	if d.nodes[n.ino] != nil {
		return // another name of it
	}
	d.nodes[n.ino] = n
	n.links, n.onDisk, n.lookups, n.opens = 1, 1, 0, 0
	if !n.dir {
		n.now = content{n.disk.size, maps.Clone(n.disk.blocks)}
		clear(n.dirty)
		return
	}
	n.names = maps.Clone(n.durable)
	for name, child := range n.durable {
		d.restore(child)
		child.parent, child.name, child.onDisk = n, name, child.links
	}
}

// survive lets parts of what was not synced reach the disk, in no order.
func (n *node) survive(chance *rand.Rand) {
	size := n.disk.size
	if chance.IntN(2) == 0 {
		size = n.now.size
	}
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		var mixed, seen [blockSize]byte
		if b := n.disk.blocks[i]; b != nil {
			mixed = *b
		}
		if b := n.now.blocks[i]; b != nil {
			seen = *b
		}
		how := chance.IntN(3)
		for at := 0; at < blockSize; at += sectorSize {
			if how == 1 || how == 2 && chance.IntN(2) == 0 {
				copy(mixed[at:at+sectorSize], seen[at:])
			}
		}
		n.disk.blocks[i] = &mixed
	}
	n.disk.size = size
	for i, b := range n.disk.blocks {
		switch {
		case i*blockSize >= size:
			delete(n.disk.blocks, i)
		case (i+1)*blockSize > size:
			rest := *b
			clear(rest[size-i*blockSize:])
			n.disk.blocks[i] = &rest
		}
	}
}
