// Package trace makes OpenTelemetry spans of a message's way, from its acceptance
// to the destination and back to who is told its end. The sender's trace goes on
// through all of it.
//
// A nil *Tracer and a nil *Span are those of a program without traces: every
// method may be called on them, does nothing and costs a comparison. No span holds
// a body, a key, a token or an address with its query.
package trace
