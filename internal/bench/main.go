// Command bench shows what the ledger costs, as ratios from one run.
//
// Each contender is a server process of its own behind the same HTTP surface;
// load and ERP run in another process. Contenders take turns, round after
// round, so that a machine whose speed drifts is unfair to nobody; what is
// printed are medians over the rounds and the medians of the ratios within each
// round.
//
//	go run ./internal/bench            accepts, accepts behind guards, whole path, what rules of the protocol cost, the adapter, Service Bus
//	go run ./internal/bench -short     one round each, to see that it works
//	go run ./internal/bench -only million   a million pending and a million dead, beside an empty ledger
//	go run ./internal/bench -profile F a CPU profile of the whole path
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run() error {
	role := flag.String("role", "", "internal: serve or load")
	kind := flag.String("kind", "", "internal: what to serve")
	dir := flag.String("dir", "", "folder for the data; default a temporary one (put it on the disk that counts)")
	erp := flag.String("erp", "", "internal: where the ERP is")
	target := flag.String("target", "", "internal: where to send")
	conns := flag.Int("conns", 64, "internal: connections")
	messages := flag.Int("messages", 0, "internal: how many to send; 0: as many as fit into the time")
	spell := flag.Duration("time", 3*time.Second, "how long each contender accepts per round")
	rounds := flag.Int("rounds", 3, "rounds; medians are over these")
	path := flag.Int("path", 20_000, "messages of each whole-path run")
	short := flag.Bool("short", false, "one short round: shows that it works, not how fast")
	profile := flag.String("profile", "", "write a CPU profile of the whole path to this file")
	only := flag.String("only", "", "accept, guard, path, protocol, compact, cost, bus or million")
	noRule := flag.String("without", "", "internal: a rule of the protocol that does not hold, with -tags ferryrules")
	several := flag.Bool("several", false, "internal: the route is one of several workers")
	await := flag.Bool("await", false, "internal: wait for each message's end before the next one")
	pace := flag.Int("pace", 0, "internal: messages a second over all connections; 0: as fast as they go")
	already := flag.Int("already", 0, "internal: how many are completed before the first is sent")
	bus := flag.String("bus", "", "internal: address of the Service Bus double")
	busKey := flag.String("bus-key", "", "internal: file with the double's connection string")
	pending := flag.Int("pending", 1_000_000, "pending messages of the full ledger of million")
	dead := flag.Int("dead", 1_000_000, "dead letters of it")
	ended := flag.Int("ended", 0, "and completed messages")
	flag.Parse()
	if *short {
		*rounds, *spell, *path = 1, 500*time.Millisecond, 2000
		*pending, *dead = min(*pending, 20_000), min(*dead, 20_000)
	}
	switch *role {
	case "serve":
		if err := without(*noRule); err != nil {
			return err
		}
		return serve(contenderOptions{kind: *kind, dir: *dir, erpURL: *erp, profile: *profile, several: *several, bus: *bus, busKey: *busKey})
	case "load":
		return load(*target, *spell, senders{conns: *conns, messages: *messages, await: *await, already: *already, pace: *pace})
	case "erp":
		return serveERP()
	case "created":
		return serveCreated()
	case "seed":
		return seed(*dir, seeding{pending: *pending, dead: *dead, ended: *ended})
	case "double":
		return serveDouble()
	}
	b := &bench{rounds: *rounds, spell: *spell, path: *path, dir: *dir, profile: *profile, full: seeding{pending: *pending, dead: *dead, ended: *ended}}
	return b.run(*only)
}
