package main

import (
	"fmt"
	"strconv"

	"ferry"
)

type reconcileCmd struct{}

// Run shows, per route and day, that accepted = pending + completed +
// dead-lettered + discarded. A row that does not balance makes it fail.
func (reconcileCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	rows, err := c.Reconcile(a.ctx)
	if err != nil {
		return err
	}
	p, off := a.paint(), 0
	for _, r := range rows {
		if !r.Balanced {
			off++
		}
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	err = writeList(a, rows, "nothing was accepted yet",
		[]column{left("ROUTE"), left("DAY"), right("ACCEPTED"), right("PENDING"), right("COMPLETED"), right("DEAD LETTERS"), right("DISCARDED"), left("BALANCED")},
		func(r ferry.Reconciliation) []any {
			balanced := cell{"yes", p.green}
			if !r.Balanced {
				balanced = cell{"NO", p.red}
			}
			return []any{r.Route, r.Day, n(r.Accepted), n(r.Pending), n(r.Completed), n(r.DeadLetters), n(r.Discarded), balanced}
		})
	if err == nil && off > 0 {
		return fmt.Errorf("%s of %d not balanced", count(off, "row"), len(rows))
	}
	return err
}
