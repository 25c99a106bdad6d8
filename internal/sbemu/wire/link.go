package wire

import "time"

// The descriptors of what performatives carry.
const (
	descError       = 0x1d
	descSource      = 0x28
	descTarget      = 0x29
	descCoordinator = 0x30
	descHeader      = 0x70

	// Received is a state on the way; the others are outcomes.
	Received = 0x23
	Accepted = 0x24
	Rejected = 0x25
	Released = 0x26
	Modified = 0x27
	// InTransaction is a state that only transactions use.
	InTransaction = 0x34
)

// The settle modes of links.
const (
	SenderUnsettled = 0
	SenderSettled   = 1
	SenderMixed     = 2
	ReceiverFirst   = 0
	ReceiverSecond  = 1
)

// Attach begins a link.
type Attach struct {
	Name                 string
	Handle               uint32
	Receiver             bool // the one who attaches receives
	SenderSettle         Uint // absent: mixed
	ReceiverSettle       Uint // absent: first
	Source               *Source
	Target               *Target
	InitialDeliveryCount Uint
	MaxMessageSize       uint64 // 0: no limit
	Properties           Map
}

// Source is where deliveries come from.
type Source struct {
	Address string
	Dynamic bool
	Filter  Map
}

// Target is where deliveries go.
type Target struct {
	Address     string
	Dynamic     bool
	Coordinator bool // of transactions: no address
}

// State is what became of a delivery.
type State struct {
	Kind              byte
	Error             *Error // of Rejected
	DeliveryFailed    bool   // of Modified, as the following
	UndeliverableHere bool
	Annotations       Map
}

// Error is why a link, a session or a connection ends, or a delivery was
// rejected.
type Error struct {
	Condition   Symbol
	Description string
	Info        Map
}

// Error says the condition and the description.
func (e *Error) Error() string { return string(e.Condition) + ": " + e.Description }

// named gives the number of a descriptor that came as a name.
func named(s Symbol) (uint64, bool) {
	code, ok := map[Symbol]uint64{
		"amqp:open:list": descOpen, "amqp:begin:list": descBegin, "amqp:attach:list": descAttach, "amqp:flow:list": descFlow,
		"amqp:transfer:list": descTransfer, "amqp:disposition:list": descDisposition, "amqp:detach:list": descDetach,
		"amqp:end:list": descEnd, "amqp:close:list": descClose, "amqp:error:list": descError, "amqp:source:list": descSource,
		"amqp:target:list": descTarget, "amqp:coordinator:list": descCoordinator, "amqp:received:list": Received,
		"amqp:accepted:list": Accepted, "amqp:rejected:list": Rejected, "amqp:released:list": Released,
		"amqp:modified:list": Modified, "amqp:transactional-state:list": InTransaction,
		"amqp:sasl-init:list": descSASLInit, "amqp:sasl-mechanisms:list": descSASLMechanisms, "amqp:sasl-outcome:list": descSASLOutcome,
	}[s]
	return code, ok
}

func (f *fields) attach() *Attach {
	p := &Attach{Name: f.str(), Handle: f.uint().Value, Receiver: f.bool(), SenderSettle: f.ubyte(), ReceiverSettle: f.ubyte()}
	p.Source = f.source()
	p.Target = f.target()
	f.any()  // unsettled: nothing is resumed
	f.bool() // incomplete
	p.InitialDeliveryCount = f.uint()
	p.MaxMessageSize = f.ulong()
	f.any() // capabilities
	f.any()
	p.Properties = f.mapping()
	return p
}

func (f *fields) source() *Source {
	code, c := f.described()
	if c == nil {
		return nil
	}
	if code != descSource {
		c.fail("a source is described by %#x", code)
	}
	s := &Source{Address: c.address()}
	c.any() // durable
	c.any() // expiry policy
	c.any() // timeout
	s.Dynamic = c.bool()
	c.any() // properties of dynamic nodes
	c.any() // distribution mode
	s.Filter = c.mapping()
	c.close()
	return s
}

func (f *fields) target() *Target {
	code, c := f.described()
	if c == nil {
		return nil
	}
	t := &Target{}
	switch code {
	case descTarget:
		t.Address = c.address()
		c.any()
		c.any()
		c.any()
		t.Dynamic = c.bool()
	case descCoordinator:
		t.Coordinator = true
	default:
		c.fail("a target is described by %#x", code)
	}
	c.close()
	return t
}

// address takes an address, which is of any type in the specification, and a
// string in practice.
func (f *fields) address() string {
	switch v := f.any().(type) {
	case nil:
	case string:
		return v
	case Symbol:
		return string(v)
	default:
		f.fail("an address is no string")
	}
	return ""
}

func (f *fields) state() *State {
	code, c := f.described()
	if c == nil {
		return nil
	}
	s := &State{Kind: byte(code)}
	switch code {
	case Received, Accepted, Released, InTransaction:
	case Rejected:
		s.Error = c.error()
	case Modified:
		s.DeliveryFailed, s.UndeliverableHere, s.Annotations = c.bool(), c.bool(), c.mapping()
	default:
		c.fail("a state is described by %#x", code)
	}
	c.close()
	return s
}

func (f *fields) error() *Error {
	code, c := f.described()
	if c == nil {
		return nil
	}
	if code != descError {
		c.fail("an error is described by %#x", code)
	}
	e := &Error{Condition: c.symbol(), Description: c.str(), Info: c.mapping()}
	c.close()
	return e
}

func (p *Attach) append(b []byte) ([]byte, error) {
	l := describe(b, descAttach).required(p.Name).uint(U(p.Handle))
	l.put(appendBool(l.b, p.Receiver)).ubyte(p.SenderSettle).ubyte(p.ReceiverSettle)
	l.nested(p.Source != nil, p.Source.append).nested(p.Target != nil, p.Target.append)
	return l.null().null().uint(p.InitialDeliveryCount).ulong(p.MaxMessageSize).null().null().any(p.Properties).done()
}

func (s *Source) append(b []byte) ([]byte, error) {
	return describe(b, descSource).str(s.Address).null().null().null().bool(s.Dynamic).null().null().any(s.Filter).done()
}

func (t *Target) append(b []byte) ([]byte, error) {
	if t.Coordinator {
		return describe(b, descCoordinator).done()
	}
	return describe(b, descTarget).str(t.Address).null().null().null().bool(t.Dynamic).done()
}

func (s *State) append(b []byte) ([]byte, error) {
	l := describe(b, s.Kind)
	switch s.Kind {
	case Rejected:
		l.nested(s.Error != nil, s.Error.append)
	case Modified:
		l.bool(s.DeliveryFailed).bool(s.UndeliverableHere).any(s.Annotations)
	}
	return l.done()
}

func (e *Error) append(b []byte) ([]byte, error) {
	return describe(b, descError).symbol(e.Condition).str(e.Description).any(e.Info).done()
}

// Header is the first section of a message.
type Header struct {
	Durable       bool
	Priority      uint8
	TimeToLive    time.Duration // 0: none
	FirstAcquirer bool
	DeliveryCount uint32
}

// AppendHeader encodes the section, the delivery count too when it is 0: some
// clients take a missing one for a message that was never delivered.
func AppendHeader(b []byte, h Header) []byte {
	l := describe(b, descHeader)
	l.put(appendBool(l.b, h.Durable)).ubyte(Uint{Value: uint32(h.Priority), Set: true}).millis(h.TimeToLive)
	l.put(appendBool(l.b, h.FirstAcquirer)).uint(U(h.DeliveryCount))
	b, _ = l.done() // nothing in it can fail
	return b
}
