package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"ferry"
	"ferry/config"
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
	failed := 0
	tell := func(what string, err error) {
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
	tell("queue "+cfg.Queue.NATS.URL, a.reachQueue(cfg))
	for _, name := range slices.Sorted(maps.Keys(setup.Destinations)) {
		ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
		tell("destination "+name, setup.Destinations[name].Check(ctx))
		cancel()
	}
	if err := setup.Close(); err != nil {
		return err
	}
	if failed > 0 {
		return ferry.Errorf(ferry.CodeBadConfig, "%d of %d checks failed", failed, 1+len(setup.Destinations))
	}
	return nil
}

func (a *app) reachQueue(cfg *config.Worker) error {
	ctx, cancel := context.WithTimeout(a.ctx, checkTimeout)
	defer cancel()
	q, err := a.connect(ctx, cfg)
	if err != nil {
		return err
	}
	return q.Close(ctx)
}

func (a *app) line(state, what, more string) {
	if more != "" {
		more = ": " + more
	}
	_, _ = fmt.Fprintf(a.stdout, "%-6s  %s%s\n", state, what, more)
}
