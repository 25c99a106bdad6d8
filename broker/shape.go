package broker

import (
	"context"
	"encoding/json"

	"ferry"
	"ferry/shape"
)

// A route's door: messages are held to its form and brought into it before they are
// accepted, whichever way they came.

// look is a message's payload in memory, read once for all that look inside.
type look struct {
	b    *Broker
	m    *ferry.Message
	body []byte
	read bool
	free func() // what a large one took
}

func (b *Broker) look(m *ferry.Message) *look {
	return &look{b: b, m: m, body: m.Body, read: m.Staged == nil, free: func() {}}
}

// payload reads the body, of at most ferry.MaxMapped bytes, which the caller has
// looked at.
func (l *look) payload(ctx context.Context) ([]byte, error) {
	if l.read {
		return l.body, nil
	}
	select {
	case l.b.peeks <- struct{}{}:
		l.free = func() { <-l.b.peeks }
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	body, err := l.b.ledger.ReadStaged(*l.m.Staged)
	if err != nil {
		return nil, err
	}
	l.body, l.read = body, true
	return body, nil
}

// shape brings the message into the form of its route. Where nothing of it is to be
// looked at, nothing is read.
func (b *Broker) shape(ctx context.Context, r *route, m *ferry.Message, l *look) error {
	if r.door == nil {
		if m.Version != "" {
			return r.NoVersion(m.Version)
		}
		return nil
	}
	if !r.door.Reads(m) {
		if fault := r.door.Settle(m); fault != nil {
			return fault
		}
		return nil
	}
	if size := m.BodySize(); size > ferry.MaxMapped {
		return shape.TooLarge(size)
	}
	payload, err := l.payload(ctx)
	if err != nil {
		return err
	}
	body, fault := r.door.Take(ctx, m, payload)
	if fault != nil {
		return b.masked(r, payload, fault)
	}
	switch {
	case len(body) == 0 && len(payload) > 0 && !r.AllowEmpty:
		return ferry.Errorf(ferry.CodeEmptyBody, "the event has no data").WithHint("the data is the message; the route takes none that is empty")
	case len(body) == len(payload) && (len(body) == 0 || &body[0] == &payload[0]):
		return nil // as it came, wherever it lies
	}
	// A staged one is not needed any more: who took it in removes it.
	m.Body, m.Staged = body, nil
	l.body, l.read = body, true
	return nil
}

// masked takes what the route hides out of an error: programs quote what they fail on.
func (b *Broker) masked(r *route, payload []byte, fault *ferry.Error) *ferry.Error {
	if r.mask == nil {
		return fault
	}
	m := r.mask.Values(payload)
	fault.Message = m.Text(fault.Message)
	for i := range fault.Details {
		fault.Details[i].Detail = m.Text(fault.Details[i].Detail)
	}
	return fault
}

// known answers a message that cannot be brought into its route's form, and yet is
// there: it was accepted when the form was another one.
func (b *Broker) known(m *ferry.Message, fault error) (ferry.Accepted, bool) {
	switch ferry.CodeOf(fault) {
	case ferry.CodeInvalid, ferry.CodeUnsupportedMedia, ferry.CodeBadRequest, ferry.CodeTooLarge, ferry.CodeVersionNotFound, ferry.CodeEmptyBody, ferry.CodeRouteRetired:
		return b.ledger.Known(*m)
	}
	return ferry.Accepted{}, false
}

// told brings a result into the form that the sender is told.
func (b *Broker) told(ctx context.Context, route string, id func() (ferry.ID, bool), reference string, result json.RawMessage) (json.RawMessage, string) {
	r, ok := b.route(route)
	if !ok || r.door == nil || !r.door.ShapesResults() {
		return result, ""
	}
	version := ""
	if id, ok := id(); ok {
		if e, err := b.ledger.Message(id); err == nil {
			version = e.Version
		}
	}
	out, note := r.door.Told(ctx, version, reference, result)
	if note != "" {
		b.log.Warn("a result is shown as it came", "route", route, "why", r.mask.Values(result).Text(note))
		note = r.mask.Values(result).Text(note)
	}
	return out, note
}

// CheckEdit holds a corrected body to the schema of the message's version. The error
// names all faults.
func (b *Broker) CheckEdit(ctx context.Context, id ferry.ID, body []byte, contentType string) error {
	e, err := b.ledger.Message(id)
	if err != nil {
		return err
	}
	r, ok := b.route(e.Route)
	if !ok || r.door == nil {
		return nil
	}
	if contentType == "" {
		contentType = e.ContentType
	}
	if fault := r.door.Holds(ctx, e.Version, contentType, body); fault != nil {
		return b.masked(r, body, fault)
	}
	return nil
}
