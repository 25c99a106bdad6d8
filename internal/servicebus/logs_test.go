package servicebus

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// logs keeps what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// containsSecret says whether a text has the key in it, or a signature made with it.
func containsSecret(text string) bool {
	return strings.Contains(text, theKey) || strings.Contains(text, "sig=")
}

// causes is an error with everything that it wraps.
func causes(err error) []error {
	all := []error{err}
	switch e := err.(type) { //nolint:errorlint // the chain itself
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, causes(inner)...)
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			all = append(all, causes(inner)...)
		}
	}
	return all
}
