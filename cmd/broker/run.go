package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"ferry/adapters/adaptertest/practice"
)

// Exit codes. Commands that tell more than "done" or "failed" have their own:
// see exitAttention, exitDeadLettered, exitPending.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is the whole program: it parses args, runs one command and returns the
// exit code. Everything of the process that a command may touch is passed in.
func run(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runOn(ctx, args, console{
		env:    env,
		stdin:  stdin,
		stdout: &output{to: stdout},
		stderr: stderr,
		screen: terminalOf(stdout),
		asks:   isTerminal(stdin) && isTerminal(stderr),
		pipes:  !isTerminal(stdin),
		now:    time.Now,
	})
}

// app is what every command's Run gets.
type app struct {
	console
	ctx     context.Context // ends when the process is asked to stop
	globals globals
}

// runOn is run on any console: tests say what is a terminal, and what time it is.
func runOn(ctx context.Context, args []string, c console) int {
	a := &app{console: c, ctx: ctx}
	var tree commands
	parser, err := kong.New(&tree,
		kong.Name("broker"),
		kong.Description("Ferry, a durable integration broker: the server, and its operators' command line."),
		kong.Writers(c.stdout, c.stderr),
		kong.NoDefaultHelp(),
		kong.Vars{"dialects": strings.Join(practice.Dialects(), ",")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Bind(a),
	)
	if err != nil {
		return a.report(fmt.Errorf("the command tree: %w", err))
	}
	if len(args) == 0 {
		parser.Stdout = c.stderr // the help is beside the point: nothing was asked for
		_, _ = parser.Parse([]string{"--help"})
		return a.report(usagef("which command?"))
	}
	parsed, err := parser.Parse(args)
	switch {
	case errors.Is(err, errHelped):
		return exitDone
	case err != nil:
		return a.report(asUsage(err))
	}
	a.globals = tree.globals
	err = parsed.Run()
	if err == nil {
		err = c.stdout.err
	}
	return a.report(err)
}

// errHelped says that the help was printed, and that no command is to run.
var errHelped = errors.New("the help was printed")

// helpFlag prints the help of the command at hand.
type helpFlag bool

// BeforeReset runs before anything is validated, so that help needs no
// arguments.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	return errHelped
}
