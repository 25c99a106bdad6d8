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
// that is the end of their terminal (see Ends); elsewhere ignored is called. stop
// frees what it needs; no SIGHUP ends the process after it either.
func Context(parent context.Context, ends bool, ignored func()) (ctx context.Context, stop context.CancelFunc) {
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
				if ends {
					cancel()
					return
				}
				ignored()
			}
		}
	}()
	return ctx, func() { cancel(); <-ended }
}

// Ends says whether a SIGHUP is the end of a terminal that input comes from. One that
// the process was started to ignore, as nohup does, is not. It is asked before Notify,
// which changes that.
func Ends(input io.Reader) bool {
	f, ok := input.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && !signal.Ignored(syscall.SIGHUP)
}
