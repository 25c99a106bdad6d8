// Package azurite runs Microsoft's emulator of Azure Storage for tests, where it is
// installed.
package azurite

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"ferry/internal/foreign"
)

// Folder names the environment variable with the folder that it is installed in:
// the one above node_modules.
const Folder = "FERRY_AZURITE"

// account is public knowledge: the emulator's documentation has it.
const account = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;" +
	"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://%s/devstoreaccount1;"

// ConnectionString is that of its account at an address, HOST:PORT.
func ConnectionString(address string) string { return fmt.Sprintf(account, address) }

// Start runs the emulator of Blob Storage until the test ends, with everything in
// memory, and returns its address, HOST:PORT. Without it the test skips.
func Start(t *testing.T) string {
	t.Helper()
	folder := foreign.Folder(t, Folder, "Azurite")
	cmd := exec.Command("node", filepath.Join(folder, "node_modules", "azurite", "dist", "src", "blob", "main.js"),
		"--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry")
	cmd.Dir = t.TempDir()
	return foreign.Serve(t, "Azurite", cmd, regexp.MustCompile(`listens on http://(127\.0\.0\.1:\d+)`))
}
