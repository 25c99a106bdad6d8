package memqueue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"

	"ferry"
	"ferry/queue"
)

// Bodies is a store of bodies in memory, for tests; it counts what it is asked,
// and can be away, lose and alter what it has.
type Bodies struct {
	mu     sync.Mutex
	bodies map[string]stored
	away   error
	puts   map[string]int
	gets   map[string]int
}

type stored struct {
	data []byte
	at   time.Time
}

// NewBodies makes an empty store.
func NewBodies() *Bodies {
	return &Bodies{bodies: map[string]stored{}, puts: map[string]int{}, gets: map[string]int{}}
}

// Put keeps the body. See queue.BodyStore.
func (b *Bodies) Put(ctx context.Context, name string, size int64, sum []byte, open func() (io.ReadCloser, error)) error {
	if err := b.asked(ctx, b.puts, name); err != nil {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(r, ferry.MaxBody+1))
	if closed := r.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if is := sha256.Sum256(data); int64(len(data)) != size || !bytes.Equal(is[:], sum) {
		return fmt.Errorf("put %s: it is not the body that it is said to be: %w", name, queue.ErrBodyMissing)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bodies[name] = stored{data, time.Now()}
	return nil
}

// Get gives the body. See queue.BodyStore.
func (b *Bodies) Get(ctx context.Context, name string, w io.Writer) error {
	if err := b.asked(ctx, b.gets, name); err != nil {
		return err
	}
	b.mu.Lock()
	s, ok := b.bodies[name]
	b.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s: %w", name, queue.ErrBodyMissing)
	}
	_, err := w.Write(s.data)
	return err
}

// Delete forgets the body. See queue.BodyStore.
func (b *Bodies) Delete(ctx context.Context, name string) error {
	if err := b.asked(ctx, nil, name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.bodies, name)
	return nil
}

// Sweep forgets what is old and not wanted. See queue.BodyStore.
func (b *Bodies) Sweep(ctx context.Context, older time.Duration, keep func(name string) bool) (int, error) {
	if err := b.asked(ctx, nil, ""); err != nil {
		return 0, err
	}
	removed := 0
	for _, name := range b.Names() {
		b.mu.Lock()
		old := time.Since(b.bodies[name].at) > older
		b.mu.Unlock()
		if !old || keep(name) {
			continue
		}
		if err := b.Delete(ctx, name); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// asked counts a call, and refuses it while the store is away.
func (b *Bodies) asked(ctx context.Context, count map[string]int, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if count != nil {
		count[name]++
	}
	return b.away
}

// SetAway makes every call fail with err, until it is nil.
func (b *Bodies) SetAway(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = err
}

// Alter changes a byte in the midst of a body.
func (b *Bodies) Alter(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.bodies[name]; ok && len(s.data) > 0 {
		s.data = bytes.Clone(s.data)
		s.data[len(s.data)/2]++
		b.bodies[name] = s
	}
}

// Names are those of the bodies that are there.
func (b *Bodies) Names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.bodies))
	for name := range b.bodies {
		names = append(names, name)
	}
	return names
}

// Counts says how often a body was put and fetched.
func (b *Bodies) Counts(name string) (puts, gets int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.puts[name], b.gets[name]
}
