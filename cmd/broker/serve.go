package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/certs"
	"ferry/config"
	"ferry/jwtauth"
	"ferry/queue/drivers"
	"ferry/secret"
	"ferry/trace"
)

type serveCmd struct {
	Config    string `placeholder:"FILE" help:"The configuration (else broker.yaml where there is one, else the defaults)."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
}

// Run is the server: it serves until it is told to stop.
func (c serveCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log := newLog(a.stderr, c.LogFormat, c.LogLevel)
	listener, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	s, err := startServer(a.ctx, cfg, log)
	if err != nil {
		return err
	}
	path, err := s.broker.EnsureAdminKey(a.ctx)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	if path != "" {
		a.printf("the first admin key is in %s, readable for you only\n", path)
	}
	a.printf("broker %s listens on %s://%s, workers connect to %s, data in %s\n", version(), s.scheme(), listener.Addr(), orNone(s.transport.URL()), cfg.DataDir)
	if len(cfg.Routes) == 0 {
		a.printf("there is no route yet: write one into broker.yaml (README.md, \"A route of your own\")\n")
	}
	return s.serve(a.ctx, listener)
}

func orNone(url string) string {
	if url == "" {
		return "no listener (queue.nats.listen: off)"
	}
	return url
}

// defaultConfig is read when it is there and no other was named.
const defaultConfig = "broker.yaml"

func (c serveCmd) load() (*config.Broker, error) {
	if c.Config != "" {
		return config.LoadBroker(c.Config)
	}
	if _, err := os.Stat(defaultConfig); !errors.Is(err, fs.ErrNotExist) {
		return config.LoadBroker(defaultConfig)
	}
	return config.Default(), nil
}

func newLog(w io.Writer, format, level string) *slog.Logger {
	var at slog.Level
	_ = at.UnmarshalText([]byte(level)) // one of the four that the flag takes
	opts := &slog.HandlerOptions{Level: at}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// listen takes the port before anything is opened: a second broker started by
// mistake must not touch the ledger.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, ferry.Errorf(ferry.CodePortTaken, "cannot listen on %s: the port is taken", addr).
			WithHint("is a broker running already? else set listen in broker.yaml to another port")
	default:
		return nil, ferry.Errorf(ferry.CodeBadConfig, "cannot listen on %s: %w", addr, err).
			WithHint("set listen in broker.yaml to an address of this machine")
	}
}

// server is a broker with its queue and its HTTP surface.
type server struct {
	broker    *broker.Broker
	transport transport
	intakes   *intakes // nil: no route takes in from elsewhere
	secrets   *secrets // reads every reference of the file
	callbacks callbacks
	access    *access // nil: there is no access log
	traces    *trace.Tracer
	handler   http.Handler
	issuers   *jwtauth.Verifier // nil: no tokens are taken
	log       *slog.Logger

	certificate *certs.Certificate // nil: plain HTTP
	connections api.Connections
}

// transport is a queue of package drivers.
type transport interface {
	broker.Transport
	URL() string // where workers connect; empty: nowhere
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
			URL: n.URL, Seed: seed.Reveal(), Replicas: n.Replicas, MaxStore: int64(n.MaxStore),
			Lock: n.Lock, Window: window, Routes: routes, Log: log,
		})
	}
	address := n.Listen
	if address == config.ListenOff {
		address = ""
	}
	return drivers.StartNATS(drivers.NATSOptions{
		Dir: filepath.Join(cfg.DataDir, "queue"), Listen: address, Lock: n.Lock,
		Window: window, MaxStore: int64(n.MaxStore), Workers: workers, Log: log,
	})
}

// startServer opens ledger and queue and begins to deliver.
func startServer(ctx context.Context, cfg *config.Broker, log *slog.Logger) (s *server, err error) {
	secrets := openSecrets(cfg, log)
	defer func() {
		if err != nil {
			secrets.close()
		}
	}()
	policies, err := sasPolicies(cfg, secrets.Resolver, log)
	if err != nil {
		return nil, err
	}
	s = &server{
		log: log, secrets: secrets,
		connections: api.Connections{Most: cfg.Limits.Connections, PerAddress: cfg.Limits.ConnectionsPerAddress},
	}
	if s.issuers, err = openIssuers(cfg, log); err != nil {
		return nil, err
	}
	if s.certificate, err = certificateOf(cfg, secrets.Resolver, log); err != nil {
		return nil, err
	}
	in, err := openIntakes(cfg, secrets.Resolver, log)
	if err != nil {
		return nil, err
	}
	s.intakes = in
	opts := broker.Options{
		DataDir: cfg.DataDir, PublicURL: cfg.PublicURL, Environment: cfg.Environment, Version: version(), Routes: cfg.FerryRoutes(), Log: log,
		Retention: cfg.Retention, IdempotencyWindow: cfg.IdempotencyWindow,
		Problems: secrets.problems, Collectors: []prometheus.Collector{secrets.vault.Collector()},
		OpenTransport: func(ctx context.Context, workers []ferry.WorkerInfo) (broker.Transport, error) {
			t, err := openTransport(ctx, cfg, secrets.Resolver, workers, log)
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
	opts.Tellers = map[string]broker.Teller{}
	in.options(&opts)
	if s.traces, err = openTraces(ctx, cfg, secrets.Resolver, log); err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	defer func() {
		if err != nil {
			closeTraces(s.traces, log)
		}
	}()
	opts.Tracer = s.traces
	opts.Collectors = append(opts.Collectors, s.traces.Collector())
	callbacks, err := openCallbacks(cfg, s.traces)
	if err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	opts.Operators = operatorsOf(cfg, secrets.Resolver)
	callbacks.options(&opts)
	s.callbacks = callbacks
	access, err := openAccessLog(cfg.AccessLog, os.Stdout, log)
	if err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, access.close())
		}
	}()
	access.options(&opts)
	s.access = access
	refs, err := drivers.BodyRefs(cfg.BodyRef, secrets.Resolver)
	if err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	if refs != nil {
		opts.BodyRefs = refs
	}
	b, err := broker.New(ctx, opts)
	if err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	s.broker = b
	s.connections.Closed = b.ConnectionClosed
	surface := api.Options{
		Log: log, Environment: cfg.Environment, Version: version(), PublicURL: cfg.PublicURL, Metrics: b.Metrics(), SAS: policies,
		Limits: limitsOf(cfg), Origins: cfg.CORS.Origins, Certificates: certificates(cfg), AccessLog: access.log(),
	}
	if s.issuers != nil {
		surface.Tokens = s.issuers
		s.issuers.Start()
	}
	s.handler = api.New(b, surface)
	if err := b.Start(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	in.start(b)
	return s, nil
}

// drainTime bounds how long requests under way may take when the server stops.
const drainTime = 20 * time.Second

// serve answers until ctx ends, then lets requests finish and closes all.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	web := api.Server(l.Addr().String(), s.handler)
	web.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	l = s.connections.Bound(web, l)
	failed := make(chan error, 1)
	if s.certificate != nil {
		web.TLSConfig = s.certificate.Config()
		watching, rest := context.WithCancel(ctx)
		defer rest()
		go s.certificate.Watch(watching)
		go func() { failed <- web.ServeTLS(l, "", "") }()
	} else {
		go func() { failed <- web.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping: requests under way finish first")
	case err = <-failed:
		err = fmt.Errorf("the HTTP server ended: %w", err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return errors.Join(err, web.Shutdown(drain), s.stop())
}

func (s *server) stop() error {
	if s.issuers != nil {
		s.issuers.Close()
	}
	s.intakes.rest() // while the ledger still takes what is in hand
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := errors.Join(s.broker.Stop(ctx), s.intakes.close(ctx))
	s.callbacks.Close()
	closeTraces(s.traces, s.log)
	s.secrets.close()
	return errors.Join(err, s.access.close())
}
