package main

import (
	"strconv"

	"ferry"
)

type auditCmd struct {
	After uint64 `help:"Only entries after this number."`
	Limit int    `default:"50" help:"At most so many, 1 to 1000."`
}

// Run lists what operators did.
func (c auditCmd) Run(a *app) error {
	if c.Limit < 1 || c.Limit > ferry.MaxListLimit {
		return usagef("--limit %d is out of range", c.Limit).withHint("1 to %d", ferry.MaxListLimit)
	}
	server, err := a.client()
	if err != nil {
		return err
	}
	entries, err := server.Audit(a.ctx, c.After, c.Limit)
	if err != nil {
		return err
	}
	return writeList(a, entries, "nobody did anything yet",
		[]column{right("NUMBER"), left("WHEN"), left("WHO"), left("ACT"), long("TARGET"), long("NOTE")},
		func(e ferry.AuditEntry) []any {
			return []any{strconv.FormatUint(e.Seq, 10), moment(e.At), e.By, e.Act, e.Target, e.Note}
		})
}
