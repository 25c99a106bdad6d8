package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"ferry"
	"ferry/adapters"
	"ferry/internal/commit"
	"ferry/internal/disk"
	"ferry/queue"
)

// spoolFree is the room on the disk that bodies leave to the inbox, bytes.
const spoolFree = 16 << 20

// spoolLeft bounds the files that are remembered for another try to remove them.
const spoolLeft = 1000

// spool is where bodies lie that are too large for memory, each for the one turn
// that needs it. They are copies: nothing here outlives the worker.
type spool struct {
	dir string

	mu      sync.Mutex
	promise int64    // bytes of files that are being written
	left    []string // files that could not be removed yet: somebody still reads them
}

// openSpool makes the folder beside the inbox, and empties it. The inbox must be
// open: nobody else is at work there then.
func openSpool(inboxDir string) (*spool, error) {
	s := &spool{dir: filepath.Join(inboxDir, "bodies")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, inboxError(s.dir, err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, inboxError(s.dir, err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			s.remove(filepath.Join(s.dir, e.Name()))
		}
	}
	return s, nil
}

// take writes a body of size bytes to a file of its own, by fetch. The error of a
// full disk is commit.ErrNoSpace.
func (s *spool) take(size int64, fetch func(w io.WriterAt) error) (path string, err error) {
	if err := s.reserve(size); err != nil {
		return "", err
	}
	defer s.unreserve(size)
	f, err := os.CreateTemp(s.dir, "body-*") // for its owner only
	if err != nil {
		return "", spoolError(err)
	}
	err = fetch(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		s.remove(f.Name())
		return "", spoolError(err)
	}
	return f.Name(), nil
}

func (s *spool) reserve(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := disk.Free(s.dir)
	if err == nil && free < s.promise+size+spoolFree {
		return fmt.Errorf("%w: %d bytes free, a body needs %d, and %d must stay free",
			commit.ErrNoSpace, max(free-s.promise, 0), size, spoolFree)
	}
	s.promise += size // a disk that cannot be asked: the write tells
	return nil
}

func (s *spool) unreserve(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promise -= size
}

func spoolError(err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("%w: %w", commit.ErrNoSpace, err)
	}
	return err
}

// remove removes a file. Where a file that is open cannot be removed, net/http may
// be about to close it: it is tried again with the next one, and at the next start.
func (s *spool) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.left[:0]
	for _, p := range append(s.left, path) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			kept = append(kept, p)
		}
	}
	s.left = kept[:min(len(kept), spoolLeft)] // the next start finds the others
}

// fixed takes a body into memory.
type fixed []byte

// WriteAt writes into the part of memory that was made for the body.
func (f fixed) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(f)) {
		return 0, fmt.Errorf("%d bytes at %d of a body of %d", len(p), at, len(f))
	}
	return copy(f[at:], p), nil
}

// body fetches a body that was too large to travel with its message: into memory
// when the ledger, too, would hold it there, else into a file.
func (t *turn) body(ctx context.Context) (missing bool, err error) {
	if t.h.Body != nil || t.h.Size == 0 {
		return false, nil
	}
	if t.h.Size <= ferry.InlineBody {
		body := make(fixed, max(t.h.Size, 0))
		if err = t.w.queue.FetchBody(ctx, *t.h, body); err == nil {
			t.h.Body = body
		}
	} else {
		t.file, err = t.w.spool.take(t.h.Size, func(w io.WriterAt) error {
			return t.w.queue.FetchBody(ctx, *t.h, w)
		})
	}
	if errors.Is(err, queue.ErrBodyMissing) {
		return true, nil
	}
	return false, err
}

// dropBody removes the body's file: the turn's calls have ended.
func (t *turn) dropBody() {
	if t.file != "" {
		t.w.spool.remove(t.file)
		t.file = ""
	}
}

// adapterCall is what the adapter gets of the message.
func (t *turn) adapterCall() adapters.Call {
	call := adapters.Call{HandOut: *t.h, Number: t.h.Attempt}
	if path := t.file; path != "" {
		call.Open = func() (io.ReadSeekCloser, error) { return os.Open(path) }
	}
	return call
}

// holds counts the bodies that lie here, and their bytes.
func (s *spool) holds() (files int, bytes int64) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Type().IsRegular() {
			files++
			bytes += info.Size()
		}
	}
	return files, bytes
}
