package trace

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Bounds of the outlet. Whatever the exporter does, nobody waits for it.
const (
	outletRoom  = 4096 // spans that wait; what ends beyond that is dropped
	outletBatch = 512  // spans of one export
	outletEvery = 2 * time.Second
	exportTime  = 10 * time.Second // that one export may take
	endGrace    = time.Second      // for an exporter that is told to give up
	sayEvery    = time.Minute      // how often the log repeats that spans cannot be exported
)

// outlet hands ended spans to an exporter, a batch at a time, on a goroutine of its
// own. It is the SDK's batch processor with two differences: what it drops can be
// counted, and its end is bounded by who asks for it.
type outlet struct {
	to   sdktrace.SpanExporter
	log  *slog.Logger
	room chan sdktrace.ReadOnlySpan
	quit chan struct{} // closed by Shutdown
	done chan struct{} // closed when the goroutine has ended
	once sync.Once
	// hurry ends with the context of Shutdown: exports under way are given up.
	hurry context.Context
	stop  context.CancelFunc

	exported, dropped, failed atomic.Int64
	saidAt                    time.Time // the goroutine's
}

func newOutlet(to sdktrace.SpanExporter, log *slog.Logger) *outlet {
	o := &outlet{to: to, log: log, room: make(chan sdktrace.ReadOnlySpan, outletRoom), quit: make(chan struct{}), done: make(chan struct{})}
	o.hurry, o.stop = context.WithCancel(context.Background())
	go o.run()
	return o
}

// OnStart does nothing.
func (o *outlet) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd takes a span, or drops it where there is no room. It never waits.
func (o *outlet) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case <-o.quit: // nobody reads any more
		o.dropped.Add(1)
		return
	default:
	}
	select {
	case o.room <- s:
	default:
		o.dropped.Add(1)
	}
}

// ForceFlush does nothing: nobody here asks for it.
func (o *outlet) ForceFlush(context.Context) error { return nil }

// Shutdown exports what waits, until ctx ends.
func (o *outlet) Shutdown(ctx context.Context) error {
	o.once.Do(func() { close(o.quit) })
	select {
	case <-o.done:
	case <-ctx.Done():
		o.stop() // exports under way are given up, and those that wait are not begun
		select {
		case <-o.done:
		case <-time.After(endGrace):
		}
	}
	o.stop()
	return o.to.Shutdown(ctx)
}

func (o *outlet) run() {
	defer close(o.done)
	tick := time.NewTicker(outletEvery)
	defer tick.Stop()
	batch := make([]sdktrace.ReadOnlySpan, 0, outletBatch)
	for {
		select {
		case s := <-o.room:
			if batch = append(batch, s); len(batch) == outletBatch {
				batch = o.export(batch)
			}
		case <-tick.C:
			batch = o.export(batch)
		case <-o.quit:
			o.drain(batch)
			return
		}
	}
}

// drain exports what waits at the end.
func (o *outlet) drain(batch []sdktrace.ReadOnlySpan) {
	for {
		select {
		case s := <-o.room:
			if batch = append(batch, s); len(batch) == outletBatch {
				batch = o.export(batch)
			}
		default:
			o.export(batch)
			return
		}
	}
}

// export hands a batch out, and gives it back empty.
func (o *outlet) export(batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	if len(batch) == 0 {
		return batch
	}
	ctx, cancel := context.WithTimeout(o.hurry, exportTime)
	defer cancel()
	if err := o.to.ExportSpans(ctx, batch); err != nil {
		o.failed.Add(int64(len(batch)))
		if time.Since(o.saidAt) >= sayEvery {
			o.saidAt = time.Now()
			o.log.Warn("traces.export", "error", err.Error(), "lost", len(batch), "next", "the next spans are tried; nothing else waits for them")
		}
	} else {
		o.exported.Add(int64(len(batch)))
	}
	clear(batch) // or the spans would be kept
	return batch[:0]
}

func spansDesc() *prometheus.Desc {
	return prometheus.NewDesc("ferry_trace_spans_total", "Spans of traces, by what became of them.", []string{"outcome"}, nil)
}

// Describe gives the one metric.
func (o *outlet) Describe(out chan<- *prometheus.Desc) { out <- spansDesc() }

// Collect tells what became of the spans.
func (o *outlet) Collect(out chan<- prometheus.Metric) {
	for outcome, n := range map[string]int64{"exported": o.exported.Load(), "dropped": o.dropped.Load(), "failed": o.failed.Load()} {
		out <- prometheus.MustNewConstMetric(spansDesc(), prometheus.CounterValue, float64(n), outcome)
	}
}
