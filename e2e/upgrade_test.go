package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
)

// previousFile holds the commit of the version before this one.
const previousFile = "../scripts/previous-version"

// previous builds the programs of the version before this one, once, and gives
// their folder.
func previous(t *testing.T) string {
	t.Helper()
	if os.Getenv("FERRY_UPGRADE") == "" {
		t.Skip("FERRY_UPGRADE=1 builds the version before this one; scripts/test-all sets it")
	}
	dir, err := buildPrevious()
	if errors.Is(err, errNoHistory) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var errNoHistory = errors.New("the version before this one cannot be had")

// buildPrevious is done once for all tests: it takes a minute.
var buildPrevious = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("FERRY_UPGRADE_PROGRAMS"); dir != "" {
		return dir, nil // built before
	}
	text, err := os.ReadFile(previousFile)
	if err != nil {
		return "", err
	}
	revision := ""
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			revision = line
		}
	}
	source, out := filepath.Join(programs, "previous-source"), filepath.Join(programs, "previous")
	if err := errors.Join(os.MkdirAll(source, 0o700), os.MkdirAll(out, 0o700)); err != nil {
		return "", err
	}
	archive := filepath.Join(programs, "previous.tar")
	if text, err := exec.Command("git", "-C", "..", "archive", "-o", archive, revision).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: git archive %s: %w: %s (a shallow clone has no history)", errNoHistory, revision, err, text)
	}
	if text, err := exec.Command("tar", "-x", "-f", archive, "-C", source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack it: %w: %s", err, text)
	}
	build := exec.Command("go", "build", "-o", out+string(filepath.Separator), "./cmd/broker", "./cmd/worker")
	build.Dir = source
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", revision, err, text)
	}
	return out, nil
})

// swap is a world whose programs are of either version.
type swap struct {
	*world
	old string
}

func newSwap(t *testing.T) *swap {
	t.Helper()
	old := previous(t)
	return &swap{newQuick(t), old}
}

func (s *swap) folder(version string) string {
	if version == "old" {
		return s.old
	}
	return programs
}

func (s *swap) runBroker(version string) {
	s.t.Helper()
	s.broker = startCommand(s.t, s.dir, "broker", exec.Command(filepath.Join(s.folder(version), "broker"), "serve", "--config", "broker.yaml"))
	s.awaitBroker()
}

func (s *swap) runWorker(version string) {
	s.t.Helper()
	s.worker = startCommand(s.t, s.dir, "worker", exec.Command(filepath.Join(s.folder(version), "worker"), "run", "--config", "worker.yaml"))
}

// begin brings both up.
func (s *swap) begin(broker, worker string) {
	s.t.Helper()
	s.runBroker(broker)
	s.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	s.runWorker(worker)
	s.awaitGranted()
}

func (s *swap) toBroker(version string) {
	s.t.Helper()
	if code := s.broker.stop(s.t, 40*time.Second); code != 0 {
		s.t.Errorf("the broker's exit code is %d:\n%s", code, last(s.broker.out.String(), 4<<10))
	}
	s.runBroker(version)
}

func (s *swap) toWorker(version string) {
	s.t.Helper()
	if code := s.worker.stop(s.t, 40*time.Second); code != 0 {
		s.t.Errorf("the worker's exit code is %d:\n%s", code, last(s.worker.out.String(), 4<<10))
	}
	s.runWorker(version)
}

// A broker and a worker one version apart work together, either one first, and an
// upgrade under load loses nothing and sends nothing twice.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(s *swap, l *load){
		"broker first": func(s *swap, l *load) {
			s.toBroker("new")
			l.awaitMore(60)
			s.toWorker("new")
		},
		"worker first": func(s *swap, l *load) {
			s.toWorker("new")
			l.awaitMore(60)
			s.toBroker("new")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSwap(t)
			s.begin("old", "old")
			l := s.startMixedLoad(8)
			l.awaitMore(40)
			first(s, l)
			l.awaitMore(40)
			s.awaitGranted()
			s.wantOnce(l.end())
			s.wantCopies(1)
		})
	}
}

func (s *swap) wantCopies(n int) []string {
	s.t.Helper()
	list, err := filepath.Glob(s.path("data/ledger.db.before-schema-*"))
	if err != nil || len(list) != n {
		s.t.Errorf("copies of the ledger: %v, %v", list, err)
	}
	return list
}

// The ledger goes to the new schema, and back from the copy to the version before:
// what is in the copy ends exactly once, though the new version has delivered some
// of it meanwhile.
func TestBackFromTheCopy(t *testing.T) {
	t.Parallel()
	s := newSwap(t)
	s.begin("old", "old")
	s.fill()
	l := s.startLoad(8)
	l.awaitMore(40)
	accepted := l.end()
	s.awaitDrained(time.Minute)
	s.cli("routes", "pause", invoices, "--note", "an upgrade")
	for i := range 20 { // they wait in the copy
		key := fmt.Sprintf("waiting-%02d", i)
		accepted[key] = s.send(invoices, key, kibibyte(key)).ID
	}
	began := time.Now()
	s.toBroker("new")
	t.Logf("%d MiB of ledger: %s from the stop of the old version to the first answer of the new one", s.ledgerSize()>>20, time.Since(began).Round(time.Millisecond))
	copied := s.wantCopies(1)
	s.cli("routes", "resume", invoices)
	s.awaitDrained(time.Minute)
	s.send(invoices, "after", kibibyte("after")) // the copy knows nothing of it
	s.awaitDrained(time.Minute)
	if code := s.broker.stop(t, 40*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if len(copied) != 1 {
		t.FailNow()
	}
	if err := errors.Join(os.Rename(s.path("data/ledger.db"), s.path("ledger.db.new")), os.Rename(copied[0], s.path("data/ledger.db"))); err != nil {
		t.Fatal(err)
	}
	s.runBroker("old")
	s.cli("routes", "resume", invoices)
	s.awaitGranted()
	s.awaitDrained(2 * time.Minute)
	for key, id := range accepted {
		if docs := s.erp.Documents(key); len(docs) != 1 {
			t.Errorf("%s has %d documents", key, len(docs))
		}
		if e := s.message(id); e.State != ferry.StateCompleted {
			t.Errorf("%s is %s: %+v", key, e.State, e.DeadLetter)
		}
	}
	if docs := s.erp.Documents("after"); len(docs) != 1 {
		t.Errorf("what the copy does not know has %d documents", len(docs))
	}
	s.balance()

	// And forward again.
	s.toBroker("new")
	s.toWorker("new")
	s.awaitGranted()
	again := s.send(invoices, "again", kibibyte("again"))
	s.await(again.ID, ferry.StateCompleted, 30*time.Second)
}

// fill makes the ledger as large as FERRY_UPGRADE_MIB says, by messages that are
// completed, before anything else.
func (s *swap) fill() {
	s.t.Helper()
	mib := int64(number(s.t, "FERRY_UPGRADE_MIB", 1, 100_000))
	if mib == 1 {
		return
	}
	const size = 200 << 10
	var senders sync.WaitGroup
	for i := range runtime.NumCPU() * 4 {
		senders.Go(func() {
			for n := 0; s.ledgerSize() < mib<<20 && !s.t.Failed(); n++ {
				key := fmt.Sprintf("fill-%d-%d", i, n)
				if _, err := s.sendUntil(s.t.Context(), invoices, key, []byte(invoiceOf(key, size))); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	s.awaitDrained(10 * time.Minute)
}

func (s *swap) ledgerSize() int64 {
	info, err := os.Stat(s.path("data/ledger.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		s.t.Error(err)
		return 0
	}
	return info.Size()
}
