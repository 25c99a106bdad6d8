package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"ferry/api"
	"ferry/internal/systemd"
)

// linger is how long open connections are still answered after the listener has
// closed: who had begun to write on one gets an answer, and is asked to come back on
// another.
const (
	linger     = 500 * time.Millisecond
	lingerStep = 10 * time.Millisecond
)

// serve answers until ctx ends, then lets requests finish and closes all.
//
// The stop has an order, so that nobody is cut: readiness says no; for drain.delay
// everything goes on, and every answer ends its connection; the listeners close, so
// that who comes is refused before it sent anything; who had connected is answered,
// and who waits for something is answered that there is nothing; requests under way
// end within drain.within; then queue and ledger.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	limits := s.parts.Load().cfg.Limits
	failed := make(chan error, 2)
	servers := []*web{s.newWeb(l, &s.public, s.connections(limits))}
	if s.adminListener != nil {
		servers = append(servers, s.newWeb(s.adminListener, &s.admin, s.connections(limits)))
	}
	if s.certificate != nil {
		watching, rest := context.WithCancel(ctx)
		defer rest()
		go s.certificate.Watch(watching)
	}
	for _, w := range servers {
		go w.serve(failed)
	}
	following, rest := context.WithCancel(ctx)
	followed := s.reloader.follow(following)
	defer func() { rest(); <-followed }()
	s.notify(systemd.Ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("the HTTP server ended: %w", err)
	}
	s.notify(systemd.Stopping)
	rest()
	s.reloader.stop() // first: the follower may wait for a reload that somebody asked for
	<-followed
	s.reloader.end() // no new configuration while the server stops
	drain := s.parts.Load().cfg.Drain
	if err == nil {
		s.log.Info("stopping: requests under way finish first", "delay", drain.Delay, "within", drain.Within)
		s.public.drainer().Leave()
		sleep(drain.Delay)
	}
	for _, w := range servers {
		w.refuse()
	}
	s.public.drainer().Drain()
	for until := time.Now().Add(linger); open(servers) && time.Now().Before(until); {
		sleep(lingerStep)
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain.Within)
	defer cancel()
	var ends sync.WaitGroup
	cut := make([]error, len(servers))
	for i, w := range servers {
		ends.Go(func() { cut[i] = w.end(bounded) })
	}
	ends.Wait()
	return errors.Join(err, errors.Join(cut...), s.stop())
}

func sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// web is an HTTP server on one listener.
type web struct {
	srv      *http.Server
	listener net.Listener
	bound    *api.Connections
	log      *slog.Logger
	refusing chan struct{} // closed: the listener is closed on purpose
}

func (s *server) newWeb(l net.Listener, handler http.Handler, connections *api.Connections) *web {
	w := &web{listener: l, bound: connections, log: s.log, refusing: make(chan struct{})}
	server := api.Server(l.Addr().String(), handler)
	server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	if s.certificate != nil {
		server.TLSConfig = s.certificate.Config()
	}
	w.listener = connections.Bound(server, l)
	w.srv = server
	return w
}

// serve takes connections until the listener closes.
func (w *web) serve(failed chan<- error) {
	var err error
	if w.srv.TLSConfig != nil {
		err = w.srv.ServeTLS(w.listener, "", "")
	} else {
		err = w.srv.Serve(w.listener)
	}
	select {
	case <-w.refusing:
	default:
		failed <- err
	}
}

// open says whether there are connections.
func open(servers []*web) bool {
	for _, w := range servers {
		if w.bound.Open() > 0 {
			return true
		}
	}
	return false
}

// refuse takes no more connections; those that are open are answered.
func (w *web) refuse() {
	close(w.refusing)
	_ = w.listener.Close()
}

// end waits for requests under way, and cuts those that are not done when ctx ends.
func (w *web) end(ctx context.Context) error {
	err := w.srv.Shutdown(ctx)
	if err == nil {
		return nil
	}
	w.log.Warn("requests were cut: they did not end in time", "listener", w.srv.Addr, "hint", "drain.within in broker.yaml is the bound")
	return w.srv.Close()
}

// notify tells the service manager, where there is one.
func (s *server) notify(state string) {
	if err := systemd.Notify(state); err != nil {
		s.log.Warn("systemd.notify", "error", err.Error())
	}
}
