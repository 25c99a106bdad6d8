// Command practice-erp serves the practice ERP over HTTP, for trying Ferry out
// in containers or with a worker of one's own. It keeps its documents in memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"ferry/adapters/adaptertest/practice"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "practice-erp: error:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("practice-erp", flag.ContinueOnError)
	addr := flags.String("listen", "127.0.0.1:9090", "address to listen on")
	key := flags.String("api-key", "", "wanted in the header X-API-Key; empty: none")
	required := flags.String("required", "number", "members that a JSON invoice must have, with commas between; empty: none")
	duplicate := flags.String("on-duplicate", string(practice.Conflict), `what a second create under a known key does: "conflict" (409), "error" (500), "repeat" (200), "" (writes another)`)
	if err := flags.Parse(args); err != nil {
		return err
	}
	settings := practice.Settings{OnDuplicate: practice.OnDuplicate(*duplicate)}
	if *required != "" {
		settings.Required = strings.Split(*required, ",")
	}
	erp := practice.New(*key, settings)
	defer erp.Close()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "practice ERP on http://%s: POST /invoices, GET /invoices?externalId=…, GET /documents, POST /_faults\n", listener.Addr())
	server := &http.Server{Handler: erp, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}
