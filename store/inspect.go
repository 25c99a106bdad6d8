package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// Inspection is what a look at a ledger that nobody has open found.
type Inspection struct {
	Schema   int
	Records  int64           // that were held against the rest
	Findings []ferry.Finding // nothing where the schema is an earlier one
	// Suspect: the last run stopped on an error of the disk. The next start copies the
	// ledger into a new file; until then its records are not looked at.
	Suspect bool
}

// Inspect reads every page of the ledger in dir, and holds its records against
// tallies, indexes and bodies. It is not changed. Errors: ledgerLocked, ledgerNewer,
// ledgerUnreadable.
func Inspect(ctx context.Context, dir string, log *slog.Logger) (Inspection, error) {
	path := filepath.Join(dir, "ledger.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Inspection{}, ferry.Errorf(ferry.CodeLedgerUnreadable, "there is no ledger in %s", dir).WithHint("is it the data folder of a broker that was started once?")
	}
	var in Inspection
	err := commit.Look(path, true, func(tx *bbolt.Tx) error {
		version, err := schemaVersion(tx, SchemaVersion())
		if err == nil && tx.Bucket(bMeta) == nil {
			return fmt.Errorf("%s: %w: it has no content", path, commit.ErrUnreadable)
		}
		in.Schema = int(version)
		return err
	})
	if _, statErr := os.Stat(path + ".suspect"); statErr == nil {
		in.Suspect = true // to open it would copy it
	}
	if err != nil || in.Suspect || in.Schema != SchemaVersion() {
		return in, inspectError(dir, err)
	}
	proof, err := proveIn(ctx, dir, log)
	in.Records, in.Findings = proof.Records, proof.Findings
	return in, inspectError(dir, err)
}

func inspectError(dir string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return openError(dir, err)
}
