package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// wantRefused holds a start that must fail: exit code 1, a sentence, a hint.
func wantRefused(t *testing.T, r result, program string, texts ...string) {
	t.Helper()
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	if n := strings.Count(r.errOut, program+": error: "); n != 1 {
		t.Errorf("%d error lines", n)
	}
	for _, text := range append(texts, program+": hint: ") {
		if !strings.Contains(r.errOut, text) {
			t.Errorf("no %q", text)
		}
	}
	if strings.Contains(r.errOut, "goroutine ") {
		t.Error("a stack trace")
	}
	if t.Failed() {
		t.Logf("it wrote:\n%s%s", r.out, r.errOut)
	}
}

func serve(t *testing.T, w *world) result {
	t.Helper()
	return command(t, w.dir, "broker", "serve", "--config", "broker.yaml")
}

// occupy listens where the broker wants to.
func occupy(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// ledgerFile is the ledger in a broker's data folder.
func ledgerFile(t *testing.T, w *world) string {
	t.Helper()
	found, err := filepath.Glob(w.path("data/*.db"))
	if err != nil || len(found) != 1 {
		t.Fatalf("ledgers: %v, %v", found, err)
	}
	return found[0]
}

// stopped is a broker that ran once and was stopped.
func stopped(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, options{})
	w.startBroker()
	w.send(invoices, "kept", kibibyte("kept"))
	if code := w.broker.stop(t, 20*time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return w
}

// TestBadStartOfBroker: a broker that cannot start says why, and touches nothing.
func TestBadStartOfBroker(t *testing.T) {
	t.Parallel()
	t.Run("HTTP port taken", func(t *testing.T) {
		w := newWorld(t, options{})
		occupy(t, w.api)
		wantRefused(t, serve(t, w), "broker", w.api+": the port is taken")
		if _, err := os.Stat(w.path("data")); !os.IsNotExist(err) {
			t.Errorf("the data folder was made: %v", err)
		}
	})
	t.Run("queue port taken", func(t *testing.T) {
		w := newWorld(t, options{})
		occupy(t, w.queue)
		wantRefused(t, serve(t, w), "broker", w.queue+": the port is taken", "queue.nats.listen")
	})
	t.Run("ledger locked", func(t *testing.T) {
		w := newWorld(t, options{})
		w.startBroker()
		text, err := os.ReadFile(w.path("broker.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		other := strings.NewReplacer(w.api, freePort(t), w.queue, freePort(t)).Replace(string(text))
		w.write("other.yaml", other)
		wantRefused(t, command(t, w.dir, "broker", "serve", "--config", "other.yaml"), "broker", "another process")
		w.send(invoices, "still", kibibyte("still"))
	})
	t.Run("garbage", func(t *testing.T) {
		w := stopped(t)
		if err := os.WriteFile(ledgerFile(t, w), []byte(strings.Repeat("not a ledger\n", 3000)), 0o600); err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, w.path("data"))
		wantRefused(t, serve(t, w), "broker", filepath.Base(ledgerFile(t, w)))
		if after := fingerprint(t, w.path("data")); after != before {
			t.Errorf("files were touched:\n%s\n%s", before, after)
		}
	})
	t.Run("newer schema", func(t *testing.T) {
		w := stopped(t)
		raiseSchema(t, ledgerFile(t, w))
		before, err := os.ReadFile(ledgerFile(t, w))
		if err != nil {
			t.Fatal(err)
		}
		wantRefused(t, serve(t, w), "broker", "newer")
		after, err := os.ReadFile(ledgerFile(t, w))
		if err != nil || string(after) != string(before) {
			t.Errorf("the ledger was touched: %v", err)
		}
	})
	t.Run("data folder not writable", func(t *testing.T) {
		w := newWorld(t, options{})
		w.write("data", "a file where the folder should be")
		wantRefused(t, serve(t, w), "broker", "data")
	})
	for name, c := range map[string]struct{ yaml, line, hint string }{
		"unknown key":   {"listen: 127.0.0.1:0\nroutes:\n  - name: a-route\n    windw: 3\n", "broker.yaml:4", "window"},
		"wrong type":    {"listen: 127.0.0.1:0\nroutes:\n  - name: a-route\n    window: many\n", "broker.yaml:4", ""},
		"no YAML":       {"listen: [\n", "broker.yaml:", ""},
		"bad name":      {"routes:\n  - name: Not-Good\n", "broker.yaml:2", ""},
		"missing value": {"environment: ${env:FERRY_E2E_MISSING}\n", "broker.yaml:1", "FERRY_E2E_MISSING"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{})
			w.write("broker.yaml", c.yaml)
			wantRefused(t, serve(t, w), "broker", c.line, c.hint)
			if _, err := os.Stat(w.path("data")); !os.IsNotExist(err) {
				t.Errorf("the data folder was made: %v", err)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		w := newWorld(t, options{})
		wantRefused(t, command(t, w.dir, "broker", "serve", "--config", "none.yaml"), "broker", "none.yaml")
	})
}

// raiseSchema makes the ledger one of a later version.
func raiseSchema(t *testing.T, file string) {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("meta"))
		if b == nil {
			return fmt.Errorf("no bucket meta")
		}
		old := b.Get([]byte("schema"))
		if len(old) == 0 {
			return fmt.Errorf("no schema")
		}
		raised := append([]byte{}, old...)
		raised[len(raised)-1] += 5
		return b.Put([]byte("schema"), raised)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestBadStartOfWorker: a worker that cannot start says why, and makes no inbox.
func TestBadStartOfWorker(t *testing.T) {
	t.Parallel()
	const (
		key    = "auth: {type: apiKey, header: x-api-key, key: \"%s\"}"
		secret = "hush-hush-hush"
	)
	for name, c := range map[string]struct {
		destination []string
		nkey        bool
		texts       []string
	}{
		"no nkey file":        {nil, false, []string{"worker.yaml:3", "erp-worker.nk", "broker workers add"}},
		"no secret file":      {[]string{fmt.Sprintf(key, "file:./no-such-file")}, true, []string{"no-such-file"}},
		"no secret in env":    {[]string{fmt.Sprintf(key, "env:FERRY_E2E_MISSING")}, true, []string{"FERRY_E2E_MISSING"}},
		"literal secret":      {[]string{fmt.Sprintf(key, secret)}, true, []string{"worker.yaml:", "env:"}},
		"unknown destination": {[]string{"timeuot: 3s"}, true, []string{"worker.yaml:10", "timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{destination: c.destination})
			w.startBroker()
			if c.nkey {
				w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
			}
			r := command(t, w.dir, "worker", "run", "--config", "worker.yaml")
			wantRefused(t, r, "worker", c.texts...)
			if strings.Contains(r.out+r.errOut, secret) {
				t.Errorf("the secret is told:\n%s%s", r.out, r.errOut)
			}
			if _, err := os.Stat(w.path("erp-worker-data")); !os.IsNotExist(err) {
				t.Errorf("an inbox was made: %v", err)
			}
		})
	}
	t.Run("inbox in use", func(t *testing.T) {
		w := newWorld(t, options{})
		w.start()
		wantRefused(t, command(t, w.dir, "worker", "run", "--config", "worker.yaml"), "worker", "erp-worker-data")
	})
	if runtime.GOOS == "windows" {
		return
	}
	t.Run("inbox not writable", func(t *testing.T) {
		w := newWorld(t, options{})
		w.startBroker()
		w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
		w.write("erp-worker-data", "a file where the folder should be")
		wantRefused(t, command(t, w.dir, "worker", "run", "--config", "worker.yaml"), "worker", "erp-worker-data")
	})
}

// fingerprint is every file below dir, with its size and time.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			fmt.Fprintln(&text, path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}
