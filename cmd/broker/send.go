package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry"
	"ferry/client"
)

// Exit codes of `broker send --wait`, beside 0 for completed.
const (
	exitDeadLettered = 4 // also discarded: it ended, and was not delivered
	exitPending      = 5 // the time-out came first; the message goes on
)

type sendCmd struct {
	Route         string            `arg:"" help:"The route."`
	File          string            `short:"f" placeholder:"FILE" help:"The body; - or none reads standard input."`
	ContentType   string            `placeholder:"TYPE" help:"Content type; else told from the file's name or the body."`
	Key           string            `placeholder:"KEY" help:"Idempotency key: your name for this message. A repeat is recognised by it."`
	CorrelationID string            `name:"correlation-id" placeholder:"ID" help:"Groups the messages of one business case."`
	Version       string            `placeholder:"VERSION" help:"Version of the route that the message is of."`
	OrderingKey   string            `placeholder:"KEY" help:"Messages of one ordering key are delivered one after the other."`
	DeliverAt     string            `placeholder:"TIME" help:"Not before: a time with offset, or a duration from now such as 2h."`
	TimeToLive    string            `placeholder:"DURATION" help:"Give up after this long, such as 12h or 30d."`
	CallbackURL   string            `name:"callback-url" placeholder:"URL" help:"Where to tell the end."`
	OnConflict    string            `placeholder:"replace" help:"replace: a dead-lettered or discarded message of this key gets this body."`
	Property      map[string]string `short:"p" mapsep:"none" placeholder:"NAME=VALUE" help:"Custom property; may be repeated."`
	Wait          bool              `help:"Wait for the end. Exit 0 completed, 4 dead-lettered or discarded, 5 still pending."`
	WaitFor       string            `enum:"ended,completed" default:"ended" help:"completed: --wait goes on across a dead letter, its edit and replay (else ${default})."`
	Timeout       string            `default:"60s" placeholder:"DURATION" help:"How long --wait waits (${default})."`
}

// Run sends the message, and waits for its end when asked to.
func (s sendCmd) Run(a *app) error {
	message, err := s.message(a)
	if err != nil {
		return err
	}
	body, err := a.openInput(s.File)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was read only
	message.ContentType = firstOf(s.ContentType, contentType(s.File, body.head, body.whole))
	wait, err := positiveDuration("--timeout", s.Timeout)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	var accepted ferry.Accepted
	if body.whole {
		message.Body = body.head
		accepted, err = c.Send(a.ctx, s.Route, message)
	} else {
		accepted, err = c.SendFrom(a.ctx, s.Route, message, body, body.size)
	}
	if err != nil {
		return a.explainReuse(err)
	}
	if s.Wait {
		return a.waitForEnd(c, accepted, wait, ferry.WaitFor(s.WaitFor))
	}
	if a.json() {
		return a.writeJSON(accepted)
	}
	a.printf("%s\n", sentence(accepted))
	if a.screen.terminal {
		a.remark("next: broker messages show %s", accepted.ID.Short())
	}
	return nil
}

func (s sendCmd) message(a *app) (ferry.Message, error) {
	m := ferry.Message{
		Route:          s.Route,
		IdempotencyKey: s.Key,
		CorrelationID:  s.CorrelationID,
		OrderingKey:    s.OrderingKey,
		Properties:     s.Property,
		CallbackURL:    s.CallbackURL,
		OnConflict:     s.OnConflict,
		Version:        s.Version,
	}
	var err error
	if m.DeliverAt, err = a.future("--deliver-at", s.DeliverAt); err != nil {
		return m, err
	}
	if s.TimeToLive != "" {
		if m.TimeToLive, err = positiveDuration("--time-to-live", s.TimeToLive); err != nil {
			return m, err
		}
	}
	if fault := m.Validate(); fault != nil {
		return m, usagef("%s", fault.Message).withHint("%s", fault.Hint)
	}
	return m, nil
}

