package trace

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	oteltrace "go.opentelemetry.io/otel/trace"
)

// spanNamed is the key, in a context, of the name that the next span has.
type spanNamed struct{}

// names gives traces and spans their ids: random ones, as the SDK's own do, unless
// the context names the span. One that is told to somebody before it is made is
// named so.
type names struct{}

// NewIDs names a trace and its first span.
func (n names) NewIDs(ctx context.Context) (oteltrace.TraceID, oteltrace.SpanID) {
	var id oteltrace.TraceID
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, n.NewSpanID(ctx, id)
}

// NewSpanID names a span.
func (names) NewSpanID(ctx context.Context, _ oteltrace.TraceID) oteltrace.SpanID {
	id, _ := ctx.Value(spanNamed{}).(oteltrace.SpanID)
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
