package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"

	"ferry"
	"ferry/store"
)

type restoreCmd struct {
	File string `arg:"" placeholder:"FILE" help:"What broker backup wrote."`
	Data string `required:"" placeholder:"DIR" help:"The data folder to make: new, or empty."`
}

// Run makes a data folder of a backup, checks all of it before any is usable, and
// says what is gone. It speaks to no broker.
func (c restoreCmd) Run(a *app) error {
	f, err := os.Open(c.File)
	if err != nil {
		return usagef("the backup cannot be opened: %v", err)
	}
	defer func() { _ = f.Close() }()
	out, err := store.Restore(a.ctx, f, c.Data, whoami(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if a.json() {
		return errors.Join(a.writeJSON(out), amiss(&out))
	}
	a.printf("%s holds the broker as it was at %s", c.Data, moment(out.At))
	if out.Environment != "" {
		a.printf(" (%s)", printable(out.Environment))
	}
	a.printf("; %s\n", lookedAt(&out))
	for _, r := range out.Routes {
		a.printf("  %s: up to accept number %d; %d pending, %d completed, %d dead letters, %d discarded\n",
			printable(r.Name), r.Accepted, r.Pending, r.Completed, r.DeadLetters, r.Discarded)
	}
	a.printf("gone: whatever was accepted after that moment, and what became of messages since\n\n")
	a.printf("Next, once the old broker is off for good:\n")
	a.printf("  start the broker on this folder; what is not completed is looked up before it is sent again\n")
	a.printf("  revoke and rotate again what was revoked or rotated after that moment: keys, workers and secrets are as they were then\n")
	a.printf("  let the workers connect with the inboxes that they had\n")
	a.printf("  broker reconcile   names what the workers know and this ledger does not, with the destination's reference\n")
	return amiss(&out)
}

// lookedAt says what a restore looked at, and what it could not.
func lookedAt(out *ferry.Restored) string {
	if out.Findings != nil {
		return "every checksum, page and record was checked"
	}
	return "every checksum, page and body was checked. Its ledger is of an earlier version: that its records, lists and counts agree\nwas not checked; broker reconcile does so once the broker has started"
}

// amiss says that the backup is whole, and what it is of is not; or that the folder is,
// and could not be tidied up.
func amiss(out *ferry.Restored) error {
	first := ""
	switch {
	case len(out.Altered)+len(out.Findings) == 0 && out.Untidy == "":
		return nil
	case len(out.Altered)+len(out.Findings) == 0:
		return ferry.Errorf(ferry.CodeConflict, "the backup was restored, but tidying up failed: %s", out.Untidy).
			WithHint("look at the disk of %s; the broker starts on it, and removes what the restore left", out.Dir)
	case len(out.Findings) > 0:
		first = out.Findings[0].Text
	default:
		first = "the body of message " + out.Altered[0] + " is missing or was altered"
	}
	return ferry.Errorf(ferry.CodeConflict, "the backup was restored, and the ledger in it did not add up when it was taken: %d findings, %d bodies; the first: %s", len(out.Findings), len(out.Altered), first).
		WithHint("start it, and let broker reconcile name all of it; or restore an earlier backup")
}

// whoami is who restores, for the audit log.
func whoami() string {
	u, err := user.Current()
	if err != nil {
		return "somebody at the machine"
	}
	return fmt.Sprintf("%s at the machine", cmp.Or(u.Username, u.Uid, "somebody"))
}
