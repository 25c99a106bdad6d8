package trace

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Exporter takes spans to where they are kept.
type Exporter = sdktrace.SpanExporter

// Options of New.
type Options struct {
	Service     string // ferry-broker or ferry-worker
	Version     string
	Instance    string // which of several; empty: none is named
	Environment string
	// Sample is the share of traces that are recorded of those which begin here, 0 to
	// 1. Where the sender's trace says whether it is recorded, that holds.
	Sample   float64
	Exporter Exporter
	Log      *slog.Logger // nil: nothing is logged
}

// Tracer makes spans. It may be used concurrently.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   oteltrace.Tracer
	out      *outlet
}

// Bounds of a span: what was said of a message is bounded before, this holds for
// what comes from elsewhere.
const (
	maxAttributes     = 32
	maxAttributeBytes = 1024
	maxLinks          = 8
)

// New makes a tracer. Close ends it.
func New(opts Options) *Tracer {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	about := []attribute.KeyValue{
		attribute.String("service.name", opts.Service),
		attribute.String("service.version", opts.Version),
	}
	if opts.Instance != "" {
		about = append(about, attribute.String("service.instance.id", opts.Instance))
	}
	if opts.Environment != "" {
		about = append(about, attribute.String("deployment.environment.name", opts.Environment))
	}
	out := newOutlet(opts.Exporter, opts.Log)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(opts.Sample))),
		sdktrace.WithIDGenerator(names{}),
		sdktrace.WithResource(resource.NewSchemaless(about...)),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxAttributeBytes, AttributeCountLimit: maxAttributes, EventCountLimit: maxLinks,
			LinkCountLimit: maxLinks, AttributePerEventCountLimit: maxAttributes, AttributePerLinkCountLimit: maxAttributes,
		}),
		sdktrace.WithSpanProcessor(out),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("ferry", oteltrace.WithInstrumentationVersion(opts.Version)), out: out}
}

// Collector tells what became of the spans.
func (t *Tracer) Collector() prometheus.Collector {
	if t == nil {
		return none{}
	}
	return t.out
}

// Close hands out the spans that wait, until ctx ends; what is left then is lost,
// and counted.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// start begins a span in ctx.
func (t *Tracer) start(ctx context.Context, name string, kind oteltrace.SpanKind, at time.Time, links []oteltrace.Link, about ...attribute.KeyValue) (context.Context, *Span) {
	opts := make([]oteltrace.SpanStartOption, 0, 4)
	opts = append(opts, oteltrace.WithSpanKind(kind), oteltrace.WithAttributes(about...), oteltrace.WithLinks(links...))
	if !at.IsZero() {
		opts = append(opts, oteltrace.WithTimestamp(at))
	}
	ctx, span := t.tracer.Start(ctx, name, opts...)
	return ctx, &Span{span}
}

// none is the collector of no traces.
type none struct{}

// Describe gives nothing.
func (none) Describe(chan<- *prometheus.Desc) {}

// Collect gives nothing.
func (none) Collect(chan<- prometheus.Metric) {}
