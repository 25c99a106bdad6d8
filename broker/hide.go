package broker

import (
	"io"

	"ferry"
	"ferry/privacy"
)

// maskOf is what the route's configuration hides; nil: nothing.
func (b *Broker) maskOf(route string) *privacy.FieldMask {
	if r, ok := b.route(route); ok {
		return r.mask
	}
	return nil
}

// maskFor is the mask of one message: its members, and their values wherever they
// are quoted. nil: nothing is hidden.
func (b *Broker) maskFor(route string, id ferry.ID) *privacy.ValueMask {
	m := b.maskOf(route)
	if m == nil {
		return nil
	}
	body, err := b.ledger.OpenBody(id, 0)
	if err != nil {
		return m.Values() // its members are masked all the same
	}
	defer func() { _ = body.Close() }() // it was read only
	data, err := io.ReadAll(io.LimitReader(body, ferry.MaxMapped))
	if err != nil {
		return m.Values()
	}
	return m.Values(data)
}

// hide masks what a receipt says before it is kept. Workers mask by a
// configuration of their own; receivers and destinations that call back do not.
func (b *Broker) hide(rc *ferry.Receipt) {
	if b.maskOf(rc.Route) == nil || rc.Text == "" && rc.Code == "" && len(rc.Result) == 0 && len(rc.Attempts) == 0 {
		return
	}
	m := b.maskFor(rc.Route, rc.ID)
	rc.Text, rc.Code, rc.Result = m.Text(rc.Text), m.Text(rc.Code), m.JSON(rc.Result)
	for i := range rc.Attempts {
		a := &rc.Attempts[i]
		a.Text, a.Code, a.Request = m.Text(a.Text), m.Text(a.Code), m.Text(a.Request)
		for j := range a.Fields {
			a.Fields[j].Field, a.Fields[j].Text = m.Text(a.Fields[j].Field), m.Text(a.Fields[j].Text)
		}
	}
}

// hideSettled masks what a receiver says of a message.
func (b *Broker) hideSettled(s *ferry.LockSettle) {
	mask := b.maskOf(s.Route)
	if mask == nil || s.Text == "" && s.Code == "" && len(s.Result) == 0 {
		return
	}
	m := mask.Values() // named by its key: its values are not looked for
	if id, err := ferry.ParseID(s.Message); err == nil {
		m = b.maskFor(s.Route, id)
	}
	s.Text, s.Code, s.Result = m.Text(s.Text), m.Text(s.Code), m.JSON(s.Result)
}

// hideConfirmed masks what a destination says later of a message.
func (b *Broker) hideConfirmed(id ferry.ID, c *ferry.Confirmation) {
	if c.Text == "" && c.Code == "" {
		return
	}
	e, err := b.ledger.Message(id)
	if err != nil {
		return // there is no message to keep it with
	}
	m := b.maskFor(e.Route, id)
	c.Text, c.Code = m.Text(c.Text), m.Text(c.Code)
}
