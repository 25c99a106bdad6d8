// Package oauthmock runs oauth2-mock-server, a token endpoint that others wrote,
// for tests, where it is installed.
package oauthmock

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"ferry/internal/foreign"
)

// Folder names the environment variable with the folder that it is installed in:
// the one above node_modules.
const Folder = "FERRY_OAUTH2_MOCK"

// Scopes by which a client chooses how the server behaves.
const (
	FailOnce   = "fail-once"   // its first answer to a client is 503
	TwoSeconds = "two-seconds" // tokens live so long
	Ferry      = "ferry"       // tokens are for api://ferry, with the role Ferry.Send
	Other      = "other-audience"
	Expired    = "expired"
	Rotate     = "rotate" // later tokens are signed with a new key, by turns
)

//go:embed server.mjs
var script string

// Start runs the server until the test ends, and returns its URL. Tokens come from
// /token; what they are signed with is at /jwks. Without it the test skips.
func Start(t *testing.T) string {
	t.Helper()
	folder := foreign.Folder(t, Folder, "oauth2-mock-server")
	file := filepath.Join(t.TempDir(), "server.mjs")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", file, folder)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // it ends with this process, whatever happens
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return foreign.Serve(t, "oauth2-mock-server", cmd, regexp.MustCompile(`listens on (http://127\.0\.0\.1:\d+)`))
}
