package main

import (
	"errors"
	"time"

	"ferry"
)

type compactCmd struct {
	Note   string `placeholder:"TEXT" help:"Why; kept in the audit log."`
	NoWait bool   `help:"Do not wait for its end."`
}

// compactPoll is how often the broker is asked for the end.
const compactPoll = 250 * time.Millisecond

// Run has the ledger compacted and says how it ended.
func (r compactCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	file, err := c.CompactLedger(a.ctx, r.Note)
	if err != nil {
		return err
	}
	for !r.NoWait && file.Compacting {
		select {
		case <-a.ctx.Done():
			return a.ctx.Err()
		case <-time.After(compactPoll):
		}
		if file, err = c.LedgerFile(a.ctx); err != nil {
			return err
		}
	}
	if file.Last == nil && !r.NoWait {
		return errors.New("the broker was started anew before the ledger was compacted")
	}
	switch {
	case a.json():
		err = a.writeJSON(file)
	case r.NoWait:
		a.printf("the ledger is being compacted: %s, of which %s are free\n", bytesOf(file.Size), bytesOf(file.Free))
	case file.Last.Outcome == ferry.Compacted:
		a.printf("the ledger was compacted from %s to %s in %s; writes were held for %s at its end\n", bytesOf(file.Last.Before), bytesOf(file.Last.After),
			file.Last.EndedAt.Sub(file.Last.StartedAt).Round(time.Millisecond), time.Duration(file.Last.HeldMs*float64(time.Millisecond)).Round(time.Microsecond))
	}
	if err == nil && !r.NoWait && file.Last.Outcome != ferry.Compacted {
		return notCompacted(file.Last)
	}
	return err
}

func notCompacted(c *ferry.Compaction) error {
	if c.Hint == "" {
		return errors.New(c.Error)
	}
	return ferry.Errorf(ferry.CodeConflict, "%s", c.Error).WithHint("%s", c.Hint)
}
