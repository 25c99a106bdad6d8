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
	tell := func(what, proven string, err error) {
		told++
		if err == nil {
			a.line("well", what, proven)
			return
		}
		failed++
		message, hint := explain(err)
		if hint != "" {
			message += " (" + hint + ")"
		}
		a.line("FAILED", what, message)
	}
	a.tellVault(cfg, tell)
	for what, err := range a.reachQueue(cfg) {
		tell(what, "", err)
	}
	well := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(setup.Destinations)) {
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		proven, err := prove(ctx, setup.Destinations[name])
		cancel()
		well[name] = err == nil
		tell("destination "+name, proven, err)
	}
	for i, r := range setup.Routes {
		c, ok := r.Adapter.(adapters.Checker)
		if !well[cfg.Routes[i].Destination.Name] {
			continue // it would only say again what its destination said
		}
		if !ok {
			a.line("open", "route "+r.Name, unasked)
			continue
		}
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		err := c.Check(ctx)
		cancel()
		if errors.Is(err, adapters.ErrNoProbe) {
			a.line("open", "route "+r.Name, unasked)
			continue
		}
		tell("lookup of route "+r.Name, "it is answered, and knows no document of a key that no message has", err)
	}
	if err := setup.Close(); err != nil {
		return err
	}
	if failed > 0 {
		return ferry.Errorf(ferry.CodeBadConfig, "%d of %d checks failed", failed, told)
	}
	return nil
}

// unasked is what is said of a route that nothing can be asked for.
const unasked = "nothing proves it without writing: it has no lookup that a key alone answers; worker preview shows its request"

func prove(ctx context.Context, d adapters.Destination) (proven string, err error) {
	if p, ok := d.(adapters.Prover); ok {
		return p.Prove(ctx)
	}
	return "", d.Check(ctx)
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
