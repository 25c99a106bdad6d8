package faultfs

import "syscall"

// Op is a set of operations that can fail.
type Op int

// The operations.
const (
	// Write needs room: a write into blocks that a file does not have yet, growth by
	// truncate or allocation, a new file or directory. The kernel hands on what a
	// program writes in pieces of up to 1 MiB.
	Write Op = 1 << iota
	// Overwrite needs none. On most file systems it does not fail for lack of room.
	// A program that has mapped the file sees what was refused all the same, until
	// the next Cut, as FUSE writes into the kernel's cache first: let it fail only
	// where the program ends by it.
	Overwrite
	// Sync: fsync or fdatasync, of a file or a directory.
	Sync
	// Read: a read of a file that no cache answers.
	Read
)

// Dirty is what becomes of the unsynced blocks of a file whose fsync failed.
type Dirty int

// What becomes of them.
const (
	// Kept: a later fsync may succeed with them.
	Kept Dirty = iota
	// Dropped: they are gone, and everybody sees what is on the disk.
	Dropped
	// Believed: they are gone, while the kernel's cache goes on showing them, as
	// Linux does: a second fsync succeeds and lies.
	Believed
)

// Fault says which operations fail.
type Fault struct {
	Op Op
	// From picks reads and writes that begin at this byte or later.
	From int64
	// Path picks files by their path below the mount; nil: all.
	Path func(path string) bool
	// Nth operation that matches is the first to fail; 0 and 1: the next one.
	Nth int
	// Times is how many fail; 0: all, until lifted.
	Times int
	// Err is the error; 0: nothing fails, it is only counted.
	Err syscall.Errno
	// Dirty: see its values. Of Sync only.
	Dirty Dirty
}

// Injected is a fault that waits for its operations.
type Injected struct {
	disk       *disk
	fault      Fault
	seen, hits int
}

// Inject adds a fault.
func (f *FS) Inject(fault Fault) *Injected {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	i := &Injected{disk: f.disk, fault: fault}
	f.disk.faults = append(f.disk.faults, i)
	return i
}

// Seen is how many operations matched so far, failed or not.
func (i *Injected) Seen() int {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	return i.seen
}

// Hits is how many failed.
func (i *Injected) Hits() int {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	return i.hits
}

// Lift ends the fault: nothing fails by it any more, and it counts no further.
func (i *Injected) Lift() {
	i.disk.mu.Lock()
	defer i.disk.mu.Unlock()
	for at, other := range i.disk.faults {
		if other == i {
			i.disk.faults = append(i.disk.faults[:at:at], i.disk.faults[at+1:]...)
			return
		}
	}
}

// fails says how an operation fails: 0, not at all.
func (d *disk) fails(op Op, path string, at int64) (syscall.Errno, Dirty) {
	var err syscall.Errno
	var dirty Dirty
	for _, i := range d.faults {
		f := &i.fault
		if f.Op&op == 0 || at < f.From || f.Path != nil && !f.Path(path) {
			continue
		}
		i.seen++
		if f.Err == 0 || i.seen < f.Nth || f.Times > 0 && i.hits >= f.Times {
			continue
		}
		i.hits++
		err, dirty = f.Err, f.Dirty
	}
	return err, dirty
}
