package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"ferry"
	"ferry/internal/commit"
)

func large(seed string) string { return strings.Repeat(seed, ferry.InlineBody/len(seed)+1) }

func stage(t testing.TB, l *Ledger, body string) *ferry.StagedBody {
	t.Helper()
	// In pieces that fit no buffer.
	b, err := l.StageBody(t.Context(), iotest.OneByteReader(strings.NewReader(body[:min(len(body), 100)])), ferry.MaxBody)
	if err == nil && len(body) > 100 {
		l.Unstage(b)
		b, err = l.StageBody(t.Context(), io.MultiReader(strings.NewReader(body[:99]), strings.NewReader(body[99:])), ferry.MaxBody)
	}
	if err != nil {
		t.Fatalf("StageBody: %v", err)
	}
	if want := sha256.Sum256([]byte(body)); b.Size != int64(len(body)) || !bytes.Equal(b.SHA256, want[:]) {
		t.Fatalf("staged %d bytes with another hash, of %d", b.Size, len(body))
	}
	return &b
}

// bodyFiles are the files below bodies, those in staged apart.
func bodyFiles(t testing.TB, l *Ledger) (placed, staged []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(l.dir, "bodies"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
		case filepath.Dir(path) == l.stagedDir():
			staged = append(staged, path)
		default:
			placed = append(placed, path)
		}
		return err
	})
	must0(t, err)
	return placed, staged
}

func wantFiles(t testing.TB, l *Ledger, placed, staged int) {
	t.Helper()
	p, s := bodyFiles(t, l)
	if len(p) != placed || len(s) != staged {
		t.Errorf("%d files of bodies and %d staged, want %d and %d: %v %v", len(p), len(s), placed, staged, p, s)
	}
}

func wantBody(t testing.TB, l *Ledger, id ferry.ID, revision int, want string) {
	t.Helper()
	if body, _, err := readBody(l, id, revision); err != nil || string(body) != want {
		t.Errorf("body of %s, revision %d: %d bytes, %v, want %d", id.Short(), revision, len(body), err, len(want))
	}
}

func acceptStaged(t testing.TB, l *Ledger, body string, change ...func(*ferry.Message)) (ferry.Accepted, error) {
	t.Helper()
	m := message("", change...)
	m.Body, m.Staged = nil, stage(t, l, body)
	return l.Accept(t.Context(), m)
}

