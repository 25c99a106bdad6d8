package servicebus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type thing struct{ gone bool }

// slotOf counts how often its thing is opened; open decides what comes of it.
func slotOf(ctx context.Context, open func(n int) error) (*slot[*thing], *int) {
	n := 0
	s := newSlot(defaultTiming(), func(v *thing) bool { return !v.gone }, func(context.Context) (*thing, error) {
		n++
		time.Sleep(time.Second)
		if err := open(n); err != nil {
			return nil, err
		}
		return &thing{}, nil
	}, func(fn func(context.Context)) error { go fn(ctx); return nil })
	return s, &n
}

func TestOneOpensForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, opened := slotOf(t.Context(), func(int) error { return nil })
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := s.get(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		v, ok := s.current()
		if !ok || *opened != 1 {
			t.Fatalf("opened %d times", *opened)
		}
		v.gone = true
		if w, err := s.get(t.Context()); err != nil || w == v || *opened != 2 {
			t.Errorf("opened %d times: %v", *opened, err)
		}
		if s.drop(v) {
			t.Error("dropped what was not there any more")
		}
	})
}

func TestWhoWaitsWaitsWithTheirOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, opened := slotOf(t.Context(), func(int) error { return nil })
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.get(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
		// The opening went on without them.
		if _, err := s.get(t.Context()); err != nil || *opened != 1 {
			t.Errorf("opened %d times: %v", *opened, err)
		}
	})
}

func TestWhatFailsIsTriedAtAPaceAndNotForLongWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *slot[*thing]
		s, opened := slotOf(t.Context(), func(n int) error {
			if n <= 40 {
				s.failed()
				return ErrUnavailable
			}
			return nil
		})
		began, longest := time.Now(), time.Duration(0)
		for {
			at := time.Now()
			_, err := s.get(t.Context())
			if err == nil {
				break
			}
			longest = max(longest, time.Since(at))
		}
		limits := defaultTiming()
		// Each attempt takes a second by itself.
		if most := limits.paceMost*13/10 + time.Second; longest > most || longest < limits.paceMost*7/10 {
			t.Errorf("the longest wait was %v", longest)
		}
		if took := time.Since(began); *opened != 41 || took < time.Minute {
			t.Errorf("opened %d times in %v", *opened, took)
		}
		s.worked()
		v, _ := s.current()
		v.gone = true
		at := time.Now()
		if _, err := s.get(t.Context()); err != nil || time.Since(at) != time.Second {
			t.Errorf("after success it took %v: %v", time.Since(at), err)
		}
	})
}

func TestWhoWaitsHearsOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		s, _ := slotOf(life, func(int) error { return nil })
		s.notBefore = time.Now().Add(time.Hour)
		go func() { time.Sleep(time.Second); end() }()
		if _, err := s.get(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
