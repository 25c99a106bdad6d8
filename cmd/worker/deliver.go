package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ferry"
	"ferry/config"
	"ferry/internal/hangup"
	"ferry/internal/systemd"
	"ferry/worker"
)

type runCmd struct {
	configFlag
}

// Run delivers until the process is asked to stop, then drains.
func (c runCmd) Run(a *app) (err error) {
	ctx, stop := hangup.Context(a.ctx, hangup.Ends(a.stdin), func() {
		a.log.Info("SIGHUP: worker.yaml is read at a start", "hint", "restart the worker, which loses nothing")
	})
	defer stop()
	a.ctx = ctx
	cfg, setup, err := c.load(a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, setup.Close()) }()
	if err := a.awaitSecrets(cfg); err != nil {
		if a.ctx.Err() != nil {
			return nil // stopped before the vault was there
		}
		return err
	}
	registry := prometheus.NewRegistry()
	metrics, err := worker.NewMetrics(registry)
	if err != nil {
		return err
	}
	if err := registry.Register(a.vault.Collector()); err != nil {
		return err
	}
	tracer, err := a.openTraces(cfg)
	if err != nil {
		return err
	}
	defer a.closeTraces(tracer)
	for _, c := range []prometheus.Collector{tracer.Collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	stopMetrics, err := a.serveMetrics(cfg.Listen, registry)
	if err != nil {
		return err
	}
	defer stopMetrics()
	q, err := a.connectPatiently(cfg)
	if err != nil {
		if a.ctx.Err() != nil {
			return nil // stopped before the broker was there
		}
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), time.Second)
		defer cancel()
		err = errors.Join(err, q.Close(ctx))
	}()
	w, err := worker.New(worker.Options{
		Name: cfg.Name, Version: version(), Queue: q, InboxDir: cfg.DataDir,
		Routes: setup.Routes, Log: a.log, Metrics: metrics, Tracer: tracer,
	})
	if err != nil {
		return err
	}
	a.log.Info("worker.started", "worker", cfg.Name, "inbox", w.Inbox(), "routes", len(setup.Routes),
		"queue", cfg.Queue.NATS.URL, "version", version())
	a.notify(systemd.Ready)
	context.AfterFunc(a.ctx, func() { a.notify(systemd.Stopping) })
	switch err := w.Run(a.ctx, cfg.Drain.Within); {
	case err == nil:
	case errors.Is(err, context.Canceled) && a.ctx.Err() != nil:
		return nil // stopped while it started: nothing was begun
	default:
		return err
	}
	a.log.Info("worker.stopped", "worker", cfg.Name)
	return nil
}

// notify tells the service manager, where there is one.
func (a *app) notify(state string) {
	if err := systemd.Notify(state); err != nil {
		a.log.Warn("systemd.notify", "error", err.Error())
	}
}

// serveMetrics serves /metrics on a listener of its own, unless it is off.
func (a *app) serveMetrics(listen string, registry *prometheus.Registry) (stop func(), err error) {
	if listen == "" || listen == config.ListenOff {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodePortTaken, "the metrics cannot be served on %s: %w", listen, err).
			WithHint("choose another address for listen:, or off")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("metrics.serve", "error", err.Error())
		}
	}()
	a.log.Info("metrics.listening", "address", listener.Addr().String())
	return func() {
		_ = server.Close()
		<-ended
	}, nil
}
