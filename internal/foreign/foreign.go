// Package foreign runs servers that others wrote, for tests, where they are
// installed.
package foreign

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// Folder is the folder that the environment variable names, which make test-all
// sets; without it the test skips.
func Folder(t *testing.T, variable, name string) string {
	t.Helper()
	folder := os.Getenv(variable)
	if folder == "" {
		t.Skipf("%s is not set: make test-all installs %s", variable, name)
	}
	return folder
}

// Serve runs cmd until the test ends, and returns the address that it says it
// listens on: the first group of listens. What it says on stderr counts too, unless
// cmd has a Stderr.
func Serve(t *testing.T, name string, cmd *exec.Cmd, listens *regexp.Regexp) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Stderr == nil {
		cmd.Stderr = cmd.Stdout
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said := make([]byte, 0, 4096)
	for buf := make([]byte, 1024); ; {
		n, err := out.Read(buf)
		said = append(said, buf[:n]...)
		if m := listens.FindSubmatch(said); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return string(m[1])
		}
		if err != nil {
			t.Fatalf("%s did not start: %v: %s", name, err, said)
		}
	}
}
