package broker

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"ferry"
	"ferry/trace"
)

// open keeps what it was given when it is shut down.
type open struct{ *tracetest.InMemoryExporter }

func (open) Shutdown(context.Context) error { return nil }

const senders = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func traced(m *ferry.Message) { m.Traceparent, m.Tracestate = senders, "vendor=abc" }

// span is what tells spans apart.
type span struct{ Name, Parent, Link, Verdict, Next string }

// spansOf closes the tracer and tells its spans, by the names of those they belong to.
func spansOf(t *testing.T, tr *trace.Tracer, kept *tracetest.InMemoryExporter) (list []span) {
	t.Helper()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{senders[36:52]: "sender"}
	for _, s := range kept.GetSpans() {
		if id := s.SpanContext.SpanID().String(); names[id] != "" {
			t.Errorf("two spans are %s: %s and %s", id, names[id], s.Name)
		}
		names[s.SpanContext.SpanID().String()] = s.Name
	}
	for _, s := range kept.GetSpans() {
		if s.SpanContext.TraceID().String() != senders[3:35] {
			t.Errorf("%s is in another trace", s.Name)
		}
		one := span{Name: s.Name, Parent: names[s.Parent.SpanID().String()]}
		for _, l := range s.Links {
			if l.Attributes[0].Value.AsString() == "previousAttempt" {
				one.Link = names[l.SpanContext.SpanID().String()]
			}
		}
		for _, kv := range s.Attributes {
			switch kv.Key {
			case "ferry.verdict":
				one.Verdict = kv.Value.AsString()
			case "ferry.next":
				one.Next = kv.Value.AsString()
			}
		}
		list = append(list, one)
	}
	return list
}

// TestReceiversGoOnInTheTrace: what a receiver is told is the span that is recorded
// when it is heard of, or its lock ends, also by a broker that was started meanwhile.
func TestReceiversGoOnInTheTrace(t *testing.T) {
	var (
		kept *tracetest.InMemoryExporter
		tr   *trace.Tracer
	)
	tracing := func(o *Options) {
		kept = tracetest.NewInMemoryExporter()
		tr = trace.New(trace.Options{Exporter: open{kept}})
		o.Tracer = tr
	}
	bubble(t, func(t *testing.T, w *world) {
		told := map[string]bool{}
		receive := func() *ferry.Received {
			got := w.receive(time.Hour)
			if got == nil || len(got.Traceparent) != 55 || got.Traceparent[:36] != senders[:36] || got.Traceparent[52:] != "-01" || got.Tracestate != "vendor=abc" || told[got.Traceparent] {
				t.Fatalf("received %+v", got)
			}
			_ = got.Body.Close()
			told[got.Traceparent] = true
			return got
		}
		w.send(`1`, traced)
		receive() // and nothing is heard
		w.settleLock(receive(), ferry.LockUnlock, "")
		held := receive()
		want := []span{
			{Name: "accept orders", Parent: "sender"},
			{Name: "deliver orders", Parent: "accept orders", Verdict: "unknown", Next: "retry"},
			{Name: "receipt orders", Parent: "deliver orders", Verdict: "unknown"},
			{Name: "deliver orders", Parent: "accept orders", Link: "deliver orders", Verdict: "notTried", Next: "retry"},
			{Name: "receipt orders", Parent: "deliver orders", Verdict: "notTried"},
		}
		if diff := cmp.Diff(want, spansOf(t, tr, kept)); diff != "" {
			t.Error(diff)
		}
		for _, s := range kept.GetSpans() {
			if s.Name == "deliver orders" && !told["00-"+s.SpanContext.TraceID().String()+"-"+s.SpanContext.SpanID().String()+"-01"] {
				t.Errorf("nobody was told of %s", s.SpanContext.SpanID())
			}
		}

		w.stop()
		w.start(pulling, tracing)
		w.settleLock(held, ferry.LockReject, "")
		w.settleLock(held, ferry.LockReject, "") // said again
		spans := spansOf(t, tr, kept)
		for i := range spans { // those of the run before are not among them
			if spans[i].Parent == "" {
				spans[i].Parent = "accept orders"
			}
		}
		want = []span{
			{Name: "deliver orders", Parent: "accept orders", Verdict: "rejected", Next: "deadLetter"},
			{Name: "receipt orders", Parent: "deliver orders", Verdict: "rejected"},
			{Name: "deadLetter orders", Parent: "receipt orders"},
		}
		if diff := cmp.Diff(want, spans); diff != "" {
			t.Error(diff)
		}
		if s := kept.GetSpans()[0]; "00-"+s.SpanContext.TraceID().String()+"-"+s.SpanContext.SpanID().String()+"-01" != held.Traceparent || s.EndTime.Before(s.StartTime) {
			t.Errorf("the receiver was told %s, recorded was %s from %s to %s", held.Traceparent, s.SpanContext.SpanID(), s.StartTime, s.EndTime)
		}
	}, pulling, tracing)
}

// Without traces a receiver is told of the sender's own span.
func TestReceiversAreToldTheSendersTrace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.send(`1`, traced)
		w.send(`2`)
		first, second := w.receive(0), w.receive(0)
		if first.Traceparent != senders || second.Traceparent != "" {
			t.Errorf("told %q and %q", first.Traceparent, second.Traceparent)
		}
		w.settleLock(first, ferry.LockComplete, "")
		w.settleLock(second, ferry.LockComplete, "")
	}, pulling)
}

// A message that expires in the ledger ends in its trace, whoever finds it.
func TestExpiryIsInTheTrace(t *testing.T) {
	for name, change := range map[string]func(*Options){"a receive": pulling, "the janitor": func(*Options) {}} {
		t.Run(name, func(t *testing.T) {
			kept := tracetest.NewInMemoryExporter()
			var tr *trace.Tracer
			bubble(t, func(t *testing.T, w *world) {
				id := w.send(`1`, traced, func(m *ferry.Message) { m.TimeToLive = time.Second })
				time.Sleep(2 * time.Second)
				if name == "a receive" {
					if got := w.receive(0); got != nil {
						t.Fatalf("received %+v", got)
					}
				}
				time.Sleep(2 * time.Minute)
				if e := w.message(id); e.State != ferry.StateDeadLettered {
					t.Fatalf("it is %s", e.State)
				}
				want := []span{{Name: "accept orders", Parent: "sender"}, {Name: "deadLetter orders", Parent: "accept orders"}}
				if diff := cmp.Diff(want, spansOf(t, tr, kept)); diff != "" {
					t.Error(diff)
				}
			}, change, func(o *Options) {
				tr = trace.New(trace.Options{Exporter: open{kept}})
				o.Tracer = tr
			})
		})
	}
}
