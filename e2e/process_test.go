package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// logText is what a process wrote; processes write while tests read.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// process is a running program.
type process struct {
	name  string
	cmd   *exec.Cmd
	out   *logText
	ended chan struct{} // closed when it is gone
}

// startProcess runs a program in dir until the test ends, which kills it. What it
// wrote is shown when the test fails.
func startProcess(t *testing.T, dir, program string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, program, exec.Command(filepath.Join(programs, program), args...))
}

// startCommand is startProcess for any command; its environment is added to.
func startCommand(t *testing.T, dir, program string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: program, cmd: cmd, out: &logText{}, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.out, p.out
	p.cmd.Env = append(environment(dir), p.cmd.Env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		if text := p.out.String(); t.Failed() {
			t.Logf("%s %d wrote:\n%s", program, p.cmd.Process.Pid, last(text, 12<<10))
		}
		// A NATS server elsewhere is its makers' code alone: it races by itself when it
		// reloads its logins while somebody connects. The one inside the broker counts.
		if program != "nats" && strings.Contains(p.out.String(), "DATA RACE") {
			t.Errorf("%s has a data race:\n%s", program, last(p.out.String(), 12<<10))
		}
	})
	return p
}

// environment keeps the settings of whoever runs the tests away.
func environment(dir string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "TMPDIR=" + os.TempDir(), "NO_COLOR=1",
		"GORACE=atexit_sleep_ms=0",
	}
}

func last(text string, n int) string {
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error says that it is gone already
	<-p.ended
}

// stop asks the process to end, and gives its exit code.
func (p *process) stop(t *testing.T, within time.Duration) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.exit(t, within)
}

// exit waits for the end of the process, and gives its exit code.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s did not end within %s", p.name, within)
		return -1
	}
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// result of a command that ends by itself.
type result struct {
	code        int
	out, errOut string
}

// command runs a program to its end.
func command(t *testing.T, dir, program string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, program), args...)
	var out, errOut bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, &out, &errOut, environment(dir)
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) || ctx.Err() != nil {
		t.Fatalf("%s %s: %v, %v\n%s%s", program, strings.Join(args, " "), err, ctx.Err(), out.String(), errOut.String())
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// lastPort is the last that freePort gave. It begins somewhere below the ports
// that the system gives to outgoing connections, which could take one that a
// program gives up for a restart.
var lastPort atomic.Int64

// freePort is an address of loopback where nobody listens; no two are alike.
func freePort(t *testing.T) string {
	t.Helper()
	lastPort.CompareAndSwap(0, 12_000+rand.Int64N(12_000))
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// eventually asks until the answer is "", which says that all is well; else it
// says what is missing.
func eventually(t *testing.T, within time.Duration, missing func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		what := missing()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", within, what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
