package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ferry"
)

// writeOperation prints all of an operation.
func (a *app) writeOperation(o ferry.Operation) error {
	if a.json() {
		return a.writeJSON(o)
	}
	finished, expected, act := "", "", o.Act+" of "+describeFilter(o.Filter)
	if o.FinishedAt != nil {
		finished = moment(*o.FinishedAt)
	}
	if o.ExpectedEnd != nil {
		expected = moment(*o.ExpectedEnd)
	}
	if o.Undoes != "" {
		act = o.Act + " of what operation " + o.Undoes + " discarded"
	}
	a.writePairs([]pair{
		{"operation", o.ID},
		{"act", act},
		{"state", o.State + ", " + progress(o)},
		{"stopped", printable(o.Stopped)},
		{"waits for", printable(o.Waiting)},
		{"since then", since(o)},
		{"skipped", skipped(o)},
		{"canary", canary(o.Canary)},
		{"speed", speed(o)},
		{"by", printable(o.By)},
		{"note", printable(o.Note)},
		{"started", moment(o.CreatedAt)},
		{"expected end", expected},
		{"finished", finished},
	})
	if len(o.Groups) > 0 {
		a.printf("\n")
		if err := a.writeOperationGroups(o.Groups); err != nil {
			return err
		}
	}
	if o.State == ferry.OperationStopped {
		a.remark("\nnext: broker operations continue %s --note TEXT, or broker operations cancel %s", o.ID, o.ID)
	}
	return nil
}

func (a *app) writeOperationGroups(groups []ferry.OperationGroup) error {
	p := a.paint()
	t := newTable(left("GROUP"), left("ROUTE"), left("STATE"), right("DONE"), right("TOTAL"), right("COMPLETED"), right("FAILED AGAIN"), long("ERROR"))
	for _, g := range groups {
		t.add(g.Group, g.Route, cell{g.State, func(text string) string {
			if g.State == ferry.GroupStopped {
				return p.red(text)
			}
			return text
		}}, strconv.Itoa(g.Done), strconv.Itoa(g.Total), strconv.Itoa(g.Completed), strconv.Itoa(g.FailedAgain),
			strings.TrimSpace(g.Code+" "+g.Description))
	}
	return t.write(a.stdout, a.screen, p)
}

// progress is how far an operation is, in one line.
func progress(o ferry.Operation) string {
	text := fmt.Sprintf("%d of %d", o.Done, o.Total)
	if o.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped: no longer as they were selected", o.Skipped)
	}
	if o.FailedAgain > 0 {
		text += fmt.Sprintf(", %d failed again", o.FailedAgain)
	}
	if c := o.Canary; c != nil && c.Waiting() > 0 {
		text += fmt.Sprintf(", %d of %d canary messages have not ended", c.Waiting(), c.Sent)
	}
	return text
}

// since is what became of what was done.
func since(o ferry.Operation) string {
	switch {
	case o.Act == ferry.ActDiscard && o.Restored > 0:
		return fmt.Sprintf("%d were restored", o.Restored)
	case o.Act != ferry.ActReplay || o.Done == 0:
		return ""
	}
	text := fmt.Sprintf("%d completed, %d failed again, %d on their way", o.Completed, o.FailedAgain, o.Out())
	if o.Discarded > 0 {
		text += fmt.Sprintf(", %d discarded", o.Discarded)
	}
	return text
}

func failedAgain(o ferry.Operation) string {
	if o.Act != ferry.ActReplay {
		return "-"
	}
	return strconv.Itoa(o.FailedAgain)
}

// skipped says why messages were left alone, and names some.
func skipped(o ferry.Operation) string {
	lines := []string{}
	for _, why := range slices.Sorted(maps.Keys(o.SkippedBy)) {
		line := fmt.Sprintf("%d %s", o.SkippedBy[why], whySkipped(why))
		var some []string
		for _, e := range o.Examples {
			if e.Why == why && len(some) < 3 {
				some = append(some, e.ID.Short())
			}
		}
		if len(some) > 0 {
			line += ": " + strings.Join(some, ", ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func whySkipped(why ferry.SkipReason) string {
	switch why {
	case ferry.SkipCompleted:
		return "completed meanwhile"
	case ferry.SkipPending:
		return "on their way: somebody sent them again"
	case ferry.SkipDiscarded:
		return "discarded meanwhile"
	case ferry.SkipDead:
		return "dead letters already"
	case ferry.SkipFailedAnew:
		return "failed anew after somebody sent them again"
	case ferry.SkipInDelivery:
		return "in delivery"
	case ferry.SkipGone:
		return "gone: their retention ended"
	case ferry.SkipUnreadable:
		return "cannot be read"
	}
	return "no longer dead letters"
}

// canary says how the first messages fared, and names those that failed.
func canary(c *ferry.OperationCanary) string {
	if c == nil {
		return ""
	}
	lines := []string{fmt.Sprintf("%d sent of %d: %d completed, %d failed as before, %d failed otherwise, %d not ended",
		c.Sent, c.Size, c.Completed, c.Alike, c.Otherwise, c.Waiting())}
	for _, m := range c.Messages {
		if m.Error != "" && len(lines) < 4 {
			lines = append(lines, m.ID.Short()+": "+oneLine(m.Error))
		}
	}
	return strings.Join(lines, "\n")
}

func speed(o ferry.Operation) string {
	var parts []string
	if o.PerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.3g a second", o.PerSecond))
	}
	if !o.Rate.IsZero() {
		parts = append(parts, "at most "+o.Rate.String())
	}
	return strings.Join(parts, ", ")
}
