package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
)

// performatives has each kind, with every field and with none.
func performatives() []Performative {
	long := strings.Repeat("x", 300)
	e := &Error{Condition: "amqp:not-found", Description: long, Info: Map{{Key: Symbol("k"), Value: "v"}, {Key: Symbol("n"), Value: nil}}}
	return []Performative{
		&Open{}, &Open{ContainerID: "c", Hostname: "h", MaxFrame: U(65_536), ChannelMax: U(4_999), IdleTimeOut: time.Minute, Properties: Map{{Key: Symbol("product"), Value: "x"}}},
		&Begin{}, &Begin{RemoteChannel: U(3), NextOutgoingID: 1, IncomingWindow: 5_000, OutgoingWindow: math.MaxUint32, HandleMax: U(255)},
		&Attach{}, &Attach{
			Name: "n", Handle: 300, Receiver: true, SenderSettle: U(SenderMixed), ReceiverSettle: U(ReceiverSecond),
			Source:               &Source{Address: long, Dynamic: true, Filter: Map{{Key: Symbol("f"), Value: Described{Descriptor: uint64(0x137000000C), Value: "id"}}}},
			Target:               &Target{Address: "t", Dynamic: true},
			InitialDeliveryCount: U(0), MaxMessageSize: 1 << 40, Properties: Map{{Key: Symbol("p"), Value: uint32(7)}},
		},
		&Attach{Name: "x", Source: &Source{}, Target: &Target{}}, &Attach{Name: "x", Target: &Target{Coordinator: true}},
		&Flow{}, &Flow{NextIncomingID: U(0), IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3, Handle: U(4), DeliveryCount: U(5), LinkCredit: U(6), Available: U(7), Drain: true, Echo: true},
		&Transfer{}, &Transfer{Handle: 1, DeliveryID: U(2), DeliveryTag: []byte{1, 2}, MessageFormat: U(0x80013700), Settled: true, More: true, Aborted: true},
		&Disposition{}, &Disposition{Receiver: true, First: 1, Last: U(2), Settled: true, State: &State{Kind: Rejected, Error: e}},
		&Disposition{State: &State{Kind: Modified, DeliveryFailed: true, UndeliverableHere: true, Annotations: Map{{Key: Symbol("a"), Value: int64(-1)}}}},
		&Disposition{State: &State{Kind: Accepted}}, &Disposition{State: &State{Kind: Released}}, &Disposition{State: &State{Kind: InTransaction}},
		&Detach{}, &Detach{Handle: 9, Closed: true, Error: e}, &End{}, &End{Error: e}, &Close{}, &Close{Error: e},
		&SASLMechanisms{Mechanisms: []Symbol{"ANONYMOUS"}}, &SASLInit{Mechanism: "ANONYMOUS"}, &SASLOutcome{Code: 1},
	}
}

func TestPerformatives(t *testing.T) {
	for _, p := range performatives() {
		b, err := AppendFrame([]byte("before"), TypeAMQP, 77, p, []byte("payload"))
		if err != nil {
			t.Fatalf("%T: %v", p, err)
		}
		f, _, err := ReadFrame(bytes.NewReader(b[len("before"):]), nil, 4096)
		if err != nil || f.Channel != 77 {
			t.Fatalf("%T: %+v, %v", p, f, err)
		}
		// No other form of descriptor is read by go-amqp.
		if f.Body[0] != codeDescribed || f.Body[1] != codeSmallUl {
			t.Errorf("%T begins with % x", p, f.Body[:3])
		}
		got, payload, err := Decode(f.Body)
		if err != nil || string(payload) != "payload" {
			t.Fatalf("%T: %q, %v", p, payload, err)
		}
		if d := cmp.Diff(p, got); d != "" {
			t.Error(d)
		}
	}
}

// values has each kind of value that is encoded here.
func values() []any {
	return []any{
		nil, true, false, uint8(200), int8(-3), uint16(500), int16(-500), uint32(0), uint32(255), uint32(1 << 20), int32(-1 << 20),
		uint64(0), uint64(255), uint64(1 << 40), int64(-1 << 40), float32(1.5), -2.25, "", strings.Repeat("é", 200), Symbol("s"), Symbol(strings.Repeat("s", 300)),
		[]byte{},
		bytes.Repeat([]byte{7}, 300),
		UUID{1, 2, 3},
		time.UnixMilli(1_700_000_000_123).UTC(),
		[]any{},
		[]any{"a", int64(1), []any{true}},
		Map{},
		Map{{Key: "k", Value: Map{{Key: uint64(1), Value: nil}}}},
		Described{Descriptor: Symbol("d"), Value: []any{"x"}},
	}
}

