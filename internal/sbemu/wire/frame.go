package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The eight bytes with which a layer begins.
const (
	HeaderAMQP = "AMQP\x00\x01\x00\x00"
	HeaderSASL = "AMQP\x03\x01\x00\x00"
)

// The types of frames.
const (
	TypeAMQP = 0
	TypeSASL = 1
)

// frameHeader is what stands before the body of a frame.
const frameHeader = 8

// Frame is one frame as it came. An empty body says that the peer is alive.
type Frame struct {
	Type    byte
	Channel uint16
	Body    []byte
}

// ReadFrame reads the next frame. The body is laid into buf where it fits, so it
// holds until buf is used again. A frame larger than most is ErrTooLarge.
func ReadFrame(r io.Reader, buf []byte, most uint32) (Frame, []byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, buf, err
	}
	size := binary.BigEndian.Uint32(head[:])
	offset := uint32(head[4]) * 4
	switch {
	case size > most:
		return Frame{}, buf, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, most)
	case size < frameHeader, offset < frameHeader, offset > size:
		return Frame{}, buf, fmt.Errorf("%w: a frame of %d bytes that begins at %d", ErrMalformed, size, offset)
	case head[5] > TypeSASL:
		return Frame{}, buf, fmt.Errorf("%w: no frames are of type %d", ErrMalformed, head[5])
	}
	rest := int(size - frameHeader)
	if cap(buf) < rest {
		buf = make([]byte, max(rest, 4096))
	}
	buf = buf[:cap(buf)]
	if _, err := io.ReadFull(r, buf[:rest]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, buf, err
	}
	return Frame{
		Type: head[5], Channel: binary.BigEndian.Uint16(head[6:]),
		Body: buf[offset-frameHeader : rest],
	}, buf, nil
}

// AppendFrame encodes a frame behind b: a performative, and for a transfer what
// it carries. A nil performative makes an empty frame.
func AppendFrame(b []byte, kind byte, channel uint16, p Performative, payload []byte) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 2, kind)
	b = binary.BigEndian.AppendUint16(b, channel)
	if p != nil {
		var err error
		if b, err = p.append(b); err != nil {
			return b[:start], err
		}
	}
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b, nil
}
