package faultfs

import (
	"maps"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxWrite is the largest piece that the kernel hands on, bytes.
const maxWrite = 1 << 20

// tree answers the kernel. Every answer is made under the disk's lock: a test
// disk need not be fast.
type tree struct {
	fuse.RawFileSystem // refuses what is not here

	disk *disk
	fs   *FS
}

func (t *tree) String() string { return "faultfs" }

// in finds a node; the kernel names none that it was not told of.
func (t *tree) in(ino uint64) (*node, fuse.Status) {
	n := t.disk.nodes[ino]
	if n == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	return n, fuse.OK
}

func (t *tree) attr(n *node, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: n.ino, Mode: n.mode | syscall.S_IFREG, Nlink: uint32(n.links), Blksize: blockSize,
		Size: uint64(n.now.size), Blocks: uint64(len(n.now.blocks)) * (blockSize / sectorSize),
	}
	if n.dir {
		out.Mode, out.Nlink = n.mode|syscall.S_IFDIR, 2
	}
	out.SetTimes(&n.mtime, &n.mtime, &n.mtime)
}

func (t *tree) entry(n *node, out *fuse.EntryOut) fuse.Status {
	n.lookups++
	out.NodeId = n.ino
	t.attr(n, &out.Attr)
	return fuse.OK
}

func (t *tree) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	dir, status := t.in(header.NodeId)
	if !status.Ok() {
		return status
	}
	n := dir.names[name]
	if n == nil {
		return fuse.ENOENT
	}
	return t.entry(n, out)
}

func (t *tree) Forget(ino, lookups uint64) {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	if n := t.disk.nodes[ino]; n != nil {
		n.lookups -= min(lookups, n.lookups)
		t.disk.release(n)
	}
}

func (t *tree) GetAttr(_ <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if status.Ok() {
		t.attr(n, &out.Attr)
	}
	return status
}

func (t *tree) SetAttr(_ <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	if mode, ok := input.GetMode(); ok {
		n.mode = mode & 0o7777
	}
	if mtime, ok := input.GetMTime(); ok {
		n.mtime = mtime
	}
	if size, ok := input.GetSize(); ok {
		if status := t.resize(n, int64(size)); !status.Ok() {
			return status
		}
	}
	t.attr(n, &out.Attr)
	return fuse.OK
}

func (t *tree) resize(n *node, size int64) fuse.Status {
	if size > maxFile {
		return fuse.Status(syscall.EFBIG)
	}
	if size > n.now.size {
		if err, _ := t.disk.fails(Write, n.path(), 0); err != 0 {
			return fuse.Status(err)
		}
	}
	n.truncate(size)
	return fuse.OK
}

// create makes a file or a directory; a full disk has no room for it either.
func (t *tree) create(parent uint64, name string, isDir bool, mode uint32) (*node, fuse.Status) {
	dir, status := t.in(parent)
	if !status.Ok() {
		return nil, status
	}
	if dir.names[name] != nil {
		return nil, fuse.Status(syscall.EEXIST)
	}
	n := &node{parent: dir, name: name}
	if err, _ := t.disk.fails(Write, n.path(), 0); err != 0 {
		return nil, fuse.Status(err)
	}
	n = t.disk.add(isDir, mode&0o7777)
	t.disk.change(rename{{dir, name, n}})
	return n, fuse.OK
}

func (t *tree) Mknod(_ <-chan struct{}, input *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.create(input.NodeId, name, false, input.Mode)
	if !status.Ok() {
		return status
	}
	return t.entry(n, out)
}

func (t *tree) Mkdir(_ <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.create(input.NodeId, name, true, input.Mode)
	if !status.Ok() {
		return status
	}
	return t.entry(n, out)
}

func (t *tree) Create(_ <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.create(input.NodeId, name, false, input.Mode)
	if !status.Ok() {
		return status
	}
	n.opens++
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return t.entry(n, &out.EntryOut)
}

func (t *tree) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return t.remove(header.NodeId, name)
}

func (t *tree) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return t.remove(header.NodeId, name)
}