func TestValues(t *testing.T) {
	for _, v := range values() {
		b, err := AppendValue(nil, v)
		if err != nil {
			t.Fatalf("%T: %v", v, err)
		}
		r := &reader{b: b}
		if d := cmp.Diff(v, r.value(0)); d != "" || r.err != nil || len(r.b) > 0 {
			t.Errorf("%T: %v, %d bytes left, %s", v, r.err, len(r.b), d)
		}
	}
	for _, v := range []any{struct{}{}, 1, []any{make(chan int)}, Map{{Key: 1}}, Map{{Key: "k", Value: 1}}, Described{Descriptor: 1}} {
		if _, err := AppendValue(nil, v); err == nil {
			t.Errorf("%T was encoded", v)
		}
	}
}

// What only other clients send.
func TestOtherForms(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want any
	}{
		"small int":       {[]byte{codeSmallInt, 0xff}, int32(-1)},
		"small long":      {[]byte{codeSmallLong, 0xfe}, int64(-2)},
		"byte of truth":   {[]byte{codeBool, 1}, true},
		"char":            {[]byte{codeChar, 0, 0, 0, 'x'}, 'x'},
		"small list":      {[]byte{codeList8, 3, 2, codeTrue, codeNull}, []any{true, nil}},
		"small map":       {[]byte{codeMap8, 4, 2, codeSym8, 0, codeNull}, Map{{Key: Symbol(""), Value: nil}}},
		"array":           {[]byte{codeArray8, 4, 2, codeSmallUint, 1, 2}, []any{uint32(1), uint32(2)}},
		"large array":     {[]byte{codeArray32, 0, 0, 0, 7, 0, 0, 0, 2, codeUbyte, 1, 2}, []any{byte(1), byte(2)}},
		"array of truth":  {[]byte{codeArray8, 2, 1, codeTrue}, []any{true}},
		"described array": {[]byte{codeArray8, 6, 1, codeDescribed, codeSmallUl, 9, codeUbyte, 7}, []any{Described{Descriptor: uint64(9), Value: byte(7)}}},
	} {
		r := &reader{b: c.b}
		if d := cmp.Diff(c.want, r.value(0)); d != "" || r.err != nil || len(r.b) > 0 {
			t.Errorf("%s: %v, %d bytes left, %s", name, r.err, len(r.b), d)
		}
	}
	b := append([]byte{codeDescribed}, appendSymbol(nil, "amqp:end:list")...)
	if p, _, err := Decode(append(b, codeList0)); err != nil || !cmp.Equal(p, Performative(&End{})) {
		t.Errorf("%+v, %v", p, err)
	}
	// A newer peer may say more than is known here.
	b = []byte{codeDescribed, codeSmallUl, descEnd, codeList8, 4, 3, codeNull, codeTrue, codeTrue}
	if p, _, err := Decode(b); err != nil || !cmp.Equal(p, Performative(&End{})) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestMalformed(t *testing.T) {
	deep := bytes.Repeat([]byte{codeList8, 250, 1}, 30)
	for i := range 30 { // each list says how long the rest is
		deep[3*i+1] = byte(len(deep) - 3*i - 2)
	}
	for name, b := range map[string][]byte{
		"nothing":             {},
		"no descriptor":       {codeDescribed},
		"a number":            {codeSmallUint, 1},
		"described by null":   {codeDescribed, codeNull, codeList0},
		"described by a name": append(append([]byte{codeDescribed}, appendSymbol(nil, "amqp:none:list")...), codeList0),
		"not a list":          {codeDescribed, codeSmallUl, descEnd, codeTrue},
		"list beyond the end": {codeDescribed, codeSmallUl, descEnd, codeList8, 200, 1},
		"more than fits":      {codeDescribed, codeSmallUl, descEnd, codeList8, 2, 200, codeNull},
		"billions":            {codeDescribed, codeSmallUl, descEnd, codeList32, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, codeNull},
		"a string of 4 GiB":   {codeDescribed, codeSmallUl, descOpen, codeList8, 6, 1, codeStr32, 0xff, 0xff, 0xff, 0xff},
		"an unknown code":     {codeDescribed, codeSmallUl, descOpen, codeList8, 2, 1, 0x99},
		"a field of no kind":  {codeDescribed, codeSmallUl, descBegin, codeList8, 2, 1, codeTrue},
		"no error":            {codeDescribed, codeSmallUl, descEnd, codeList8, 2, 1, codeTrue},
		"another composite":   {codeDescribed, codeSmallUl, descEnd, codeList8, 5, 1, codeDescribed, codeSmallUl, descSource, codeList0},
		"half a map":          {codeDescribed, codeSmallUl, descOpen, codeList8, 13, 10, codeNull, codeNull, codeNull, codeNull, codeNull, codeNull, codeNull, codeNull, codeNull, codeMap8, 2, 1, codeNull},
		"too deep":            append([]byte{codeDescribed, codeSmallUl, descOpen, codeList8, byte(len(deep) + 1), 9, codeNull, codeNull, codeNull, codeNull, codeNull}, deep...),
	} {
		if p, _, err := Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestReadFrame(t *testing.T) {
	frame := func(size uint32, rest ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, size), rest...)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"too large":       {frame(101, 2, 0, 0, 0), ErrTooLarge},
		"too small":       {frame(7, 2, 0, 0, 0), ErrMalformed},
		"begins too soon": {frame(8, 1, 0, 0, 0), ErrMalformed},
		"begins too late": {frame(8, 3, 0, 0, 0), ErrMalformed},
		"of no type":      {frame(8, 2, 2, 0, 0), ErrMalformed},
		"end":             {nil, io.EOF},
		"half a header":   {frame(8, 2), io.ErrUnexpectedEOF},
		"half a body":     {frame(12, 2, 0, 0, 0, 1), io.ErrUnexpectedEOF},
		"no body":         {frame(12, 2, 0, 0, 0), io.ErrUnexpectedEOF},
	} {
		if f, _, err := ReadFrame(bytes.NewReader(c.b), nil, 100); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	f, _, err := ReadFrame(bytes.NewReader(frame(14, 3, 1, 1, 2, 9, 9, 9, 9, 5, 6)), make([]byte, 3), 100)
	if err != nil || f.Type != TypeSASL || f.Channel != 0x0102 || !bytes.Equal(f.Body, []byte{5, 6}) {
		t.Errorf("%+v, %v", f, err)
	}
}

// The header is what go-amqp reads, and has a delivery count of 0.
func TestAppendHeader(t *testing.T) {
	for _, h := range []Header{{}, {Durable: true, Priority: 9, TimeToLive: time.Hour, FirstAcquirer: true, DeliveryCount: 7}} {
		var m amqp.Message
		b := AppendHeader(nil, h)
		if err := m.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		got := Header{Durable: m.Header.Durable, Priority: m.Header.Priority, TimeToLive: m.Header.TTL, FirstAcquirer: m.Header.FirstAcquirer, DeliveryCount: m.Header.DeliveryCount}
		if got != h {
			t.Errorf("%+v came back as %+v", h, got)
		}
		if count := int(binary.BigEndian.Uint32(b[8:])); count != 5 {
			t.Errorf("%d of 5 fields are there", count)
		}
	}
}

// FuzzDecode reads what it can of any bytes; what it understood survives being
// encoded and read again.
func FuzzDecode(f *testing.F) {
	for _, p := range performatives() {
		b, err := AppendFrame(nil, TypeAMQP, 0, p, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, _, err := ReadFrame(bytes.NewReader(b), nil, 1<<16)
		if err != nil {
			return
		}
		p, payload, err := Decode(frame.Body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := AppendFrame(nil, frame.Type, frame.Channel, p, payload)
		if err != nil {
			return // such as a server that offers no mechanism
		}
		frame, _, err = ReadFrame(bytes.NewReader(again), nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		q, rest, err := Decode(frame.Body)
		if err != nil || !bytes.Equal(rest, payload) {
			t.Fatalf("%+v was encoded as what cannot be read: %v", p, err)
		}
		third, err := AppendFrame(nil, frame.Type, frame.Channel, q, rest)
		if err != nil || !bytes.Equal(third, again) {
			t.Fatalf("%+v became %+v", p, q)
		}
	})
}
