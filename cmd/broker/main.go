// Command broker is Ferry's server and the operators' command line.
//
// Client commands speak HTTP to a running broker. Everything that a command may
// touch of the process comes in through [run], so that tests run whole commands
// in process; only main exits.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Who asks a second time wants it to end at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
