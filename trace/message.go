package trace

import (
	"context"
	"encoding/hex"
	"time"

	"go.opentelemetry.io/otel/attribute"
	oteltrace "go.opentelemetry.io/otel/trace"

	"ferry"
)

// What is said of messages: OpenTelemetry's words for messaging where it has one.
const (
	keySystem      = attribute.Key("messaging.system")
	keyOperation   = attribute.Key("messaging.operation.name")
	keyType        = attribute.Key("messaging.operation.type")
	keyRoute       = attribute.Key("messaging.destination.name")
	keyID          = attribute.Key("messaging.message.id")
	keyBodySize    = attribute.Key("messaging.message.body.size")
	keyBatch       = attribute.Key("messaging.batch.message_count")
	keyCorrelation = attribute.Key("messaging.message.conversation_id")
	keyDuplicate   = attribute.Key("ferry.duplicate")
	keyState       = attribute.Key("ferry.state")
	keyReason      = attribute.Key("ferry.reason")
	keyVerdict     = attribute.Key("ferry.verdict")
	keyEffect      = attribute.Key("ferry.effect")
	keyStatus      = attribute.Key("ferry.status")
	keyCode        = attribute.Key("ferry.code")
	keyNext        = attribute.Key("ferry.next")
	keyTurn        = attribute.Key("ferry.turn")
	keyAttempt     = attribute.Key("ferry.attempt")
	keyGeneration  = attribute.Key("ferry.generation")
	keyRevision    = attribute.Key("ferry.revision")
	keyReference   = attribute.Key("ferry.reference")
	keyWorker      = attribute.Key("ferry.worker")
	keyApplied     = attribute.Key("ferry.applied")
	keyFound       = attribute.Key("ferry.found")
	keyEvent       = attribute.Key("ferry.event")
	keyDestination = attribute.Key("ferry.destination")
	keyReplyTo     = attribute.Key("ferry.replyTo")
)

func about(operation, kind, route string, more ...attribute.KeyValue) []attribute.KeyValue {
	return append([]attribute.KeyValue{
		keySystem.String("ferry"), keyOperation.String(operation), keyType.String(kind), keyRoute.String(route),
	}, more...)
}

// Accept begins the span of messages that are taken in, at a time, in the trace of
// who sends them. What follows their acceptance goes on from its Context.
func (t *Tracer) Accept(ctx context.Context, route string, from Context, at time.Time) *Span {
	if t == nil {
		return nil
	}
	_, s := t.start(from.from(ctx), "accept "+route, oteltrace.SpanKindServer, at, nil, about("accept", "send", route)...)
	return s
}

// Accepted ends the span with the answer to one message.
func (s *Span) Accepted(m *ferry.Message, a *ferry.Accepted, err error) {
	if s == nil {
		return
	}
	defer s.End()
	if !s.recording() {
		return
	}
	s.set(keyBodySize.Int64(m.BodySize()))
	if m.CorrelationID != "" {
		s.set(keyCorrelation.String(m.CorrelationID))
	}
	if err != nil {
		s.refused(err)
		return
	}
	s.set(keyID.String(a.ID.String()), keyDuplicate.Bool(a.Duplicate), keyState.String(string(a.State)))
}

// AcceptedMany ends the span with the answer to a batch.
func (s *Span) AcceptedMany(messages, accepted int, err error) {
	if s == nil {
		return
	}
	defer s.End()
	if !s.recording() {
		return
	}
	s.set(keyBatch.Int(messages), attribute.Int("ferry.accepted", accepted))
	if err != nil {
		s.refused(err)
	}
}

// refused says why in the words of the error codes, never in those of the error,
// which may quote the message.
func (s *Span) refused(err error) {
	code := string(ferry.CodeOf(err))
	if code == "" {
		code = string(ferry.CodeInternal)
	}
	s.fail(code)
}

// Turn begins the span of a delivery that a worker works on, linked to the
// acceptance, in whose trace it is, and to the attempt before.
func (t *Tracer) Turn(ctx context.Context, h *ferry.HandOut, worker string) *Span {
	if t == nil {
		return nil
	}
	return t.turn(ctx, h, worker, time.Time{})
}

// turn begins the span of a delivery at a time; zero: now.
func (t *Tracer) turn(ctx context.Context, h *ferry.HandOut, who string, at time.Time) *Span {
	from := Context{h.Traceparent, h.Tracestate}
	links := make([]oteltrace.Link, 0, 2)
	if l, ok := from.link("accept"); ok {
		links = append(links, l)
	}
	if l, ok := (Context{Parent: h.LastTraceparent}).link("previousAttempt"); ok {
		links = append(links, l)
	}
	_, s := t.start(from.from(ctx), "deliver "+h.Route, oteltrace.SpanKindConsumer, at, links, about("deliver", "process", h.Route,
		keyID.String(h.ID.String()), keyTurn.Int64(int64(h.Turn)), keyAttempt.Int(h.Attempt), keyGeneration.Int(h.Generation),
		keyRevision.Int(h.Revision), keyBodySize.Int64(h.Size), keyWorker.String(who))...)
	return s
}

// SpanOf names the span of what a receiver does under a lock: in 16 hexadecimal
// digits, of the lock's own, so that it is known again when the receiver is heard of.
func (t *Tracer) SpanOf(lock ferry.ID) string {
	if t == nil {
		return ""
	}
	return hex.EncodeToString(lock[8:])
}

