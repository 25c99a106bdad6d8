package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferry"
)

type routesCmd struct {
	List   routesListCmd   `cmd:"" help:"Every route: its state, what waits, who delivers."`
	Pause  routesPauseCmd  `cmd:"" help:"Stop delivering; messages are still accepted."`
	Resume routesResumeCmd `cmd:"" help:"Deliver again; also lifts a stop for refused credentials."`
}

type routesListCmd struct{}

// Run lists the routes.
func (routesListCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	routes, err := c.Routes(a.ctx)
	if err != nil {
		return err
	}
	if a.json() || len(routes) == 0 {
		return writeList(a, routes, "no routes are configured", nil, nil)
	}
	return a.writeRoutes(routes)
}

// writeRoutes prints a row per route, and below the table, where there is room
// for whole sentences, what holds on those that do not simply run.
func (a *app) writeRoutes(routes []ferry.RouteInfo) error {
	p, now := a.paint(), a.now()
	t := newTable(left("ROUTE"), left("STATE"), right("WAITING"), right("OLDEST"), right("PARKED"),
		right("COMPLETED"), right("DEAD LETTERS"), left("WORKER"))
	var reasons []pair
	for _, r := range routes {
		t.add(
			r.Name,
			cell{string(r.State), func(text string) string { return p.route(r.State, text) }},
			strconv.FormatInt(r.Pending, 10),
			ageOf(now, r.OldestPending),
			strconv.FormatInt(r.Parked, 10),
			strconv.FormatInt(r.Completed, 10),
			strconv.FormatInt(r.DeadLetters, 10),
			orDash(r.Worker),
		)
		reasons = append(reasons, pair{r.Name, a.why(r)})
	}
	if err := t.write(a.stdout, a.screen, p); err != nil {
		return err
	}
	if slices.ContainsFunc(reasons, func(r pair) bool { return r.text != "" }) {
		a.printf("\n")
		a.writePairs(reasons)
	}
	return nil
}

// why says in words what holds on a route, a line per condition: since when,
// until when, the reason; and what helps.
func (a *app) why(r ferry.RouteInfo) string {
	var parts []string
	for _, c := range r.Conditions {
		if c.Type == ferry.RouteRunning {
			continue
		}
		part := string(c.Type)
		if r.Several && c.Worker != "" {
			part += " (worker " + c.Worker + ")"
		}
		if !c.Since.IsZero() {
			part += " for " + age(a.now(), c.Since)
		}
		if c.By != "" {
			part += " by " + oneLine(c.By)
		}
		if c.Until != nil {
			part += ", until " + moment(*c.Until)
		}
		if c.Reason != "" {
			part += ": " + oneLine(c.Reason)
		}
		parts = append(parts, part)
	}
	if s := r.Stopping; s != nil && !s.Done {
		parts = append(parts, a.stopping(s))
	}
	if w := r.NextWindow; w != nil && w.From.After(a.now()) && w.From.Sub(a.now()) < windowSoon {
		parts = append(parts, fmt.Sprintf("window %s begins %s, at %s", oneLine(w.Name), age(a.now(), w.From), moment(w.From)))
	}
	if r.NextProbe != nil {
		parts = append(parts, "next probe "+age(a.now(), *r.NextProbe))
	}
	if c := r.Calls; c != nil && c.Limit < c.Most && r.State == ferry.RouteRunning {
		parts = append(parts, fmt.Sprintf("%d of %d calls at a time: its destination is slow, or starts again", c.Limit, c.Most))
	}
	if r.Hint != "" {
		parts = append(parts, "hint: "+oneLine(r.Hint))
	}
	if r.Intake != nil {
		parts = append(parts, a.intake(r.Intake))
	}
	if r.Replies > 0 {
		parts = append(parts, fmt.Sprintf("replies that wait to be sent: %d", r.Replies))
	}
	return strings.Join(parts, "\n")
}

// windowSoon is how long before its begin a window is told of.
const windowSoon = 24 * time.Hour

// intake says how a route's intake stands, and what it did since the broker started.
func (a *app) intake(in *ferry.IntakeInfo) string {
	text := fmt.Sprintf("intake from the queue %s is %s", oneLine(in.Queue), in.State)
	if in.State != ferry.IntakeRunning {
		text += " for " + age(a.now(), in.Since)
	}
	if in.Reason != "" {
		text += ": " + oneLine(in.Reason)
	}
	if in.Hint != "" {
		text += "; hint: " + oneLine(in.Hint)
	}
	return text + fmt.Sprintf("; %d taken in, %d repeats, %d dead-lettered there", in.Taken, in.Duplicates, in.DeadLettered)
}
