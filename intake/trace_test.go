package intake

import (
	"context"
	"errors"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"ferry"
	"ferry/internal/servicebus"
	"ferry/trace"
)

// open keeps what it was given when it is shut down.
type open struct{ *tracetest.InMemoryExporter }

func (open) Shutdown(context.Context) error { return nil }

// Who reads a reply goes on in the message's trace: from the reply's own span, and
// without traces from the sender's.
func TestRepliesAreInTheTrace(t *testing.T) {
	const senders = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	inTrace := func(e *ferry.Ending) { e.Traceparent, e.Tracestate = senders, "vendor=abc" }
	kept := tracetest.NewInMemoryExporter()
	tr := trace.New(trace.Options{Exporter: open{kept}})
	for _, tracer := range []*trace.Tracer{nil, tr} {
		f := newFake()
		f.in.opts.Tracer = tracer
		if diff := cmp.Diff([]string{"", ""}, texts(f.tell(ending(1, inTrace), ending(2)))); diff != "" {
			t.Fatal(diff)
		}
		first, second := f.bus.sent["replies"][0].ApplicationProperties, f.bus.sent["replies"][1].ApplicationProperties
		p, _ := first["traceparent"].(string)
		if len(p) != 55 || p[:36] != senders[:36] || (p == senders) != (tracer == nil) || first["Diagnostic-Id"] != p || first["tracestate"] != "vendor=abc" {
			t.Errorf("with traces %v: %v", tracer != nil, first)
		}
		if _, ok := second["traceparent"]; ok {
			t.Errorf("a trace of nobody's: %v", second)
		}
		if tracer == nil {
			continue
		}
		f.bus.send = func(string, []*azservicebus.Message) error { return servicebus.ErrUnauthorized }
		if errs := f.tell(ending(3, inTrace)); !errors.Is(errs[0], servicebus.ErrUnauthorized) {
			t.Fatal(errs)
		}
		if err := tr.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		spans := kept.GetSpans()
		if len(spans) != 2 || spans[0].Name != "reply invoices" || spans[0].SpanContext.SpanID().String() != p[36:52] || spans[0].Status.Code.String() == "Error" || spans[1].Status.Code.String() != "Error" {
			t.Errorf("spans: %+v", spans)
		}
	}
}
