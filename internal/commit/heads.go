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
