package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
)

const (
	wasteEvery   = time.Minute // how often the ledger's file is looked at
	compactAgain = time.Hour   // between two compactions that nobody asked for
)

// ledgerFile keeps the ledger's file small: bbolt never gives space back to the
// disk, and each commit is slower the more of the file is free.
type ledgerFile struct {
	b    *Broker
	asks chan string // who asks for a compaction

	mu         sync.Mutex
	compacting bool
	last       *ferry.Compaction
	notBefore  time.Time // of the next that nobody asks for
	outcomes   map[ferry.CompactionOutcome]int
	took       time.Duration // of the last that ended well
	held       time.Duration
	longest    time.Duration
}

func newLedgerFile(b *Broker) *ledgerFile {
	return &ledgerFile{b: b, asks: make(chan string, 1), outcomes: map[ferry.CompactionOutcome]int{}}
}

// run compacts the ledger when much of it is free, and when somebody asks.
func (f *ledgerFile) run(ctx context.Context) {
	look := time.NewTicker(wasteEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case by := <-f.asks:
			f.compact(ctx, by)
		case <-look.C:
			if f.due(time.Now()) {
				f.compact(ctx, "broker")
			}
		}
	}
}

func (f *ledgerFile) due(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !now.Before(f.notBefore) && f.b.ledger.Wasteful()
}

func (f *ledgerFile) compact(ctx context.Context, by string) {
	f.mu.Lock()
	f.compacting = true
	f.mu.Unlock()
	start := time.Now().UTC()
	f.b.log.Info("ledger.compacting", "by", by)
	done, outcome, err := f.b.ledger.Compact(ctx)
	end := ferry.Compaction{
		StartedAt: start, EndedAt: time.Now().UTC(), By: by, Outcome: outcome,
		Before: done.Before, After: done.After, HeldMs: float64(done.Held.Microseconds()) / 1000,
	}
	if known := (*ferry.Error)(nil); errors.As(err, &known) {
		end.Error, end.Hint = known.Error(), known.Hint
	}
	f.mu.Lock()
	again := f.last != nil && f.last.Outcome == outcome
	f.compacting, f.last = false, &end
	f.outcomes[outcome]++
	if err == nil {
		f.took, f.held, f.longest = done.Took, done.Held, max(f.longest, done.Held)
	}
	f.notBefore = time.Now().Add(compactAgain)
	f.mu.Unlock()
	switch {
	case err == nil:
		f.b.log.Info("ledger.compacted", "before", done.Before, "after", done.After, "took", done.Took, "held", done.Held,
			"entries", done.Entries, "changes", done.Changes, "by", by)
	case ctx.Err() == nil && (!again || by != "broker"): // once, not each hour
		f.b.log.Warn("ledger.notCompacted", "outcome", outcome, "error", err, "hint", end.Hint, "by", by)
	}
}

// LedgerFile says how the ledger's file is used.
func (b *Broker) LedgerFile(context.Context) (ferry.LedgerFile, error) {
	return b.file.info(), nil
}

func (f *ledgerFile) info() ferry.LedgerFile {
	waste := f.b.ledger.Waste()
	f.mu.Lock()
	defer f.mu.Unlock()
	info := ferry.LedgerFile{Size: waste.Size, Free: waste.Free, Compacting: f.compacting}
	if f.last != nil {
		last := *f.last
		info.Last = &last
	}
	return info
}

// CompactLedger has the ledger compacted, whatever of it is free, and returns once
// that is noted in the audit log and about to begin. When one runs already, or is
// about to, it is as good.
func (b *Broker) CompactLedger(ctx context.Context, note, by string) (ferry.LedgerFile, error) {
	if err := b.ledger.NoteAct(ctx, ferry.AuditEntry{By: by, Act: "compact", Target: "ledger", Note: note}); err != nil {
		return ferry.LedgerFile{}, err
	}
	b.file.mu.Lock()
	if !b.file.compacting {
		select {
		case b.file.asks <- by:
			b.file.compacting = true
		default:
		}
	}
	b.file.mu.Unlock()
	return b.file.info(), nil
}

// Describe leaves the collector unchecked, as that of the gauges.
func (f *ledgerFile) Describe(chan<- *prometheus.Desc) {}

// Collect tells of the file and its compactions.
func (f *ledgerFile) Collect(out chan<- prometheus.Metric) {
	if f.b.ledger == nil {
		return
	}
	gauge := func(name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(desc(name, help), prometheus.GaugeValue, v)
	}
	gauge("ledger_free_bytes", "Bytes of the ledger's file that nothing lies in.", float64(f.b.ledger.Waste().Free))
	f.mu.Lock()
	defer f.mu.Unlock()
	running := 0.0
	if f.compacting {
		running = 1
	}
	gauge("ledger_compacting", "1 while the ledger is compacted.", running)
	gauge("ledger_compaction_last_duration_seconds", "Of the last compaction that ended well.", f.took.Seconds())
	gauge("ledger_compaction_last_hold_seconds", "How long writes were held at the end of the last compaction.", f.held.Seconds())
	gauge("ledger_compaction_longest_hold_seconds", "How long writes were held at the end of a compaction, at most since the start.", f.longest.Seconds())
	for _, outcome := range ferry.CompactionOutcomes() {
		out <- prometheus.MustNewConstMetric(desc("ledger_compactions_total", "Compactions of the ledger, by how they ended.", "outcome"),
			prometheus.CounterValue, float64(f.outcomes[outcome]), string(outcome))
	}
}
