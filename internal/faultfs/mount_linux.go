package faultfs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// FS is a mounted file system.
type FS struct {
	dir    string
	disk   *disk
	server *fuse.Server
}

// Mount mounts an empty file system on the folder dir. It needs root and
// /dev/fuse. The caller unmounts it.
func Mount(dir string) (*FS, error) {
	f := &FS{dir: dir, disk: newDisk()}
	return f, f.mount()
}

// Dir is the folder that it is mounted on.
func (f *FS) Dir() string { return f.dir }

func (f *FS) mount() error {
	// The library's own mount leaves its file open in the programs that a test
	// starts, which would keep a mount alive beyond its server.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,max_read=%d", fd, os.Geteuid(), os.Getegid(), maxWrite)
	if err := unix.Mount("faultfs", f.dir, "fuse.faultfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return errors.Join(fmt.Errorf("mount on %s: %w", f.dir, err), unix.Close(fd))
	}
	f.server, err = fuse.NewServer(&tree{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: f.disk, fs: f}, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		MaxWrite: maxWrite, DisableXAttrs: true, DisableReadDirPlus: true, ExplicitDataCacheControl: true,
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("serve %s: %w", f.dir, err), unix.Unmount(f.dir, unix.MNT_DETACH))
	}
	go f.server.Serve()
	return f.refusePoll()
}

// refusePoll makes the kernel ask once whether files can be polled, and be told
// no. Else the Go runtime of this process might ask from its last thread.
func (f *FS) refusePoll() error {
	fd, err := unix.Open(filepath.Join(f.dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(fmt.Errorf("the first look into %s: %w", f.dir, err), f.Unmount())
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd))
}

// Unmount ends the file system; what was in it is gone. Nobody may have a file
// of it open.
func (f *FS) Unmount() error {
	// A process that was killed is reaped a moment before its files are closed.
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := unix.Unmount(f.dir, 0)
		if err == nil {
			f.server.Wait()
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("unmount %s: %w", f.dir, err), unix.Unmount(f.dir, unix.MNT_DETACH))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Cut cuts the power and switches it on again: what is not durable is gone.
// Seed 0: all of it; any other seed: some of it survives, the same for the same
// seed and history. Whoever used the file system must have been killed before.
// Faults are lifted.
func (f *FS) Cut(seed uint64) error {
	if err := f.Unmount(); err != nil {
		return err
	}
	var chance *rand.Rand
	if seed != 0 {
		chance = rand.New(rand.NewPCG(seed, 0))
	}
	f.disk.mu.Lock()
	f.disk.faults = nil
	f.disk.cut(chance)
	f.disk.mu.Unlock()
	return f.mount()
}

// Save writes what is durable into the folder dir as plain files: for looking at
// it after a test.
func (f *FS) Save(dir string) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.disk.root.save(dir)
}

func (n *node) save(to string) error {
	if !n.dir {
		data := make([]byte, n.disk.size)
		n.disk.readAt(data, 0)
		return os.WriteFile(to, data, 0o600)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for name, child := range n.durable {
		if err := child.save(filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// DropCaches makes the kernel forget what it has read, so that the next use of a
// file reads it from the disk.
func (f *FS) DropCaches() {
	f.disk.mu.Lock()
	inos := slices.Collect(maps.Keys(f.disk.nodes))
	f.disk.mu.Unlock()
	for _, ino := range inos {
		f.server.InodeNotify(ino, 0, 0) // one that it does not know is no loss
	}
}
