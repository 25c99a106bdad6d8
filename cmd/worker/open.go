package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/config"
	"ferry/queue"
	"ferry/queue/drivers"
	"ferry/secret"
	"ferry/secret/keyvault"
	"ferry/worker"
)

// configFlag names the configuration file of a command.
type configFlag struct {
	Config string `default:"worker.yaml" short:"c" placeholder:"FILE" help:"The configuration (${default})."`
}

// load reads the file and opens what it names; nothing is called.
func (c configFlag) load(a *app) (*config.Worker, *worker.Setup, error) {
	cfg, err := config.Loader{LookupEnv: a.env}.Worker(c.Config)
	if err != nil {
		return nil, nil, err
	}
	a.vault = keyvault.Open(cfg.Secrets.KeyVault, a.resolver(), a.log)
	setup, err := worker.NewSetup(cfg, a.registry())
	return cfg, setup, err
}

func (a *app) resolver() secret.Resolver {
	r := secret.Resolver{LookupEnv: a.env}
	if a.vault != nil { // an interface that holds a nil pointer is not nil
		r.Vault = a.vault
	}
	return r
}

// registry lists the kinds of destinations. A new one is one line here.
func (a *app) registry() adapters.Registry {
	return adapters.Registry{
		"erp": erp.New(a.resolver(), nil),
	}
}

// busOptions are those of a worker whose queue is on Service Bus.
func (a *app) busOptions(cfg *config.Worker) drivers.WorkerOptions {
	routes := make([]string, len(cfg.Routes))
	for i, r := range cfg.Routes {
		routes[i] = r.Name
	}
	return drivers.WorkerOptions{Config: cfg.Queue.ServiceBus, Secrets: a.resolver(), Worker: cfg.Name, Routes: routes, Log: a.log}
}

// queueName names the queue for people.
func queueName(cfg *config.Worker) string {
	switch {
	case cfg.Queue.Driver != config.DriverServiceBus:
		return cfg.Queue.NATS.URL
	case cfg.Queue.ServiceBus.Namespace != "":
		return cfg.Queue.ServiceBus.Namespace
	default:
		return "on Service Bus"
	}
}

// connect makes the connection to the broker's queue.
func (a *app) connect(ctx context.Context, cfg *config.Worker) (*queue.Queue, error) {
	if cfg.Queue.Driver == config.DriverServiceBus {
		return drivers.ConnectServiceBusWorker(ctx, a.busOptions(cfg))
	}
	return drivers.ConnectNATSWorker(ctx, drivers.NATSWorkerOptions{
		Config: cfg.Queue.NATS, Secrets: a.resolver(), LookupEnv: a.env, Worker: cfg.Name, Agent: "ferry-worker/" + version(), Log: a.log,
	})
}

// How long connectPatiently waits between two tries.
const (
	connectFirst = time.Second
	connectMost  = 10 * time.Second
)

// connectPatiently waits for a broker that is not there yet: the two may be
// started in any order. A refused key is an error at once.
func (a *app) connectPatiently(cfg *config.Worker) (*queue.Queue, error) {
	pause, told := connectFirst, ""
	for {
		q, err := a.connect(a.ctx, cfg)
		if err == nil {
			return q, nil
		}
		err = fmt.Errorf("queue %s: %w", queueName(cfg), err)
		if !errors.Is(err, queue.ErrUnavailable) || a.ctx.Err() != nil {
			return nil, err
		}
		if message, hint := explain(err); message != told { // each reason once
			told = message
			a.log.Warn("broker.unavailable", "error", message, "hint", hint, "next", "tried again until it is there")
		}
		timer := time.NewTimer(pause)
		select {
		case <-a.ctx.Done():
			timer.Stop()
			return nil, a.ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, connectMost)
	}
}
