package disk

import "golang.org/x/sys/unix"

// birth is when the file was made, Unix ns; 0: its file system does not tell. A
// file system gives the number of a removed file to the next one at once, so that
// the number alone does not tell a file from one that took its place.
func birth(path string) int64 {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
}
