package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts of testdata")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"broker": func() { os.Exit(scripted(os.Args[1:])) },
		// code N ARGS… runs broker ARGS and fails unless it exits with N.
		"code": func() {
			want, err := strconv.Atoi(os.Args[1])
			if got := scripted(os.Args[2:]); err != nil || got != want {
				fmt.Fprintf(os.Stderr, "exit code %d, want %s\n", got, os.Args[1])
				os.Exit(1)
			}
		},
		"editor": scriptedEditor,
	})
}

// scripted is main at a fixed time. With TERMINAL=width set, the three streams
// count as a terminal of that width.
func scripted(args []string) int {
	c := console{
		env: os.Getenv, stdin: os.Stdin, stdout: &output{to: os.Stdout}, stderr: os.Stderr, pipes: true,
		now: func() time.Time { return at(0) },
	}
	if columns, err := strconv.Atoi(os.Getenv("TERMINAL")); err == nil {
		c.screen, c.asks, c.pipes = screen{terminal: true, width: columns}, true, false
	}
	return runOn(context.Background(), args, c)
}

// scriptedEditor is an $EDITOR: editor OLD NEW FILE puts NEW in place of OLD.
func scriptedEditor() {
	if len(os.Args) == 2 { // no change asked for
		return
	}
	text, err := os.ReadFile(os.Args[3])
	if err == nil {
		err = os.WriteFile(os.Args[3], []byte(strings.ReplaceAll(string(text), os.Args[1], os.Args[2])), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestScripts runs the scripts of testdata, each against a fake broker of its own.
func TestScripts(t *testing.T) {
	var mu sync.Mutex
	fakes := map[string]*fake{}
	mine := func(ts *testscript.TestScript) *fake {
		mu.Lock()
		defer mu.Unlock()
		return fakes[ts.Getenv("FERRY_URL_OF_FAKE")]
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			f := newFake(t)
			mu.Lock()
			defer mu.Unlock()
			fakes[f.URL] = f
			env.Setenv("FERRY_URL_OF_FAKE", f.URL)
			env.Setenv("FERRY_URL", f.URL)
			env.Setenv("FERRY_KEY", "fry_good_x_y")
			env.Setenv("NO_COLOR", "1")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each command would wait a second at its end
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TMPDIR", env.WorkDir+"/.tmp")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// sent prints what was asked of the fake to change since the last time.
			"sent": func(ts *testscript.TestScript, _ bool, _ []string) {
				f := mine(ts)
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, line := range f.replayed {
					fmt.Fprintln(ts.Stdout(), line)
				}
				f.replayed = nil
			},
			// reset forgets the messages that were sent.
			"reset": func(ts *testscript.TestScript, _ bool, _ []string) {
				f := mine(ts)
				f.mu.Lock()
				defer f.mu.Unlock()
				f.envs = nil
			},
			// fill puts the fake's address in place of SERVER in a file.
			"fill": func(ts *testscript.TestScript, _ bool, args []string) {
				text := strings.ReplaceAll(ts.ReadFile(args[0]), "SERVER", ts.Getenv("FERRY_URL_OF_FAKE"))
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
			// mode fails unless a file is its owner's only.
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				if got := info.Mode().Perm(); got != 0o600 && runtime.GOOS != "windows" {
					ts.Fatalf("%s has mode %o, want 600", args[0], got)
				}
			},
			// alone fails unless a file is the only one in its folder.
			"alone": func(ts *testscript.TestScript, _ bool, args []string) {
				files, err := os.ReadDir(filepath.Dir(ts.MkAbs(args[0])))
				ts.Check(err)
				if len(files) != 1 || files[0].Name() != filepath.Base(args[0]) {
					ts.Fatalf("%s is not alone: %v", args[0], files)
				}
			},
			// double starts a Service Bus double, whose connection strings are in DOUBLE_ALL,
			// DOUBLE_PLAIN (no Manage), DOUBLE_LISTEN (no Send), DOUBLE_WRONG (a wrong key).
			"double": startDouble,
			// queue makes a queue of it: NAME [session] [lock=DURATION].
			"queue": makeQueue,
			// nothing makes every list of the fake empty.
			"nothing": func(ts *testscript.TestScript, _ bool, _ []string) {
				f := mine(ts)
				f.mu.Lock()
				defer f.mu.Unlock()
				f.empty = true
			},
		},
	})
}
