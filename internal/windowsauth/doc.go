// Package windowsauth runs what Windows authentication needs, for tests: a KDC of
// MIT Kerberos, and apache with mod_auth_gssapi and gss-ntlmssp in front of a
// destination. They come as packages of Debian; make test-all installs them.
package windowsauth

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Installed names the environment variable that says that the packages are there.
const Installed = "FERRY_WINDOWS_AUTH"

// Skip ends a test where the packages are not installed.
func Skip(t *testing.T) {
	t.Helper()
	if os.Getenv(Installed) == "" {
		t.Skip(Installed + " is not set: make test-all installs apache and a KDC")
	}
}

// folder makes a folder that apache's own user can read in.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ferry-windowsauth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freePort is an address of this machine on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start runs a program until stop is called, and waits until it listens.
func start(t *testing.T, address string, env []string, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			return stop
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", filepath.Base(name), said.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", filepath.Base(name), address)
		}
	}
}
