package erp

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"ferry"
	"ferry/adapters"
	"ferry/mapping"
	"ferry/shape"
)

// compileEvents checks how the route's messages go out as CloudEvents.
func (r *route) compileEvents() error {
	cfg := &r.cfg
	switch cfg.CloudEvents {
	case "":
		if cfg.CloudEventType != "" || cfg.CloudEventSource != "" {
			return bad("cloudEventType and cloudEventSource go with cloudEvents").WithHint("cloudEvents: binary or structured")
		}
		return nil
	case adapters.EventsBinary, adapters.EventsStructured:
	default:
		return bad("cloudEvents: %q is not known", cfg.CloudEvents).WithHint("binary or structured")
	}
	if !validValue(cfg.CloudEventType) || !validValue(cfg.CloudEventSource) {
		return bad("cloudEventType or cloudEventSource has characters that a header cannot carry")
	}
	if cfg.KeyField != "" {
		return bad("cloudEvents does not go with keyField: the event's id is the key")
	}
	return nil
}

// asEvent makes a CloudEvent of an operation's body.
func (r *route) asEvent(op *operation, m *message) error {
	source, kind := r.cfg.CloudEventSource, r.cfg.CloudEventType
	if source == "" {
		source = "/ferry/routes/" + m.Route
	}
	if kind == "" {
		kind = "ferry." + m.Route
	}
	contentType := r.contentType
	if contentType == "" {
		contentType = m.ContentType
	}
	if r.cfg.CloudEvents == adapters.EventsBinary {
		op.header = shape.Outgoing(&m.HandOut, source, kind, contentType, nil).Header()
		return nil
	}
	data, err := r.eventData(op, m)
	if err != nil {
		return err
	}
	event, err := shape.Outgoing(&m.HandOut, source, kind, contentType, data).JSON()
	if err != nil {
		return fmt.Errorf("the body cannot be an event: %w", err)
	}
	op.drop()
	op.body, op.size = ferry.NewBodyReader(event), int64(len(event))
	op.header = http.Header{"Content-Type": {shape.EventType}}
	return nil
}

// eventData reads the body that an event is to hold.
func (r *route) eventData(op *operation, m *message) ([]byte, error) {
	if op.size > ferry.MaxMapped && r.mapping == nil {
		return nil, &adapters.BodyTooLargeError{Size: op.size, Most: ferry.MaxMapped}
	}
	data, err := io.ReadAll(io.LimitReader(op.body, mapping.MaxOutput))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	if m.Size > 0 && len(data) == 0 && r.mapping == nil {
		return nil, errors.Join(errBody, io.ErrUnexpectedEOF)
	}
	return data, nil
}
