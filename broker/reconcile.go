package broker

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

// The pace of asking workers what their inboxes know.
const (
	reportAgain = 3 * time.Second  // a signal may be lost: it is sent again
	reportFirst = 12 * time.Second // until a worker must have begun to answer
	reportIdle  = 20 * time.Second // between two pages
	reportMost  = 10 * time.Minute // for a whole inbox
)

// reports are the questions that workers are answering.
type reports struct {
	mu   sync.Mutex
	open map[string]*report // by nonce
}

// report is one worker's answer on its way.
type report struct {
	worker string
	next   int // the page that comes next
	done   bool
	heard  chan struct{} // a page came

	proof    ferry.WorkerProof
	findings []ferry.Finding
	more     int64
}

// Prove holds the ledger against itself, and the inboxes of the workers that are
// connected against the ledger.
func (b *Broker) Prove(ctx context.Context, req ferry.ProofRequest) (ferry.Proof, error) {
	select {
	case b.proving <- struct{}{}:
		defer func() { <-b.proving }()
	case <-ctx.Done():
		return ferry.Proof{}, ctx.Err()
	}
	proof, err := b.ledger.Prove(ctx, req)
	if err != nil {
		return proof, err
	}
	b.proveInboxes(ctx, &proof, req)
	return proof, ctx.Err()
}

// proveInboxes asks all workers at a time, and waits for the slowest.
func (b *Broker) proveInboxes(ctx context.Context, proof *ferry.Proof, req ferry.ProofRequest) {
	var workers []ferry.WorkerInfo
	for _, w := range b.ledger.Workers() {
		if w.RevokedAt == nil && (req.Route == "" || slices.Contains(w.Routes, req.Route)) {
			workers = append(workers, w)
		}
	}
	answers := make([]*report, len(workers))
	var asking sync.WaitGroup
	for i := range workers {
		asking.Go(func() { answers[i] = b.askInbox(ctx, workers[i].Name, req) })
	}
	asking.Wait()
	for _, r := range answers {
		proof.Workers = append(proof.Workers, r.proof)
		for _, f := range r.findings {
			if req.Route == "" || f.Route == req.Route || f.Route == "" {
				proof.Add(f)
			}
		}
		proof.More += r.more
	}
}

// askInbox asks a worker and gathers its pages until the last, or until it is
// silent for too long.
func (b *Broker) askInbox(ctx context.Context, worker string, req ferry.ProofRequest) *report {
	r := &report{worker: worker, heard: make(chan struct{}, 1), proof: ferry.WorkerProof{Worker: worker}}
	s := b.fleet.get(worker)
	if !b.fleet.heard(worker) {
		r.proof.Unreached = "it has not been heard since the broker started"
		if s != nil {
			r.proof.Unreached = "it was heard last at " + s.at.UTC().Format(time.RFC3339)
		}
		return r
	}
	r.proof.Version = s.hello.Version
	call := queue.ReportCall{Nonce: rand.Text()}
	if !req.Since.IsZero() {
		call.Since = req.Since.UTC().Truncate(24 * time.Hour)
	}
	b.reports.add(call.Nonce, r)
	defer b.reports.drop(call.Nonce)

	ctx, cancel := context.WithTimeout(ctx, reportMost)
	defer cancel()
	silent := time.Now()
	for first := true; ; {
		if first {
			if err := b.queue.Signal(ctx, worker, queue.Signal{Report: &call}); err != nil {
				b.log.Debug("inbox.ask", "worker", worker, "error", err.Error())
			}
		}
		timer := time.NewTimer(reportAgain)
		select {
		case <-r.heard:
			first, silent = false, time.Now()
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		patience := reportIdle
		if first {
			patience = reportFirst
		}
		if done, why := b.reports.state(r, first); done || ctx.Err() != nil || time.Since(silent) >= patience {
			b.reports.drop(call.Nonce) // from here on nothing of it changes
			if !done && r.proof.Unreached == "" {
				r.proof.Unreached = why
			}
			return r
		}
	}
}

func (rs *reports) add(nonce string, r *report) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.open == nil {
		rs.open = map[string]*report{}
	}
	rs.open[nonce] = r
}

func (rs *reports) drop(nonce string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.open, nonce)
}

// state says whether all of a report came, and else why it may end without.
func (rs *reports) state(r *report, first bool) (done bool, why string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if first {
		return r.done, "it did not answer: a worker of an earlier version cannot"
	}
	return r.done, fmt.Sprintf("it stopped answering after %d records of its inbox", r.proof.Records)
}

// Report takes a page of what a worker's inbox knows.
func (w workers) Report(_ context.Context, from string, p queue.ReportPage) (queue.ReportAnswer, error) {
	if from != "" && from != p.Worker {
		return queue.ReportAnswer{}, fmt.Errorf("worker %s reports as %s: %w", from, p.Worker, queue.ErrUnauthorized)
	}
	return w.b.reports.take(w.b.ledger, p, func(route string) bool { return w.b.workerMay(p.Worker, route) })
}

func (rs *reports) take(ledger *store.Ledger, p queue.ReportPage, mine func(route string) bool) (queue.ReportAnswer, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.open[p.Nonce]
	switch {
	case r == nil || r.worker != p.Worker || r.done || p.Page > r.next:
		return queue.ReportAnswer{Stop: true}, nil
	case p.Page < r.next:
		return queue.ReportAnswer{}, nil // sent again: its answer was lost
	}
	records := make([]store.InboxRecord, len(p.Records))
	for i, in := range p.Records {
		records[i] = store.InboxRecord{
			ID: in.ID, Route: in.Route, Turn: in.Turn, Begun: in.Begun, HasIt: in.HasIt, Open: in.Open,
			Reference: plain(in.Reference),
		}
	}
	findings, removed, err := ledger.HoldAgainst(p.Worker, records, mine)
	if err != nil {
		return queue.ReportAnswer{}, err
	}
	for _, f := range findings {
		if len(r.findings) < ferry.MaxFindings {
			r.findings = append(r.findings, f)
		} else {
			r.more++
		}
	}
	r.next++
	r.proof.Records += int64(len(records))
	r.proof.Removed += removed
	if r.done = p.Last; p.Error != "" {
		r.proof.Unreached = plain(p.Error)
	}
	select {
	case r.heard <- struct{}{}:
	default:
	}
	return queue.ReportAnswer{}, nil
}

// plain is a worker's text without what would move a terminal's cursor.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
}
