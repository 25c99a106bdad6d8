//go:build unix && !linux

package disk

// birth is not asked for here: the number of the file has to do.
func birth(string) int64 { return 0 }
