// Package cap runs SAP's Cloud Application Programming Model for tests, where it is
// installed: a real OData server, V4 and V2, with the model in its folder project.
package cap

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"ferry/internal/foreign"
)

// Folder names the environment variable with the folder that project was copied to
// and installed in.
const Folder = "FERRY_CAP"

// User and Password log on to the services.
const (
	User     = "ferry"
	Password = "cap-s3cret-0123456789"
)

// Where the services are, at the address that Start gives.
const (
	V4 = "/odata/v4/erp"
	V2 = "/odata/v2/erp"
)

// Mode is how the services run.
type Mode string

// In production, errors of the server say nothing but that.
const (
	Development Mode = "development"
	Production  Mode = "production"
)

// Start runs the services until the test ends, with an empty database in memory, and
// returns their address. Without them the test skips.
func Start(t *testing.T, mode Mode) string {
	t.Helper()
	folder := foreign.Folder(t, Folder, "SAP CAP")
	cmd := exec.Command("node", filepath.Join(folder, "server.js"))
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "NODE_ENV="+string(mode), "CDS_LOG_LEVELS_CDS=warn")
	return foreign.Serve(t, "CAP", cmd, regexp.MustCompile(`listens on (http://127\.0\.0\.1:\d+)`))
}
