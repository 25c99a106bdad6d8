package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/secret"
	"ferry/secret/keyvault"
)

// shelf is a vault in memory.
type shelf struct {
	mu     sync.Mutex
	values map[string]string
	err    error
	reads  map[string]int
	took   time.Duration // of each read
	most   int           // reads at a time that were seen
	now    int
}

func newShelf(pairs ...string) *shelf {
	s := &shelf{values: map[string]string{}, reads: map[string]int{}}
	for i := 0; i < len(pairs); i += 2 {
		s.values[pairs[i]] = pairs[i+1]
	}
	return s
}

func (s *shelf) read(ctx context.Context, ref secret.VaultRef) (keyvault.Secret, error) {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	took := s.took
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return keyvault.Secret{}, ferry.Errorf(ferry.CodeSecretUnavailable, "%w", ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[ref.Name]++
	if s.err != nil {
		return keyvault.Secret{}, s.err
	}
	return keyvault.Secret{Value: secret.NewValue(s.values[ref.Name]), Version: fmt.Sprint(s.reads[ref.Name])}, nil
}

func (s *shelf) set(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = value
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[name]
}

func ref(name string) secret.VaultRef { return secret.VaultRef{Vault: "contoso", Name: name} }

const every = 5 * time.Minute

// within runs f with a Store on s in a bubble of time.
func within(t *testing.T, s *shelf, f func(*keyvault.Store, *strings.Builder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		store := keyvault.New(keyvault.Options{Read: s.read, Refresh: every, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer store.Close()
		f(store, &log)
	})
}

func is(t *testing.T, store *keyvault.Store, name, want string) {
	t.Helper()
	if v, err := store.Secret(ref(name)); err != nil || v.Reveal() != want {
		t.Fatalf("%s: %q, %v, want %q", name, v.Reveal(), err, want)
	}
}

// One read serves everybody, also while it is under way; the schedule then sees a
// new version without being asked.
func TestReadsOnceAndOnSchedule(t *testing.T) {
	s := newShelf("key", "one")
	s.took = time.Second
	within(t, s, func(store *keyvault.Store, log *strings.Builder) {
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { is(t, store, "key", "one") })
		}
		group.Wait()
		if n := s.count("key"); n != 1 {
			t.Fatalf("%d reads for 50 callers", n)
		}
		s.set("key", "two")
		is(t, store, "key", "one")
		time.Sleep(every - every/10 - 2*time.Second) // the earliest time, less what the read took
		is(t, store, "key", "one")
		time.Sleep(every/5 + 4*time.Second) // past the latest
		is(t, store, "key", "two")
		if past := store.Past(ref("key")); len(past) != 1 || past[0].Reveal() != "one" {
			t.Errorf("%d values of before", len(past))
		}
		if !strings.Contains(log.String(), "secret.changed") || strings.Contains(log.String(), "one") || strings.Contains(log.String(), "two") {
			t.Errorf("the log:\n%s", log)
		}
	})
}

// A vault that is away leaves the last value in use, says so once, and is asked
// again in growing pauses.
func TestLastValueStays(t *testing.T) {
	s := newShelf("key", "one")
	within(t, s, func(store *keyvault.Store, log *strings.Builder) {
		is(t, store, "key", "one")
		s.fail(ferry.Errorf(ferry.CodeSecretUnavailable, "the vault is away"))
		time.Sleep(24 * time.Hour)
		is(t, store, "key", "one")
		if n := strings.Count(log.String(), "secret.unreadable"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log)
		}
		st := store.States()
		if len(st) != 1 || !st[0].Known || st[0].Fault != "the vault is away" || time.Since(st[0].Since) < 23*time.Hour {
			t.Errorf("%+v", st)
		}
		if n := s.count("key"); n < 200 || n > 400 {
			t.Errorf("asked %d times in a day, every 5 minutes", n)
		}
		s.fail(nil)
		s.set("key", "two")
		time.Sleep(every + every/10 + time.Second)
		is(t, store, "key", "two")
		if st := store.States(); st[0].Fault != "" || !strings.Contains(log.String(), "secret.readable") && !strings.Contains(log.String(), "secret.changed") {
			t.Errorf("%+v\n%s", st, log)
		}
	})
}

