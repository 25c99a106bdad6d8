package main

import (
	"errors"
	"fmt"

	"ferry"
	"ferry/client"
)

type dlqReplayCmd struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Which; or give a filter."`
	dlqFilter
	bulkFlags
	replayFlags
	IncludeUnknown bool   `help:"Also those whose outcome is unknown: they may exist at the destination already."`
	Note           string `help:"Why, for the audit."`
}

// Run sends dead letters again.
func (d dlqReplayCmd) Run(a *app) error {
	b := bulk{act: "replay", ids: d.IDs, flags: d.bulkFlags, includeUnknown: d.IncludeUnknown, note: d.Note, replay: d.replayFlags}
	return b.run(a, d.dlqFilter, func(c *client.Client, e ferry.Envelope) (ferry.Envelope, error) {
		if err := a.acceptRisk(e, d.IncludeUnknown || d.Yes); err != nil {
			return e, err
		}
		return c.Replay(a.ctx, e.ID.String(), client.Replay{Note: d.Note})
	})
}

// acceptRisk has a person know what sending e again may do, when its document
// may exist already.
func (a *app) acceptRisk(e ferry.Envelope, accepted bool) error {
	if e.DeadLetter == nil || e.State != ferry.StateDeadLettered || !e.DeadLetter.MayExist() {
		return nil
	}
	what := fmt.Sprintf("%s is %s: %s", e.ID.Short(), e.DeadLetter.Reason, meaning(e.DeadLetter.Reason))
	if e.DeadLetter.Open {
		what += "; " + openWarning(e)
	}
	if accepted {
		a.remark("%s", a.paint().yellow(printable("careful: "+what)))
		return nil
	}
	if !a.asks {
		return usagef("%s", what).withHint("look there for %s; then --include-unknown sends it again, or `broker dlq accept` says that it is there",
			ferry.ExternalKey(e.ID, e.IdempotencyKey))
	}
	a.remark("%s", a.paint().yellow(printable(what)))
	return a.confirm("send it again%s?", inEnvironment(e.Environment))
}

// inEnvironment names where a dangerous act takes place, as the end of a
// sentence.
func inEnvironment(name string) string {
	if name == "" {
		return ""
	}
	return " in " + oneLine(name)
}

type dlqDiscardCmd struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Which; or give a filter."`
	dlqFilter
	bulkFlags
	Note string `required:"" help:"Why, for the audit."`
}

// Run ends dead letters.
func (d dlqDiscardCmd) Run(a *app) error {
	b := bulk{act: "discard", ids: d.IDs, flags: d.bulkFlags, includeUnknown: true, note: d.Note}
	return b.run(a, d.dlqFilter, func(c *client.Client, e ferry.Envelope) (ferry.Envelope, error) {
		return c.Discard(a.ctx, e.ID.String(), d.Note)
	})
}

type dlqAcceptCmd struct {
	ID        string `arg:"" help:"Which."`
	Reference string `placeholder:"NUMBER" help:"The destination's document number; else the one that was found."`
	Note      string `required:"" help:"How you know, for the audit."`
}

// Run completes a dead letter that is at the destination after all.
func (d dlqAcceptCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	e, err := a.find(c, d.ID)
	if err != nil {
		return err
	}
	reference := d.Reference
	if reference == "" && e.DeadLetter != nil {
		reference = e.DeadLetter.Reference
	}
	if reference == "" {
		return usagef("which document is it?").withHint("--reference NUMBER names it")
	}
	e, err = c.AcceptDeadLetter(a.ctx, e.ID.String(), reference, d.Note)
	return a.writeActed("accepted", e, err)
}

type dlqRestoreCmd struct {
	IDs       []string `arg:"" optional:"" name:"id" help:"Which; or give a filter."`
	Operation string   `placeholder:"ID" help:"All that this bulk discard ended."`
	dlqFilter
	bulkFlags
	Note string `help:"Why, for the audit."`
}

// Run brings discarded messages back. Ids are restored one after the other; one that
// cannot be restored does not stop the others.
func (d dlqRestoreCmd) Run(a *app) error {
	b := bulk{act: "restore", ids: d.IDs, flags: d.bulkFlags, includeUnknown: true, note: d.Note, operation: d.Operation}
	if len(d.IDs) == 0 || d.DryRun {
		return b.run(a, d.dlqFilter, nil)
	}
	if err := b.check(a, d.dlqFilter); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	var failed []error
	for _, id := range d.IDs {
		e, err := a.find(c, id)
		if err == nil {
			e, err = c.Restore(a.ctx, e.ID.String(), d.Note)
		}
		if err = a.writeActed("restored", e, err); err != nil {
			if len(d.IDs) == 1 {
				return err
			}
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

// writeActed says what an act on one message led to.
func (a *app) writeActed(verb string, e ferry.Envelope, err error) error {
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(e)
	}
	text := fmt.Sprintf("%s: %s is %s", verb, a.id(e.ID), a.paint().state(e.State))
	if e.Reference != "" {
		text += " as " + oneLine(e.Reference)
	}
	a.printf("%s\n", text)
	if e.State.Pending() && a.screen.terminal {
		a.remark("next: broker messages show %s", e.ID.Short())
	}
	return nil
}
