package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ferry/queue"
)

// Limits of the queue; zero values take the defaults.
type Limits struct {
	Lock            time.Duration // of a delivery, at a time
	DuplicateWindow time.Duration // each id in it takes about 150 bytes of memory
	MaxStoreBytes   int64         // on disk; a full queue refuses to take more
	MaxAckPending   int           // deliveries of one route that may be held at a time
}

func (l Limits) withDefaults() Limits {
	if l.Lock <= 0 {
		l.Lock = DefaultLock
	}
	if l.DuplicateWindow <= 0 {
		l.DuplicateWindow = DefaultDuplicateWindow
	}
	if l.MaxStoreBytes <= 0 {
		l.MaxStoreBytes = DefaultMaxStoreBytes
	}
	if l.MaxAckPending <= 0 {
		l.MaxAckPending = DefaultMaxAckPending
	}
	return l
}

// ServerOptions of StartServer.
type ServerOptions struct {
	StoreDir string // made when it is missing; nobody else may use it
	Listen   string // host:port for workers over TCP, port 0 for any; empty: in-process only
	Workers  []WorkerAuth
	Limits
	// StartTimeout bounds how long reading the store may take; default 2 min.
	StartTimeout time.Duration
	Log          *slog.Logger

	loginTime time.Duration // until who has not logged in is cut off; default loginTime
}

// startTimeout is enough for some ten million packets.
const startTimeout = 2 * time.Minute

// Server is a NATS server in this process with one account: the broker may do
// everything, each worker what its routes need. It reads no signals and no
// configuration files.
type Server struct {
	opts   ServerOptions
	broker nkeys.KeyPair // made at start, never stored
	public string

	mu      sync.Mutex // of changes
	nats    *server.Server
	logins  *logins
	door    *door
	stopped bool
}

// StartServer starts the server and waits until it is ready. A store that cannot
// be read is moved aside: everything in it can be published again from the
// ledger. A port that is taken is an error.
func StartServer(opts ServerOptions) (*Server, error) {
	opts.Limits = opts.withDefaults()
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = startTimeout
	}
	if opts.loginTime <= 0 {
		opts.loginTime = loginTime
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	broker, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make the broker's key: %w", err)
	}
	public, err := broker.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make the broker's key: %w", err)
	}
	s := &Server{opts: opts, broker: broker, public: public}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) start() error {
	if s.opts.Listen != "" {
		// The server ends the whole process when it cannot listen.
		if err := canListen(s.opts.Listen); err != nil {
			return err
		}
	}
	err := s.startOnce()
	if !errors.Is(err, errDamaged) {
		return err
	}
	if strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return err // a full disk damages nothing: a new store would not fit either
	}
	aside, moveErr := moveAside(s.opts.StoreDir, time.Now())
	if moveErr != nil {
		return fmt.Errorf("the queue's store %s cannot be read, and not moved aside: %w", s.opts.StoreDir, errors.Join(err, moveErr))
	}
	s.opts.Log.Error("queue.store.damaged", "error", err.Error(), "movedTo", aside,
		"next", "a new one is made; the ledger publishes again what was in it")
	return s.startOnce()
}

func canListen(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for workers: %w", err)
	}
	return listener.Close()
}

func (s *Server) startOnce() error {
	known, err := knownLogins(s.public, s.opts.Workers)
	if err != nil {
		return err
	}
	logins := newLogins(known)
	options, err := s.options(logins)
	if err != nil {
		return err
	}
	expected := storedStreams(s.opts.StoreDir)
	ns, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("start the queue's server: %w", err)
	}
	logins.server = ns
	logins.door = newDoor(ns, s.opts.Log)
	fatal := make(chan string, 1)
	ns.SetLoggerV2(&logger{log: s.opts.Log, fatal: fatal}, false, false, false)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ns.Start()
	}()
	if err := waitReady(ns, ended, fatal, s.opts.StartTimeout); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return err
	}
	if err := checkStreams(ns, expected); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return err
	}
	s.nats, s.logins, s.door = ns, logins, logins.door
	return nil
}

