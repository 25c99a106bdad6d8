package queuetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
)

// FetchBody is queue.Queue.FetchBody into memory, for tests.
func FetchBody(ctx context.Context, q *queue.Queue, h ferry.HandOut) ([]byte, error) {
	var m memory
	if err := q.FetchBody(ctx, h, &m); err != nil {
		return nil, err
	}
	return m.data, nil
}

// memory takes a body that is fetched.
type memory struct{ data []byte }

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	if grow := int(at) + len(p) - len(m.data); grow > 0 {
		m.data = append(m.data, make([]byte, grow)...)
	}
	return copy(m.data[at:], p), nil
}

// BodiesHarness says how to make the store of bodies under test.
type BodiesHarness struct {
	// Open makes a store that is empty at first. Everything that it starts must
	// have ended with the test.
	Open func(tb testing.TB) queue.BodyStore
	// Alter changes a stored body behind the store's back, at a byte in its midst;
	// nil: that cannot be done.
	Alter func(tb testing.TB, s queue.BodyStore, name string)
	// Large is the size of the largest body that is put, bytes; default 3 MiB.
	Large int
}

// RunBodies runs every case for stores of bodies. The names of the cases are the
// specification.
func RunBodies(t *testing.T, h BodiesHarness) {
	if h.Large == 0 {
		h.Large = 3 << 20
	}
	for _, c := range []struct {
		name string
		run  func(s *bodies)
	}{
		{"PutThenGet", putThenGet},
		{"MissingIsSaid", missingIsSaid},
		{"PutAgainIsHarmless", putAgainIsHarmless},
		{"AFailedPutLeavesNothing", aFailedPutLeavesNothing},
		{"ABodyThatIsNotWhatWasSaidIsRefused", notWhatWasSaid},
		{"DeleteIsIdempotent", deleteIsIdempotent},
		{"SweepKeepsWhatIsWanted", sweepKeepsWhatIsWanted},
		{"SweepKeepsTheYoung", sweepKeepsTheYoung},
		{"ContextEndsThem", contextEndsThem},
		{"AWriterThatFails", aWriterThatFails},
		{"AtTheSameTime", atTheSameTime},
		{"FetchedAndHealed", fetchedAndHealed},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c.run(&bodies{T: t, h: h, ctx: ctx, store: h.Open(t)})
		})
	}
}

// bodies is one case under way.
type bodies struct {
	*testing.T
	h     BodiesHarness
	ctx   context.Context
	store queue.BodyStore
}

// body is n bytes that no part of can be taken for another.
func body(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func name(revision int) string { return queue.BodyName(ferry.NewID(time.Now()), revision) }

func opening(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return ferry.NewBodyReader(b), nil }
}

func (s *bodies) put(name string, b []byte) {
	s.Helper()
	sum := sha256.Sum256(b)
	if err := s.store.Put(s.ctx, name, int64(len(b)), sum[:], opening(b)); err != nil {
		s.Fatalf("put %s: %v", name, err)
	}
}

func (s *bodies) get(name string) ([]byte, error) {
	var b bytes.Buffer
	err := s.store.Get(s.ctx, name, &b)
	return b.Bytes(), err
}

func (s *bodies) has(name string, want []byte) {
	s.Helper()
	if got, err := s.get(name); err != nil || !bytes.Equal(got, want) {
		s.Errorf("get %s: %d bytes, %v; want the %d that were put", name, len(got), err, len(want))
	}
}

func (s *bodies) hasNot(name string) {
	s.Helper()
	if got, err := s.get(name); !errors.Is(err, queue.ErrBodyMissing) {
		s.Errorf("get %s: %d bytes, %v; want ErrBodyMissing", name, len(got), err)
	}
}

func putThenGet(s *bodies) {
	names := map[string][]byte{}
	for i, size := range []int{1, 256 << 10, 256<<10 + 1, s.h.Large} {
		n, b := name(i+1), body(size, byte(i))
		names[n] = b
		s.put(n, b)
	}
	for n, b := range names {
		s.has(n, b)
		s.has(n, b) // it can be had more than once
	}
}

