package sbemu

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/sbemu/entity"
)

// TestJavaScriptSDK runs Microsoft's JavaScript SDK against the double. It needs node
// and the packages of jscheck/package.json: FERRY_NODE=1 says that they are there, in
// jscheck or in the folder FERRY_NODE_DIR, with a copy of the script.
func TestJavaScriptSDK(t *testing.T) {
	if os.Getenv("FERRY_NODE") != "1" {
		t.Skip("needs node and packages of npm: FERRY_NODE=1 says that they are there (make test-all)")
	}
	queues := []entity.Config{
		{Name: "orders"},
		{Name: "sessions", RequiresSession: true},
		{Name: "twice", DuplicateWindow: time.Minute},
		{Name: "expiring", DeadLetterOnExpiry: true},
		{Name: "few", MaxDelivery: 2},
		{Name: "short", LockDuration: time.Second},
	}
	plain := start(t, Options{Queues: queues})
	secure := start(t, Options{Queues: queues, TLS: certificate(t).server})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, err := filepath.Abs("jscheck")
	must(t, err)
	cmd := exec.CommandContext(ctx, "node", "check.mjs")
	cmd.Dir = dir
	if elsewhere := os.Getenv("FERRY_NODE_DIR"); elsewhere != "" {
		cmd.Dir = elsewhere
	}
	cmd.Env = append(os.Environ(), "SB_CONNECTION="+plain.ConnectionString(), "SB_SECURE="+secure.ConnectionString(), "SB_SECURE_ADDR="+secure.Addr())
	out, err := cmd.Output()
	script, readErr := os.ReadFile(filepath.Join(dir, "check.mjs"))
	must(t, readErr)
	want, ok := bytes.Count(script, []byte("\ncheck(")), 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "ok ") {
			ok++
			t.Log(line)
		} else {
			t.Error(line)
		}
	}
	if ok != want {
		t.Errorf("%d of %d checks are well", ok, want)
	}
	if err != nil {
		t.Errorf("node: %v", err)
	}
}
