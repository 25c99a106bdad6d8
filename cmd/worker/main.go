// Command worker delivers the messages of its routes to their destinations,
// beside which it runs. It needs no inbound port: its one connection goes out to
// the broker.
//
// Everything that a command may touch of the process comes in through [run], so
// that tests run whole commands in process; only main exits.
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
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
