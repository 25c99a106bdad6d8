//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Free is how many bytes an unprivileged process can still write to the file
// system that holds path.
func Free(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// FileID tells the file from others: the same after a rename, another one for a
// copy. It is made of the file's number in its file system and, where that is
// told, of when it was made. 0: it cannot be told.
func FileID(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id := uint64(st.Ino) //nolint:unconvert // the width differs between systems
		if b := birth(path); b != 0 {
			id ^= uint64(b) * 0x9e3779b97f4a7c15 // an odd factor: no two times are alike
		}
		return max(id, 1), nil
	}
	return 0, nil
}

// SyncDir makes the names in a directory durable: a file created or renamed
// there survives a power cut only after this.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
