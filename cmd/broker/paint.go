package main

import "ferry"

// paint colours text with ANSI sequences, or leaves it alone.
type paint struct{ on bool }

func (p paint) with(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) bold(text string) string   { return p.with("1", text) }
func (p paint) dim(text string) string    { return p.with("2", text) }
func (p paint) red(text string) string    { return p.with("31", text) }
func (p paint) green(text string) string  { return p.with("32", text) }
func (p paint) yellow(text string) string { return p.with("33", text) }

// state colours a message's state: green ended well, red wants a person.
func (p paint) state(s ferry.State) string {
	switch s {
	case ferry.StateCompleted:
		return p.green(string(s))
	case ferry.StateDeadLettered:
		return p.red(string(s))
	case ferry.StateRetrying:
		return p.yellow(string(s))
	default:
		return string(s)
	}
}

// reason colours a dead letter's reason: yellow where the destination may have
// the message already.
func (p paint) reason(r ferry.Reason) string {
	if mayExist(r) {
		return p.yellow(string(r))
	}
	return p.red(string(r))
}

// route colours text as a route's state deserves.
func (p paint) route(s ferry.RouteState, text string) string {
	switch s {
	case ferry.RouteRunning:
		return p.green(text)
	case ferry.RoutePaused, ferry.RouteWindow, ferry.RouteThrottled:
		return p.yellow(text)
	default:
		return p.red(text)
	}
}
