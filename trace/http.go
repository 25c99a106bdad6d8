package trace

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Request begins the span of a call over HTTP below the span of its context, and
// gives the request the headers by which the other side goes on. Without a span in
// the context it does nothing. Of the address the span has the host alone: path and
// query may hold what is not to be shown.
func Request(req *http.Request) (*http.Request, *Span) {
	parent := oteltrace.SpanFromContext(req.Context())
	if !parent.SpanContext().IsValid() {
		return req, nil
	}
	ctx, span := parent.TracerProvider().Tracer("ferry").Start(req.Context(), req.Method, oteltrace.WithSpanKind(oteltrace.SpanKindClient),
		oteltrace.WithAttributes(attribute.String("http.request.method", req.Method), attribute.String("server.address", req.URL.Hostname())))
	req = req.WithContext(ctx)
	next := contextOf(span.SpanContext())
	req.Header.Set("Traceparent", next.Parent)
	if next.State != "" {
		req.Header.Set("Tracestate", next.State)
	}
	return req, &Span{span}
}

// Answered ends the span of a call; status 0: no answer came.
func (s *Span) Answered(status int) {
	if s == nil {
		return
	}
	defer s.End()
	if !s.recording() {
		return
	}
	if status == 0 {
		s.fail("noAnswer")
		return
	}
	s.set(attribute.Int("http.response.status_code", status))
	if status >= 400 {
		s.fail(http.StatusText(status))
	}
}
