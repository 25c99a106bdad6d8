package keyvault

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"ferry"
	"ferry/secret"
)

// Bounds of a Store.
const (
	maxSecrets   = 1000             // kept at a time; the one used longest ago makes room
	readTimeout  = 10 * time.Second // of one read, all its tries
	refusedEvery = 30 * time.Second // a refused secret is read anew at most so often
	firstAgain   = 5 * time.Second  // after a read that failed; doubles up to the schedule
	maxAfter     = time.Hour        // how long a vault's Retry-After is honoured
	atATime      = 4                // reads of the schedule
	keptPast     = 3                // earlier values of a secret: answers may still quote them
)

// Options of a Store.
type Options struct {
	// Read reads one secret. Errors are *ferry.Error.
	Read func(ctx context.Context, ref secret.VaultRef) (Secret, error)
	// Refresh is how often secrets are read anew; a tenth more or less.
	Refresh time.Duration
	Log     *slog.Logger // nil: nothing is logged
	Close   func()       // called at the end of the Store's Close; nil: nothing is to be closed
}

// Secret is what a vault answered.
type Secret struct {
	Value     secret.Value
	Version   string
	NotBefore time.Time // zero: none is set
	Expires   time.Time // zero: none is set; the vault gives it out all the same
}

// Ended says whether the secret has expired at now.
func (s *Secret) Ended(now time.Time) bool { return !s.Expires.IsZero() && !s.Expires.After(now) }

// Store keeps secrets of Key Vault, and reads them anew. It may be used
// concurrently. It is a [secret.Vault].
type Store struct {
	opts   Options
	log    *slog.Logger
	ctx    context.Context // of all reads; ends with Close
	cancel context.CancelFunc
	wake   chan struct{} // has room until the schedule looks again
	ended  sync.WaitGroup

	mu      sync.Mutex
	entries map[secret.VaultRef]*entry
	closed  bool
	reads   map[string]int64 // by outcome
}

// entry is one secret.
type entry struct {
	ref   secret.VaultRef
	now   Secret
	known bool           // now was read
	past  []secret.Value // what it was before, at most keptPast

	used   time.Time
	readAt time.Time // when now was read
	next   time.Time // when it is read again; while it is not known: not before
	asked  time.Time // when it was last read because it was refused

	fault   error // of the last read, nil: it went well
	since   time.Time
	faults  int
	reading *reading // nil: none is under way
}

// reading is one read that all who need it wait for.
type reading struct{ done chan struct{} }

// New makes a Store. It reads nothing before it is asked.
func New(opts Options) *Store {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{opts: opts, log: opts.Log, wake: make(chan struct{}, 1), entries: map[secret.VaultRef]*entry{}, reads: map[string]int64{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends what is under way, and forgets all secrets.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	clear(s.entries)
	s.mu.Unlock()
	s.cancel()
	s.ended.Wait()
	if s.opts.Close != nil {
		s.opts.Close()
	}
}

// Secret gives a secret as it was read last; the first time it waits for the
// vault, 10 seconds at the most.
func (s *Store) Secret(ref secret.VaultRef) (secret.Value, error) {
	got, err := s.Look(ref)
	return got.Value, err
}

// Look is Secret, with what the vault says besides.
func (s *Store) Look(ref secret.VaultRef) (Secret, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return Secret{}, unavailable(ref, errors.New("this program is stopping"))
	}
	now := time.Now()
	e := s.entryLocked(ref, now)
	e.used = now
	if e.known || e.fault != nil && now.Before(e.next) {
		defer s.mu.Unlock()
		return e.now, e.told()
	}
	r := s.readLocked(e)
	s.mu.Unlock()
	<-r.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.now, e.told()
}

// told is the error that a caller gets: none where there is a value.
func (e *entry) told() error {
	switch {
	case e.known:
		return nil
	case e.fault == nil:
		return unavailable(e.ref, context.Canceled) // closed meanwhile
	}
	return e.fault
}

// entryLocked finds or makes the entry of a secret.
func (s *Store) entryLocked(ref secret.VaultRef, now time.Time) *entry {
	if e, ok := s.entries[ref]; ok {
		return e
	}
	if len(s.entries) >= maxSecrets {
		var oldest *entry
		for _, e := range s.entries {
			if oldest == nil || e.used.Before(oldest.used) {
				oldest = e
			}
		}
		delete(s.entries, oldest.ref)
	}
	if len(s.entries) == 0 {
		s.start()
	}
	e := &entry{ref: ref, used: now}
	s.entries[ref] = e
	return e
}

// Refused reads a secret anew that was not taken, unless that was done within the
// last 30 seconds. True: it is another one than was.
func (s *Store) Refused(ref secret.VaultRef, was secret.Value) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	now := time.Now()
	e := s.entryLocked(ref, now)
	if was.IsZero() {
		was = e.now.Value
	}
	if changed := e.known && e.now.Value != was; changed || !e.asked.IsZero() && now.Sub(e.asked) < refusedEvery {
		s.mu.Unlock()
		return changed
	}
	e.asked = now
	r := s.readLocked(e)
	s.mu.Unlock()
	<-r.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.known && e.now.Value != was
}