func missingIsSaid(s *bodies) {
	n := name(1)
	s.hasNot(n)
	s.put(n, body(10, 1))
	id, _, _ := queue.ParseBodyName(n)
	s.hasNot(queue.BodyName(id, 2))
}

func putAgainIsHarmless(s *bodies) {
	n, b := name(1), body(s.h.Large, 1)
	s.put(n, b)
	s.put(n, b)
	s.has(n, b)
	if s.h.Alter != nil {
		s.h.Alter(s, s.store, n)
		if err := s.store.Delete(s.ctx, n); err != nil {
			s.Fatal(err)
		}
		s.put(n, b) // it is healed from the ledger
		s.has(n, b)
	}
}

// brokenReader gives some bytes and fails.
type brokenReader struct{ left int }

func (r *brokenReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errors.New("the disk is asleep")
	}
	n := min(len(p), r.left)
	r.left -= n
	return n, nil
}

func (*brokenReader) Close() error { return nil }

func aFailedPutLeavesNothing(s *bodies) {
	b := body(s.h.Large, 1)
	sum := sha256.Sum256(b)
	for what, open := range map[string]func() (io.ReadCloser, error){
		"not opened": func() (io.ReadCloser, error) { return nil, errors.New("it is gone") },
		"cut short":  func() (io.ReadCloser, error) { return &brokenReader{len(b) / 2}, nil },
	} {
		n := name(1)
		if err := s.store.Put(s.ctx, n, int64(len(b)), sum[:], open); err == nil {
			s.Errorf("%s: it was taken", what)
		}
		s.hasNot(n)
		s.put(n, b)
		s.has(n, b)
	}
}

func notWhatWasSaid(s *bodies) {
	b := body(s.h.Large, 1)
	sum := sha256.Sum256(b)
	short, long, other := b[:len(b)-1], append(slices.Clone(b), 0), slices.Clone(b)
	other[len(other)/2]++
	for what, wrong := range map[string][]byte{"short": short, "long": long, "other": other} {
		n := name(1)
		if err := s.store.Put(s.ctx, n, int64(len(b)), sum[:], opening(wrong)); err == nil {
			s.Errorf("%s: it was taken", what)
		}
		s.hasNot(n)
	}
}

func deleteIsIdempotent(s *bodies) {
	n, b := name(1), body(1000, 1)
	s.put(n, b)
	for range 2 {
		if err := s.store.Delete(s.ctx, n); err != nil {
			s.Errorf("delete: %v", err)
		}
		s.hasNot(n)
	}
	s.put(n, b)
	s.has(n, b)
}

func sweepKeepsWhatIsWanted(s *bodies) {
	var wanted, unwanted []string
	for i := range 5 {
		wanted, unwanted = append(wanted, name(1)), append(unwanted, name(2))
		s.put(wanted[i], body(100+i, 1))
		s.put(unwanted[i], body(100+i, 2))
	}
	time.Sleep(10 * time.Millisecond) // older than "older than nothing"
	asked := map[string]bool{}
	removed, err := s.store.Sweep(s.ctx, 0, func(name string) bool {
		asked[name] = true
		return slices.Contains(wanted, name)
	})
	if err != nil || removed != len(unwanted) {
		s.Errorf("swept %d, %v; want %d", removed, err, len(unwanted))
	}
	for i := range wanted {
		s.has(wanted[i], body(100+i, 1))
		s.hasNot(unwanted[i])
		if !asked[wanted[i]] {
			s.Errorf("nobody asked about %s", wanted[i])
		}
	}
}

func sweepKeepsTheYoung(s *bodies) {
	n, b := name(1), body(1000, 1)
	s.put(n, b)
	removed, err := s.store.Sweep(s.ctx, time.Hour, func(string) bool { return false })
	if err != nil || removed != 0 {
		s.Errorf("swept %d, %v; want none", removed, err)
	}
	s.has(n, b)
}