func positiveDuration(flag, value string) (time.Duration, error) {
	d, err := ferry.ParseDuration(value)
	if err != nil {
		return 0, usagef("%s %q is not a duration", flag, value).withHint("such as 30s, 12h or 30d")
	}
	if d <= 0 {
		return 0, usagef("%s %s is not a time to wait", flag, value)
	}
	return d, nil
}

func sentence(accepted ferry.Accepted) string {
	switch {
	case accepted.Duplicate:
		return fmt.Sprintf("known already: %s on %s is %s", accepted.ID, accepted.Route, accepted.State)
	case accepted.Revision > 1:
		return fmt.Sprintf("replaced: %s on %s has this body as revision %d", accepted.ID, accepted.Route, accepted.Revision)
	default:
		return fmt.Sprintf("accepted: %s on %s", accepted.ID, accepted.Route)
	}
}

// explainReuse adds to a reused key what may be done about it.
func (a *app) explainReuse(err error) error {
	var known *ferry.Error
	if errors.As(err, &known) && known.Code == ferry.CodeKeyReused && known.Existing != nil && known.Hint == "" {
		again := *known
		_ = again.WithHint("broker messages show %s shows the message that has the key; --on-conflict replace gives a dead-lettered one this body", known.Existing.ID)
		return &again
	}
	return err
}

// waitForEnd asks until the message has ended or the time is over. Ctrl-C ends
// the waiting, never the message.
func (a *app) waitForEnd(c *client.Client, accepted ferry.Accepted, most time.Duration, until ferry.WaitFor) error {
	if !a.json() {
		a.printf("%s\n", sentence(accepted))
	}
	ctx, cancel := context.WithTimeout(a.ctx, most)
	defer cancel()
	e, err := c.AwaitEnd(ctx, accepted.ID.String(), until)
	if err != nil && (!errors.Is(err, context.DeadlineExceeded) || a.ctx.Err() != nil) {
		return fmt.Errorf("%s was accepted, but its end is not known: %w", accepted.ID, err)
	}
	if e.ID.IsZero() { // not one answer within the time: what is known is that it was accepted
		e = ferry.Envelope{ID: accepted.ID, Route: accepted.Route, State: accepted.State, Attempts: []ferry.Attempt{}}
	}
	if a.json() {
		if err := a.writeJSON(e); err != nil {
			return err
		}
	} else {
		a.printf("%s\n", a.outcome(e))
	}
	switch {
	case e.State == ferry.StateCompleted:
		return nil
	case e.State.Terminal():
		return quietExit(exitDeadLettered)
	default:
		return quietExit(exitPending)
	}
}

// outcome is where a message stands, in a sentence.
func (a *app) outcome(e ferry.Envelope) string {
	p := a.paint()
	switch {
	case e.State == ferry.StateCompleted:
		text := p.state(e.State)
		if e.Reference != "" {
			text += ": " + oneLine(e.Reference)
		}
		return text + ", after " + count(e.AttemptsTotal, "attempt")
	case e.DeadLetter != nil && e.State == ferry.StateDeadLettered:
		return fmt.Sprintf("%s: %s, %s\nnext: broker dlq show %s",
			p.state(e.State), p.reason(e.DeadLetter.Reason), oneLine(e.DeadLetter.Description), a.id(e.ID))
	case e.State == ferry.StateDiscarded:
		return p.state(e.State)
	default:
		text := fmt.Sprintf("still %s after %s%s", p.state(e.State), count(e.AttemptsTotal, "attempt"), waitingFor(a.now(), e.WaitingFor))
		if w := e.WaitingFor; w != nil && w.Open {
			text += "\noutcome: " + openOutcome(e)
		}
		if w := e.WaitingFor; w != nil && w.Text != "" {
			text += "\nlast turn: " + oneLine(w.Text)
		}
		return text
	}
}
