package commit

import (
	"errors"
	"os"
)

// compactAtOpen puts a smaller copy in the place of a file of which much is free.
// Nobody has the file open. When that fails, the file stays as it is.
func compactAtOpen(path string, opts Options) error {
	h, err := openHandle(path, opening{})
	if err != nil {
		return err
	}
	size := int64(0)
	if st, err := h.file.Stat(); err == nil {
		size = st.Size()
	}
	waste := h.waste(size)
	if err := h.bolt.Close(); err != nil {
		return err
	}
	if !waste.Much() {
		return nil
	}
	opts.Log.Info("much of the file is free: copying the rest into a smaller one", "file", path, "size", waste.Size, "free", waste.Free)
	if err := putSmaller(path, waste, opts); err != nil {
		opts.Log.Warn("the file could not be compacted: it stays as it is", "file", path, "error", err)
	}
	return nil
}

func putSmaller(path string, waste Waste, opts Options) error {
	live := waste.Size - waste.Free
	c := &compaction{db: &DB{path: path, opts: opts}}
	if err := c.hasRoom(live + live/8); err != nil {
		return err
	}
	fresh := newFile(path) + "compact"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := copyChecked(path, fresh, opts.Copied)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = os.Remove(fresh)
	}
	return err // Open syncs the folder before anything is written
}