// What was never read is an error, without asking for each call; it mends itself.
func TestNeverRead(t *testing.T) {
	s := newShelf("key", "one")
	s.fail(ferry.Errorf(ferry.CodeBadConfig, "not found").WithHint("h"))
	within(t, s, func(store *keyvault.Store, _ *strings.Builder) {
		for range 100 {
			if _, err := store.Secret(ref("key")); ferry.CodeOf(err) != ferry.CodeBadConfig {
				t.Fatal(err)
			}
		}
		if n := s.count("key"); n != 1 {
			t.Errorf("%d reads for 100 calls", n)
		}
		s.fail(nil)
		time.Sleep(6 * time.Second)
		is(t, store, "key", "one")
	})
}

// A refused secret is read anew at once, and then at most every 30 seconds; who was
// refused with a value that was replaced meanwhile costs no read.
func TestRefused(t *testing.T) {
	s := newShelf("key", "one")
	within(t, s, func(store *keyvault.Store, _ *strings.Builder) {
		is(t, store, "key", "one")
		one, two := secret.NewValue("one"), secret.NewValue("two")
		if store.Refused(ref("key"), one) {
			t.Error("the same value counts as another one")
		}
		s.set("key", "two")
		for range 100 {
			if store.Refused(ref("key"), one) {
				t.Error("read again within the bound")
			}
		}
		if n := s.count("key"); n != 2 {
			t.Fatalf("%d reads, want the first and one for the refusals", n)
		}
		time.Sleep(31 * time.Second)
		if !store.Refused(ref("key"), one) || s.count("key") != 3 {
			t.Errorf("not seen after %d reads", s.count("key"))
		}
		if !store.Refused(ref("key"), one) || s.count("key") != 3 {
			t.Error("the value is another one already, and was read again")
		}
		if store.Refused(ref("key"), two) {
			t.Error("the current value counts as replaced")
		}
		is(t, store, "key", "two")
	})
}

// More secrets than are kept: the one used longest ago makes room, and is read again.
func TestBoundedAndSpread(t *testing.T) {
	s := newShelf()
	within(t, s, func(store *keyvault.Store, _ *strings.Builder) {
		for i := range 1200 {
			s.set(fmt.Sprint("k", i), "v")
			is(t, store, fmt.Sprint("k", i), "v")
			time.Sleep(time.Millisecond)
		}
		if n := len(store.States()); n != 1000 {
			t.Fatalf("%d secrets are kept", n)
		}
		is(t, store, "k1199", "v")
		is(t, store, "k0", "v")
		if s.count("k1199") != 1 || s.count("k0") != 2 {
			t.Errorf("the newest was read %d times, the oldest %d", s.count("k1199"), s.count("k0"))
		}
		s.mu.Lock()
		s.took, s.most = 100*time.Millisecond, 0
		s.mu.Unlock()
		time.Sleep(2 * every)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.most > 4 || s.most < 1 {
			t.Errorf("%d reads at a time", s.most)
		}
	})
}

// Close ends a read that hangs, and forgets.
func TestClose(t *testing.T) {
	s := newShelf("key", "one")
	s.took = time.Hour
	synctest.Test(t, func(t *testing.T) {
		store := keyvault.New(keyvault.Options{Read: s.read, Refresh: every})
		failed := make(chan error, 1)
		go func() {
			_, err := store.Secret(ref("key"))
			failed <- err
		}()
		synctest.Wait()
		store.Close()
		if err := <-failed; ferry.CodeOf(err) != ferry.CodeSecretUnavailable {
			t.Error(err)
		}
		if _, err := store.Secret(ref("key")); ferry.CodeOf(err) != ferry.CodeSecretUnavailable || len(store.States()) != 0 {
			t.Error(err)
		}
		if store.Refused(ref("key"), secret.NewValue("x")) {
			t.Error("a closed store reads")
		}
	})
}

// A read that hangs costs a caller 10 seconds, not more.
func TestHangs(t *testing.T) {
	s := newShelf("key", "one")
	s.took = time.Hour
	within(t, s, func(store *keyvault.Store, _ *strings.Builder) {
		began := time.Now()
		_, err := store.Secret(ref("key"))
		if took := time.Since(began); took != 10*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v", err, took)
		}
	})
}
