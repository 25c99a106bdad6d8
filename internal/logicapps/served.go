package logicapps

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Served is a Transport without a network: a handler in this process answers, also
// in a synctest bubble. Set changes it, as a restart does.
type Served struct {
	mu      sync.Mutex
	handler http.Handler
	calls   int
}

// Set says who answers from now on; nil: connections are refused.
func (s *Served) Set(handler http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
}

// Calls counts the requests, refused connections included.
func (s *Served) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

var (
	errRefused = errors.New("connection refused")
	errCut     = errors.New("the connection was cut")
)

// RoundTrip has the handler answer.
func (s *Served) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	handler := s.handler
	s.calls++
	s.mu.Unlock()
	if handler == nil {
		return nil, errRefused
	}
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "198.51.100.7:50000", r.URL.Host
	done := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		defer func() {
			if recover() != nil {
				done <- nil
				return
			}
			resp := w.Result()
			resp.Request = r
			if r.Method == http.MethodHead {
				resp.Body = io.NopCloser(bytes.NewReader(nil))
			}
			done <- resp
		}()
		handler.ServeHTTP(w, in)
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case resp := <-done:
		if resp == nil {
			return nil, errCut
		}
		return resp, nil
	}
}
