package trace

import (
	"context"
	"encoding/hex"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"ferry"
)

// Span is a stretch of a message's way. Nil: none is recorded.
type Span struct{ span oteltrace.Span }

// Context is where a trace goes on from: the two headers of W3C Trace Context.
type Context struct {
	Parent string // traceparent; empty: nowhere
	State  string // tracestate
}

// Context is where what follows the span goes on from.
func (s *Span) Context() Context {
	if s == nil {
		return Context{}
	}
	return contextOf(s.span.SpanContext())
}

func contextOf(sc oteltrace.SpanContext) Context {
	if !sc.IsValid() {
		return Context{}
	}
	b := make([]byte, 0, 55)
	traceID, spanID := sc.TraceID(), sc.SpanID()
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, traceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, spanID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{byte(sc.TraceFlags())})
	return Context{Parent: string(b), State: sc.TraceState().String()}
}

// read is the span context that the headers name; an invalid one when there is none.
func (c Context) read() oteltrace.SpanContext {
	var none oteltrace.SpanContext
	p := c.Parent
	if len(p) < 55 || p[2] != '-' || p[35] != '-' || p[52] != '-' || p[:2] == "ff" {
		return none
	}
	traceID, traceErr := oteltrace.TraceIDFromHex(p[3:35])
	spanID, spanErr := oteltrace.SpanIDFromHex(p[36:52])
	flags, flagsErr := hex.DecodeString(p[53:55])
	if traceErr != nil || spanErr != nil || flagsErr != nil {
		return none
	}
	config := oteltrace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: oteltrace.TraceFlags(flags[0]), Remote: true}
	if c.State != "" && len(c.State) <= ferry.MaxTracestate {
		config.TraceState, _ = oteltrace.ParseTraceState(c.State) // a damaged one is dropped, as its specification asks
	}
	return oteltrace.NewSpanContext(config)
}

// from is ctx in which the next span is a child of c.
func (c Context) from(ctx context.Context) context.Context {
	if sc := c.read(); sc.IsValid() {
		return oteltrace.ContextWithRemoteSpanContext(ctx, sc)
	}
	return ctx
}

// link leads to c; false when there is nothing to lead to. how says what it is.
func (c Context) link(how string) (oteltrace.Link, bool) {
	sc := c.read()
	return oteltrace.Link{SpanContext: sc, Attributes: []attribute.KeyValue{attribute.String("ferry.link", how)}}, sc.IsValid()
}

// In is ctx in which calls are made as children of the span.
func (s *Span) In(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	return oteltrace.ContextWithSpan(ctx, s.span)
}

// recording says whether anything that is said of the span is kept.
func (s *Span) recording() bool { return s != nil && s.span.IsRecording() }

func (s *Span) set(about ...attribute.KeyValue) { s.span.SetAttributes(about...) }

// fail marks the span as one that went wrong.
func (s *Span) fail(kind string) {
	s.span.SetStatus(codes.Error, kind)
	s.span.SetAttributes(attribute.String("error.type", kind))
}

// End ends the span.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}

func (s *Span) endAt(at time.Time) { s.span.End(oteltrace.WithTimestamp(at)) }
