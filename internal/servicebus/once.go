package servicebus

import (
	"context"
	"runtime"
	"strings"
)

// once makes one try of a call of the SDK that must not be repeated.
//
// Whatever its retry options say, the SDK repeats a call when it finds the link
// detached, and so would send twice what the service took before the link went. The
// repeat begins with closing and opening links under contexts that are made from the
// caller's; the try itself makes none. So making a context from this one is where the
// call ends: it unwinds like any panic, and leaves the link for its owner to close.
func once(ctx context.Context, try func(context.Context) error) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer func() {
		switch p := recover(); p {
		case nil:
		case any(secondTry{}):
			err = errEnded
		default:
			panic(p)
		}
	}()
	return try(onceContext{ctx, stop})
}

// secondTry is what ends a call that would be repeated.
type secondTry struct{}

type onceContext struct {
	context.Context
	end context.CancelFunc
}

// Value is asked by those that make a context from this one. Ending the context is
// enough to keep the call from being repeated, but may cost the connection: the AMQP
// library ends sessions that it had no time to begin. So the call is unwound, where
// the locks on the way are released by deferred calls.
func (o onceContext) Value(key any) any {
	o.end()
	if closingLinks() {
		panic(secondTry{})
	}
	return o.Context.Value(key)
}

// closingLinks says whether the SDK is about to close links, rather than in the
// middle of opening one.
func closingLinks() bool {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		switch {
		case strings.Contains(frame.Function, ".closeWithoutLocking"):
			return true
		case strings.Contains(frame.Function, "NegotiateClaim"), !more:
			return false
		}
	}
}
