package commit

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// handle is the open file. A compaction puts another one in its place; who reads
// in the old one goes on there, and the last of them closes it.
type handle struct {
	bolt *bbolt.DB
	file *os.File // bbolt's own, and its lock
	// mapped is how far the file is mapped into memory, at least: bytes. To map more
	// of it, bbolt waits for whoever reads. The committer's.
	mapped int64
	// page is the size of a page, bytes. bbolt's own Info looks into the mapping for
	// that, which a commit that needs a larger one takes away meanwhile.
	page int

	users   int // guarded by handles.mu
	retired bool
}

// handles is the handle in use, and those whose readers have not ended.
type handles struct {
	mu      sync.Mutex
	now     *handle
	leaving sync.WaitGroup
}

func (s *handles) current() *handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// take keeps the handle in use open until leave.
func (s *handles) take() *handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.users++
	return s.now
}

func (s *handles) leave(h *handle) {
	s.mu.Lock()
	h.users--
	last := h.retired && h.users == 0
	s.mu.Unlock()
	if last {
		s.retire(h)
	}
}

// replace puts another handle in place. The old one is closed by its last reader.
func (s *handles) replace(with *handle) {
	s.mu.Lock()
	was := s.now
	s.now, was.retired = with, true
	s.leaving.Add(1)
	unused := was.users == 0
	s.mu.Unlock()
	if unused {
		s.retire(was)
	}
}

// retire closes a file that has no name any more. To free its blocks may take a
// while: nobody waits for it but Close.
func (s *handles) retire(h *handle) {
	go func() {
		defer s.leaving.Done()
		_ = h.bolt.Close() // nobody reads what it would have to say
	}()
}

// opening is how a file is opened.
type opening struct {
	maxSize  int64 // 0: unbounded
	ahead    int64 // that it will come to hold, bytes
	unsynced bool  // until somebody says otherwise: for a file that is being made
}

func openHandle(path string, how opening) (*handle, error) {
	size := how.ahead
	if st, err := os.Stat(path); err == nil {
		size = max(size, st.Size())
	}
	ahead := mapSize(size, how.maxSize > 0)
	var b *bbolt.DB
	var file *os.File
	err := guard(func() (err error) {
		b, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         time.Second,
			FreelistType:    bbolt.FreelistMapType,
			MaxSize:         int(how.maxSize),
			InitialMmapSize: ahead,
			NoSync:          how.unsynced,
			NoGrowSync:      how.unsynced,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	switch {
	case err == nil:
		b.AllocSize = allocStep(size)
		return &handle{bolt: b, file: file, mapped: mapStep(max(size, int64(ahead))), page: b.Info().PageSize}, nil
	case errors.Is(err, errDamage):
		_ = file.Close() // and its lock: bbolt did not come to it
		return nil, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	case IsNoSpace(err):
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNoSpace, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	default:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
}

// mapAhead is the room to grow that a file is mapped with, so that a long read, a
// backup or a compaction, does not hold up the committer by bbolt's wait for a
// larger mapping. It costs addresses only; so not on 32 bits, and not on Windows,
// where a file is as large as its mapping.
const mapAhead = 1 << 30

// mapSize is how much of a file of a size is mapped at its opening, bytes; 0:
// bbolt's own way.
func mapSize(size int64, bounded bool) int {
	if bounded || runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		return 0
	}
	return int(size) + mapAhead
}

// mapStep is what bbolt maps for a file that must reach size: a power of two from
// 32 KiB on, whole GiBs beyond one.
func mapStep(size int64) int64 {
	step := int64(32 << 10)
	for step < size && step < 1<<30 {
		step *= 2
	}
	if size > step {
		step = (size + 1<<30 - 1) &^ (1<<30 - 1)
	}
	return step
}

// allocStep is by how much a file of a size grows at a time, bytes: with much of it
// mapped ahead, bbolt would let even the smallest one grow by 16 MiB.
func allocStep(size int64) int { return int(min(max(size/4, 64<<10), 16<<20)) }

// moved says whether path names another file than the one that is open and locked:
// who waited for the lock of a file that was replaced meanwhile holds that of a
// file without a name.
func moved(path string, f *os.File) error {
	open, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(open, named) {
		return fmt.Errorf("%s: %w: %w", path, ErrLocked, fs.ErrExist)
	}
	return nil
}
