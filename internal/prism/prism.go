// Package prism runs Stoplight's mock server for tests, where it is installed. It
// serves whatever an OpenAPI file describes, and holds requests against it.
package prism

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Folder names the environment variable with the folder that it is installed in:
// the one above node_modules.
const Folder = "FERRY_PRISM"

// Start serves a description until the test ends, on a port of its own of the
// loopback address, and returns the address, http://HOST:PORT. Without Prism the
// test skips.
func Start(t *testing.T, spec string) string {
	t.Helper()
	folder := os.Getenv(Folder)
	if folder == "" {
		t.Skip(Folder + " is not set: make test-all installs Prism")
	}
	spec, err := filepath.Abs(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(folder, "node_modules", "@stoplight", "prism-cli", "dist", "index.js"),
		"mock", "--host", "127.0.0.1", "--port", "0", spec)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "FORCE_COLOR=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said := make([]byte, 0, 4096)
	listening := regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`)
	for buf := make([]byte, 1024); ; {
		n, err := out.Read(buf)
		said = append(said, buf[:n]...)
		if m := listening.FindSubmatch(said); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return string(m[1])
		}
		if err != nil {
			t.Fatalf("Prism did not start: %v: %s", err, said)
		}
	}
}
