package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programs is the folder of the built binaries, set once before any test runs.
var programs string

// builtPrograms names a folder with the programs, which then are not built.
const builtPrograms = "FERRY_PROGRAMS"

func TestMain(m *testing.M) {
	if file := os.Getenv(natsConfigOf); file != "" {
		os.Exit(runNATS(file))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if kind := os.Getenv(controlKind); kind != "" {
		return control(kind)
	}
	if programs = os.Getenv(builtPrograms); programs != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "ferry-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "ferry/cmd/broker", "ferry/cmd/worker")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
		return 1
	}
	programs = dir
	return m.Run()
}
