package ferry

import "time"

// BackupFormat is the version of backup files that this build writes and reads.
const BackupFormat = 1

// The entries of a backup, a tar: the manifest first, the checksums last.
const (
	BackupManifest = "BACKUP.json"
	BackupSums     = "SHA256SUMS"
)

// Backup is what a backup file says of itself, in its first entry.
type Backup struct {
	Format      int       `json:"format"`
	At          time.Time `json:"at"` // of the snapshot: what was accepted later is not in it
	Environment string    `json:"environment,omitempty"`
	Version     string    `json:"version"` // of the program that wrote it
	Schema      int       `json:"schema"`  // of the ledger

	Routes      []BackupRoute `json:"routes"`
	LedgerBytes int64         `json:"ledgerBytes"`
	Bodies      int64         `json:"bodies"` // in files of their own
	BodyBytes   int64         `json:"bodyBytes"`
	Files       []string      `json:"files,omitempty"` // keys, beside ledger and bodies
	// AuditFiles are those of the audit log that hold what was moved out of the ledger.
	AuditFiles int64 `json:"auditFiles,omitempty"`
	AuditBytes int64 `json:"auditBytes,omitempty"`
	// Missing counts bodies that the ledger refers to and whose files were not there
	// when the backup was taken.
	Missing int64 `json:"missing,omitempty"`
}

// BackupRoute says how far a route was.
type BackupRoute struct {
	Name        string `json:"name"`
	Accepted    uint64 `json:"accepted"` // the last accept number
	Pending     int64  `json:"pending"`
	Completed   int64  `json:"completed"`
	DeadLetters int64  `json:"deadLettered"`
	Discarded   int64  `json:"discarded"`
}

// Bytes is about how long the whole file is.
func (b *Backup) Bytes() int64 {
	return b.LedgerBytes + b.BodyBytes + b.AuditBytes + 1024*(b.Bodies+b.AuditFiles+8)
}

// Restored is what a restore made of a backup.
type Restored struct {
	Backup
	Dir        string    `json:"dir"`
	RestoredAt time.Time `json:"restoredAt"`
	// Altered names bodies that are not what was accepted, or not there: so they were
	// when the backup was taken. At most 100; the first of more.
	Altered []string `json:"altered,omitempty"`
	// Untidy is what failed once all was in place: syncing the folder, or removing what
	// the restore unpacked into, which the next start of the broker does.
	Untidy string `json:"untidy,omitempty"`
	// Findings of the proof of the restored ledger; nil: not held against itself,
	// since its schema is an earlier one.
	Findings []Finding `json:"findings,omitzero"`
}
