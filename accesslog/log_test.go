package accesslog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"ferry"
	"ferry/accesslog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry(n int) *accesslog.Entry {
	return &accesslog.Entry{
		At: time.Date(2026, 11, 23, 9, 30, 0, 120e6, time.FixedZone("", 3600)), RequestID: fmt.Sprint("r", n), Method: "POST",
		Path: "/v1/routes/invoices/messages", Endpoint: "sendMessage", Route: "invoices", Status: 422, Code: ferry.CodeInvalid,
		BytesIn: 17, BytesOut: 200, Took: 1500 * time.Microsecond, Key: "k1", By: "flow", Remote: "192.0.2.1", Agent: "curl/8", FlowRun: "run-1",
	}
}

func open(t *testing.T, o accesslog.Options) *accesslog.Log {
	t.Helper()
	if o.MaxSize == 0 {
		o.MaxSize = 1 << 20
	}
	l, err := accesslog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLine(t *testing.T) {
	var out bytes.Buffer
	l := open(t, accesslog.Options{Path: "-", Stdout: &out})
	l.Add(entry(1))
	l.Add(&accesslog.Entry{Method: "GET\x00", Path: strings.Repeat("ü", 600), Agent: "a\"b\\c\x1b[31m\xff\u2028", Status: 404})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	const want = `{"time":"2026-11-23T08:30:00.120Z","requestId":"r1","method":"POST","path":"/v1/routes/invoices/messages","endpoint":"sendMessage","route":"invoices","status":422,"code":"invalid","bytesIn":17,"bytesOut":200,"durationMs":1.5,"key":"k1","by":"flow","remote":"192.0.2.1","userAgent":"curl/8","flowRun":"run-1"}`
	if len(lines) != 2 || lines[0] != want {
		t.Fatalf("%d lines, the first:\n%s\nwant\n%s", len(lines), lines[0], want)
	}
	var odd map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &odd); err != nil || !utf8.ValidString(lines[1]) {
		t.Fatalf("%v: %s", err, lines[1])
	}
	if odd["userAgent"] != "a\"b\\c\x1b[31m\ufffd\u2028" || strings.ContainsAny(lines[1], "\x1b\x00\u2028") {
		t.Errorf("%q", lines[1])
	}
	if path := odd["path"].(string); len(path) > 520 || !strings.HasSuffix(path, "ü…") {
		t.Errorf("a path of %d bytes: %s", len(path), path)
	}
}

// The file is rotated by its size, so many are kept, and no line is lost or torn.
func TestRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	size := int64(4000)
	l := open(t, accesslog.Options{Path: path, MaxSize: size, Keep: 3})
	for i := range 100 {
		l.Add(entry(i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 4 {
		t.Fatalf("%v %v", files, err)
	}
	next := 99
	for _, file := range []string{path, path + ".1", path + ".2", path + ".3"} {
		text, err := os.ReadFile(file)
		if err != nil || int64(len(text)) > size {
			t.Fatalf("%s has %d bytes, %v", file, len(text), err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		for i := len(lines) - 1; i >= 0; i-- {
			if !strings.Contains(lines[i], fmt.Sprintf(`"requestId":"r%d"`, next)) || !json.Valid([]byte(lines[i])) {
				t.Fatalf("%s: %s, want r%d", file, lines[i], next)
			}
			next--
		}
	}
	// A restart goes on with the file as it is.
	l = open(t, accesslog.Options{Path: path, MaxSize: 1 << 20, Keep: 3})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Add(entry(100))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(after, before) || !bytes.Contains(after, []byte(`"r100"`)) {
		t.Errorf("%d bytes after %d, %v", len(after), len(before), err)
	}
}

func TestKeepsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := open(t, accesslog.Options{Path: path, MaxSize: 1000, Keep: 0})
	for i := range 20 {
		l.Add(entry(i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(path + "*"); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// stuck is a disk that stands still until it is let go.
type stuck struct {
	release chan struct{}
	mu      sync.Mutex
	out     bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

// A disk that stands still stops nobody: lines are dropped and counted, and what was
// kept is written once it goes on.
func TestStall(t *testing.T) {
	s := &stuck{release: make(chan struct{})}
	l := open(t, accesslog.Options{Path: "-", Stdout: s})
	const all = 20_000
	added := make(chan struct{})
	go func() {
		defer close(added)
		for i := range all {
			l.Add(entry(i))
		}
	}()
	<-added // with the disk still standing
	if l.Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	close(s.release)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if written := int64(strings.Count(s.out.String(), "\n")); written+l.Dropped() != all {
		t.Errorf("%d written and %d dropped of %d", written, l.Dropped(), all)
	}
	dropped := l.Dropped()
	if l.Add(entry(1)); l.Dropped() != dropped+1 {
		t.Error("a line after the end is not counted")
	}
}

// full is a disk that is full for a while.
type full struct {
	mu     sync.Mutex
	broken bool
	out    bytes.Buffer
}

func (f *full) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return 0, io.ErrShortWrite
	}
	return f.out.Write(p)
}

// A disk that takes nothing for a while does not end the log.
func TestFull(t *testing.T) {
	f := &full{broken: true}
	l := open(t, accesslog.Options{Path: "-", Stdout: f})
	l.Add(entry(1))
	for l.Dropped() == 0 {
		runtime.Gosched()
	}
	f.mu.Lock()
	f.broken = false
	f.mu.Unlock()
	l.Add(entry(2))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if text := f.out.String(); !strings.Contains(text, `"r2"`) {
		t.Errorf("%q", text)
	}
}

func TestOpenFaults(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none", "access.log")} {
		if _, err := accesslog.Open(accesslog.Options{Path: path, MaxSize: 1}); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%s: %v", path, err)
		}
	}
}
