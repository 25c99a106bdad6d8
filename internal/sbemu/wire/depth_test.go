package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// nested is a list in a list in a list.
func nested(levels int) []byte {
	b := []byte{codeList0}
	for range levels {
		head := []byte{codeList32, 0, 0, 0, 0, 0, 0, 0, 1}
		binary.BigEndian.PutUint32(head[1:], uint32(len(b)+4))
		b = append(head, b...)
	}
	return b
}

func TestCheckDepth(t *testing.T) {
	id := "m"
	m := &amqp.Message{
		Header: &amqp.MessageHeader{TTL: time.Hour}, Annotations: amqp.Annotations{"x": int64(1)},
		Properties:            &amqp.MessageProperties{MessageID: id, GroupID: &id, CreationTime: new(time.Time)},
		ApplicationProperties: map[string]any{"a": 1.5, "b": true, "c": amqp.UUID{1}, "d": int8(1), "e": uint16(2), "f": "text"},
		Data:                  [][]byte{make([]byte, 10), make([]byte, 70_000)},
	}
	whole, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	value, err := (&amqp.Message{Value: map[string]any{"arrays": []int64{1, 2}, "list": []any{"a", []any{}}, "times": []time.Time{{}}}}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "message": whole, "value": value, "deep enough": nested(mostNested),
		"described array": {codeArray8, 6, 1, codeDescribed, codeSmallUl, 9, codeUbyte, 7},
	} {
		if err := CheckDepth(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"too deep": nested(mostNested + 1), "far too deep": nested(2_000), "cut": whole[:len(whole)-1],
		"descriptors": bytes.Repeat([]byte{0}, 1000), "unknown": {0x11}, "unknown too": {0x21},
		"arrays in arrays": bytes.Repeat([]byte{codeArray8, 255, 1, codeArray8}, 100),
	} {
		if err := CheckDepth(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzCheckDepth: what passes, go-amqp may refuse, but it returns.
func FuzzCheckDepth(f *testing.F) {
	f.Add(nested(10))
	b, err := (&amqp.Message{Value: map[string]any{"a": []int64{1, 2}}, Data: nil}).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		if CheckDepth(b) == nil {
			_ = new(amqp.Message).UnmarshalBinary(b) // whatever it says
		}
	})
}
