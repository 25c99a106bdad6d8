package trace_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"ferry"
	"ferry/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	senders = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	quiet   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// kept is an exporter in memory, which may be slow, or refuse.
type kept struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
	err   error
	slow  chan struct{} // not nil: exports wait for it, or for their context
	deaf  bool          // they do not even heed their context
}

func (k *kept) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	k.mu.Lock()
	slow, deaf := k.slow, k.deaf
	k.mu.Unlock()
	if slow != nil {
		done := ctx.Done()
		if deaf {
			done = nil
		}
		select {
		case <-slow:
		case <-done:
			return ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.spans = append(k.spans, spans...)
	}
	return k.err
}

func (k *kept) Shutdown(context.Context) error { return nil }

func counts(t *testing.T, tr *trace.Tracer, exported, dropped, failed string) {
	t.Helper()
	want := "# HELP ferry_trace_spans_total Spans of traces, by what became of them.\n# TYPE ferry_trace_spans_total counter\n" +
		"ferry_trace_spans_total{outcome=\"dropped\"} " + dropped + "\nferry_trace_spans_total{outcome=\"exported\"} " + exported + "\nferry_trace_spans_total{outcome=\"failed\"} " + failed + "\n"
	if err := testutil.CollectAndCompare(tr.Collector(), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// accept makes the span of an acceptance and gives where it goes on.
func accept(tr *trace.Tracer, parent string) trace.Context {
	s := tr.Accept(context.Background(), "orders", trace.Context{Parent: parent, State: "vendor=1"}, time.Time{})
	s.Accepted(&ferry.Message{Body: []byte("the body")}, &ferry.Accepted{ID: ferry.NewID(time.Now())}, nil)
	return s.Context()
}

// TestNobodyWaitsForTheExporter: spans that it does not take in time are dropped and
// counted, and a stop is bounded.
func TestNobodyWaitsForTheExporter(t *testing.T) {
	for name, deaf := range map[string]bool{"slow": false, "deaf": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &kept{slow: make(chan struct{}), deaf: deaf}
				tr := trace.New(trace.Options{Exporter: k, Sample: 1})
				began := time.Now()
				for range 5000 {
					accept(tr, senders)
				}
				if took := time.Since(began); took > 0 { // the clock stands while somebody works
					t.Errorf("it took %s", took)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_ = tr.Close(ctx)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("the stop took %s", took)
				}
				close(k.slow)
				synctest.Wait()
			})
		})
	}
}

// TestSpansThatAreLostAreCounted: those for which there is no room, and those that
// the collector refuses; what comes later is exported.
func TestSpansThatAreLostAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kept{err: errors.New("it answers 500")}
		tr := trace.New(trace.Options{Exporter: k, Sample: 1})
		accept(tr, senders)
		time.Sleep(5 * time.Second)
		counts(t, tr, "0", "0", "1")
		slow := make(chan struct{})
		k.mu.Lock()
		k.err, k.slow = nil, slow
		k.mu.Unlock()
		for range 512 {
			accept(tr, senders)
		}
		synctest.Wait() // this batch is on its way
		for range 5000 {
			accept(tr, senders)
		}
		counts(t, tr, "0", "904", "1") // 4,096 wait
		close(slow)
		time.Sleep(5 * time.Second)
		counts(t, tr, "4608", "904", "1")
		accept(tr, senders)
		if err := tr.Close(t.Context()); err != nil { // what waits goes out
			t.Error(err)
		}
		counts(t, tr, "4609", "904", "1")
		accept(tr, senders) // too late, and no harm
	})
}

// TestWhoseTraceItIs: the sender's where it has one, recorded as the sender says; else
// one of its own, recorded as is configured.
func TestWhoseTraceItIs(t *testing.T) {
	for _, tc := range []struct {
		name, parent string
		sample       float64
		keeps        bool // the sender's trace id
		recorded     bool
	}{
		{"recorded by the sender", senders, 0, true, true},
		{"not recorded by the sender", quiet, 1, true, false},
		{"none", "", 1, false, true},
		{"none, and none wanted", "", 0, false, false},
		{"damaged", "00-zzz", 1, false, true},
		{"all zeroes", "00-00000000000000000000000000000000-b7ad6b7169203331-01", 1, false, true},
		{"of another version", "ff" + senders[2:], 1, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := tracetest.NewInMemoryExporter()
			tr := trace.New(trace.Options{Exporter: open{k}, Sample: tc.sample})
			at := accept(tr, tc.parent)
			if err := tr.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(at.Parent) != 55 || strings.HasPrefix(at.Parent, senders[:36]) != tc.keeps || at.Parent == tc.parent {
				t.Errorf("it goes on at %q", at.Parent)
			}
			if tc.keeps && at.State != "vendor=1" || !tc.keeps && at.State != "" {
				t.Errorf("tracestate %q", at.State)
			}
			if n := len(k.GetSpans()); n == 1 != tc.recorded || strings.HasSuffix(at.Parent, "-01") != tc.recorded {
				t.Errorf("%d spans, going on at %q", n, at.Parent)
			}
		})
	}
}

