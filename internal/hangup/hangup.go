// Package hangup keeps SIGHUP from ending a process in the middle of its work. It
// comes from who wants a configuration read again, and from a terminal that closes.
package hangup

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// Notify gives the SIGHUPs from now on, of which one waits until it is taken. None ends
// the process any more, for as long as it lives.
func Notify() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// Context is for programs that have nothing to read again. At a SIGHUP it ends where
// they run on a terminal, which has been closed; elsewhere ignored is called. stop
// frees what it needs; no SIGHUP ends the process after it either.
func Context(parent context.Context, terminal bool, ignored func()) (ctx context.Context, stop context.CancelFunc) {
	hangups := Notify()
	ctx, cancel := context.WithCancel(parent)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				if terminal {
					cancel()
					return
				}
				ignored()
			}
		}
	}()
	return ctx, func() { cancel(); <-ended }
}

// Terminal says whether input comes from one.
func Terminal(input io.Reader) bool {
	f, ok := input.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
