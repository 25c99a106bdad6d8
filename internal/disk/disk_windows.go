//go:build windows

package disk

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// Free is how many bytes an unprivileged process can still write to the volume
// that holds path.
func Free(path string) (int64, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(free), nil
}

// FileID is always 0 here: it cannot be told without opening the file.
func FileID(string) (uint64, error) { return 0, nil }

// SyncDir does nothing: NTFS journals its names by itself.
func SyncDir(string) error { return nil }
