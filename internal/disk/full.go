package disk

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// ErrorDiskFull is Windows' ERROR_DISK_FULL.
const ErrorDiskFull = syscall.Errno(112)

// IsFull says whether a write was refused because the disk is full, or a quota
// is used up. Only a refused write counts: an fsync that reports no space has
// already lost pages.
func IsFull(err error) bool {
	var cause error
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &pathErr) && pathErr.Op != "sync":
		cause = pathErr.Err
	case errors.As(err, &linkErr):
		cause = linkErr.Err
	}
	return errors.Is(cause, syscall.ENOSPC) || errors.Is(cause, syscall.EDQUOT) ||
		runtime.GOOS == "windows" && errors.Is(cause, ErrorDiskFull)
}
