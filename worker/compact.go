package worker

import (
	"context"
	"time"

	"ferry/internal/commit"
)

const (
	wasteEvery   = 10 * time.Minute // how often the inbox's file is looked at
	compactAgain = time.Hour        // between two compactions
)

// compactLoop gives back to the disk what pruning left free in the inbox's file,
// when that is much. Deliveries go on.
func (w *Worker) compactLoop(ctx context.Context) {
	look := time.NewTicker(wasteEvery)
	defer look.Stop()
	notBefore, told := time.Time{}, false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			if now.Before(notBefore) || !w.inbox.db.Wasteful() {
				continue
			}
		}
		notBefore = time.Now().Add(compactAgain)
		done, err := w.inbox.db.Compact(ctx, commit.CompactOptions{})
		switch {
		case err == nil:
			told = false
			w.log.Info("inbox.compacted", "before", done.Before, "after", done.After, "took", done.Took, "held", done.Held)
		case ctx.Err() == nil:
			if !told { // once, not each hour
				told = true
				w.log.Warn("inbox.notCompacted", "error", err.Error(), "hint", "the inbox is as it was; is there room on its disk for a copy of it?")
			}
		}
	}
}
