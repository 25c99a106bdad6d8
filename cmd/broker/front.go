package main

import (
	"net/http"
	"sync"
)

// front answers by the surface that is there now. A request goes by one surface from
// its beginning to its end.
type front struct {
	mu  sync.RWMutex
	now *surface
}

// surface is a handler, and the requests that go by it.
type surface struct {
	http.Handler
	running sync.WaitGroup
	idle    chan struct{} // closed when another one took its place, and its last request has ended
}

// ServeHTTP answers a request.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.RLock()
	s := f.now
	s.running.Add(1)
	f.mu.RUnlock()
	defer s.running.Done()
	s.Handler.ServeHTTP(w, r)
}

// handler is the one that is there now; nil before the first.
func (f *front) handler() http.Handler {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.now == nil {
		return nil
	}
	return f.now.Handler
}

// swap puts another handler in place, and gives the surface that was there before.
func (f *front) swap(h http.Handler) []*surface {
	f.mu.Lock()
	was := f.now
	f.now = &surface{Handler: h, idle: make(chan struct{})}
	f.mu.Unlock()
	if was == nil {
		return nil
	}
	go func() {
		was.running.Wait()
		close(was.idle)
	}()
	return []*surface{was}
}

// drainer is what surfaces do when the server stops; those of one server do it
// together.
type drainer interface {
	Leave()
	Drain()
}

func (f *front) drainer() drainer {
	d, _ := f.handler().(drainer)
	return d
}
