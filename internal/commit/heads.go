package commit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"os"
)

// The head of a bbolt file: two pages, of which the newer valid one counts. Each
// commit writes over the older one.
const (
	headAt    = 16 // of a head in its page, bytes
	headPage  = 8  // of the size of a page in the head
	headEnd   = 40 // of the number of the first page that was never used
	headTx    = 48 // of the transaction that wrote it
	headSum   = 56 // of the checksum in the head
	headMagic = 0xED0CDAED
)

// lookAtHeads says in the log when one of the two heads cannot be used. bbolt goes
// on with the other silently, which may be that of the commit before the last.
// A disk that does not give them is an error: bbolt would take it for no file of its own.
func lookAtHeads(path string, log *slog.Logger) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	first, err := validHead(f, 0)
	if err != nil {
		return err
	}
	second, err := validHead(f, int64(os.Getpagesize()))
	if err != nil || first == second {
		return err // all well, or bbolt refuses it
	}
	log.Warn("one of the two head pages of the file cannot be used: the other one counts",
		"file", path,
		"hint", "after a power cut this was a commit that nobody was answered for; else the disk damaged it, and the last commit may be missing: look at the disk, and have the last messages sent again, their keys recognise repeats")
	return nil
}

func validHead(f *os.File, at int64) (bool, error) {
	var page [headAt + headSum + 8]byte
	if _, err := f.ReadAt(page[:], at); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	head := page[headAt:]
	sum := fnv.New64a()
	_, _ = sum.Write(head[:headSum]) // never fails
	return binary.NativeEndian.Uint32(head) == headMagic && binary.NativeEndian.Uint64(head[headSum:]) == sum.Sum64(), nil
}

// holdsItsPages says whether a file of n bytes is as long as its newer valid head says
// at least. What has no valid head, bbolt refuses.
func holdsItsPages(f *os.File, n int64) error {
	var newest, need uint64
	for _, at := range []int64{0, int64(os.Getpagesize())} {
		valid, err := validHead(f, at)
		if err != nil {
			return err
		}
		if !valid {
			continue
		}
		var head [headSum]byte
		if _, err := f.ReadAt(head[:], at+headAt); err != nil {
			return err
		}
		if tx := binary.NativeEndian.Uint64(head[headTx:]); tx >= newest {
			newest, need = tx, binary.NativeEndian.Uint64(head[headEnd:])*uint64(binary.NativeEndian.Uint32(head[headPage:]))
		}
	}
	if need > uint64(n) {
		return fmt.Errorf("%w: the file ends before its last page, after %d bytes", errDamage, n)
	}
	return nil
}
