package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/config"
	"ferry/queue/drivers"
	"ferry/secret"
)

// transport is a queue of package drivers.
type transport interface {
	broker.Transport
	api.QueueLink
	URL() string // where workers connect beside /queue; empty: nowhere
}

// openTransport starts the queue inside the process, or connects to it elsewhere.
func openTransport(ctx context.Context, cfg *config.Broker, resolver secret.Resolver, workers []ferry.WorkerInfo, log *slog.Logger) (transport, error) {
	window, routes := 0, make([]string, len(cfg.Routes))
	for i, r := range cfg.Routes {
		window, routes[i] = max(window, r.Window), r.Name
	}
	if cfg.Queue.Driver == config.DriverServiceBus {
		return drivers.ConnectServiceBus(ctx, drivers.ServiceBusOptions{
			Config: cfg.Queue.ServiceBus, Secrets: resolver, Routes: routes, Workers: workers, Log: log,
		})
	}
	n := cfg.Queue.NATS
	if n.External() {
		seed, err := resolver.Resolve(n.Seed())
		if err != nil {
			return nil, err
		}
		return drivers.ConnectNATS(ctx, drivers.ExternalOptions{
			URL: n.URL, Seed: seed.Reveal(), CA: n.CA, Replicas: n.Replicas, MaxStore: int64(n.MaxStore),
			Lock: n.Lock, Window: window, Routes: routes, Log: log,
		})
	}
	address := n.Listen
	if address == config.ListenOff {
		address = ""
	}
	return drivers.StartNATS(drivers.NATSOptions{
		Dir: filepath.Join(cfg.DataDir, "queue"), Listen: address, Lock: n.Lock,
		Window: window, MaxStore: int64(n.MaxStore), Workers: workers, PublicURL: cfg.PublicURL, Log: log,
	})
}
