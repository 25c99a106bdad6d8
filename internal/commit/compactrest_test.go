package commit

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFollowingDoesNotRest: the copier rests from copying, and not from following what
// is written meanwhile: after a rest there would only be more of it.
func TestFollowingDoesNotRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t, file(t), Options{})
		large := strings.Repeat("x", 3<<20)
		for _, key := range []string{"a", "b"} {
			if err := db.Update(t.Context(), put(key, large)); err != nil {
				t.Fatal(err)
			}
		}
		const oneSync = 10 * time.Millisecond
		began, syncs := time.Now(), 0
		took := func(what string, want time.Duration) {
			if got := time.Since(began); syncs == 0 || got != want {
				t.Errorf("%s took %s with %d syncs, not %s", what, got, syncs, want)
			}
			began, syncs = time.Now(), 0
		}
		_, err := db.Compact(t.Context(), CompactOptions{Pause: 3 * time.Second, reached: func(s stage) error {
			switch s {
			case stageSync:
				syncs++
				time.Sleep(oneSync)
			case stageCopied:
				took("copying", time.Duration(syncs)*4*oneSync)
			case stageSeen:
				began, syncs = time.Now(), 0
				return db.Update(context.Background(), put("c", large))
			case stageHeld:
				took("following", time.Duration(syncs)*oneSync)
			}
			return nil
		}})
		if err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
}
