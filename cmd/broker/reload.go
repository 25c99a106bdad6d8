package main

import "strings"

type reloadCmd struct {
	Note string `placeholder:"TEXT" help:"Why; kept in the audit."`
}

// Run has the broker read its configuration anew.
func (c reloadCmd) Run(a *app) error {
	broker, err := a.client()
	if err != nil {
		return err
	}
	done, err := broker.Reload(a.ctx, c.Note)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(done)
	}
	if len(done.Changed) == 0 {
		a.printf("nothing changed\n")
	} else {
		a.printf("in use now: %s\n", strings.Join(done.Changed, ", "))
	}
	if len(done.NextStart) > 0 {
		a.printf("takes effect at the next start: %s\n", strings.Join(done.NextStart, ", "))
	}
	return nil
}
