package store

import (
	"context"
	"errors"

	"ferry"
	"ferry/internal/commit"
)

// Waste is how much of the ledger's file is free.
type Waste = commit.Waste

// Waste says how much of the file is free. It is cheap.
func (l *Ledger) Waste() Waste { return l.db.Waste() }

// Wasteful says whether Compact is worth its while, and can be done on this system.
func (l *Ledger) Wasteful() bool { return l.db.Wasteful() }

// Compact writes the ledger into a smaller file and puts that in its place, while
// everything goes on: see commit.DB.Compact. It stays the same ledger, of the same
// epoch (see keepFile). The outcome says how it ended; what went wrong is a
// *ferry.Error.
func (l *Ledger) Compact(ctx context.Context) (commit.Compacted, ferry.CompactionOutcome, error) {
	done, err := l.db.Compact(ctx, commit.CompactOptions{})
	outcome, err := compactionError(err)
	return done, outcome, err
}

func compactionError(err error) (ferry.CompactionOutcome, error) {
	var why *ferry.Error
	switch {
	case err == nil:
		return ferry.Compacted, nil
	case errors.Is(err, commit.ErrNoRoom):
		return ferry.CompactionNoRoom, ferry.Errorf(ferry.CodeNoSpace, "the ledger was not compacted: %w", err).
			WithHint("make room on the ledger's disk: a copy of what the ledger holds must fit beside it for a while")
	case errors.Is(err, commit.ErrInTheWay):
		return ferry.CompactionGave, ferry.Errorf(ferry.CodeConflict, "the ledger was not compacted: %w", err).
			WithHint("it is tried again by itself; or try it when less is written")
	case errors.Is(err, commit.ErrCompacting):
		return ferry.CompactionGave, ferry.Errorf(ferry.CodeConflict, "the ledger is being compacted already").
			WithHint("wait for its end")
	case errors.Is(err, commit.ErrOpenElsewhere):
		return ferry.CompactionFailed, ferry.Errorf(ferry.CodeConflict, "on this system the ledger cannot be compacted while it is in use").
			WithHint("start the broker again: it compacts the ledger then, when much of it is free")
	case errors.Is(err, commit.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ferry.CompactionEnded, ferry.Errorf(ferry.CodeStopping, "the broker stopped before the ledger was compacted").
			WithHint("it is tried again after the next start")
	case errors.Is(err, commit.ErrStopped):
		return ferry.CompactionFailed, ferry.Errorf(ferry.CodeLedgerUnavailable, "the ledger cannot write: %w", err).
			WithHint("look at the broker's disk and start the broker again: it copies the ledger into a new, checked file first")
	case errors.As(err, &why): // a damaged page
		return ferry.CompactionFailed, why
	default:
		return ferry.CompactionFailed, ferry.Errorf(ferry.CodeInternal, "the ledger was not compacted, and is as it was: %w", err).
			WithHint("look at the broker's disk; the log has the details")
	}
}
