package main

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"syscall"

	"ferry"
	"ferry/config"
	"ferry/internal/hangup"
)

type serveCmd struct {
	Config    string `placeholder:"FILE" help:"The configuration (else broker.yaml where there is one, else the defaults)."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
}

// Run is the server: it serves until it is told to stop.
func (c serveCmd) Run(a *app) error {
	ends := hangup.Ends(a.stdin)
	hangups := hangup.Notify() // the start takes its time, and one that asks for a reload must not end it
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log := newLog(a.stderr, c.LogFormat, c.LogLevel)
	if cfg.File == "" {
		defer a.outliveHangups(log, ends)()
	}
	l, err := openListeners(cfg)
	if err != nil {
		return err
	}
	defer l.close()
	s, err := startServer(a.ctx, cfg, log)
	if err != nil && a.ctx.Err() != nil {
		log.Info("stopped before it had started", "error", err.Error())
		return nil
	}
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
	a.printf("broker %s listens on %s://%s, workers connect to %s, data in %s\n", version(), s.scheme(), l.public.Addr(), orNone(s.transport.URL()), cfg.DataDir)
	if l.admin != nil {
		a.printf("operators find it on %s://%s\n", s.scheme(), l.admin.Addr())
	}
	if len(cfg.Routes) == 0 {
		a.printf("there is no route yet: write one into broker.yaml (README.md, \"A route of your own\")\n")
	}
	s.adminListener, s.reloader.hangups = l.admin, hangups
	return s.serve(a.ctx, l.public)
}

// outliveHangups is for a server that has no file to read again: a terminal that closes
// has it stop in good order, and any other SIGHUP changes nothing. stop ends that.
func (a *app) outliveHangups(log *slog.Logger, ends bool) (stop func()) {
	a.ctx, stop = hangup.Context(a.ctx, ends, func() {
		log.Info("SIGHUP: there is no configuration file to read again")
	})
	return stop
}

func orNone(url string) string {
	if url == "" {
		return "/queue there, and nowhere else (queue.nats.listen: off)"
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

func listen(key, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, ferry.Errorf(ferry.CodePortTaken, "cannot listen on %s: the port is taken", addr).
			WithHint("is a broker running already? else set %s in broker.yaml to another port", key)
	default:
		return nil, ferry.Errorf(ferry.CodeBadConfig, "cannot listen on %s: %w", addr, err).
			WithHint("set %s in broker.yaml to an address of this machine", key)
	}
}
