package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/alecthomas/kong"

	"ferry"
	"ferry/queue"
	"ferry/secret/keyvault"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands is the command tree, one file per command.
type commands struct {
	Run     runCmd     `cmd:"" help:"Deliver until stopped."`
	Check   checkCmd   `cmd:"" help:"Read the configuration and its secrets, reach queue and destinations; write nothing."`
	Preview previewCmd `cmd:"" help:"Show the request that a message would become, secrets masked; send nothing."`
	Import  importCmd  `cmd:"" help:"Write a worker.yaml from the description of an API."`
	Version versionCmd `cmd:"" help:"Print the version."`

	LogFormat string   `enum:"text,json" default:"text" help:"Format of the log: text or json."`
	LogLevel  string   `enum:"debug,info,warn,error" default:"info" help:"Least level that is logged: debug, info, warn or error."`
	Help      helpFlag `short:"h" help:"Show what a command takes."`
}

// app is what every command's Run gets.
type app struct {
	ctx    context.Context // ends when the process is asked to stop
	env    func(string) (string, bool)
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	log    *slog.Logger
	vault  *keyvault.Store // reads secrets of Key Vault; nil before a configuration was read
}

// run is the whole program: it parses args, runs one command and returns the
// exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{ctx: ctx, env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	var tree commands
	parser, err := kong.New(&tree,
		kong.Name("worker"),
		kong.Description("Ferry's worker: delivers the messages of its routes to their destinations."),
		kong.Writers(stdout, stderr),
		kong.NoDefaultHelp(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Bind(a),
	)
	if err != nil {
		return a.report(fmt.Errorf("the command tree: %w", err))
	}
	if len(args) == 0 {
		parser.Stdout = stderr // the help is beside the point: nothing was asked for
		_, _ = parser.Parse([]string{"--help"})
		return a.report(&usageError{message: "which command?"})
	}
	parsed, err := parser.Parse(args)
	switch {
	case errors.Is(err, errHelped):
		return exitDone
	case err != nil:
		return a.report(&usageError{message: err.Error(), hint: "worker --help shows the commands and what they take"})
	}
	a.log = tree.logger(stderr)
	err = parsed.Run()
	if a.vault != nil {
		a.vault.Close()
	}
	return a.report(err)
}

func (c *commands) logger(to io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // the parser has checked it
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, opts))
	}
	return slog.New(slog.NewTextHandler(to, opts))
}

// errHelped says that the help was printed, and that no command is to run.
var errHelped = errors.New("the help was printed")

// helpFlag prints the help of the command at hand.
type helpFlag bool

// BeforeReset runs before anything is validated, so that help needs no arguments.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	return errHelped
}

// usageError is wrong usage: exit 2.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// report prints err to stderr, with a hint where one helps, and gives the exit
// code. It is the only place that does.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	message, hint := explain(err)
	for line := range strings.SplitSeq(message, "\n") {
		_, _ = fmt.Fprintf(a.stderr, "worker: error: %s\n", line)
	}
	if hint != "" {
		_, _ = fmt.Fprintf(a.stderr, "worker: hint: %s\n", hint)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func explain(err error) (message, hint string) {
	message = err.Error()
	var usage *usageError
	var edge *ferry.Error
	switch {
	case errors.As(err, &usage):
		hint = usage.hint
	case errors.As(err, &edge):
		hint = edge.Hint
	case errors.Is(err, queue.ErrUnauthorized):
		hint = "the broker does not know this worker's key, or it was revoked; make one by: broker workers add NAME --routes ROUTES --out FILE"
	case errors.Is(err, queue.ErrUnavailable):
		hint = "is the broker running, and does queue.nats.url name its queue's address?"
	}
	return message, hint
}