// open keeps what it was given when it is shut down.
type open struct{ *tracetest.InMemoryExporter }

func (open) Shutdown(context.Context) error { return nil }

// TestWhatIsSaidOfAMessage: enough to find it, and nothing of what is in it.
func TestWhatIsSaidOfAMessage(t *testing.T) {
	k := tracetest.NewInMemoryExporter()
	tr := trace.New(trace.Options{Exporter: open{k}, Sample: 1, Service: "ferry-broker", Environment: "prod"})
	s := tr.Accept(t.Context(), "orders", trace.Context{}, time.Time{})
	s.Accepted(&ferry.Message{Body: []byte("the body"), IdempotencyKey: "the key", CallbackURL: "https://hooks.example/?sig=1"}, nil,
		ferry.Errorf(ferry.CodeKeyReused, "the key was used").WithHint("the hint"))
	h := &ferry.HandOut{ID: ferry.NewID(time.Now()), Route: "orders", Turn: 3, Attempt: 2, Traceparent: senders, LastTraceparent: quiet, Body: []byte("the body")}
	turn := tr.Turn(t.Context(), h, "erp-1")
	turn.Settled(&ferry.Verdict{Kind: ferry.Rejected, Effect: ferry.EffectNone, Status: 422, Code: "E1", Text: "the text quotes the body"}, &ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected})
	turn.End()
	tr.Committed(&ferry.Receipt{ID: h.ID, Route: "orders", Turn: 3, Verdict: ferry.Rejected, Traceparent: turn.Context().Parent, Text: "the text"}, ferry.StateDeadLettered, ferry.ReasonRejected, true, time.Now())
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range k.GetSpans() {
		names = append(names, s.Name)
		for _, kv := range s.Attributes {
			if text := kv.Value.String(); strings.Contains(text, "the body") || strings.Contains(text, "the key") || strings.Contains(text, "the text") || strings.Contains(text, "sig=") {
				t.Errorf("%s: %s is %q", s.Name, kv.Key, text)
			}
		}
		if s.Status.Code.String() != "Error" && s.Name != "receipt orders" {
			t.Errorf("%s went wrong, and its status is %v", s.Name, s.Status)
		}
		if s.Name == "deliver orders" && len(s.Links) != 2 {
			t.Errorf("links: %+v", s.Links)
		}
	}
	if diff := cmp.Diff([]string{"accept orders", "deliver orders", "receipt orders", "deadLetter orders"}, names); diff != "" {
		t.Error(diff)
	}
}

// TestWithoutTraces: nothing is made, and nothing fails.
func TestWithoutTraces(t *testing.T) {
	var tr *trace.Tracer
	if at := accept(tr, senders); at != (trace.Context{}) {
		t.Errorf("%+v", at)
	}
	turn := tr.Turn(t.Context(), &ferry.HandOut{}, "erp-1")
	turn.Settled(&ferry.Verdict{}, &ferry.Next{})
	turn.Released()
	if ctx := turn.In(t.Context()); ctx != t.Context() {
		t.Error("the context is another one")
	}
	turn.End()
	_, probe := tr.Probe(t.Context(), "erp")
	probe.Probed(nil)
	_, step := trace.Step(t.Context(), "lookup")
	step.Looked("found")
	tr.Committed(&ferry.Receipt{}, ferry.StateCompleted, "", true, time.Now())
	tr.Received(ferry.ID{}, &ferry.HandOut{}, &ferry.Receipt{Traceparent: senders}, time.Now())
	tr.Expired(ferry.ID{}, "orders", trace.Context{Parent: senders})
	tr.Reply(t.Context(), &ferry.Ending{}, "replies").Told(nil)
	if name := tr.SpanOf(ferry.NewID(time.Now())); name != "" {
		t.Errorf("a span %s is told of", name)
	}
	registry := prometheus.NewPedanticRegistry()
	if err := errors.Join(registry.Register(tr.Collector()), tr.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// BenchmarkAccept is what an acceptance costs without traces, with one that is not
// recorded, and with one that is.
func BenchmarkAccept(b *testing.B) {
	for _, bench := range []struct {
		name, parent string
		tracer       *trace.Tracer
	}{
		{"off", senders, nil},
		{"not recorded", quiet, trace.New(trace.Options{Exporter: &kept{}})},
		{"recorded", senders, trace.New(trace.Options{Exporter: &kept{err: errors.New("nobody keeps them")}})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			m, a := &ferry.Message{}, &ferry.Accepted{}
			for b.Loop() {
				s := bench.tracer.Accept(context.Background(), "orders", trace.Context{Parent: bench.parent}, time.Time{})
				_ = s.Context()
				s.Accepted(m, a, nil)
			}
		})
		_ = bench.tracer.Close(context.Background())
	}
}
