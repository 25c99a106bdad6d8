package servicebus

import "context"

// oneTry is a context for a call of the SDK that must not be repeated by it.
//
// Whatever its retry options say, the SDK repeats a call once when it finds the
// link detached, and so would send twice what the service took before the link
// went. The repeat begins with closing and opening links, under contexts that are
// made from the caller's; the call itself makes none. So the first context that is
// made from this one ends it.
type oneTry struct {
	context.Context
	end context.CancelFunc
}

// onlyOnce gives a context for one try; stop frees it.
func onlyOnce(ctx context.Context) (try oneTry, stop context.CancelFunc) {
	inner, cancel := context.WithCancel(ctx)
	return oneTry{inner, cancel}, cancel
}

// Value is asked by those that make a context from this one, before they use it.
func (o oneTry) Value(key any) any {
	o.end()
	return o.Context.Value(key)
}
