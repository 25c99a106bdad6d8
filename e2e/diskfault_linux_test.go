package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	noRoom  = syscall.ENOSPC
	ioError = syscall.EIO
)

// ledgerFolder picks everything in a data folder but the queue, which is filled
// again whatever happens to it.
func ledgerFolder(path string) bool {
	return path != "queue" && !strings.HasPrefix(path, "queue/") && !strings.Contains(path, "/queue")
}

// ledgerOnly picks the ledger's file.
func ledgerOnly(path string) bool { return strings.HasSuffix(path, "ledger.db") }

// moveData puts the broker's data folder elsewhere; the old path leads there too.
func (w *world) moveData(from, to string) {
	w.t.Helper()
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("broker.yaml", strings.ReplaceAll(string(text), "dataDir: ./"+from, "dataDir: ./"+to))
	if err := os.Symlink(w.path(to), w.path(from)); err != nil {
		w.t.Fatal(err)
	}
}

// serveOnce starts the broker, and ends it as soon as it is ready: code -1 then.
func (w *world) serveOnce() result {
	w.t.Helper()
	w.launchBroker()
	eventually(w.t, 20*time.Second, func() string {
		if !w.broker.running() || w.ready() == http.StatusOK {
			return ""
		}
		return "the broker is neither ready nor gone"
	})
	if w.broker.running() {
		w.broker.kill()
	}
	return result{code: w.broker.cmd.ProcessState.ExitCode(), errOut: w.broker.out.String()}
}

// ready is the status of the broker's readiness, 0 when nobody answers.
func (w *world) ready() int {
	ctx := w.t.Context()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.api+"/readyz", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// workerOnce starts the worker, and ends it as soon as it delivers: code -1 then.
func (w *world) workerOnce() result {
	w.t.Helper()
	w.startWorker()
	eventually(w.t, 20*time.Second, func() string {
		if !w.worker.running() || strings.Contains(w.worker.out.String(), "route.granted") {
			return ""
		}
		return "the worker neither delivers nor ended"
	})
	if w.worker.running() {
		w.worker.kill()
	}
	return result{code: w.worker.cmd.ProcessState.ExitCode(), errOut: w.worker.out.String()}
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write overwrites a file in place: it stays the same file.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rubbish overwrites all but the two heads of a bbolt file.
func rubbish(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	heads := int64(2 * os.Getpagesize())
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size()-heads)), heads)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
