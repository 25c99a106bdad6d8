package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"ferry"
)

type operationsCmd struct {
	List   operationsListCmd   `cmd:"" help:"Bulk acts that run or ran."`
	Show   operationsShowCmd   `cmd:"" help:"One bulk act."`
	Watch  operationsWatchCmd  `cmd:"" help:"Follow a bulk act to its end."`
	Cancel operationsCancelCmd `cmd:"" help:"Stop a bulk act; what it did stays done."`
}

// operationDone is the state of an operation that reached its end.
const (
	operationRunning = "running"
	operationDone    = "done"
)

type operationsListCmd struct{}

// Run lists the operations.
func (operationsListCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	operations, err := c.Operations(a.ctx)
	if err != nil {
		return err
	}
	now := a.now()
	return writeList(a, operations, "no bulk acts yet",
		[]column{left("ID"), left("ACT"), left("STATE"), right("DONE"), right("SKIPPED"), right("TOTAL"), left("BY"), right("AGE"), long("NOTE")},
		func(o ferry.Operation) []any {
			return []any{
				o.ID, o.Act, o.State, strconv.Itoa(o.Done), strconv.Itoa(o.Skipped), strconv.Itoa(o.Total),
				o.By, age(now, o.CreatedAt), o.Note,
			}
		})
}

type operationsShowCmd struct {
	ID string `arg:"" help:"The operation."`
}

// Run shows one operation.
func (o operationsShowCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	operation, err := c.Operation(a.ctx, o.ID)
	if err != nil {
		return err
	}
	return a.writeOperation(operation)
}

func (a *app) writeOperation(o ferry.Operation) error {
	if a.json() {
		return a.writeJSON(o)
	}
	finished := ""
	if o.FinishedAt != nil {
		finished = moment(*o.FinishedAt)
	}
	a.writePairs([]pair{
		{"operation", o.ID},
		{"act", o.Act + " of " + describeFilter(o.Filter)},
		{"state", o.State + ", " + progress(o)},
		{"by", printable(o.By)},
		{"note", printable(o.Note)},
		{"started", moment(o.CreatedAt)},
		{"finished", finished},
	})
	return nil
}

func progress(o ferry.Operation) string {
	text := fmt.Sprintf("%d of %d", o.Done, o.Total)
	if o.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped: no longer dead letters", o.Skipped)
	}
	return text
}

// describeFilter is a filter in words: "route=a reason=Rejected", or "all".
func describeFilter(f ferry.DeadLetterFilter) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+oneLine(value))
		}
	}
	add("route", f.Route)
	add("reason", string(f.Reason))
	add("group", f.Group)
	add("code", f.Code)
	add("sender", f.Sender)
	add("flow", f.Flow)
	add("owner", f.Owner)
	add("q", f.Q)
	if !f.Since.IsZero() {
		add("since", f.Since.UTC().Format(time.RFC3339))
	}
	if !f.Until.IsZero() {
		add("until", f.Until.UTC().Format(time.RFC3339))
	}
	if f.Limit > 0 {
		add("limit", strconv.Itoa(f.Limit))
	}
	if len(parts) == 0 {
		return "the dead letters that were chosen"
	}
	return "dead letters with " + strings.Join(parts, " ")
}

type operationsWatchCmd struct {
	ID    string        `arg:"" help:"The operation."`
	Every time.Duration `default:"1s" help:"How often to ask."`
}

// Run follows the operation: a line per change, until it has ended. Ctrl-C only
// ends the watching.
func (o operationsWatchCmd) Run(a *app) error {
	if o.Every < 100*time.Millisecond {
		return usagef("--every %s is too often", o.Every).withHint("100ms or more")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	said := ""
	for {
		operation, err := c.Operation(a.ctx, o.ID)
		if err != nil {
			return err
		}
		if now := progress(operation); now != said && !a.json() {
			said = now
			a.printf("%s %s: %s\n", operation.Act, operation.State, now)
		}
		if operation.State != operationRunning {
			if a.json() {
				err = a.writeJSON(operation)
			}
			if err == nil && operation.State != operationDone {
				err = fmt.Errorf("the operation is %s", operation.State)
			}
			return err
		}
		if err := a.pause(o.Every); err != nil {
			return err
		}
	}
}

// pause waits, or ends early with the context's error.
func (a *app) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
}

type operationsCancelCmd struct {
	ID   string `arg:"" help:"The operation."`
	Note string `placeholder:"TEXT" help:"Why; kept in the audit log."`
}

// Run cancels the operation.
func (o operationsCancelCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	operation, err := c.CancelOperation(a.ctx, o.ID, o.Note)
	if err != nil {
		return err
	}
	return a.writeOperation(operation)
}
