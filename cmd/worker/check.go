package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/config"
	"ferry/queue/drivers"
)

// checkTimeout bounds each thing that is reached.
const checkTimeout = 10 * time.Second

type checkCmd struct {
	configFlag
}

// Run tells of each part whether it is well, and fails when one is not.
func (c checkCmd) Run(a *app) error {
	cfg, setup, err := c.load(a)
	if err != nil {
		return err
	}
	a.line("well", c.Config, fmt.Sprintf("%d destinations, %d routes", len(cfg.Destinations), len(cfg.Routes)))
	failed, told := 0, 0
	tell := func(what string, err error) {
		told++
		if err == nil {
			a.line("well", what, "")
			return
		}
		failed++
		message, hint := explain(err)
		if hint != "" {
			message += " (" + hint + ")"
		}
		a.line("FAILED", what, message)
	}
	for what, err := range a.reachQueue(cfg) {
		tell(what, err)
	}
	well := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(setup.Destinations)) {
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		err := setup.Destinations[name].Check(ctx)
		cancel()
		well[name] = err == nil
		tell("destination "+name, err)
	}
	for i, r := range setup.Routes {
		c, ok := r.Adapter.(adapters.Checker)
		if !ok || !well[cfg.Routes[i].Destination.Name] {
			continue // it would only say again what its destination said
		}
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		err := c.Check(ctx)
		cancel()
		if !errors.Is(err, adapters.ErrNoProbe) {
			tell("lookup of route "+r.Name, err)
		}
	}
	if err := setup.Close(); err != nil {
		return err
	}
	if failed > 0 {
		return ferry.Errorf(ferry.CodeBadConfig, "%d of %d checks failed", failed, told)
	}
	return nil
}

// reachQueue connects to the queue. On Service Bus each of the worker's queues
// counts for itself.
func (a *app) reachQueue(cfg *config.Worker) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if cfg.Queue.Driver == config.DriverServiceBus {
			ctx, cancel := context.WithTimeout(a.ctx, 3*checkTimeout)
			defer cancel()
			list, err := drivers.CheckServiceBusWorker(ctx, a.busOptions(cfg))
			if err != nil {
				yield("queue "+queueName(cfg), err)
			}
			for _, q := range list {
				if !yield("queue "+q.Queue, q.Err) {
					return
				}
			}
			return
		}
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		defer cancel()
		q, err := a.connect(ctx, cfg)
		if err == nil {
			err = q.Close(ctx)
		}
		yield("queue "+queueName(cfg), err)
	}
}

func (a *app) line(state, what, more string) {
	if more != "" {
		more = ": " + more
	}
	_, _ = fmt.Fprintf(a.stdout, "%-6s  %s%s\n", state, what, more)
}
