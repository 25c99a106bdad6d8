package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"ferry"
	"ferry/internal/commit"
	"ferry/queue"
)

func openTestInbox(t *testing.T, dir string) *inbox {
	t.Helper()
	b, err := openInbox(dir, commit.Options{Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A copy, or a restored file, does not know what its original began since.
func TestACopiedInboxIsAnotherInbox(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	b := openTestInbox(t, dir)
	identity := b.identity
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, inboxFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, inboxFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	other := openTestInbox(t, copied)
	fresh := other.identity
	if fresh == identity {
		t.Fatal("a copy goes by the identity of its original")
	}
	if err := other.close(); err != nil {
		t.Fatal(err)
	}
	other = openTestInbox(t, copied)
	defer func() { _ = other.close() }()
	if other.identity != fresh {
		t.Error("the copy's identity changed again")
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	b = openTestInbox(t, moved)
	defer func() { _ = b.close() }()
	if b.identity != identity {
		t.Error("a folder that was moved is another inbox")
	}
}

func TestInboxKeepsItsIdentityAndRecords(t *testing.T) {
	dir := t.TempDir()
	b := openTestInbox(t, dir)
	identity, id := b.identity, ferry.NewID(time.Now())
	r := &record{state: begun, turn: 3, revision: 2, begunAt: time.UnixMilli(1_000).UTC()}
	if err := b.put(t.Context(), id, r); err != nil {
		t.Fatal(err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	b = openTestInbox(t, dir)
	defer func() { _ = b.close() }()
	if b.identity != identity || len(identity) < 20 {
		t.Fatalf("identity %q, was %q", b.identity, identity)
	}
	found, err := b.find(id)
	if err != nil || found == nil {
		t.Fatalf("found %v, %v", found, err)
	}
	if diff := cmp.Diff(r, found, cmp.AllowUnexported(record{})); diff != "" {
		t.Fatal(diff)
	}
	if other, err := b.find(ferry.NewID(time.Now())); other != nil || err != nil {
		t.Fatalf("found %v, %v for an unknown message", other, err)
	}
	fresh := openTestInbox(t, t.TempDir())
	defer func() { _ = fresh.close() }()
	if fresh.identity == identity {
		t.Fatal("two inboxes are one")
	}
}

func TestInboxInTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	b := openTestInbox(t, dir)
	defer func() { _ = b.close() }()
	_, err := openInbox(dir, commit.Options{Log: slog.New(slog.DiscardHandler)}, nil)
	var edge *ferry.Error
	if !errors.As(err, &edge) || edge.Code != ferry.CodeLedgerLocked || edge.Hint == "" {
		t.Fatalf("error %v", err)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := func(name string) time.Time {
			ms := rapid.Int64Range(0, 1<<42).Draw(t, name)
			if ms == 0 {
				return time.Time{}
			}
			return time.UnixMilli(ms).UTC()
		}
		number := func(name string) int { return rapid.IntRange(0, 1<<30).Draw(t, name) }
		r := record{
			state: rapid.SampledFrom([]recordState{begun, result}).Draw(t, "state"), turn: rapid.Uint64().Draw(t, "turn"),
			revision: number("revision"), generation: number("generation"), crashes: number("crashes"),
			hasIt: rapid.Bool().Draw(t, "hasIt"), begunAt: moment("begunAt"), deadline: moment("deadline"),
			doubt: rapid.Bool().Draw(t, "doubt"), own: rapid.Bool().Draw(t, "own"), free: rapid.Bool().Draw(t, "free"), doubtRevision: number("doubtRevision"),
			callEnded: moment("callEnded"),
		}
		if b := rapid.SliceOf(rapid.Byte()).Draw(t, "receipt"); len(b) > 0 {
			r.receipt = b
		}
		got, err := decodeRecord(r.encode())
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, r)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add((&record{state: result, turn: 7, doubt: true, receipt: []byte("x")}).encode())
	f.Add([]byte{recordVersion, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		again, err := decodeRecord(r.encode())
		if err != nil || !bytes.Equal(again.encode(), r.encode()) {
			t.Fatalf("%v: %+v became %+v", err, r, again)
		}
	})
}

func TestInboxIsPruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openTestInbox(t, t.TempDir())
		defer func() { _ = b.close() }()
		endOf := func(id ferry.ID, confirm bool, r record) ferry.ID {
			r.callEnded = time.Now()
			if r.state == result {
				b.expect(id, r.turn)
			}
			if err := b.put(t.Context(), id, &r); err != nil {
				t.Fatal(err)
			}
			if confirm {
				b.confirm([]queue.Confirmed{{ID: id, Turn: r.turn}})
				if err := b.writeConfirmed(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			return id
		}
		end := func(confirm bool, r record) ferry.ID { return endOf(ferry.NewID(time.Now()), confirm, r) }
		done := end(true, record{state: result, turn: 1, hasIt: true})
		unconfirmed := end(false, record{state: result, turn: 1})
		running := end(false, record{state: begun, turn: 1})
		prune := func(most uint64) int {
			n, more, err := b.prune(t.Context(), time.Now(), most)
			if err != nil || more {
				t.Fatalf("more %v, error %v", more, err)
			}
			return n
		}
		has := func(id ferry.ID) bool {
			r, err := b.find(id)
			if err != nil {
				t.Fatal(err)
			}
			return r != nil
		}
		if n := prune(keepMost); n != 0 {
			t.Fatalf("%d pruned too early", n)
		}
		replayed := ferry.NewID(time.Now())
		time.Sleep(keepFor)
		late := end(true, record{state: result, turn: 1})
		if n := prune(keepMost); n != 1 || has(done) || !has(unconfirmed) || !has(running) || !has(late) {
			t.Fatalf("%d pruned", n)
		}
		if b.count() != 3 {
			t.Fatalf("counts %d records", b.count())
		}
		for range 1100 {
			end(true, record{state: result, turn: 1})
		}
		endOf(replayed, true, record{state: result, turn: 9})
		if n := prune(3); n != 0 || !has(late) || !has(replayed) {
			t.Fatalf("%d pruned that ended within a day", n)
		}
		time.Sleep(keepAtLeast - 10*time.Minute)
		// Too many there are still, and a copy of its last turn may come yet.
		if n := prune(3); n == 0 || has(late) || !has(replayed) {
			t.Fatalf("%d pruned of those that ended a day ago", n)
		}
		time.Sleep(10 * time.Minute)
		if n := prune(3); n == 0 || has(replayed) || !has(unconfirmed) || !has(running) {
			t.Fatalf("%d pruned beyond the bound", n)
		}
		if b.count() != 3 {
			t.Fatalf("counts %d records", b.count())
		}
	})
}

// TestPruningKeepsUp: what ends faster than one round a minute removes is removed, too.
func TestPruningKeepsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{inbox: openTestInbox(t, t.TempDir()), log: slog.New(slog.DiscardHandler)}
		defer func() { _ = w.inbox.close() }()
		const records = 2*pruneScan + 100
		err := w.inbox.db.Update(t.Context(), func(tx *bbolt.Tx) error {
			b, ended := tx.Bucket(bucketRecords), time.Now()
			for i := range records {
				id := ferry.NewID(ended.Add(time.Duration(i) * time.Microsecond))
				if err := b.Put(id[:], (&record{state: result, turn: 1, callEnded: ended}).encode()); err != nil {
					return err
				}
			}
			return b.SetSequence(records)
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepFor + time.Minute)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.keepLoop(ctx) }()
		time.Sleep(pruneEvery + 5*confirmEvery)
		if n := w.inbox.count(); n != 0 {
			t.Errorf("%d of %d records are left", n, records)
		}
		stop()
		<-done
	})
}

// TestARescuedInboxIsTheSame: after a disk error the next start copies the file.
// That copy goes on as the inbox that it was; any other copy does not.
func TestARescuedInboxIsTheSame(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, inboxFile)
	suspect := func() {
		t.Helper()
		if err := os.WriteFile(path+".suspect", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := openTestInbox(t, dir)
	identity := b.identity
	_ = b.close()
	suspect()
	b = openTestInbox(t, dir)
	if b.identity != identity {
		t.Error("a rescued inbox is another one")
	}
	_ = b.close()

	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".restored", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".restored", path); err != nil {
		t.Fatal(err)
	}
	suspect()
	b = openTestInbox(t, dir)
	defer func() { _ = b.close() }()
	if runtime.GOOS != "windows" && b.identity == identity {
		t.Error("a restored inbox that was rescued is the same one")
	}
}
