package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/config"
	"ferry/secret"
	"ferry/worker"
)

// inProcess is the worker of `broker dev`.
type inProcess struct {
	worker *worker.Worker
	close  func(context.Context) error
}

func (p *inProcess) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), config.DefaultDrain)
	defer cancel()
	return errors.Join(p.worker.Stop(ctx), p.close(ctx))
}

// devHead is what a worker.yaml has before destinations and routes. The worker in
// this process needs no way to the broker; one of its own would have it here.
const devHead = `# The worker of ` + "`broker dev`" + `, written anew at each start: look, and copy, but do not change.
name: ` + devWorker + `
queue:
  nats: {url: "nats://127.0.0.1:4222", nkey: env:DEV_LOGIN}
`

func (d *dev) workerFile() string { return filepath.Join(d.dir, "worker.yaml") }

// startWorker starts a worker with the practice ERP's example of its dialect.
func (d *dev) startWorker(ctx context.Context, s *server, to *devERP) (*inProcess, error) {
	setup, err := d.setUpWorker(to)
	if err != nil {
		return nil, err
	}
	login, err := s.broker.AddWorker(ctx, devWorker, []string{devRoute}, "", "dev")
	if ferry.CodeOf(err) == ferry.CodeExists {
		login, err = s.broker.RotateWorker(ctx, devWorker, "", "dev")
	}
	if err != nil {
		return nil, errors.Join(err, setup.Close())
	}
	q, err := connectInside(ctx, s, login.Seed)
	if err != nil {
		return nil, errors.Join(err, setup.Close())
	}
	w, err := worker.New(worker.Options{
		Name: devWorker, Version: version(), Queue: q, InboxDir: filepath.Join(d.dir, "worker"), Log: s.log, Routes: setup.Routes,
	})
	if err != nil {
		return nil, errors.Join(err, q.Close(ctx), setup.Close())
	}
	if err := w.Start(ctx); err != nil {
		return nil, errors.Join(err, w.Stop(ctx), q.Close(ctx), setup.Close())
	}
	return &inProcess{worker: w, close: func(ctx context.Context) error {
		return errors.Join(q.Close(ctx), setup.Close())
	}}, nil
}

// setUpWorker writes the worker's file, and reads it as a worker would.
func (d *dev) setUpWorker(to *devERP) (*worker.Setup, error) {
	example, err := practice.Example(to.dialect)
	if err != nil {
		return nil, err
	}
	if err := d.keep(d.workerFile(), devHead+strings.ReplaceAll(example, practice.ExampleURL, to.url)); err != nil {
		return nil, err
	}
	cfg, err := config.LoadWorker(d.workerFile())
	if err != nil {
		return nil, err
	}
	practiceKey, _ := strings.CutPrefix(practice.ExampleKey, "env:")
	resolver := secret.Resolver{LookupEnv: func(name string) (string, bool) { return to.key, name == practiceKey }}
	return worker.NewSetup(cfg, adapters.Registry{"erp": erp.New(resolver, nil)})
}