func (t *tree) remove(parent uint64, name string) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	dir, status := t.in(parent)
	if !status.Ok() {
		return status
	}
	switch n := dir.names[name]; {
	case n == nil:
		return fuse.ENOENT
	case len(n.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	t.disk.change(rename{{dir, name, nil}})
	return fuse.OK
}

func (t *tree) Rename(_ <-chan struct{}, input *fuse.RenameIn, oldName, newName string) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	from, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	to, status := t.in(input.Newdir)
	if !status.Ok() {
		return status
	}
	n, victim := from.names[oldName], to.names[newName]
	switch {
	case input.Flags != 0:
		return fuse.EINVAL
	case n == nil:
		return fuse.ENOENT
	case n == victim:
		return fuse.OK
	case victim != nil && len(victim.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	t.disk.change(rename{{to, newName, n}, {from, oldName, nil}})
	return fuse.OK
}

func (t *tree) Link(_ <-chan struct{}, input *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.Oldnodeid)
	if !status.Ok() {
		return status
	}
	dir, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	if dir.names[name] != nil {
		return fuse.Status(syscall.EEXIST)
	}
	if err, _ := t.disk.fails(Write, n.path(), 0); err != 0 {
		return fuse.Status(err)
	}
	t.disk.change(rename{{dir, name, n}})
	return t.entry(n, out)
}

func (t *tree) Open(_ <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	if input.Flags&syscall.O_TRUNC != 0 {
		n.truncate(0)
	}
	n.opens++
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (t *tree) Release(_ <-chan struct{}, input *fuse.ReleaseIn) {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	if n := t.disk.nodes[input.NodeId]; n != nil {
		n.opens -= min(1, n.opens)
		t.disk.release(n)
	}
}

// Flush has nothing to do: closing a file makes nothing durable.
func (t *tree) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (t *tree) Read(_ <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		return nil, status
	}
	if err, _ := t.disk.fails(Read, n.path(), int64(input.Offset)); err != 0 {
		return nil, fuse.Status(err)
	}
	return fuse.ReadResultData(buf[:n.now.readAt(buf, int64(input.Offset))]), fuse.OK
}

func (t *tree) Write(_ <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		return 0, status
	}
	op := Overwrite
	if n.needsRoom(int64(input.Offset), int64(len(data))) {
		op = Write
	}
	if err, _ := t.disk.fails(op, n.path(), int64(input.Offset)); err != 0 {
		return 0, fuse.Status(err)
	}
	if int64(input.Offset)+int64(len(data)) > maxFile {
		return 0, fuse.Status(syscall.EFBIG)
	}
	n.writeAt(data, int64(input.Offset))
	return uint32(len(data)), fuse.OK
}

func (t *tree) Fallocate(_ <-chan struct{}, input *fuse.FallocateIn) fuse.Status {
	const keepSize = 1
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	if input.Mode&^keepSize != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if end := int64(input.Offset + input.Length); input.Mode == 0 && end > n.now.size {
		return t.resize(n, end)
	}
	return fuse.OK
}

func (t *tree) Fsync(_ <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	t.disk.mu.Lock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		t.disk.mu.Unlock()
		return status
	}
	err, dirty := t.disk.fails(Sync, n.path(), 0)
	if err == 0 {
		t.disk.sync(n)
	} else if dirty != Kept {
		n.revert()
	}
	t.disk.mu.Unlock()
	if err != 0 && dirty == Dropped {
		// Without the lock: the kernel may be reading a page of it just now.
		t.fs.server.InodeNotify(input.NodeId, 0, 0)
	}
	return fuse.Status(err)
}

func (t *tree) FsyncDir(_ <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	n, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	if err, _ := t.disk.fails(Sync, n.path(), 0); err != 0 {
		return fuse.Status(err)
	}
	t.disk.syncDir(n)
	return fuse.OK
}

func (t *tree) OpenDir(_ <-chan struct{}, input *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	_, status := t.in(input.NodeId)
	return status
}

func (t *tree) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists by name: who removes while it lists may miss some, and lists
// again as on any file system.
func (t *tree) ReadDir(_ <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	dir, status := t.in(input.NodeId)
	if !status.Ok() {
		return status
	}
	names := slices.Sorted(maps.Keys(dir.names))
	for at, name := range names[min(int(input.Offset), len(names)):] {
		n := dir.names[name]
		mode := uint32(syscall.S_IFREG)
		if n.dir {
			mode = syscall.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: name, Ino: n.ino, Mode: mode, Off: input.Offset + uint64(at) + 1}) {
			break
		}
	}
	return fuse.OK
}

// StatFs tells of plenty: a disk that is full refuses writes, by a fault.
func (t *tree) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Blocks: 1 << 22, Bfree: 1 << 21, Bavail: 1 << 21, Bsize: blockSize, Frsize: blockSize, NameLen: 255}
	return fuse.OK
}

// Access is the kernel's to judge; everything here belongs to root.
func (t *tree) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// Statx is not needed: the kernel asks for attributes instead.
func (t *tree) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status { return fuse.ENOSYS }
