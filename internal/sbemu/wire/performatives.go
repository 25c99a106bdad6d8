package wire

import (
	"fmt"
	"time"
)

// The descriptors of performatives.
const (
	descOpen           = 0x10
	descBegin          = 0x11
	descAttach         = 0x12
	descFlow           = 0x13
	descTransfer       = 0x14
	descDisposition    = 0x15
	descDetach         = 0x16
	descEnd            = 0x17
	descClose          = 0x18
	descSASLMechanisms = 0x40
	descSASLInit       = 0x41
	descSASLOutcome    = 0x44
)

// Performative is the body of a frame.
type Performative interface {
	append(b []byte) ([]byte, error)
}

// Open begins a connection.
type Open struct {
	ContainerID string
	Hostname    string
	MaxFrame    Uint // absent: no limit
	ChannelMax  Uint // absent: 65,535
	IdleTimeOut time.Duration
	Properties  Map
}

// Begin begins a session.
type Begin struct {
	RemoteChannel  Uint
	NextOutgoingID uint32
	IncomingWindow uint32
	OutgoingWindow uint32
	HandleMax      Uint // absent: 4,294,967,295
}

// Flow carries the windows of a session, and with a handle the credit of a link.
type Flow struct {
	NextIncomingID Uint
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	Handle         Uint
	DeliveryCount  Uint
	LinkCredit     Uint
	Available      Uint
	Drain          bool
	Echo           bool
}

// Transfer carries a delivery, or a part of one.
type Transfer struct {
	Handle        uint32
	DeliveryID    Uint
	DeliveryTag   []byte
	MessageFormat Uint
	Settled       bool
	More          bool
	Aborted       bool
}

// Disposition says what became of deliveries.
type Disposition struct {
	Receiver bool // the one who says it received them
	First    uint32
	Last     Uint
	Settled  bool
	State    *State
}

// Detach ends a link.
type Detach struct {
	Handle uint32
	Closed bool
	Error  *Error
}

// End ends a session.
type End struct{ Error *Error }

// Close ends a connection.
type Close struct{ Error *Error }

// SASLMechanisms is what a server offers.
type SASLMechanisms struct{ Mechanisms []Symbol }

// SASLInit is what a client chose. What came with it is not kept.
type SASLInit struct{ Mechanism Symbol }

// SASLOutcome ends that layer; code 0 is well.
type SASLOutcome struct{ Code uint8 }

// Decode takes the performative of a frame, and what stands behind it: the
// payload of a transfer, which stays the frame's.
func Decode(body []byte) (Performative, []byte, error) {
	r := &reader{b: body}
	if r.byte() != codeDescribed {
		r.fail("a frame without a performative")
	}
	code := r.descriptor()
	if r.err != nil {
		return nil, nil, r.err
	}
	f := r.composite()
	p := f.performative(code)
	f.close()
	if r.err != nil {
		return nil, nil, r.err
	}
	return p, r.b, nil
}

func (f *fields) performative(code uint64) Performative {
	switch code {
	case descTransfer:
		p := &Transfer{Handle: f.uint().Value, DeliveryID: f.uint(), DeliveryTag: f.binary(), MessageFormat: f.uint(), Settled: f.bool(), More: f.bool()}
		f.ubyte() // receiver settle mode
		f.any()   // state
		f.bool()  // resume
		p.Aborted = f.bool()
		return p
	case descDisposition:
		p := &Disposition{Receiver: f.bool(), First: f.uint().Value, Last: f.uint(), Settled: f.bool()}
		p.State = f.state()
		return p
	case descFlow:
		return &Flow{
			NextIncomingID: f.uint(), IncomingWindow: f.uint().Value, NextOutgoingID: f.uint().Value, OutgoingWindow: f.uint().Value,
			Handle: f.uint(), DeliveryCount: f.uint(), LinkCredit: f.uint(), Available: f.uint(), Drain: f.bool(), Echo: f.bool(),
		}
	case descOpen:
		return f.open()
	case descBegin:
		return &Begin{RemoteChannel: f.ushort(), NextOutgoingID: f.uint().Value, IncomingWindow: f.uint().Value, OutgoingWindow: f.uint().Value, HandleMax: f.uint()}
	case descAttach:
		return f.attach()
	case descDetach:
		return &Detach{Handle: f.uint().Value, Closed: f.bool(), Error: f.error()}
	case descEnd:
		return &End{Error: f.error()}
	case descClose:
		return &Close{Error: f.error()}
	case descSASLInit:
		return &SASLInit{Mechanism: f.symbol()}
	case descSASLMechanisms:
		return f.mechanisms()
	case descSASLOutcome:
		return &SASLOutcome{Code: uint8(f.ubyte().Value)}
	}
	f.fail("no performative has the descriptor %#x", code)
	return nil
}

