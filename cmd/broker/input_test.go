package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
)

// runAgainst runs the command line against the fake broker.
func runAgainst(t *testing.T, f *fake, stdin io.Reader, terminal bool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := map[string]string{"FERRY_URL": f.URL, "FERRY_KEY": "fry_good_x_y"}
	c := console{
		env: func(name string) string { return env[name] }, stdin: stdin, pipes: true,
		stdout: &output{to: &out}, stderr: &output{to: &err}, now: func() time.Time { return at(0) },
	}
	if terminal {
		c.screen = screen{terminal: true, width: 80}
	}
	code = runOn(context.Background(), args, c)
	return code, out.String(), err.String()
}

func TestLargeBodiesOnTheCommandLine(t *testing.T) {
	f := newFake(t)
	large := `{"text":"` + strings.Repeat("large ", 100_000) + `"}`
	file := filepath.Join(t.TempDir(), "large.bin")
	if err := os.WriteFile(file, []byte(large), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		stdin io.Reader
		args  []string
	}{
		"file": {nil, []string{"send", "orders", "-f", file}},
		"pipe": {strings.NewReader(large), []string{"send", "orders"}},
	} {
		if code, _, stderr := runAgainst(t, f, tc.stdin, false, tc.args...); code != 0 {
			t.Fatalf("%s: exit %d: %s", name, code, stderr)
		}
		want := "POST /v1/routes/orders/messages " + large + "\n  Content-Type: application/json"
		if got := f.replayed[len(f.replayed)-1]; got != want {
			t.Errorf("%s: %d characters were sent, want %d: …%s", name, len(got), len(want), got[max(len(got)-100, 0):])
		}
	}
	vast := filepath.Join(t.TempDir(), "vast")
	if err := os.WriteFile(vast, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(vast, ferry.MaxBody+1); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runAgainst(t, f, nil, false, "send", "orders", "-f", vast); code != 1 || !strings.Contains(stderr, "no route takes that") {
		t.Errorf("a file of more than the most: exit %d: %s", code, stderr)
	}

	id := f.envs[0].ID
	f.bodies[id], f.types[id] = bytes.Repeat([]byte(large), 20), "application/json"
	if code, stdout, stderr := runAgainst(t, f, nil, false, "messages", "body", id.String()); code != 0 || stdout != string(f.bodies[id]) {
		t.Errorf("to a pipe: exit %d, %d bytes: %s", code, len(stdout), stderr)
	}
	out := filepath.Join(t.TempDir(), "out")
	if code, _, stderr := runAgainst(t, f, nil, true, "messages", "body", id.String(), "--out", out); code != 0 {
		t.Errorf("to a file: exit %d: %s", code, stderr)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, f.bodies[id]) {
		t.Errorf("the file has %d bytes, %v", len(got), err)
	}
	if code, _, stderr := runAgainst(t, f, nil, true, "messages", "body", id.String()); code != 1 || !strings.Contains(stderr, "--out FILE") {
		t.Errorf("to a terminal: exit %d: %s", code, stderr)
	}
}

func TestContentTypeOfABeginning(t *testing.T) {
	for _, tc := range []struct {
		file, head string
		whole      bool
		want       string
	}{
		{"x.csv", "{", false, "text/csv"},
		{"x", `{"a":[1,2`, false, "application/json"},
		{"x", `{"a":[1,2`, true, "application/octet-stream"},
		{"x", `{"a":"cut in a tex`, false, "application/json"},
		{"x", `{"a" "b"`, false, "application/octet-stream"},
		{"x", " <order", false, "application/xml"},
		{"x", "\x00\x01", false, "application/octet-stream"},
	} {
		if got := contentType(tc.file, []byte(tc.head), tc.whole); got != tc.want {
			t.Errorf("%s %q whole=%t: %s, want %s", tc.file, tc.head, tc.whole, got, tc.want)
		}
	}
}