func TestStagedBodies(t *testing.T) {
	l := newLedger(t)
	body := large("0123456789")
	a, err := acceptStaged(t, l, body, withKey("k"))
	must0(t, err)
	wantBody(t, l, a.ID, 0, body)
	wantFiles(t, l, 1, 0)
	if e := show(t, l, a.ID); e.Size != int64(len(body)) {
		t.Errorf("its size is %d", e.Size)
	}
	if ready := handOut(t, l, testRoute, 1); len(ready) != 1 || ready[0].Body != nil || ready[0].Size != int64(len(body)) {
		t.Errorf("handed out %+v", ready)
	}

	// One that the ledger holds itself needs no file.
	small, err := acceptStaged(t, l, "small")
	must0(t, err)
	empty, err := acceptStaged(t, l, "")
	must0(t, err)
	wantBody(t, l, small.ID, 0, "small")
	wantBody(t, l, empty.ID, 0, "")
	wantFiles(t, l, 1, 0)

	// Nothing stays of what is not taken.
	if again, err := acceptStaged(t, l, body, withKey("k")); err != nil || !again.Duplicate || again.ID != a.ID {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
	if _, err := acceptStaged(t, l, large("x"), withKey("k")); ferry.CodeOf(err) != ferry.CodeKeyReused {
		t.Errorf("another body: %v", err)
	}
	if _, err := acceptStaged(t, l, large("x"), func(m *ferry.Message) { m.Route = "nowhere" }); ferry.CodeOf(err) != ferry.CodeRouteNotFound {
		t.Errorf("no route: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	m := message("")
	m.Body, m.Staged = nil, stage(t, l, large("y"))
	if _, err := l.Accept(gone, m); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: %v", err)
	}
	wantFiles(t, l, 1, 0)

	// A staged file is not anybody's path.
	stranger := filepath.Join(l.stagedDir(), "stranger")
	must0(t, os.WriteFile(stranger, []byte(body), 0o600))
	for _, path := range []string{stranger, filepath.Join(l.dir, "ledger.db"), ""} {
		m := message("")
		m.Body, m.Staged = nil, &ferry.StagedBody{Path: path, Size: int64(len(body)), SHA256: make([]byte, 32)}
		if _, err := l.Accept(t.Context(), m); err == nil {
			t.Errorf("a body of %q was taken", path)
		}
		l.Unstage(*m.Staged)
	}
	if _, err := os.Stat(filepath.Join(l.dir, "ledger.db")); err != nil {
		t.Fatal(err)
	}
}

func TestAStagedBodyReplacesThatOfADeadLetter(t *testing.T) {
	l := newLedger(t)
	first, second, third := "small", large("second"), large("third")
	id := deadLetter(t, l, first, withKey("k"))
	a, err := acceptStaged(t, l, second, withKey("k"), replacing)
	if err != nil || a.ID != id || a.Revision != 2 {
		t.Fatalf("replaced: %+v, %v", a, err)
	}
	wantFiles(t, l, 1, 0)
	wantBody(t, l, id, 1, first)
	wantBody(t, l, id, 2, second)
	// Now it is pending: nothing is replaced, and nothing stays.
	if _, err := acceptStaged(t, l, third, withKey("k"), replacing); ferry.CodeOf(err) != ferry.CodeKeyReused {
		t.Errorf("of a pending message: %v", err)
	}
	wantFiles(t, l, 1, 0)
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	wantBody(t, l, id, 0, second)
}

func TestStagedBodiesInABatch(t *testing.T) {
	l := newLedger(t)
	batch := func() []ferry.Message {
		list := make([]ferry.Message, 4)
		for i := range list {
			list[i] = message("", withKey(fmt.Sprint("k", i)))
			list[i].Body, list[i].Staged = nil, stage(t, l, large(fmt.Sprint("body", i)))
		}
		list[1].Route = "nowhere"
		list[3].IdempotencyKey = "k2" // another body under the same key
		return list
	}
	answers, errs, err := l.AcceptBatch(t.Context(), batch(), false)
	if err != nil || errs[1] == nil || errs[3] == nil || !answers[0].ID.IsZero() {
		t.Fatalf("all or none: %v %v %v", answers, errs, err)
	}
	wantFiles(t, l, 0, 0)
	answers, errs, err = l.AcceptBatch(t.Context(), batch(), true)
	if err != nil || errs[0] != nil || errs[1] == nil || errs[2] != nil || errs[3] == nil {
		t.Fatalf("each for itself: %v %v %v", answers, errs, err)
	}
	wantFiles(t, l, 2, 0)
	wantBody(t, l, answers[0].ID, 0, large("body0"))
	wantBody(t, l, answers[2].ID, 0, large("body2"))
}

func TestStagingIsBounded(t *testing.T) {
	l := newLedger(t)
	stageSome := func(r io.Reader, limit int64) error {
		b, err := l.StageBody(t.Context(), r, limit)
		if err == nil {
			l.Unstage(b)
		}
		return err
	}
	body := large("0123456789")
	if err := stageSome(strings.NewReader(body), int64(len(body))); err != nil {
		t.Errorf("a body of the limit's size: %v", err)
	}
	if err := stageSome(strings.NewReader(body), int64(len(body))-1); ferry.CodeOf(err) != ferry.CodeTooLarge {
		t.Errorf("a byte beyond the limit: %v", err)
	}
	cut := errors.New("the sender went away")
	if err := stageSome(io.MultiReader(strings.NewReader(body), iotest.ErrReader(cut)), ferry.MaxBody); !errors.Is(err, cut) {
		t.Errorf("cut short: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.StageBody(gone, strings.NewReader(body), ferry.MaxBody); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: %v", err)
	}
	wantFiles(t, l, 0, 0)

	var held []ferry.StagedBody
	for range ferry.MaxStaged {
		held = append(held, *stage(t, l, "x"))
	}
	if err := stageSome(strings.NewReader(body), ferry.MaxBody); ferry.CodeOf(err) != ferry.CodeTooManyRequests {
		t.Errorf("one more than may be on their way: %v", err)
	}
	l.Unstage(held[0])
	if err := stageSome(strings.NewReader(body), ferry.MaxBody); err != nil {
		t.Errorf("after one was given back: %v", err)
	}
	l.minFree = 1 << 60
	if err := stageSome(strings.NewReader(body), ferry.MaxBody); ferry.CodeOf(err) != ferry.CodeNoSpace {
		t.Errorf("no room on the disk: %v", err)
	}
	wantFiles(t, l, 0, ferry.MaxStaged-1)
}

// What a crash leaves on the way of a large body into the ledger: after the staged
// file, after its rename, after the commit.
func TestACrashWhileStagingLeavesNothingForLong(t *testing.T) {
	l := newLedger(t)
	body := large("0123456789")
	stage(t, l, body)
	half := *stage(t, l, body)
	must0(t, os.Truncate(half.Path, 1000))
	wantFiles(t, l, 0, 2)
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 0 || err != nil {
		t.Errorf("%d bodies on their way were swept, %v", n, err)
	}
	l = reopen(t, l)
	wantFiles(t, l, 0, 0)

	m := message("")
	m.Body, m.Staged = nil, stage(t, l, body)
	p, err := l.prepare(m)
	must0(t, err)
	must0(t, l.placeBody(&p))
	wantFiles(t, l, 1, 0)
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 0 || err != nil {
		t.Errorf("%d bodies that wait for their commit were swept, %v", n, err)
	}
	l = reopen(t, l)
	if _, err := l.Message(m.ID); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
		t.Errorf("a message that was not committed: %v", err)
	}
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 1 || err != nil {
		t.Errorf("swept %d, %v; want the orphan", n, err)
	}
	wantFiles(t, l, 0, 0)

	a, err := acceptStaged(t, l, body)
	must0(t, err)
	l = reopen(t, l)
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	wantBody(t, l, a.ID, 0, body)
}

// A disk error in the commit leaves open whether the message is on disk: its body
// must not go before that is known.
func TestTheBodyStaysWhenTheCommitIsInDoubt(t *testing.T) {
	l := newLedger(t)
	m := message("")
	m.Body, m.Staged = nil, stage(t, l, large("0123456789"))
	l.mu.Lock()
	delete(l.routes, l.byName[testRoute]) // a line for the log, which ends the group as a page does that cannot be read
	l.log = slog.New(panicking{slog.DiscardHandler})
	l.mu.Unlock()
	if _, err := l.Accept(t.Context(), m); !errors.Is(err, commit.ErrStopped) {
		t.Fatalf("Accept: %v, want an error of the disk", err)
	}
	wantFiles(t, l, 1, 0)
	l = reopen(t, l)
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 1 || err != nil {
		t.Errorf("swept %d, %v; want the orphan: nothing was committed", n, err)
	}
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool  { return true }
func (panicking) Handle(context.Context, slog.Record) error { panic("the disk does not give it") }

func TestAFullDiskLeavesNoBody(t *testing.T) {
	l := openIn(t, t.TempDir(), Options{MaxSize: 1 << 20})
	var err error
	for range 10_000 {
		if _, err = l.Accept(t.Context(), message(strings.Repeat("x", 10_000))); err != nil {
			break
		}
	}
	if ferry.CodeOf(err) != ferry.CodeNoSpace {
		t.Fatalf("the disk does not fill up: %v", err)
	}
	// A body in a file needs little of the ledger: until that does not fit either.
	kept := 0
	for range 10_000 {
		if _, err = acceptStaged(t, l, large("0123456789")); err != nil {
			break
		}
		kept++
	}
	if ferry.CodeOf(err) != ferry.CodeNoSpace {
		t.Fatalf("the disk does not fill up: %v", err)
	}
	wantFiles(t, l, kept, 0)
}

func TestOpenBodyHoldsAgainstTheHash(t *testing.T) {
	l := newLedger(t)
	body := large("0123456789")
	a, err := acceptStaged(t, l, body)
	must0(t, err)
	path := l.bodyPath(a.ID, 1)
	b, err := l.OpenBody(a.ID, 0)
	must0(t, err)
	if _, err := b.Seek(-5, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if end, err := io.ReadAll(b); err != nil || string(end) != body[len(body)-5:] || b.Size != int64(len(body)) {
		t.Errorf("its end: %q, %v", end, err)
	}
	must0(t, b.Close())
	for what, alter := range map[string]func() error{
		"a byte":  func() error { return os.WriteFile(path, []byte("x"+body[1:]), 0o600) },
		"shorter": func() error { return os.WriteFile(path, []byte(body[1:]), 0o600) },
		"longer":  func() error { return os.WriteFile(path, []byte(body+"x"), 0o600) },
		"gone":    func() error { return os.Remove(path) },
	} {
		must0(t, alter())
		if b, err := l.OpenBody(a.ID, 0); !errors.Is(err, ErrBodyMissing) {
			t.Errorf("%s: %v, want ErrBodyMissing", what, err)
			_ = b.Close()
		}
	}
}
