package servicebus

import "context"

// once makes one try of a call of the SDK.
//
// Whatever its retry options say, the SDK repeats a call when it finds the link
// detached, and so would send twice what the service took before the link went. And
// it would open the link anew under the caller's context, which, when it ends at the
// wrong moment, costs the whole connection: the AMQP library then ends a session that
// it had never begun.
//
// The repeat begins with closing and opening links under contexts that are made from
// the caller's; the try itself makes none. So making a context from this one is
// where the call ends. It unwinds like any panic, through locks that are released by
// deferred calls, and leaves the link for its owner to close.
func once(ctx context.Context, try func(context.Context) error) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case any(secondTry{}):
			err = errEnded
		default:
			panic(p)
		}
	}()
	return try(onceContext{ctx})
}

// secondTry is what ends a call that would be repeated.
type secondTry struct{}

type onceContext struct{ context.Context }

// Value is asked by those that make a context from this one.
func (onceContext) Value(any) any { panic(secondTry{}) }
