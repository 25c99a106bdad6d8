package commit

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
)

// GiveBack takes the pages of the file that were looked at out of the process's
// memory; the system's cache keeps them, and whoever looks again finds them there.
// bbolt maps the file, so that a walk through millions of records would leave all of
// it counted as memory of the process. The transaction must be open: it keeps the
// mapping where it is.
func GiveBack(tx *bbolt.Tx) {
	if size := tx.Size(); size > 0 {
		// Of a shared mapping that is only read, nothing is lost. An error leaves all as
		// it is.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, tx.DB().Info().Data, uintptr(size), syscall.MADV_DONTNEED)
	}
}

// Mapped is how many bytes of files the process has in memory at the moment.
func Mapped() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[2], 10, 64)
	return pages * int64(os.Getpagesize())
}
