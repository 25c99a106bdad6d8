package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ferry"
	"ferry/client"
)

type operationsCmd struct {
	List   operationsListCmd   `cmd:"" help:"Bulk acts that run or ran."`
	Show   operationsShowCmd   `cmd:"" help:"One bulk act."`
	Watch  operationsWatchCmd  `cmd:"" help:"Follow a bulk act to its end."`
	Cancel operationsCancelCmd `cmd:"" help:"End a bulk act; what it did stays done."`
	// Go on after a canary.
	Continue operationsContinueCmd `cmd:"" help:"Go on with a bulk act that was stopped."`
}

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
		[]column{left("ID"), left("ACT"), left("STATE"), right("DONE"), right("SKIPPED"), right("TOTAL"), right("FAILED AGAIN"), left("BY"), right("AGE"), long("NOTE")},
		func(o ferry.Operation) []any {
			return []any{
				a.shortOperation(o.ID), o.Act, o.State, strconv.Itoa(o.Done), strconv.Itoa(o.Skipped), strconv.Itoa(o.Total), failedAgain(o),
				o.By, age(now, o.CreatedAt), o.Note,
			}
		})
}

// shortOperation is an operation's id as a.id shows those of messages.
func (a *app) shortOperation(id string) string {
	if parsed, err := ferry.ParseID(id); err == nil {
		return a.id(parsed)
	}
	return id
}

// operationID finds the one operation whose id ends as given.
func (a *app) operationID(c *client.Client, given string) (string, error) {
	if !ferry.IsIDSuffix(strings.ToLower(given)) || len(given) == 36 {
		return given, nil // whole, or nothing that could be one: the broker says so
	}
	all, err := c.Operations(a.ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for i := range all {
		if !strings.HasSuffix(all[i].ID, strings.ToLower(given)) {
			continue
		}
		if found != "" {
			return "", ferry.Errorf(ferry.CodeAmbiguousID, "more than one operation's id ends in %s", given).WithHint("give more of it: %s, %s", found, all[i].ID)
		}
		found = all[i].ID
	}
	return cmp.Or(found, given), nil
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
	id, err := a.operationID(c, o.ID)
	if err != nil {
		return err
	}
	operation, err := c.Operation(a.ctx, id)
	if err != nil {
		return err
	}
	return a.writeOperation(operation)
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
	id, err := a.operationID(c, o.ID)
	if err != nil {
		return err
	}
	said, away := "", false
	for {
		operation, err := c.Operation(a.ctx, id)
		switch code := ferry.CodeOf(err); {
		case code == ferry.CodeInternal && a.ctx.Err() == nil || code == ferry.CodeStopping || code == ferry.CodeLedgerUnavailable:
			if !away { // the operation outlives the broker's restart, and so does this
				a.remark("the broker does not answer; the operation goes on when it does: %v", err)
			}
			away = true
			if err := a.pause(o.Every); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		away = false
		if now := operation.State + ": " + progress(operation); now != said && !a.json() {
			said = now
			a.printf("%s %s\n", operation.Act, now)
		}
		if operation.State != ferry.OperationRunning {
			if a.json() {
				err = a.writeJSON(operation)
			}
			if err == nil && operation.State != ferry.OperationDone {
				err = endedOtherwise(operation)
			}
			return err
		}
		if err := a.pause(o.Every); err != nil {
			return err
		}
	}
}

// endedOtherwise says why the watching ends before the operation is done.
func endedOtherwise(o ferry.Operation) error {
	if o.State == ferry.OperationStopped {
		return ferry.Errorf(ferry.CodeConflict, "the operation is stopped: %s", o.Stopped).
			WithHint("broker operations show %s; when it is mended: broker operations continue %s --note TEXT, or cancel", o.ID, o.ID)
	}
	return fmt.Errorf("the operation is %s", o.State)
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
	return a.actOnOperation(o.ID, o.Note, (*client.Client).CancelOperation)
}

type operationsContinueCmd struct {
	ID   string `arg:"" help:"The operation."`
	Note string `required:"" placeholder:"TEXT" help:"What was mended; kept in the audit log."`
}

// Run has a stopped operation go on.
func (o operationsContinueCmd) Run(a *app) error {
	return a.actOnOperation(o.ID, o.Note, (*client.Client).ContinueOperation)
}

func (a *app) actOnOperation(suffix, note string, act func(c *client.Client, ctx context.Context, id, note string) (ferry.Operation, error)) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	id, err := a.operationID(c, suffix)
	if err != nil {
		return err
	}
	operation, err := act(c, a.ctx, id, note)
	if err != nil {
		return err
	}
	return a.writeOperation(operation)
}
