package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/servicebus"
	"ferry/trace"
)

// Bounds of a reply's body. A message of 256 KiB with its properties is the most
// that the tier Standard takes.
const (
	largestReply  = 192 << 10 // bytes
	attemptsShown = 10        // of a story that is too long: the last
)

// Tell sends replies to a queue of the namespace that a route takes messages in
// from, and has one error for each: nil when the queue has it.
func (in *Intake) Tell(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error {
	s, ok := in.sources[to.Route]
	switch {
	case !ok:
		return every(ends, fmt.Errorf("route %s takes nothing in from Service Bus any more, so that it is not known where the queue is", to.Route))
	case !s.Replies:
		return every(ends, fmt.Errorf("route %s sends no replies any more: intake.servicebus.replies is false", to.Route))
	}
	errs := every(ends, nil)
	ends, spans := in.begin(ctx, to.Target, ends)
	defer func() {
		for i, span := range spans {
			span.Told(errs[i])
		}
	}()
	var down error
	// One batch has messages of one session: a partitioned queue takes no others.
	for _, group := range bySession(ends) {
		if down == nil {
			down = s.tellSome(ctx, to.Target, ends, group, errs)
			continue
		}
		for _, i := range group {
			errs[i] = down
		}
	}
	return errs
}

// begin begins the spans of replies. The ends it returns name them as what the reader
// goes on from; without traces they name the sender's, as before.
func (in *Intake) begin(ctx context.Context, queue string, ends []ferry.Ending) ([]ferry.Ending, []*trace.Span) {
	if in.opts.Tracer == nil {
		return ends, nil
	}
	ends = slices.Clone(ends)
	spans := make([]*trace.Span, len(ends))
	for i := range ends {
		if spans[i] = in.opts.Tracer.Reply(ctx, &ends[i], queue); spans[i] != nil {
			at := spans[i].Context()
			ends[i].Traceparent, ends[i].Tracestate = at.Parent, at.State
		}
	}
	return ends, spans
}

func every(ends []ferry.Ending, err error) []error {
	return slices.Repeat([]error{err}, len(ends))
}

// bySession groups the indexes of ends by the sessions of their replies, in the
// order of the first of each.
func bySession(ends []ferry.Ending) (groups [][]int) {
	at := map[string]int{}
	for i, e := range ends {
		g, ok := at[e.ReplyTo.SessionID]
		if !ok {
			g = len(groups)
			at[e.ReplyTo.SessionID] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// tellSome sends the ends of one session and notes their errors. down is an error
// that all others of this queue would meet as well.
func (s *source) tellSome(ctx context.Context, queue string, ends []ferry.Ending, group []int, errs []error) (down error) {
	for len(group) > 0 {
		msgs := make([]*azservicebus.Message, len(group))
		for k, i := range group {
			msgs[k] = s.in.reply(ends[i])
		}
		err := s.Bus.Send(ctx, queue, msgs)
		if err == nil {
			return nil
		}
		if partly, ok := errors.AsType[*servicebus.SendError](err); ok {
			group = group[min(max(partly.Sent, 0), len(group)):]
		}
		if errors.Is(err, servicebus.ErrTooLarge) && len(group) > 0 {
			// The first of those is meant. It is told in a few words.
			first := group[0]
			group = group[1:]
			err = s.Bus.Send(ctx, queue, []*azservicebus.Message{s.in.briefReply(ends[first])})
			if err == nil {
				continue
			}
			if errors.Is(err, servicebus.ErrTooLarge) {
				errs[first] = fmt.Errorf("%w: %w", ferry.ErrUntellable, err)
				continue
			}
			group = append([]int{first}, group...)
		}
		if errors.Is(err, servicebus.ErrUnauthorized) {
			err = fmt.Errorf("%w: the broker needs the right Send on it", err)
		}
		for _, i := range group {
			errs[i] = err
		}
		if errors.Is(err, servicebus.ErrRefused) {
			return nil // of this session, perhaps: a queue may want one
		}
		return err
	}
	return nil
}

// reply is the message that tells an end: the envelope, as the HTTP API gives it.
func (in *Intake) reply(e ferry.Ending) *azservicebus.Message {
	body := in.opts.Encode(e.Envelope)
	if len(body) <= largestReply {
		return in.replyWith(e, body)
	}
	short := e.Envelope
	if n := len(short.Attempts); n > attemptsShown {
		short.Attempts = short.Attempts[n-attemptsShown:]
		if body = in.opts.Encode(short); len(body) <= largestReply {
			return in.replyWith(e, body)
		}
	}
	return in.briefReply(e)
}

// briefReply leaves out all that may be long; GET /v1/messages/{id} has it.
func (in *Intake) briefReply(e ferry.Ending) *azservicebus.Message {
	brief := e.Envelope
	brief.Attempts, brief.Result, brief.Properties, brief.Acts = []ferry.Attempt{}, nil, nil, nil
	return in.replyWith(e, in.opts.Encode(brief))
}

func (in *Intake) replyWith(e ferry.Ending, body []byte) *azservicebus.Message {
	props := map[string]any{
		"ferryId": e.ID.String(), "route": e.To.Route, "state": string(e.State), "generation": int64(e.Generation),
	}
	for name, value := range map[string]string{
		"reference": e.Envelope.Reference, "environment": in.opts.Environment,
		// The second is what Azure's SDKs call the first.
		"traceparent": e.Traceparent, "Diagnostic-Id": e.Traceparent, "tracestate": e.Tracestate,
	} {
		if value != "" {
			props[name] = value
		}
	}
	if e.Dead != nil {
		props["reason"] = string(e.Dead.Reason)
		if e.Dead.Code != "" {
			props["code"] = e.Dead.Code
		}
	}
	m := &azservicebus.Message{
		Body: body, ContentType: new("application/json"), ApplicationProperties: props,
		// A queue that detects duplicates drops an end that is told twice.
		MessageID:     new(fmt.Sprintf("%s.%d.%s", e.ID, e.Generation, e.State)),
		Subject:       new("ferry." + string(e.State)),
		CorrelationID: optional(e.ReplyTo.CorrelationID),
		SessionID:     optional(e.ReplyTo.SessionID),
	}
	return m
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