func (f *fields) open() *Open {
	p := &Open{ContainerID: f.str(), Hostname: f.str(), MaxFrame: f.uint(), ChannelMax: f.ushort(), IdleTimeOut: time.Duration(f.uint().Value) * time.Millisecond}
	for range 4 { // locales and capabilities
		f.any()
	}
	p.Properties = f.mapping()
	return p
}

func (f *fields) mechanisms() *SASLMechanisms {
	p := &SASLMechanisms{}
	switch v := f.any().(type) {
	case Symbol:
		p.Mechanisms = []Symbol{v}
	case []any:
		for _, m := range v {
			if s, ok := m.(Symbol); ok {
				p.Mechanisms = append(p.Mechanisms, s)
			}
		}
	}
	return p
}

func (p *Open) append(b []byte) ([]byte, error) {
	l := describe(b, descOpen).required(p.ContainerID).str(p.Hostname).uint(p.MaxFrame).ushort(p.ChannelMax).millis(p.IdleTimeOut)
	return l.null().null().null().null().any(p.Properties).done()
}

// required is a string that must be there even when it is empty.
func (l *list) required(v string) *list { return l.put(appendString(l.b, v)) }

func (p *Begin) append(b []byte) ([]byte, error) {
	return describe(b, descBegin).ushort(p.RemoteChannel).uint(U(p.NextOutgoingID)).uint(U(p.IncomingWindow)).uint(U(p.OutgoingWindow)).uint(p.HandleMax).done()
}

func (p *Flow) append(b []byte) ([]byte, error) {
	return describe(b, descFlow).uint(p.NextIncomingID).uint(U(p.IncomingWindow)).uint(U(p.NextOutgoingID)).uint(U(p.OutgoingWindow)).
		uint(p.Handle).uint(p.DeliveryCount).uint(p.LinkCredit).uint(p.Available).bool(p.Drain).bool(p.Echo).done()
}

func (p *Transfer) append(b []byte) ([]byte, error) {
	return describe(b, descTransfer).uint(U(p.Handle)).uint(p.DeliveryID).binary(p.DeliveryTag).uint(p.MessageFormat).
		bool(p.Settled).bool(p.More).null().null().null().bool(p.Aborted).done()
}

func (p *Disposition) append(b []byte) ([]byte, error) {
	l := describe(b, descDisposition)
	return l.put(appendBool(l.b, p.Receiver)).uint(U(p.First)).uint(p.Last).bool(p.Settled).nested(p.State != nil, p.State.append).done()
}

func (p *Detach) append(b []byte) ([]byte, error) {
	return describe(b, descDetach).uint(U(p.Handle)).bool(p.Closed).nested(p.Error != nil, p.Error.append).done()
}

func (p *End) append(b []byte) ([]byte, error) {
	return describe(b, descEnd).nested(p.Error != nil, p.Error.append).done()
}

func (p *Close) append(b []byte) ([]byte, error) {
	return describe(b, descClose).nested(p.Error != nil, p.Error.append).done()
}

func (p *SASLMechanisms) append(b []byte) ([]byte, error) {
	if len(p.Mechanisms) != 1 {
		return b, fmt.Errorf("%d mechanisms: a server here offers one", len(p.Mechanisms))
	}
	l := describe(b, descSASLMechanisms)
	// An array of one: some clients look for an array.
	name := p.Mechanisms[0]
	arr := append(l.b, codeArray8, byte(3+len(name)), 1, codeSym8, byte(len(name)))
	return l.put(append(arr, name...)).done()
}

func (p *SASLInit) append(b []byte) ([]byte, error) {
	return describe(b, descSASLInit).symbol(p.Mechanism).done()
}

func (p *SASLOutcome) append(b []byte) ([]byte, error) {
	return describe(b, descSASLOutcome).ubyte(Uint{Value: uint32(p.Code), Set: true}).done()
}
