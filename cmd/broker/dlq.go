package main

import (
	"strconv"
	"strings"

	"ferry"
)

type dlqCmd struct {
	List    dlqListCmd    `cmd:"" help:"Dead letters, newest first."`
	Groups  dlqGroupsCmd  `cmd:"" help:"Dead letters that failed alike, counted."`
	Show    dlqShowCmd    `cmd:"" help:"The whole story of one, and what is safe to do next."`
	Replay  dlqReplayCmd  `cmd:"" help:"Send again: one, several, or all that a filter selects."`
	Edit    dlqEditCmd    `cmd:"" help:"Mend a body in your editor and send it again; the original is kept."`
	Accept  dlqAcceptCmd  `cmd:"" help:"It is at the destination after all: complete it."`
	Discard dlqDiscardCmd `cmd:"" help:"Nobody needs it: end it. Can be undone by restore."`
	Restore dlqRestoreCmd `cmd:"" help:"Bring discarded messages back to the dead letters."`
	Export  dlqExportCmd  `cmd:"" help:"Dead letters with their bodies as JSON lines, or as a table (CSV)."`
}

// dlqFilter is the one set of filters of all dead-letter commands.
type dlqFilter struct {
	Route  string `help:"Only this route."`
	Reason string `placeholder:"REASON" help:"Only this reason: Rejected, AttemptsExhausted, Expired, OutcomeUnknown, AlreadyExists, Undeliverable or BodyMissing."`
	Group  string `placeholder:"ID" help:"Only this group, as dlq groups shows it."`
	Code   string `help:"Only this error code of the destination."`
	Sender string `placeholder:"NAME" help:"Only this sender."`
	Flow   string `placeholder:"ID" help:"Only this flow, or flow run, by its id."`
	Owner  string `placeholder:"NAME" help:"Only routes of this owner."`
	Since  string `placeholder:"TIME" help:"Set aside at or after: a time, a day, or how long ago such as 2h."`
	Until  string `placeholder:"TIME" help:"Set aside before."`
	Q      string `name:"q" placeholder:"TEXT" help:"Id, key, correlation id, ordering key, sender or flow run: whole, or its beginning."`
	Limit  int    `placeholder:"N" help:"At most so many."`
}

// filter checks the flags and gives the API's filter.
func (d dlqFilter) filter(a *app) (ferry.DeadLetterFilter, error) {
	f := ferry.DeadLetterFilter{
		Route: d.Route, Group: d.Group, Code: d.Code, Sender: d.Sender, Flow: d.Flow, Owner: d.Owner, Q: d.Q, Limit: d.Limit,
	}
	if d.Limit < 0 {
		return f, usagef("--limit %d is out of range", d.Limit).withHint("1 or more")
	}
	for _, known := range ferry.Reasons() {
		if strings.EqualFold(d.Reason, string(known)) {
			f.Reason = known
		}
	}
	if d.Reason != "" && f.Reason == "" {
		return f, usagef("--reason %q is no reason of dead letters", d.Reason).
			withHint("one of: %s; --note TEXT explains an act", joined(ferry.Reasons()))
	}
	var err error
	if f.Since, err = a.past("--since", d.Since); err != nil {
		return f, err
	}
	f.Until, err = a.past("--until", d.Until)
	return f, err
}

// selects says whether any flag narrows the choice; a limit alone does not.
func (d dlqFilter) selects() bool {
	d.Limit = 0
	return d != dlqFilter{}
}

type dlqListCmd struct {
	dlqFilter
	Cursor string `help:"Go on where the list before ended: its nextCursor."`
}

// Run lists dead letters.
func (d dlqListCmd) Run(a *app) error {
	f, err := d.filter(a)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	limit := d.Limit
	if limit == 0 {
		limit = ferry.DefaultListLimit
	}
	page, err := collect(limit, d.Cursor, func(limit int, cursor string) (ferry.Page, error) {
		f.Limit, f.Cursor = limit, cursor
		return c.DeadLetters(a.ctx, f)
	})
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(list[ferry.Envelope](page))
	}
	none := "no dead letters"
	if d.selects() {
		none += " that match"
	}
	err = writeList(a, page.Items, none,
		[]column{left("ID"), left("ROUTE"), left("REASON"), long("ERROR"), right("ATTEMPTS"), right("AGE")},
		a.deadLetterRow)
	a.remarkMore(page)
	if err == nil && len(page.Items) > 0 && a.screen.terminal {
		a.remark("\nnext: broker dlq show %s", page.Items[0].ID.Short())
	}
	return err
}

func (a *app) deadLetterRow(e ferry.Envelope) []any {
	d := e.DeadLetter
	if d == nil {
		d = &ferry.DeadLetter{}
	}
	p := a.paint()
	return []any{
		a.id(e.ID), e.Route,
		cell{string(d.Reason), func(string) string { return p.reason(d.Reason) }},
		orDash(strings.TrimSpace(d.Code + " " + d.Description)),
		strconv.Itoa(e.AttemptsTotal), age(a.now(), d.At),
	}
}

type dlqGroupsCmd struct {
	dlqFilter
}

// Run lists the groups, largest first as the broker orders them; --limit bounds
// how many groups are shown.
func (d dlqGroupsCmd) Run(a *app) error {
	f, err := d.filter(a)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	limit := d.Limit
	if limit == 0 {
		limit = ferry.DefaultListLimit
	}
	f.Limit = min(limit+1, ferry.MaxListLimit) // one more tells that there are more
	groups, err := c.Groups(a.ctx, f)
	if err != nil {
		return err
	}
	full := len(groups) == ferry.MaxListLimit && limit >= ferry.MaxListLimit
	more := len(groups) > limit
	groups = groups[:min(limit, len(groups))]
	none := "no dead letters"
	if d.selects() {
		none += " that match"
	}
	p, now := a.paint(), a.now()
	err = writeList(a, groups, none,
		[]column{left("GROUP"), right("COUNT"), left("ROUTE"), left("REASON"), long("ERROR"), right("FIRST"), right("LAST"), left("SAMPLE")},
		func(g ferry.Group) []any {
			return []any{
				g.ID, strconv.Itoa(g.Count), g.Route,
				cell{string(g.Reason), func(string) string { return p.reason(g.Reason) }},
				orDash(strings.TrimSpace(g.Code + " " + g.Description)), age(now, g.First), age(now, g.Last), a.id(g.Sample),
			}
		})
	switch {
	case more:
		a.remark("there are more: raise --limit, or narrow the list with --route, --reason or --since")
	case full:
		a.remark("these are the %d largest, and a list has no more: narrow it with --route, --reason or --since", len(groups))
	}
	if err == nil && len(groups) > 0 && a.screen.terminal && !a.json() {
		a.remark("\nnext: broker dlq show %s, or broker dlq list --group %s", groups[0].Sample.Short(), groups[0].ID)
	}
	return err
}

type dlqShowCmd struct {
	ID string `arg:"" help:"The dead letter: its id, or the last 6 or more characters of it."`
	unmaskedFlag
}

// Run shows one dead letter; any other message is shown alike.
func (d dlqShowCmd) Run(a *app) error { return messagesShowCmd(d).Run(a) }