// Received records the delivery of a receiver when it has ended: from the receive,
// at which its lock was made, to ended, under the name that the receiver was told.
// Not of one whose receipt names no span.
func (t *Tracer) Received(lock ferry.ID, h *ferry.HandOut, rc *ferry.Receipt, ended time.Time) {
	if t == nil || rc.Traceparent == "" {
		return
	}
	named := context.WithValue(context.Background(), spanNamed{}, oteltrace.SpanID(lock[8:]))
	s := t.turn(named, h, rc.Worker, lock.Time())
	s.Settled(&ferry.Verdict{Kind: rc.Verdict, Effect: rc.Effect, Code: rc.Code, Reference: rc.Reference}, &rc.Next)
	s.endAt(ended)
}

// Settled says what the turn came to. The span goes on until End.
func (s *Span) Settled(v *ferry.Verdict, next *ferry.Next) {
	if !s.recording() {
		return
	}
	s.set(keyVerdict.String(string(v.Kind)), keyEffect.String(string(v.Effect)), keyNext.String(string(next.Do)))
	if v.Status != 0 {
		s.set(keyStatus.Int(v.Status))
	}
	if v.Code != "" {
		s.set(keyCode.String(v.Code))
	}
	if v.Reference != "" {
		s.set(keyReference.String(v.Reference))
	}
	if next.Reason != "" {
		s.set(keyReason.String(string(next.Reason)))
	}
	if !v.Kind.HasIt() && v.Kind != ferry.InProgress && v.Kind != ferry.NotTried {
		s.fail(string(v.Kind))
	}
}

// Released says that the turn was given back: another worker, or this one later,
// gets it.
func (s *Span) Released() {
	if s.recording() {
		s.set(keyNext.String("release"))
	}
}

// Step begins a span below the one of ctx, such as that of a lookup.
func Step(ctx context.Context, name string) (context.Context, *Span) {
	parent := oteltrace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	ctx, span := parent.TracerProvider().Tracer("ferry").Start(ctx, name)
	return ctx, &Span{span}
}

// Looked ends the span of a question with its answer.
func (s *Span) Looked(answer string) {
	if s.recording() {
		s.set(keyFound.String(answer))
	}
	s.End()
}

// Probe begins the span of a question whether a destination is back, in a trace of
// its own.
func (t *Tracer) Probe(ctx context.Context, destination string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.start(ctx, "probe "+destination, oteltrace.SpanKindInternal, time.Time{}, nil, keyDestination.String(destination))
}

// Probed ends the span of a probe.
func (s *Span) Probed(err error) {
	if s == nil {
		return
	}
	if err != nil && s.recording() {
		s.fail("unavailable")
	}
	s.End()
}

// Committed records that a receipt is on disk, as what followed its turn; began is
// when its commit was asked for. A dead letter gets a span of its own.
func (t *Tracer) Committed(rc *ferry.Receipt, state ferry.State, reason ferry.Reason, applied bool, began time.Time) {
	if t == nil || rc.Traceparent == "" {
		return
	}
	now := time.Now()
	ctx, s := t.start(Context{Parent: rc.Traceparent}.from(context.Background()), "receipt "+rc.Route, oteltrace.SpanKindConsumer, began, nil, about("receipt", "settle", rc.Route,
		keyID.String(rc.ID.String()), keyTurn.Int64(int64(rc.Turn)), keyVerdict.String(string(rc.Verdict)), keyApplied.Bool(applied), keyState.String(string(state)))...)
	s.endAt(now)
	if applied && state == ferry.StateDeadLettered {
		t.deadLetter(ctx, rc.ID, rc.Route, reason, rc.Code, now)
	}
}

// Expired records the dead letter of a message whose time to live ended in the ledger,
// as what followed its acceptance. Not of one without a trace.
func (t *Tracer) Expired(id ferry.ID, route string, from Context) {
	if t != nil && from.Parent != "" {
		t.deadLetter(from.from(context.Background()), id, route, ferry.ReasonExpired, "", time.Now())
	}
}

func (t *Tracer) deadLetter(ctx context.Context, id ferry.ID, route string, reason ferry.Reason, code string, at time.Time) {
	about := about("deadLetter", "settle", route, keyID.String(id.String()), keyReason.String(string(reason)))
	if code != "" {
		about = append(about, keyCode.String(code))
	}
	_, dead := t.start(ctx, "deadLetter "+route, oteltrace.SpanKindInternal, at, nil, about...)
	dead.fail(string(reason))
	dead.endAt(at)
}

// Tell begins the span of the end of a message that is told to somebody.
func (t *Tracer) Tell(ctx context.Context, e *ferry.Ending) (context.Context, *Span) {
	if t == nil || e.Traceparent == "" {
		return ctx, nil
	}
	return t.start(Context{e.Traceparent, e.Tracestate}.from(ctx), "callback "+e.Envelope.Route, oteltrace.SpanKindProducer, time.Time{}, nil,
		about("callback", "send", e.Envelope.Route, keyID.String(e.ID.String()), keyEvent.String(string(ferry.EventOf(e.State))))...)
}

// Reply begins the span of the end of a message that is told to a queue. Who reads it
// there goes on from its Context.
func (t *Tracer) Reply(ctx context.Context, e *ferry.Ending, queue string) *Span {
	if t == nil || e.Traceparent == "" {
		return nil
	}
	_, s := t.start(Context{e.Traceparent, e.Tracestate}.from(ctx), "reply "+e.Envelope.Route, oteltrace.SpanKindProducer, time.Time{}, nil,
		about("reply", "send", e.Envelope.Route, keyID.String(e.ID.String()), keyEvent.String(string(ferry.EventOf(e.State))), keyReplyTo.String(queue))...)
	return s
}

// Told ends the span of a callback or a reply.
func (s *Span) Told(err error) {
	if s == nil {
		return
	}
	if err != nil && s.recording() {
		s.fail("notTold") // its text may quote what the address answers
	}
	s.End()
}
