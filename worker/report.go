package worker

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/queue"
)

// A broker that proves that nothing was lost asks its workers what their inboxes
// know. A worker answers page by page, one question at a time, beside its
// deliveries.

const (
	reportTimeout = 10 * time.Second // of one page
	reportTries   = 3
)

// report answers a question of the broker, unless it is at one already: the broker
// repeats a question until it hears a page.
func (w *Worker) report(call queue.ReportCall) {
	if !w.reporting.CompareAndSwap(false, true) {
		return
	}
	if w.draining() { // nothing may begin that Stop would wait for
		w.reporting.Store(false)
		return
	}
	w.talkers.Go(func() {
		defer w.reporting.Store(false)
		if err := w.sendReport(w.receiveCtx, call); err != nil && w.receiveCtx.Err() == nil {
			w.log.Warn("inbox.report", "error", err.Error())
		}
	})
}

func (w *Worker) sendReport(ctx context.Context, call queue.ReportCall) error {
	from := ferry.FirstID(call.Since)
	page := queue.ReportPage{Worker: w.opts.Name, Inbox: w.inbox.identity, Nonce: call.Nonce}
	for ctx.Err() == nil {
		records, next, err := w.inbox.known(from, queue.ReportPageMost)
		page.Records, page.Last = records, next.IsZero()
		if err != nil {
			page.Records, page.Last, page.Error = nil, true, "its inbox cannot be read: "+err.Error()
		}
		answer, sent := w.sendPage(ctx, page)
		if err = errors.Join(err, sent); err != nil || page.Last || answer.Stop {
			return err
		}
		from = next
		page.Page++
	}
	return nil
}

func (w *Worker) sendPage(ctx context.Context, page queue.ReportPage) (answer queue.ReportAnswer, err error) {
	for try := range reportTries {
		if try > 0 {
			wait(ctx, helloRetry)
		}
		bounded, cancel := context.WithTimeout(ctx, reportTimeout)
		answer, err = w.queue.Report(bounded, page)
		cancel()
		if err == nil || ctx.Err() != nil || errors.Is(err, queue.ErrUnauthorized) || errors.Is(err, queue.ErrClosed) {
			break
		}
	}
	return answer, err
}

// known reads at most most records from an id on; next is where to go on, zero at
// the end. A record that cannot be read is left out.
func (b *inbox) known(from ferry.ID, most int) (list []queue.ReportRecord, next ferry.ID, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketRecords).Cursor()
		for k, v := c.Seek(from[:]); k != nil; k, v = c.Next() {
			if len(k) != len(from) {
				continue
			}
			if len(list) == most {
				next = ferry.ID(k)
				return nil
			}
			if r, err := decodeRecord(v); err == nil {
				list = append(list, reported(ferry.ID(bytes.Clone(k)), &r))
			}
		}
		return nil
	})
	// Asked after the read: what was confirmed meanwhile the ledger has for sure.
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range list {
		_, list[i].Open = b.open[list[i].ID]
	}
	return list, next, err
}

func reported(id ferry.ID, r *record) queue.ReportRecord {
	of := queue.ReportRecord{ID: id, Turn: r.turn, Begun: r.state == begun, HasIt: r.hasIt}
	if receipt, err := queue.DecodeReceipt(r.receipt); err == nil {
		of.Route, of.Reference = receipt.Route, receipt.Reference
	}
	return of
}
