package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// Staging. A body of more than ferry.InlineBody bytes comes to rest in three
// steps: a file in bodies/staged, whole and synced; that file under the name that
// its record will look for, the folders synced; the commit. A crash after the
// first leaves a file that the next start removes, one after the second an orphan.

const (
	stageBuffer = 128 << 10
	lookAtRoom  = 4 << 20 // bytes between two looks at the free disk
)

func (l *Ledger) stagedDir() string { return filepath.Join(l.dir, "bodies", "staged") }

// StageBody reads r to its end into a file of the ledger's folder, hashed and
// synced, without ever holding it whole. The error is tooLarge beyond limit bytes,
// noSpace when the disk is or becomes full, tooManyRequests when ferry.MaxStaged
// bodies are on their way; then nothing stays. An error of r comes back wrapped.
//
// What it returns belongs to the caller, who gives it to Accept or to Unstage.
func (l *Ledger) StageBody(ctx context.Context, r io.Reader, limit int64) (ferry.StagedBody, error) {
	staged := ferry.StagedBody{Path: filepath.Join(l.stagedDir(), ferry.NewID(time.Now()).String())}
	if !l.staged.add(staged.Path, ferry.MaxStaged) {
		return ferry.StagedBody{}, ferry.Errorf(ferry.CodeTooManyRequests, "%d large bodies are on their way into the ledger", ferry.MaxStaged).
			WithHint("send again after the time in Retry-After")
	}
	err := l.room()
	if err == nil {
		err = l.fill(ctx, &staged, r, limit)
	}
	if err != nil {
		l.Unstage(staged)
		return ferry.StagedBody{}, err
	}
	return staged, nil
}

func (l *Ledger) fill(ctx context.Context, staged *ferry.StagedBody, r io.Reader, limit int64) error {
	f, err := os.OpenFile(staged.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return l.fileError(err)
	}
	err = l.copyIn(ctx, staged, f, r, limit)
	if err == nil {
		if err = f.Sync(); err != nil {
			err = l.fileError(err)
		}
	}
	if closed := f.Close(); err == nil && closed != nil {
		err = l.fileError(closed)
	}
	return err
}

func (l *Ledger) copyIn(ctx context.Context, staged *ferry.StagedBody, f *os.File, r io.Reader, limit int64) error {
	buf := l.buffers.Get().(*[stageBuffer]byte)
	defer l.buffers.Put(buf)
	sum := sha256.New()
	for looked := int64(0); ; {
		// Whole buffers: few writes, each at the beginning of a page.
		n, err := 0, error(nil)
		for m := 0; n < len(buf) && err == nil; n += m {
			m, err = r.Read(buf[n:])
		}
		staged.Size += int64(n)
		if staged.Size > limit {
			return ferry.Errorf(ferry.CodeTooLarge, "the body is larger than %d bytes", limit).
				WithHint("the route's limit is maxBytes in the broker's configuration")
		}
		sum.Write(buf[:n])
		if _, err := f.Write(buf[:n]); err != nil {
			return l.fileError(err)
		}
		switch {
		case errors.Is(err, io.EOF):
			staged.SHA256 = sum.Sum(nil)
			return nil
		case err != nil:
			return fmt.Errorf("read a body: %w", err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if staged.Size-looked >= lookAtRoom {
			looked = staged.Size
			if err := l.room(); err != nil {
				return err
			}
		}
	}
}

// room refuses a body as the ledger refuses a write: before the disk is full for
// everybody.
func (l *Ledger) room() error {
	if l.minFree < 0 {
		return nil
	}
	free, err := disk.Free(l.dir)
	if err != nil || free >= l.minFree { // a disk that cannot be asked: the write tells
		return nil
	}
	return l.writeError(fmt.Errorf("%w: %d bytes free, %d must stay free", commit.ErrNoSpace, free, l.minFree))
}

// Unstage removes a staged body that was not given to Accept.
func (l *Ledger) Unstage(b ferry.StagedBody) {
	if filepath.Dir(b.Path) != l.stagedDir() {
		return // the zero value, or not one of ours
	}
	_ = os.Remove(b.Path) // what stays, the sweep removes
	l.staged.remove(b.Path)
}

// ReadStaged reads a staged body into memory: for a look inside, of at most
// ferry.MaxMapped bytes.
func (l *Ledger) ReadStaged(b ferry.StagedBody) ([]byte, error) {
	if b.Size > ferry.MaxMapped || !l.staged.has(b.Path) {
		return nil, fmt.Errorf("a staged body of %d bytes is not read into memory", b.Size)
	}
	body, err := os.ReadFile(b.Path)
	if err != nil {
		return nil, l.fileError(err)
	}
	return body, nil
}

// adoptStaged takes a staged body into a message on its way: into memory when the
// ledger itself will hold it.
func (l *Ledger) adoptStaged(m *ferry.Message) error {
	b := m.Staged
	if len(b.SHA256) != sha256.Size || !l.staged.has(b.Path) {
		return fmt.Errorf("message %s: its body was not staged here", m.ID)
	}
	if b.Size > ferry.InlineBody {
		return nil
	}
	body, err := l.ReadStaged(*b)
	m.Body, m.Staged = body, nil
	return err
}

// placeBody puts a large body under the name that the record will look for, on
// disk before the commit that refers to it.
func (l *Ledger) placeBody(p *prepared) error {
	if p.msg.BodySize() <= ferry.InlineBody {
		return nil
	}
	p.file = l.bodyPath(p.msg.ID, 1)
	l.placed.add(p.file, 0)
	if p.msg.Staged == nil {
		return l.writeBody(p.file, p.msg.Body)
	}
	if err := l.moveBody(p.msg.Staged.Path, p.file); err != nil {
		return l.fileError(err)
	}
	return nil
}

// leaveBody ends the care for a placed file: without a record that refers to it,
// it goes. After an error that leaves open what is on disk it stays: the next
// start, and the sweep after it, know better.
func (l *Ledger) leaveBody(p *prepared, referred bool, err error) {
	if p.file == "" {
		return
	}
	if !referred && !errors.Is(err, commit.ErrStopped) {
		_ = os.Remove(p.file) // what stays, the sweep removes
	}
	l.placed.remove(p.file)
	l.placed.remove(p.renamed)
}

// moveBody renames a file of a body and syncs its new name. The name is on disk
// when it returns, whatever becomes of the old one.
func (l *Ledger) moveBody(from, to string) error {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(disk.SyncDir(dir), disk.SyncDir(filepath.Dir(dir)))
}

// sweepStaged removes staged files that nobody holds: left by a crash.
func (l *Ledger) sweepStaged() (removed int, err error) {
	entries, err := os.ReadDir(l.stagedDir())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		path := filepath.Join(l.stagedDir(), e.Name())
		if _, notOurs := ferry.ParseID(e.Name()); notOurs != nil || l.staged.has(path) {
			continue
		}
		if gone := os.Remove(path); gone == nil {
			removed++
		} else if !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return removed, err
}

// paths are files that the sweeps leave alone, since somebody is at work on them.
type paths struct {
	mu  sync.Mutex
	set map[string]struct{}
}

// add says whether there was room for one more; most 0: there always is.
func (p *paths) add(path string, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if most > 0 && len(p.set) >= most {
		return false
	}
	if p.set == nil {
		p.set = map[string]struct{}{}
	}
	p.set[path] = struct{}{}
	return true
}

func (p *paths) remove(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.set, path)
}

func (p *paths) has(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.set[path]
	return ok
}
