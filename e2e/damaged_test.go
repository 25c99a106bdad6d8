package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// truncate cuts every file that the pattern names to half its length.
func truncate(pattern string) func(dir string) error {
	return eachFile(pattern, func(file string, size int64) error { return os.Truncate(file, size/2) })
}

// garble overwrites them.
func garble(pattern string) func(dir string) error {
	return eachFile(pattern, func(file string, size int64) error {
		return os.WriteFile(file, bytes.Repeat([]byte{0xa5}, int(size)), 0o600)
	})
}

func remove(pattern string) func(dir string) error {
	return eachFile(pattern, func(file string, _ int64) error { return os.Remove(file) })
}

func eachFile(pattern string, damage func(file string, size int64) error) func(dir string) error {
	return func(dir string) error {
		files, err := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", filepath.FromSlash(pattern)))
		if err == nil && len(files) == 0 {
			err = errors.New("there is no " + pattern)
		}
		for _, file := range files {
			if info, statErr := os.Stat(file); statErr == nil && info.Mode().IsRegular() && err == nil {
				err = damage(file, info.Size())
			}
		}
		return err
	}
}

// TestKilledAndDamaged: the broker is killed, and the queue's files are damaged
// before it starts again. Whatever is amiss, it starts, and nothing is lost.
func TestKilledAndDamaged(t *testing.T) {
	t.Parallel()
	damages := []struct {
		name  string
		do    func(dir string) error
		aside bool // the folder is moved away
	}{
		{"messages cut", truncate("FERRY_MSG/msgs/*.blk"), false},
		{"receipts cut", truncate("FERRY_RCPT/msgs/*.blk"), false},
		{"messages garbled", garble("FERRY_MSG/msgs/*"), false},
		{"consumer garbled", garble("FERRY_MSG/obs/*/o.dat"), true},
		{"consumer cut", truncate("FERRY_MSG/obs/*/meta.inf"), true},
		{"consumer gone", remove("FERRY_MSG/obs/*/meta.inf"), true},
		{"receipts' consumer garbled", garble("FERRY_RCPT/obs/*/meta.inf"), true},
		{"definition cut", truncate("FERRY_MSG/meta.inf"), true},
		{"definition garbled", garble("FERRY_RCPT/meta.inf"), true},
		{"all blocks garbled", garble("*/*/*"), false},
	}
	w := quick(t)
	l := w.startLoad(4)
	l.awaitMore(10)
	for range natsLoops(t) {
		for _, damage := range damages {
			w.worker.freeze(t) // so that there is something in the queue
			l.awaitMore(15)
			time.Sleep(150 * time.Millisecond) // the server writes its consumers' state a little later
			w.broker.kill()
			if err := damage.do(w.path("data/queue")); err != nil && !strings.Contains(err.Error(), "o.dat") {
				t.Fatalf("%s: %v", damage.name, err)
			}
			w.startBroker()
			if moved := strings.Contains(w.broker.out.String(), "queue.store.damaged"); moved != damage.aside {
				t.Errorf("%s: moved aside: %v, want %v", damage.name, moved, damage.aside)
			}
			w.worker.thaw(t)
			l.awaitMore(5)
		}
	}
	w.wantOnce(l.end())
	if aside, err := filepath.Glob(w.path("data/queue.damaged-*")); err != nil || len(aside) == 0 {
		t.Errorf("moved aside: %v, %v", aside, err)
	}
}
