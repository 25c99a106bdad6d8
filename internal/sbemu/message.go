package sbemu

import (
	"time"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/wire"
)

// encode makes the bytes of a message. The header is made here, because go-amqp
// leaves a delivery count of 0 away.
func encode(m *amqp.Message) ([]byte, error) {
	var b []byte
	if h := m.Header; h != nil {
		b = wire.AppendHeader(make([]byte, 0, 32), wire.Header{
			Durable: h.Durable, Priority: h.Priority, TimeToLive: h.TTL, FirstAcquirer: h.FirstAcquirer, DeliveryCount: h.DeliveryCount,
		})
	}
	rest := *m
	rest.Header = nil
	sections, err := rest.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return append(b, sections...), nil
}

// decode reads a message. go-amqp recurses into what is nested, so that is bounded
// first.
func decode(b []byte) (*amqp.Message, error) {
	if err := wire.CheckDepth(b); err != nil {
		return nil, err
	}
	m := new(amqp.Message)
	if err := m.UnmarshalBinary(b); err != nil {
		return nil, err
	}
	return m, nil
}

// plain turns a value of a performative into what messages hold.
func plain(v any) any {
	switch v := v.(type) {
	case wire.Symbol:
		return string(v)
	case wire.UUID:
		return amqp.UUID(v)
	case wire.Described:
		return plain(v.Value)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case wire.Map:
		return properties(v)
	}
	return v
}

// properties turns a map into application properties. Keys that are no text have no
// place there.
func properties(m wire.Map, without ...string) map[string]any {
	out := make(map[string]any, len(m))
next:
	for _, p := range m {
		key, ok := plain(p.Key).(string)
		if !ok {
			continue
		}
		for _, w := range without {
			if w == key {
				continue next
			}
		}
		out[key] = plain(p.Value)
	}
	return out
}

func text(v any) string {
	s, _ := plain(v).(string)
	return s
}

// number reads a whole number of any width.
func number(v any) (int64, bool) {
	switch v := v.(type) {
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case uint64:
		return int64(v), v < 1<<63
	}
	return 0, false
}

// inTime says whether a time can be a message's: AMQP clients mean "never" by the
// end of the calendar.
func inTime(t time.Time) bool { return t.Year() < 9999 }
