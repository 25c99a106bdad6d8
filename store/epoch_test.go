package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/disk"
)

// backup copies the ledger's file as it is, as a backup that is restored into
// another folder.
func backup(t *testing.T, l *Ledger) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must0(t, l.db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(filepath.Join(dir, "ledger.db"), 0o600) }))
	return dir
}

func TestARestoredLedgerBeginsAnotherEpoch(t *testing.T) {
	if file, err := disk.FileID(t.TempDir()); err != nil || file == 0 {
		t.Skip("this system does not number its files: a copy cannot be told from its original")
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := t.Context()
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "one", Inbox: "i1", Bound: 2 * time.Minute}, false, "", "one"))
		must0(t, l.SetSeveral(ctx, otherRoute, true))
		fresh, handed, behind := accept(t, l, "fresh"), accept(t, l, "handed", withOrder("k")), accept(t, l, "behind", withOrder("k"))
		later := accept(t, l, "later", func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
		claimed := accept(t, l, "claimed", func(m *ferry.Message) { m.Route = otherRoute })
		if state, _, err := l.Claim(ctx, Claim{ID: claimed, Route: otherRoute, Turn: 1, Worker: "one", Inbox: "i1", Nonce: "n", For: time.Hour, Bound: time.Minute}); err != nil || state != ClaimGranted {
			t.Fatal(state, err)
		}
		handOut(t, l, testRoute, 2)
		done, dead, gone := accept(t, l, "done"), deadLetter(t, l, "dead"), deadLetter(t, l, "gone")
		report(t, l, done, ferry.Delivered, ferry.Next{})
		must0(t, l.Discard(ctx, gone, "no", "ann"))
		before := map[ferry.ID]*record{}
		all := []ferry.ID{fresh, handed, behind, later, claimed, done, dead, gone}
		for _, id := range all {
			before[id] = rec(t, l, id)
		}
		start, copied := l.StartID(), backup(t, l)
		time.Sleep(time.Minute)

		r := openIn(t, copied, Options{})
		must0(t, r.sound())
		now := time.Now()
		for _, id := range all {
			was, is := before[id], rec(t, r, id)
			if id == done {
				if is.Turn != was.Turn || is.Doubt {
					t.Errorf("a completed message: %+v", is)
				}
				continue
			}
			calm := now.Add(2 * time.Minute)
			if id == claimed {
				calm = now.Add(59*time.Minute + time.Minute) // as the claim says
			}
			if is.State != was.State || is.Turn < epochTurn(now) || is.Turn > 1<<53 || !is.Doubt || !is.Elsewhere || is.Holder != nil ||
				timeOf(is.NotBefore).Before(calm) || is.OpenRev == is.State.Pending() {
				t.Errorf("%s message, turn %d: %+v", was.State, was.Turn, is)
			}
			if is.State.Pending() && timeOf(is.Due).Before(calm) || is.Parked != was.Parked || id == later && timeOf(is.Due).Before(now.Add(59*time.Minute)) {
				t.Errorf("due at %s: %+v", timeOf(is.Due), is)
			}
		}
		if r.StartID() == start || strings.Split(r.StartID(), "-")[0] == strings.Split(start, "-")[0] {
			t.Errorf("the copy goes by the name of the original's run, %s", start)
		}
		audit, err := r.Audit(0, time.Time{}, 100)
		if last := audit[len(audit)-1]; err != nil || last.Act != "new epoch" || !strings.Contains(last.Note, "7 messages") {
			t.Errorf("audit: %+v, %v", last, err)
		}
		// A dead letter is replayed under a turn that no worker knows.
		must0(t, r.Replay(ctx, dead, nil, "", "", "ann"))
		if is := rec(t, r, dead); is.Turn <= epochTurn(now) || !is.Doubt || !is.OpenRev {
			t.Errorf("replayed: %+v", is)
		}
		if got := handOut(t, r, testRoute, 10); len(got) != 1 || got[0].ID != dead {
			t.Errorf("handed out before the wait: %v", idsOf(got))
		}
		// Opened again, it is what it was.
		turn := rec(t, r, handed).Turn
		r = reopen(t, r)
		if is := rec(t, r, handed); is.Turn != turn {
			t.Errorf("another epoch at the next start: %+v", is)
		}
		if again := reopen(t, l); rec(t, again, handed).Turn != 1 {
			t.Error("the original begins another epoch")
		}
	})
}

// Cut short, the new epoch begins anew at the next start.
func TestAnEpochThatWasCutShort(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x")
	copied := backup(t, l)
	number := func(n uint64) func(string) (uint64, error) { return func(string) (uint64, error) { return n, nil } }
	must0(t, l.Close())
	r := openIn(t, copied, Options{FileID: number(7)})
	first := rec(t, r, id).Turn
	// As if the commit that names the file had not come.
	must0(t, r.update(t.Context(), 0, func(tx *bbolt.Tx) error { return tx.Bucket(bMeta).Put(metaFile, u64(6)) }))
	must0(t, r.Close())
	r = openIn(t, copied, Options{FileID: number(7)})
	if second := rec(t, r, id).Turn; second <= first {
		t.Errorf("turn %d after %d", second, first)
	}
	must0(t, r.sound())
	// Where files have no numbers, nothing is told.
	must0(t, r.Close())
	r = openIn(t, copied, Options{FileID: number(0)})
	again := rec(t, r, id).Turn
	must0(t, r.Close())
	if r = openIn(t, copied, Options{FileID: number(9)}); rec(t, r, id).Turn != again {
		t.Error("a file without a number was taken for another one")
	}
}

// The copy that the ledger makes of itself after a disk error is the ledger, and
// a restored one is noticed even so.
func TestTheRescueIsNoRestore(t *testing.T) {
	suspect := func(dir string) {
		t.Helper()
		must0(t, os.WriteFile(filepath.Join(dir, "ledger.db.suspect"), nil, 0o600))
	}
	l := newLedger(t)
	id := accept(t, l, "x")
	copied := backup(t, l)
	must0(t, l.Close())
	suspect(l.dir)
	l = openIn(t, l.dir, Options{})
	if _, err := os.Stat(filepath.Join(l.dir, "ledger.db.suspect")); err == nil {
		t.Fatal("nothing was rescued")
	}
	if r := rec(t, l, id); r.Turn != 1 || r.Doubt {
		t.Errorf("after the rescue: %+v", r)
	}
	l = reopen(t, l)
	if r := rec(t, l, id); r.Turn != 1 {
		t.Errorf("at the start after the rescue: %+v", r)
	}
	suspect(copied)
	if file, err := l.fileID(copied); err != nil || file == 0 {
		t.Skip("this system does not number its files: a copy cannot be told from its original")
	}
	if r := rec(t, openIn(t, copied, Options{}), id); r.Turn == 1 || !r.Doubt {
		t.Errorf("a restored ledger, rescued: %+v", r)
	}
}

func TestEpochTurn(t *testing.T) {
	for name, c := range map[string]struct {
		now  time.Time
		want uint64
	}{
		"now":      {time.Unix(1_780_000_000, 0), 1_780_000_000<<20 + 1},
		"no clock": {time.Unix(-5, 0), 1},
		"far away": {time.Unix(1<<50, 0), 1<<62 + 1},
	} {
		if got := epochTurn(c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