// Past are the values that the secret had before this one.
func (s *Store) Past(ref secret.VaultRef) []secret.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[ref]; ok {
		return slices.Clone(e.past)
	}
	return nil
}

// readLocked starts a read of the secret, or finds the one under way. It outlives
// the caller, by its own bound.
func (s *Store) readLocked(e *entry) *reading {
	if e.reading != nil {
		return e.reading
	}
	r := &reading{done: make(chan struct{})}
	e.reading = r
	s.ended.Go(func() {
		defer close(r.done)
		s.read(e)
	})
	return r
}

func (s *Store) read(e *entry) {
	ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
	defer cancel()
	got, err := s.opts.Read(ctx, e.ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.reading = nil
	if s.closed {
		return
	}
	now := time.Now()
	if err != nil {
		s.failedLocked(e, err, now)
	} else {
		s.readLockedWell(e, got, now)
	}
	s.nudge()
}

func (s *Store) readLockedWell(e *entry, got Secret, now time.Time) {
	before := *e
	e.now, e.known, e.readAt, e.next = got, true, now, now.Add(about(s.opts.Refresh))
	e.fault, e.since, e.faults = nil, time.Time{}, 0
	s.reads[outcomeRead]++
	switch {
	case before.known && before.now.Value != got.Value:
		e.past = append(e.past[max(0, len(e.past)-keptPast+1):], before.now.Value)
		s.log.Info("secret.changed", "secret", e.ref.String(), "version", got.Version)
	case before.fault != nil:
		s.log.Info("secret.readable", "secret", e.ref.String(), "since", before.since.UTC().Format(time.RFC3339))
	}
	if got.Ended(now) && (!before.known || before.now.Version != got.Version) {
		s.log.Warn("secret.expired", "secret", e.ref.String(), "expired", got.Expires.UTC().Format(time.RFC3339), "next", "it is used as long as it is taken")
	}
}

func (s *Store) failedLocked(e *entry, err error, now time.Time) {
	if e.fault == nil {
		e.since = now
	}
	told := e.fault != nil && ferry.CodeOf(e.fault) == ferry.CodeOf(err) && e.fault.Error() == err.Error()
	e.fault = err
	pause := min(firstAgain<<min(e.faults, 10), s.opts.Refresh)
	e.faults++
	var wait *retryAfter
	if errors.As(err, &wait) {
		pause = max(pause, min(wait.after, maxAfter))
	}
	e.next = now.Add(about(pause))
	s.reads[outcomeOf(err)]++
	if !told {
		next := "it is asked for again"
		if e.known {
			next = "the value read at " + e.readAt.UTC().Format(time.RFC3339) + " goes on being used"
		}
		s.log.Warn("secret.unreadable", "secret", e.ref.String(), "error", err.Error(), "next", next)
	}
}

// about is d, a tenth more or less: secrets of one vault are not read all at once.
func about(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// start begins the schedule. It runs until Close.
func (s *Store) start() {
	s.ended.Go(func() {
		for {
			timer := time.NewTimer(s.refresh())
			select {
			case <-s.ctx.Done():
				timer.Stop()
				return
			case <-s.wake:
				timer.Stop()
			case <-timer.C:
			}
		}
	})
}

// refresh starts the reads that are due, and says when the next one is.
func (s *Store) refresh() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, wait, running := time.Now(), time.Hour, 0
	for _, e := range s.entries {
		if e.reading != nil {
			running++
		}
	}
	for _, e := range s.entries {
		switch {
		case e.reading != nil || !e.known && e.fault == nil: // its reader wakes this one
		case e.next.After(now):
			wait = min(wait, e.next.Sub(now))
		case running < atATime:
			running++
			s.readLocked(e)
		}
	}
	return max(wait, time.Millisecond)
}

// State is how one secret stands.
type State struct {
	Ref     string // no secret
	Known   bool   // it was read, and is used
	ReadAt  time.Time
	Expires time.Time // zero: none is set
	Fault   string    // of the last read, a sentence; empty: it went well
	Since   time.Time // of the fault
}

// States lists the secrets that are kept, by reference.
func (s *Store) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]State, 0, len(s.entries))
	for _, e := range s.entries {
		st := State{Ref: e.ref.String(), Known: e.known, ReadAt: e.readAt, Expires: e.now.Expires, Since: e.since}
		if e.fault != nil {
			st.Fault = e.fault.Error()
		}
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b State) int {
		if a.Ref < b.Ref {
			return -1
		}
		return 1
	})
	return list
}
