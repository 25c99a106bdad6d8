package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/store"
)

// A backup that was cut off on its way leaves no file, and none is written over
// without being asked to.
func TestABackupIsThereWhenItIsWhole(t *testing.T) {
	whole := aBackup(t)
	answer := whole
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/backup" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "ferry.tar")
	broker := func(want int, says string, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		env := func(name string) string { return map[string]string{"FERRY_URL": server.URL, "FERRY_KEY": "key"}[name] }
		if code := run(context.Background(), args, env, strings.NewReader(""), &out, &errOut); code != want || !strings.Contains(out.String()+errOut.String(), says) {
			t.Fatalf("%v: exit code %d, want %d and %q: %s%s", args, code, want, says, &out, &errOut)
		}
		return out.String()
	}
	for _, n := range []int{0, 600, len(whole) / 2, len(whole) - 2048} {
		answer = whole[:n]
		broker(exitFailed, "cut off", "backup", file)
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Fatalf("cut off at %d, it left %v", n, entries)
		}
	}
	answer = whole
	broker(exitDone, "orders: up to accept number 1", "backup", file)
	if text, err := os.ReadFile(file); err != nil || !bytes.Equal(text, whole) {
		t.Errorf("the file has %d bytes instead of %d, %v", len(text), len(whole), err)
	}
	broker(exitUsage, "--force", "backup", file)
	broker(exitDone, "", "backup", "--force", file)

	data := filepath.Join(dir, "data")
	var about ferry.Restored
	if err := json.Unmarshal([]byte(broker(exitDone, "", "restore", file, "--data", data, "-o", "json")), &about); err != nil || about.Routes[0].Accepted != 1 {
		t.Errorf("restore: %+v, %v", about, err)
	}
	broker(exitDone, "revoke and rotate again", "restore", file, "--data", filepath.Join(dir, "second"))
	broker(exitFailed, "is not empty", "restore", file, "--data", data)
	broker(exitUsage, "cannot be opened", "restore", filepath.Join(dir, "none"), "--data", data)
	var d ferry.Diagnosis
	out := broker(exitDone, "", "doctor", "--data", data, "-o", "json")
	if err := json.Unmarshal([]byte(out), &d); err != nil || !strings.Contains(out, "every page is good") {
		t.Errorf("doctor: %s, %v", out, err)
	}

	// All pages but the heads are lost.
	path := filepath.Join(data, "ledger.db")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(text[2*os.Getpagesize():])
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	broker(exitAttention, "fail", "doctor", "--data", data)
	broker(exitFailed, "no such file", "doctor", "--data", filepath.Join(dir, "none"))
}

// A second backup to the same file, refused or done, leaves the first alone, and is
// not written over either.
func TestTwoBackupsToOneFile(t *testing.T) {
	whole := aBackup(t)
	for name, c := range map[string]struct {
		second           int // the answer's status
		first, afterward int // exit codes
	}{
		"the second is refused":        {http.StatusConflict, exitDone, exitFailed},
		"the second is done before it": {http.StatusOK, exitUsage, exitDone},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ferry.tar")
			var server *httptest.Server
			backup := func() int {
				env := func(name string) string { return map[string]string{"FERRY_URL": server.URL, "FERRY_KEY": "key"}[name] }
				return run(context.Background(), []string{"backup", file}, env, strings.NewReader(""), io.Discard, io.Discard)
			}
			asked, afterward := atomic.Int32{}, 0
			server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) == 1 {
					_, _ = w.Write(whole[:1000])
					_ = http.NewResponseController(w).Flush()
					afterward = backup()
					_, _ = w.Write(whole[1000:])
					return
				}
				if w.WriteHeader(c.second); c.second == http.StatusOK {
					_, _ = w.Write(whole)
				}
			}))
			defer server.Close()
			if first := backup(); first != c.first || afterward != c.afterward {
				t.Errorf("exit codes %d and %d, want %d and %d", first, afterward, c.first, c.afterward)
			}
			if text, err := os.ReadFile(file); err != nil || !bytes.Equal(text, whole) {
				t.Errorf("the file has %d bytes of %d, %v", len(text), len(whole), err)
			}
			if entries, _ := os.ReadDir(filepath.Dir(file)); len(entries) != 1 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

// What was not looked at is not said to be checked.
func TestARestoreSaysWhatItChecked(t *testing.T) {
	for want, out := range map[string]ferry.Restored{
		"page and record was checked": {Findings: []ferry.Finding{}},
		"agree\nwas not checked":      {},
	} {
		if got := lookedAt(&out); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// aBackup is the backup of a ledger with one message.
func aBackup(t *testing.T) []byte {
	t.Helper()
	l, err := store.Open(t.TempDir(), store.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := l.EnsureRoute(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := l.Accept(t.Context(), ferry.Message{ID: ferry.NewID(now), Route: "orders", Body: []byte("{}"), CreatedAt: now}); err != nil {
		t.Fatal(err)
	}
	b, err := l.Backup(t.Context(), ferry.Backup{Version: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
