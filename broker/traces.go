package broker

import (
	"context"
	"time"

	"ferry"
	"ferry/store"
	"ferry/trace"
)

// beginAccept begins the span of a message's acceptance. What follows in its trace
// goes on from there. Without traces the sender's traceparent is passed on as it is.
func (b *Broker) beginAccept(ctx context.Context, m *ferry.Message) *trace.Span {
	if b.opts.Tracer == nil {
		m.Tracestate = ""
		return nil
	}
	span := b.opts.Tracer.Accept(ctx, m.Route, trace.Context{Parent: m.Traceparent, State: m.Tracestate}, began(m))
	at := span.Context()
	m.Traceparent, m.Tracestate = at.Parent, at.State
	return span
}

// began is when the request came, so that the span tells of the whole of it. What
// was written down elsewhere is older than that.
func began(m *ferry.Message) time.Time {
	const longest = 2 * time.Minute // a request may take
	if d := time.Since(m.CreatedAt); d < 0 || d > longest {
		return time.Time{}
	}
	return m.CreatedAt
}

// accepts are the spans of a batch: one for all messages of one sender's trace, so
// one for a batch of a request, and with messages of a queue as many as there are
// traces.
type accepts struct {
	msgs  []ferry.Message
	spans map[trace.Context]*trace.Span
	of    []trace.Context // by message
}

func (b *Broker) beginAccepts(ctx context.Context, msgs []ferry.Message) accepts {
	if b.opts.Tracer == nil {
		for i := range msgs {
			msgs[i].Tracestate = ""
		}
		return accepts{}
	}
	a := accepts{msgs: msgs, spans: map[trace.Context]*trace.Span{}, of: make([]trace.Context, len(msgs))}
	for i := range msgs {
		m := &msgs[i]
		from := trace.Context{Parent: m.Traceparent, State: m.Tracestate}
		a.of[i] = from
		span, ok := a.spans[from]
		if !ok {
			span = b.beginAccept(ctx, m)
			a.spans[from] = span
			continue
		}
		at := span.Context()
		m.Traceparent, m.Tracestate = at.Parent, at.State
	}
	return a
}

// end ends the spans with what became of the messages.
func (a accepts) end(answers []ferry.Accepted, err error) {
	if a.spans == nil {
		return
	}
	type count struct{ all, accepted, last int }
	counts := map[trace.Context]*count{}
	for i, from := range a.of {
		c := counts[from]
		if c == nil {
			c = &count{}
			counts[from] = c
		}
		c.all++
		c.last = i
		if i < len(answers) && !answers[i].ID.IsZero() {
			c.accepted++
		}
	}
	for from, span := range a.spans {
		c := counts[from]
		if c.all == 1 && c.accepted == 1 {
			span.Accepted(&a.msgs[c.last], &answers[c.last], err)
			continue
		}
		span.AcceptedMany(c.all, c.accepted, err)
	}
}

// traceReceived records the delivery of a receiver that the ledger has heard of now,
// and what it committed, which it began to do at a time.
func (b *Broker) traceReceived(lock ferry.ID, of *ferry.HandOut, rc *ferry.Receipt, out *store.Outcome, began time.Time) {
	b.opts.Tracer.Received(lock, of, rc, began)
	b.opts.Tracer.Committed(rc, out.State, out.Reason, out.Applied, began)
}

// traceExpired records the dead letters of messages that nobody held any more.
func (b *Broker) traceExpired(list []store.Expired) {
	for _, e := range list {
		b.opts.Tracer.Expired(e.ID, e.Route, trace.Context{Parent: e.Traceparent, State: e.Tracestate})
	}
}
