// Package prism runs Stoplight's mock server for tests, where it is installed. It
// serves whatever an OpenAPI file describes, and holds requests against it.
package prism

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"ferry/internal/foreign"
)

// Folder names the environment variable with the folder that it is installed in:
// the one above node_modules.
const Folder = "FERRY_PRISM"

// Start serves a description until the test ends, on a port of its own of the
// loopback address, and returns the address, http://HOST:PORT. Without Prism the
// test skips.
func Start(t *testing.T, spec string) string {
	t.Helper()
	folder := foreign.Folder(t, Folder, "Prism")
	spec, err := filepath.Abs(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(folder, "node_modules", "@stoplight", "prism-cli", "dist", "index.js"),
		"mock", "--host", "127.0.0.1", "--port", "0", spec)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "FORCE_COLOR=0")
	return foreign.Serve(t, "Prism", cmd, regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`))
}
