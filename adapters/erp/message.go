package erp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ferry/adapters"
	"ferry/mapping"
	"ferry/privacy"
)

// message is a call's message on its way into requests: decoded and mapped at
// most once. It belongs to one call.
type message struct {
	adapters.Call
	route *route
	shown bool // its request is only shown: no secret may stand in it

	rawKnown, payloadKnown, mappedKnown bool
	raw                                 []byte
	payload, body                       any
	rawErr, payloadErr, bodyErr         error
}

func (r *route) message(call adapters.Call) *message { return &message{Call: call, route: r} }

// key is the external key as the document's reference field can hold it: the
// same on every attempt, replay and revision.
func (m *message) key() string {
	if n := m.route.cfg.KeyLength; n > 0 {
		return mapping.ShortKey(m.ExternalKey, n)
	}
	return m.ExternalKey
}

// requestID is a UUID that names the request and not the document: the same on
// every attempt and replay, another one for an edited body. Destinations that keep
// their answers by it would else answer an edited message with the old one.
func (m *message) requestID() string {
	return mapping.GUID(m.ExternalKey + "\x00" + strconv.Itoa(max(m.Revision, 1)))
}

// program gives p what it may know of the message beside the payload, see
// [adapters.Variables].
func (m *message) program(p *mapping.Program) *mapping.Program { return p.With(m.variable) }

func (m *message) variable(name string) any {
	switch name {
	case "externalKey":
		return m.key()
	case "messageId":
		return m.ID.String()
	case "requestId":
		return m.requestID()
	case "correlationId":
		return m.CorrelationID
	case "orderingKey":
		return m.OrderingKey
	case "revision":
		return max(m.Revision, 1)
	}
	return nil
}

// bytes is the payload in memory, see [adapters.Call.Payload].
func (m *message) bytes() ([]byte, error) {
	if !m.rawKnown {
		m.rawKnown = true
		m.raw, m.rawErr = m.Payload()
	}
	return m.raw, m.rawErr
}

// decoded is the payload as JSON.
func (m *message) decoded() (any, error) {
	if m.payloadKnown {
		return m.payload, m.payloadErr
	}
	m.payloadKnown = true
	data, err := m.bytes()
	if tooLarge := (*adapters.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		m.payloadErr = fmt.Errorf("the body cannot be mapped: %w; a route without a map delivers it as it is", err)
		return nil, m.payloadErr
	}
	if err != nil {
		m.payloadErr = fmt.Errorf("%w: %w", errBody, err)
		return nil, m.payloadErr
	}
	if m.payload, err = mapping.Decode(data); err != nil {
		m.payloadErr = fmt.Errorf("the body cannot be mapped: %w", err)
	}
	return m.payload, m.payloadErr
}

// mapped is what the route's map makes of the payload; the payload without one.
func (m *message) mapped(ctx context.Context) (any, error) {
	if m.mappedKnown {
		return m.body, m.bodyErr
	}
	m.mappedKnown = true
	payload, err := m.decoded()
	switch {
	case err != nil:
		m.bodyErr = err
	case m.route.mapping == nil:
		m.body = payload
	default:
		if m.body, err = m.program(m.route.mapping).Eval(ctx, payload); err != nil {
			m.bodyErr = fmt.Errorf("the body cannot be mapped: %w", err)
		}
	}
	return m.body, m.bodyErr
}

// fields is the mapped body as an object, with the external key in keyField. It
// is the caller's to change, its members are not.
func (m *message) fields(ctx context.Context) (map[string]any, error) {
	value, err := m.mapped(ctx)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("the body, mapped, is no JSON object: a document is one")
	}
	object = maps.Clone(object)
	if object == nil {
		object = map[string]any{}
	}
	if field := m.route.cfg.KeyField; field != "" {
		object[field] = m.key()
	}
	return object, nil
}

// mask hides in what is kept what the configuration names, and the message's
// values of it. nil hides nothing.
func (m *message) mask() *privacy.ValueMask {
	if m.route.private == nil {
		return nil
	}
	// A body that is no JSON, or none that a map takes, has no members to hide.
	payload, _ := m.decoded()
	mapped, _ := m.mapped(context.Background())
	return m.route.private.Values(payload, mapped)
}

// pair is a field of a key and its value: text, or a number as json.Number.
type pair struct {
	field string
	value any
}

// keys are the fields that tell the document: those of key, in order of their
// names, or keyField with the external key.
func (m *message) keys(ctx context.Context) ([]pair, error) {
	r := m.route
	if len(r.key) == 0 {
		if r.cfg.KeyField == "" {
			return nil, errors.New("the route has neither keyField nor key")
		}
		return []pair{{r.cfg.KeyField, m.key()}}, nil
	}
	payload, err := m.decoded()
	if err != nil {
		return nil, err
	}
	pairs := make([]pair, 0, len(r.key)+1)
	for _, field := range sortedKeys(r.key) {
		value, err := m.program(r.key[field]).Eval(ctx, payload)
		switch value.(type) {
		case nil, []any, map[string]any:
			err = errors.New("it gives no text and no number")
		}
		if err == nil && value == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("key.%s: %w", field, err)
		}
		pairs = append(pairs, pair{field, value})
	}
	if field := r.cfg.KeyField; field != "" && r.key[field] == nil {
		pairs = append(pairs, pair{field, m.key()})
	}
	return pairs, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// textOf writes a value of a key as text.
func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	data, err := mapping.Encode(v)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
