package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry"
	"ferry/client"
)

type eventsCmd struct {
	After  string `placeholder:"EVENT|TIME" help:"Only what ended behind this event, or later than a time or than so long ago, such as 2h; oldest first. Else the latest, newest first."`
	Route  string `help:"Only this route."`
	Type   string `placeholder:"TYPE" help:"Only this type: completed, deadLettered or discarded."`
	Limit  int    `default:"50" help:"At most so many, 1 to 1000."`
	Follow bool   `help:"Go on with what ends from now on, one line each, until Ctrl-C."`

	Every time.Duration `default:"2s" help:"With --follow: how often to ask."`
}

// Run lists what became of messages.
func (e eventsCmd) Run(a *app) error {
	if e.Limit < 1 || e.Limit > ferry.MaxListLimit {
		return usagef("--limit %d is out of range", e.Limit).withHint("1 to %d", ferry.MaxListLimit)
	}
	if e.Every < 100*time.Millisecond {
		return usagef("--every %s is too often", e.Every).withHint("100ms or more")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	ask := client.Events{After: e.After, Route: e.Route, Type: ferry.EventType(e.Type), Limit: e.Limit}
	if e.Follow {
		return a.followEvents(c, ask, e.Every)
	}
	if e.After == "" {
		ask.Order = "desc"
	}
	page, err := c.Events(a.ctx, ask)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(page)
	}
	a.remarkGap(page)
	return writeList(a, page.Items, "nothing ended"+ifFiltered(e != eventsCmd{Limit: e.Limit, Every: e.Every}),
		[]column{left("WHEN"), left("TYPE"), left("ROUTE"), left("MESSAGE"), long("KEY"), long("CAME OF IT")},
		func(ev ferry.Event) []any {
			p := a.paint()
			return []any{
				moment(ev.Time),
				cell{string(ev.Type), func(string) string { return p.state(ev.Message.State) }},
				ev.Message.Route,
				a.id(ev.Message.ID), orDash(ev.Message.IdempotencyKey), orDash(cameOfIt(ev)),
			}
		})
}

// cameOfIt is an event in few words.
func cameOfIt(ev ferry.Event) string {
	m := ev.Message
	switch {
	case ev.Type == ferry.EventCompleted:
		return m.Reference
	case ev.Type == ferry.EventDiscarded && m.Discarded != nil:
		return strings.TrimSuffix("by "+m.Discarded.By+": "+m.Discarded.Note, ": ")
	case m.DeadLetter != nil:
		return strings.TrimSpace(string(m.DeadLetter.Reason) + " " + m.DeadLetter.Code + " " + m.DeadLetter.Description)
	default:
		return ""
	}
}

func (a *app) remarkGap(page ferry.EventPage) {
	if page.GapUntil != nil {
		a.remark("events up to %s are no longer kept: some are missing here", moment(*page.GapUntil))
	}
}

// followEvents writes a line for each event as it comes: with -o json the event.
// Without --after it begins with the latest.
func (a *app) followEvents(c *client.Client, ask client.Events, every time.Duration) error {
	if ask.After == "" {
		latest := ask
		latest.Order, latest.Limit = "desc", 1
		page, err := c.Events(a.ctx, latest)
		if err != nil {
			return err
		}
		ask.After = page.NextAfter
		if err := a.writeEvents(page); err != nil {
			return err
		}
	}
	for {
		page, err := c.Events(a.ctx, ask)
		switch {
		case errors.Is(err, context.Canceled):
			return nil // Ctrl-C: it was asked to go on until then
		case err != nil:
			return err
		}
		a.remarkGap(page)
		if err := a.writeEvents(page); err != nil {
			return err
		}
		if page.NextAfter != "" {
			ask.After = page.NextAfter
		}
		if len(page.Items) > 0 {
			continue
		}
		if a.pause(every) != nil {
			return nil
		}
	}
}

func (a *app) writeEvents(page ferry.EventPage) error {
	lines := json.NewEncoder(a.stdout)
	lines.SetEscapeHTML(false)
	for _, ev := range page.Items {
		if a.json() {
			if err := lines.Encode(ev); err != nil {
				return err
			}
			continue
		}
		line := fmt.Sprintf("%s  %s  %s  %s  %s", moment(ev.Time), ev.Type, ev.Message.Route, a.id(ev.Message.ID), oneLine(cameOfIt(ev)))
		a.printf("%s\n", strings.TrimRight(line, " "))
	}
	return nil
}
