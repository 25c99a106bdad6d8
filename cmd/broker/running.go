package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/certs"
	"ferry/config"
	"ferry/trace"
)

// server is a broker with its queue and its HTTP surface.
type server struct {
	broker    *broker.Broker
	transport transport
	secrets   *secrets              // reads every reference of the file
	parts     atomic.Pointer[parts] // of the configuration as it is now
	reloader  *reloader
	traces    *trace.Tracer // nil: the file wants none
	log       *slog.Logger

	certificate *certs.Certificate // nil: plain HTTP
	public      front
	admin       front // of adminListen, where there is one

	adminListener net.Listener // nil: the one listener answers everything

	dropped  atomic.Int64 // lines of access logs that are closed
	retiring sync.WaitGroup
	stopping chan struct{} // closed when nothing is served any more
}

// startServer opens ledger and queue and begins to deliver. What was opened is
// closed again when the start fails.
func startServer(ctx context.Context, cfg *config.Broker, log *slog.Logger) (_ *server, err error) {
	s := &server{log: log, stopping: make(chan struct{})}
	s.reloader = newReloader(s, cfg.File)
	var opened closers
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	s.secrets = openSecrets(cfg, log)
	opened.add(func() error { s.secrets.close(); return nil })
	if s.certificate, err = certificateOf(cfg, s.secrets.Resolver, log); err != nil {
		return nil, err
	}
	if s.traces, err = openTraces(ctx, cfg, s.secrets.Resolver, log); err != nil {
		return nil, err
	}
	opened.add(func() error { closeTraces(s.traces, log); return nil })
	p, err := openParts(cfg, s.secrets.Resolver, s.traces, nil, log)
	if err != nil {
		return nil, err
	}
	s.parts.Store(p)
	opened.add(func() error { return p.retire(nil) })
	if s.broker, err = broker.New(ctx, s.options(p)); err != nil {
		return nil, err
	}
	opened.add(func() error { return s.stopBroker() })
	s.face(p)
	if err := s.broker.Start(); err != nil {
		return nil, err
	}
	p.start(s.broker, nil)
	return s, nil
}

// options are those of the broker.
func (s *server) options(p *parts) broker.Options {
	now := p.settings()
	opts := broker.Options{
		DataDir: p.cfg.DataDir, PublicURL: p.cfg.PublicURL, Environment: p.cfg.Environment, Version: version(), Log: s.log,
		Routes: now.Routes, Retention: now.Retention, IdempotencyWindow: p.cfg.IdempotencyWindow,
		BodyRefs: now.BodyRefs, Tellers: now.Tellers, Caller: now.Caller, Intake: now.Intake,
		Problems: s.problems, Collectors: s.collectors(), Tracer: s.traces, Operators: operatorsOf(p.cfg, s.secrets.Resolver),
		Checks: func(ctx context.Context) []ferry.Check { return serverChecks(ctx, s.parts.Load().cfg, s.secrets) },
		OpenTransport: func(ctx context.Context, workers []ferry.WorkerInfo) (broker.Transport, error) {
			t, err := openTransport(ctx, p.cfg, s.secrets.Resolver, workers, s.log)
			if err != nil {
				return nil, err
			}
			s.transport = t
			return t, nil
		},
	}
	if s.certificate != nil {
		opts.Certificate = s.certificate.Info
	}
	return opts
}

// problems are more sentences for the status report.
func (s *server) problems() []string { return append(s.secrets.problems(), s.reloader.problems()...) }

// collectors are more metrics.
func (s *server) collectors() []prometheus.Collector {
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "ferry_access_log_dropped_total", Help: "Lines of the access log that were not written.",
	}, func() float64 {
		n := s.dropped.Load()
		if p := s.parts.Load(); p.access != nil {
			n += p.access.Dropped()
		}
		return float64(n)
	})
	return append(s.reloader.collectors(), s.secrets.vault, s.traces.Collector(), dropped)
}

// face makes the HTTP surface of a configuration, and lets new requests go by it. It
// gives what the surfaces before it still have to do.
func (s *server) face(p *parts) (before []*surface) {
	opts := api.Options{
		Log: s.log, Environment: p.cfg.Environment, Version: version(), PublicURL: p.cfg.PublicURL, Metrics: s.broker.Metrics(), Queue: s.transport,
	}
	p.surface(&opts)
	if s.reloader.file != "" {
		opts.Reload = s.reloader.asked
	}
	view := s.broker.View()
	if p.cfg.AdminListen == "" {
		return s.public.swap(api.Next(s.public.handler(), view, opts))
	}
	opts.Listener = api.PublicListener
	public := api.Next(s.public.handler(), view, opts)
	opts.Listener = api.AdminListener
	admin := api.Next(public, view, opts) // one guard: failed logins count on both
	return append(s.public.swap(public), s.admin.swap(admin)...)
}

// connections bound those of one listener.
func (s *server) connections(limits config.Limits) *api.Connections {
	return &api.Connections{Most: limits.Connections, PerAddress: limits.ConnectionsPerAddress, Closed: s.broker.ConnectionClosed}
}

// stop ends everything, when nothing is served any more.
func (s *server) stop() error {
	close(s.stopping)
	s.retiring.Wait()
	p := s.parts.Load()
	p.rest(nil) // while the ledger still takes what is in hand
	err := s.stopBroker()
	err = errors.Join(err, p.retire(nil))
	closeTraces(s.traces, s.log)
	s.secrets.close()
	return err
}

func (s *server) stopBroker() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return s.broker.Stop(ctx)
}

// stopTime bounds how long the queue may take to end.
const stopTime = 20 * time.Second

// retire closes what the parts before have alone, once no request goes by them.
func (s *server) retire(was, next *parts, surfaces []*surface) {
	was.rest(next)
	s.retiring.Go(func() {
		limit := time.NewTimer(retireAfter)
		defer limit.Stop()
		for _, one := range surfaces {
			select {
			case <-one.idle:
			case <-s.stopping:
			case <-limit.C:
			}
		}
		if was.access != nil && was.access != next.access {
			s.dropped.Add(was.access.Dropped())
		}
		if err := was.retire(next); err != nil {
			s.log.Warn("config.reload", "error", err.Error(), "next", "what an earlier configuration had opened may not be closed")
		}
	})
}

// retireAfter is longer than any request but those that workers keep open.
const retireAfter = 3 * time.Minute

// listeners are where the server listens.
type listeners struct{ public, admin net.Listener }

// openListeners takes the addresses before anything is opened: a second broker
// started by mistake must not touch the ledger.
func openListeners(cfg *config.Broker) (l listeners, err error) {
	if l.public, err = listen("listen", cfg.Listen); err != nil || cfg.AdminListen == "" {
		return l, err
	}
	if l.admin, err = listen("adminListen", cfg.AdminListen); err != nil {
		l.close()
	}
	return l, err
}

func (l listeners) close() {
	for _, one := range []net.Listener{l.public, l.admin} {
		if one != nil {
			_ = one.Close()
		}
	}
}