func waitReady(ns *server.Server, ended <-chan struct{}, fatal <-chan string, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-ended: // Start returns once everything is read
	case <-timer.C:
		return fmt.Errorf("the queue's server was not ready within %s: %w", timeout, queue.ErrUnavailable)
	}
	select {
	case text := <-fatal:
		return fmt.Errorf("%w: %s", errDamaged, text)
	default:
	}
	if !ns.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("the queue's server takes no connections: %w", queue.ErrUnavailable)
	}
	if !ns.JetStreamEnabled() {
		return fmt.Errorf("%w: the server started without its store", errDamaged)
	}
	return nil
}

// options are made anew for each start: the server changes what it is given.
func (s *Server) options(logins *logins) (*server.Options, error) {
	o := &server.Options{
		ServerName:         "ferry",
		NoSigs:             true,
		NoLog:              true,
		DontListen:         s.opts.Listen == "",
		MaxPayload:         maxData + protocolHeadRoom,
		JetStream:          true,
		StoreDir:           s.opts.StoreDir,
		JetStreamMaxMemory: 1 << 20, // nothing is kept in memory only
		JetStreamMaxStore:  s.opts.MaxStoreBytes + 64<<20,
		AlwaysEnableNonce:  true, // for the keys to sign
		AuthTimeout:        s.opts.loginTime.Seconds(),
		PingInterval:       pingInterval, // who does not answer twice is gone
		MaxPingsOut:        2,

		CustomClientAuthentication: logins,
	}
	if s.opts.Listen != "" {
		host, port, err := net.SplitHostPort(s.opts.Listen)
		if err != nil {
			return nil, fmt.Errorf("the queue's address %q: %w", s.opts.Listen, err)
		}
		o.Host = host
		if o.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("the queue's address %q: %w", s.opts.Listen, err)
		}
		if o.Port == 0 {
			o.Port = server.RANDOM_PORT
		}
	}
	return o, nil
}

// SetWorkers replaces who may connect and what for, at once: whoever is no
// longer in the list is cut off, the others keep their connections.
func (s *Server) SetWorkers(workers []WorkerAuth) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return queue.ErrClosed
	}
	known, err := knownLogins(s.public, workers)
	if err != nil {
		return fmt.Errorf("change the queue's workers: %w", err)
	}
	s.logins.replace(known)
	return nil
}

// URL is where workers connect over TCP; empty when the server does not listen.
func (s *Server) URL() string {
	if s.opts.Listen == "" {
		return ""
	}
	return s.nats.ClientURL()
}

// Driver makes a connection with the broker's rights, inside the process.
func (s *Server) Driver() (queue.Driver, error) {
	l, err := dial("", s.opts.Log,
		nats.Name("broker"),
		nats.InProcessServer(inProcess{s.nats}),
		nats.CustomInboxPrefix(inboxOf+brokerName),
		nats.Nkey(s.public, s.broker.Sign),
	)
	if err != nil {
		return nil, err
	}
	d, err := newBrokerDriver(l, s, s.opts.Limits, 1, s.opts.Log)
	if err != nil {
		l.close(context.Background())
		return nil, err
	}
	return d, nil
}

// newBrokerDriver works over any connection with the broker's rights, so that
// the server may also be somewhere else: s is nil then.
func newBrokerDriver(l *link, s *Server, limits Limits, replicas int, log *slog.Logger) (*driver, error) {
	d, err := newDriver(l, brokerName, limits.Lock, limits.DuplicateWindow, log)
	if err != nil {
		return nil, err
	}
	m, err := newManager(l.nc, limits, replicas)
	if err != nil {
		return nil, err
	}
	d.keep = startHousekeeper(m, l, s, log)
	return d, nil
}

// pingInterval is how long a connection may say nothing before it is asked.
const pingInterval = 30 * time.Second

// Shutdown stops the server and waits until its store is written, or ctx ends. Then
// every connection has ended. Close the drivers first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}()
	select {
	case <-done:
		s.door.close()
		s.broker.Wipe()
		return nil
	case <-ctx.Done():
		s.door.end()
		s.door.close()
		return fmt.Errorf("the queue's server still writes its store: %w", ctx.Err())
	}
}