func contextEndsThem(s *bodies) {
	n, b := name(1), body(1000, 1)
	s.put(n, b)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	sum := sha256.Sum256(b)
	_, sweep := s.store.Sweep(ctx, 0, func(string) bool { return true })
	for what, err := range map[string]error{
		"put":    s.store.Put(ctx, name(2), int64(len(b)), sum[:], opening(b)),
		"get":    s.store.Get(ctx, n, io.Discard),
		"delete": s.store.Delete(ctx, n),
		"sweep":  sweep,
	} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, queue.ErrBodyMissing) {
			s.Errorf("%s: %v, want context.Canceled", what, err)
		}
	}
	s.has(n, b)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// The worker's disk is full: that says nothing about the body.
func aWriterThatFails(s *bodies) {
	n, b := name(1), body(s.h.Large, 1)
	s.put(n, b)
	full := errors.New("no space left")
	if err := s.store.Get(s.ctx, n, failingWriter{full}); !errors.Is(err, full) || errors.Is(err, queue.ErrBodyMissing) {
		s.Errorf("get: %v, want the writer's error", err)
	}
	s.has(n, b)
}

func atTheSameTime(s *bodies) {
	b, n := body(100<<10, 1), name(1)
	sum := sha256.Sum256(b)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			own, other := name(2), body(1000+i, byte(i))
			otherSum := sha256.Sum256(other)
			err := errors.Join(
				s.store.Put(s.ctx, n, int64(len(b)), sum[:], opening(b)),
				s.store.Put(s.ctx, own, int64(len(other)), otherSum[:], opening(other)),
			)
			if err != nil {
				s.Errorf("put: %v", err)
				return
			}
			s.has(n, b)
			s.has(own, other)
			if err := s.store.Delete(s.ctx, own); err != nil {
				s.Errorf("delete: %v", err)
			}
		})
	}
	group.Wait()
	s.has(n, b)
}

// fetchedAndHealed is the store behind a Queue: what is missing or altered there
// comes from the broker.
func fetchedAndHealed(s *bodies) {
	q := queue.New(noDriver{asked: func() { s.Error("the broker was asked for a body that is in the store") }}, queue.Options{Bodies: s.store})
	b := body(s.h.Large, 1)
	sum := sha256.Sum256(b)
	h := message(routeA, 1)
	h.Body, h.Size, h.SHA256 = nil, int64(len(b)), sum[:]
	n := queue.BodyName(h.ID, h.Revision)
	s.put(n, b)
	if got, err := FetchBody(s.ctx, q, h); err != nil || !bytes.Equal(got, b) {
		s.Errorf("fetch: %d bytes, %v", len(got), err)
	}
	asked := 0
	q = queue.New(noDriver{asked: func() { asked++ }}, queue.Options{Bodies: s.store})
	heal := func(what string) {
		s.Helper()
		before := asked
		if _, err := FetchBody(s.ctx, q, h); !errors.Is(err, errNoBroker) || asked == before {
			s.Errorf("%s: %v, and the broker was asked %d times; want it to be asked", what, err, asked-before)
		}
	}
	if s.h.Alter != nil {
		s.h.Alter(s, s.store, n)
		heal("altered")
	}
	if err := s.store.Delete(s.ctx, n); err != nil {
		s.Error(err)
	}
	heal("missing")
	short := b[:len(b)-1]
	s.put(n, short)
	heal("too short")
	if err := s.store.Delete(s.ctx, n); err != nil {
		s.Error(err)
	}
	s.put(n, append(slices.Clone(b), 1))
	heal("too long")
}

var errNoBroker = fmt.Errorf("nobody answers: %w", queue.ErrUnavailable)

// noDriver is a queue without a broker.
type noDriver struct {
	queue.Driver
	asked func()
}

func (noDriver) Properties() queue.Properties {
	return queue.Properties{Name: "none", MaxData: 1 << 20, Lock: time.Minute}
}

func (d noDriver) Request(context.Context, []byte) ([]byte, error) {
	d.asked()
	return nil, errNoBroker
}
