package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/client"
)

// exitStillRunning is `broker routes pause --wait` when calls still run at the end of
// the wait, or a worker has not heard of the pause.
const exitStillRunning = 5

type routesPauseCmd struct {
	Routes []string `arg:"" optional:"" name:"route" help:"The routes."`
	All    bool     `help:"Every route."`
	Note   string   `required:"" help:"Why, for the colleagues who wonder."`
	Until  string   `placeholder:"TIME" help:"When to resume by itself: a time, or a duration from now such as 2h."`
	Wait   string   `placeholder:"DURATION" help:"Wait so long at most for calls that run to end; 5 is the exit code when some still do. Without it, 3s."`
}

// defaultRest is how long a pause waits for the workers to hear of it.
const defaultRest = 3 * time.Second

// Run pauses the routes, and says what still runs.
func (r routesPauseCmd) Run(a *app) error {
	until, err := a.future("--until", r.Until)
	if err != nil {
		return err
	}
	if !until.IsZero() && !until.After(a.now()) {
		return usagef("--until %s has passed", moment(until))
	}
	wait := defaultRest
	if r.Wait != "" {
		if wait, err = ferry.ParseDuration(r.Wait); err != nil || wait < 0 {
			return usagef("--wait %q is not a duration", r.Wait).withHint("such as 30s or 10m")
		}
	}
	names, err := a.routesNamed(r.Routes, r.All)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	var list []ferry.RouteInfo
	var failed error
	for _, name := range names { // all of them at once: what one waits for does not hold up the others
		info, err := c.Pause(a.ctx, name, r.Note, until, 0)
		if err != nil {
			failed = pausedOnly(len(list), names, err)
			break
		}
		list = append(list, info)
	}
	if failed == nil {
		failed = a.awaitRest(c, list, wait)
	}
	if err := r.tell(a, list, until); err != nil {
		return err
	}
	if failed == nil && r.Wait != "" && slices.ContainsFunc(list, stillRuns) {
		return quietExit(exitStillRunning)
	}
	return failed
}

// pausedOnly says of how many routes it is that the next one could not be paused.
func pausedOnly(paused int, names []string, err error) error {
	if len(names) == 1 {
		return err
	}
	return fmt.Errorf("%d of %d routes are paused, %s could not be: %w", paused, len(names), names[paused], err)
}

// tell says which routes are paused, and what still runs of them.
func (r routesPauseCmd) tell(a *app, list []ferry.RouteInfo, until time.Time) error {
	switch {
	case len(list) == 0:
		return nil
	case a.json():
		return a.writeRoutesJSON(list, len(r.Routes) == 1)
	}
	var names []string
	for i := range list {
		names = append(names, list[i].Name)
		runs := a.stopping(list[i].Stopping)
		if runs != "" {
			runs = "; " + runs
		}
		a.printf("%s is paused%s%s; messages are still accepted\n", list[i].Name, untilWhen(until), runs)
	}
	if until.IsZero() && a.screen.terminal {
		again := strings.Join(names, " ")
		if r.All {
			again = "--all"
		}
		a.remark("next: broker routes resume %s", again)
	}
	return nil
}

// routesNamed are the routes of a command, or all that there are.
func (a *app) routesNamed(names []string, all bool) ([]string, error) {
	switch {
	case all && len(names) > 0:
		return nil, usagef("--all and the name of a route exclude each other")
	case !all && len(names) == 0:
		return nil, usagef("name a route, several, or --all")
	case !all:
		return names, nil
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	routes, err := c.Routes(a.ctx)
	for i := range routes {
		names = append(names, routes[i].Name)
	}
	return names, err
}

func stillRuns(r ferry.RouteInfo) bool { return r.Stopping != nil && !r.Stopping.Done }

// awaitRest looks again at routes that were paused until nothing of them runs, or
// the time is over. A look that fails is made again: the routes are paused, and what
// was seen last is told. The error is that of an interrupt.
func (a *app) awaitRest(c *client.Client, list []ferry.RouteInfo, within time.Duration) error {
	const every = 500 * time.Millisecond
	var failed error
	for end := time.Now().Add(within); slices.ContainsFunc(list, stillRuns) && time.Now().Before(end); {
		if err := a.pause(every); err != nil {
			return err
		}
		var now []ferry.RouteInfo
		if now, failed = a.lookAtRoutes(c, time.Until(end)); failed != nil {
			continue
		}
		for i := range list {
			at := slices.IndexFunc(now, func(r ferry.RouteInfo) bool { return r.Name == list[i].Name })
			if at < 0 {
				list[i].Stopping = nil // it is gone
				continue
			}
			list[i] = now[at]
		}
	}
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if failed != nil {
		a.remark("how it stands now is not known, below is what was seen last: %s", oneLine(failed.Error()))
	}
	return nil
}

// shortLook is what a look at routes may take at least.
const shortLook = 5 * time.Second

func (a *app) lookAtRoutes(c *client.Client, within time.Duration) ([]ferry.RouteInfo, error) {
	ctx, cancel := context.WithTimeout(a.ctx, max(within, shortLook))
	defer cancel()
	return c.Routes(ctx)
}

// stopping says what still runs of a route that is held; empty: an older broker does
// not know.
func (a *app) stopping(s *ferry.Stopping) string {
	switch {
	case s == nil:
		return ""
	case s.Done:
		return "no call runs"
	}
	var parts []string
	told := 0
	for _, w := range s.Workers {
		if w.Running > 0 {
			told += w.Running
			parts = append(parts, fmt.Sprintf("%s still %s at worker %s", count(w.Running, "call"), plural(w.Running, "runs", "run"), oneLine(w.Worker)))
		}
	}
	if n := s.Running - told; n > 0 {
		parts = append(parts, fmt.Sprintf("receivers still have %s", count(n, "message")))
	}
	for _, w := range s.Workers {
		switch {
		case w.Heard || w.Silent:
		case w.StartsUntil != nil && w.StartsUntil.After(a.now()):
			parts = append(parts, fmt.Sprintf("worker %s has not heard of it, and may begin calls until %s", oneLine(w.Worker), moment(*w.StartsUntil)))
		case w.CalmAt != nil:
			parts = append(parts, fmt.Sprintf("worker %s has not heard of it: what it may have begun has ended by %s", oneLine(w.Worker), moment(*w.CalmAt)))
		}
	}
	if len(parts) == 0 {
		return "the workers have yet to say that they stopped"
	}
	return strings.Join(parts, "; ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func untilWhen(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + moment(t)
}

type routesResumeCmd struct {
	Routes []string `arg:"" optional:"" name:"route" help:"The routes."`
	All    bool     `help:"Every route."`
	Note   string   `help:"Why."`
}

// Run resumes the routes.
func (r routesResumeCmd) Run(a *app) error {
	names, err := a.routesNamed(r.Routes, r.All)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	var list []ferry.RouteInfo
	for _, name := range names {
		info, err := c.Resume(a.ctx, name, r.Note)
		if err != nil {
			return err
		}
		if list = append(list, info); !a.json() {
			a.printf("%s is resumed: %s, %s waiting\n", name, a.paint().route(info.State, string(info.State)), count(int(info.Pending), "message"))
		}
	}
	if a.json() {
		return a.writeRoutesJSON(list, len(r.Routes) == 1)
	}
	return nil
}

// writeRoutesJSON writes what became of routes: of one that was named alone, that.
func (a *app) writeRoutesJSON(list []ferry.RouteInfo, alone bool) error {
	if alone {
		return a.writeJSON(list[0])
	}
	return writeList(a, list, "", nil, nil)
}
