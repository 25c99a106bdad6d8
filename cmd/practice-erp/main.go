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

// byDialect stands for what the dialect's example cannot do without.
const byDialect = "(by dialect)"

// workerHead is what a worker.yaml has before destinations and routes: as in
// README.md.
const workerHead = `name: erp-worker-1
dataDir: ./worker-data
queue:
  nats: {url: "nats://127.0.0.1:4222", nkey: ./erp-worker-1.nk}
`

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("practice-erp", flag.ContinueOnError)
	addr := flags.String("listen", "127.0.0.1:9090", "address to listen on")
	dialect := flags.String("dialect", "rest", "what it speaks: "+strings.Join(practice.Dialects(), ", "))
	worker := flags.Bool("worker", false, "write a worker.yaml for it in the dialect, and end")
	key := flags.String("api-key", "", "wanted of who calls, as a key, a password or a token; empty: none")
	required := flags.String("required", byDialect, "members that a JSON invoice must have, with commas between; empty: none")
	duplicate := flags.String("on-duplicate", string(practice.Conflict), `what a second create under a known key does: "conflict" (409), "error" (500), "repeat" (200), "" (writes another)`)
	if err := flags.Parse(args); err != nil {
		return err
	}
	example, err := practice.Example(*dialect)
	if err != nil {
		return err
	}
	if *worker {
		_, err := io.WriteString(stdout, workerHead+strings.ReplaceAll(example, practice.ExampleURL, "http://"+*addr))
		return err
	}
	settings := practice.Settings{Dialect: *dialect, OnDuplicate: practice.OnDuplicate(*duplicate)}
	switch *required {
	case "":
	case byDialect:
		member, err := practice.RequiredOf(*dialect)
		if err != nil {
			return err
		}
		settings.Required = []string{member}
	default:
		settings.Required = strings.Split(*required, ",")
	}
	erp := practice.New(*key, settings)
	defer erp.Close()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "practice ERP on http://%s: speaks %s; GET /documents, POST /_faults\n", listener.Addr(), *dialect)
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
