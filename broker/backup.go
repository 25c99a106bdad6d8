package broker

import (
	"context"
	"io"

	"ferry"
)

// Backup takes a snapshot of all that a broker needs to go on, and has write put it
// somewhere: into a tar, once. The queue is not in it: it is filled again from the
// ledger. It is in the audit log before the snapshot, so that a restored ledger knows
// of it. Errors: backupRuns, noSpace, or what take returns.
func (b *Broker) Backup(ctx context.Context, by string, take func(about ferry.Backup, write func(io.Writer) error) error) error {
	if err := b.ledger.NoteAct(ctx, ferry.AuditEntry{By: by, Act: "backup", Target: "ledger"}); err != nil {
		return err
	}
	about := ferry.Backup{Environment: b.opts.Environment, Version: b.opts.Version}
	backup, err := b.ledger.Backup(ctx, about, []string{AdminKeyFile, CallbackKeyFile, ConfirmKeyFile, ResultKeyFile})
	if err != nil {
		return err
	}
	defer backup.Close()
	if err := take(backup.Backup, backup.Write); err != nil {
		b.log.Warn("backup.failed", "error", err.Error(), "next", "whoever asked has no whole file: take it anew")
		return err
	}
	b.log.Info("backup.taken", "at", backup.At, "bytes", backup.Bytes(), "bodies", backup.Bodies, "missing", backup.Missing)
	return nil
}
