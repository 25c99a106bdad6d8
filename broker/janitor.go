package broker

import (
	"context"
	"time"

	"ferry"
)

const (
	overdueEvery = 10 * time.Second
	overdueBound = 20_000      // entries of the due index in one round
	overdueStep  = 2_000       // and under one read of the ledger
	purgeBound   = 20_000      // records that retention looks at in one round
	keptEvery    = time.Minute // between two looks at what is kept long enough
	sweepEvery   = time.Hour
	orphanAge    = time.Hour
	orphanParts  = 16               // of the folders of bodies, of which one is looked at each time
	againAfter   = 2 * time.Second  // the next round, when retention has more to do
	noteUseEvery = 10 * time.Minute // when keys were last used
)

// janitor ends what nobody else ends: messages whose time to live passed while
// no worker could hold them, ended messages beyond the retention, events that are no
// longer kept, files of bodies that no message refers to.
func (b *Broker) janitor(ctx context.Context) {
	swept, kept, noted, look, more, moreDead, sweeps := time.Time{}, time.Time{}, time.Now(), overdueLook{}, false, false, 0
	for ctx.Err() == nil {
		b.expireOverdue(ctx, &look)
		if time.Since(noted) >= noteUseEvery {
			noted = time.Now()
			b.keepKeyUse(ctx)
		}
		wait := overdueEvery
		if more || time.Since(kept) >= keptEvery {
			kept = time.Now()
			b.dropEvents(ctx)
			b.ledger.Trim()
			if more = b.purge(ctx); more {
				wait = againAfter
			}
		}
		hourly := time.Since(swept) >= sweepEvery
		if hourly || moreDead {
			moreDead = b.discardOldDead(ctx)
		}
		if hourly {
			swept = time.Now()
			b.sweepRest(ctx, sweeps)
			sweeps++
			if err := b.ledger.ForgetSubscriptions(ctx, time.Now().Add(-ferry.SubscriptionShown)); err != nil && ctx.Err() == nil {
				b.log.Warn("subscriptions that were dropped could not be removed", "error", err)
			}
		}
		sleep(ctx, wait)
	}
}

// overdueLook is how far the look for expired messages has come. A backlog is not
// read whole in every round: the next one goes on from here.
type overdueLook struct {
	route int // in names
	after []byte
}

func (l *overdueLook) nextRoute(routes int) { l.route, l.after = (l.route+1)%routes, nil }

func (b *Broker) expireOverdue(ctx context.Context, look *overdueLook) {
	names := b.names()
	left, routes := overdueBound, len(names)
	for done := 0; done < routes && left > 0 && ctx.Err() == nil; {
		look.route %= routes // there may be fewer than the last time
		name := names[look.route]
		looked, next, err := b.expireSome(ctx, name, look.after, min(left, overdueStep))
		if err != nil && ctx.Err() == nil {
			b.log.Warn("expired messages could not be set aside", "route", name, "error", err)
		}
		left -= looked
		if look.after = next; next == nil {
			look.nextRoute(routes)
			done++
		}
	}
}

func (b *Broker) expireSome(ctx context.Context, name string, after []byte, bound int) (looked int, next []byte, err error) {
	ids, looked, next, err := b.ledger.Overdue(name, after, time.Now(), bound)
	if err != nil || len(ids) == 0 {
		return looked, next, err
	}
	expired, err := b.ledger.Expire(ctx, ids, b.continueAfterDead)
	if err != nil {
		return looked, nil, err
	}
	b.log.Warn("messages expired before they could be delivered", "route", name, "messages", len(expired))
	b.traceExpired(expired)
	return looked, next, nil
}

func (b *Broker) keepKeyUse(ctx context.Context) {
	if err := b.ledger.KeepKeyUse(ctx); err != nil && ctx.Err() == nil {
		b.log.Warn("when keys were last used could not be kept", "error", err)
	}
}

func (b *Broker) dropEvents(ctx context.Context) {
	if _, err := b.ledger.DropEvents(ctx, time.Now().Add(-ferry.EventLife), ferry.MaxEvents); err != nil && ctx.Err() == nil {
		b.log.Warn("old events could not be removed", "error", err)
	}
}

// retentionOf is what is kept how long of a route. No message goes while a repeat of
// it is known by its record.
func (b *Broker) retentionOf(name string) ferry.Retention {
	var own ferry.Retention
	if r, ok := b.route(name); ok {
		own = r.Retention
	}
	return own.Over(b.table.Load().Retention).AtLeast(b.opts.IdempotencyWindow)
}

// purge removes what retention no longer keeps, a bounded part of it in each round,
// and says whether there is more.
func (b *Broker) purge(ctx context.Context) (more bool) {
	p, err := b.ledger.Purge(ctx, time.Now(), b.retentionOf, purgeBound)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("what is beyond the retention could not be removed", "error", err)
	}
	if p.Completed+p.Discarded+p.Bodies > 0 {
		b.log.Debug("removed what is beyond the retention", "completed", p.Completed, "discarded", p.Discarded, "bodies", p.Bodies, "more", p.More)
	}
	return p.More
}

// discardOldDead discards dead letters whose retention is over, a bounded part of
// them, and says whether there are more.
func (b *Broker) discardOldDead(ctx context.Context) (more bool) {
	n, more, err := b.ledger.DiscardOldDead(ctx, time.Now(), b.retentionOf, purgeBound)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("dead letters beyond their retention could not be discarded", "error", err)
	}
	if n > 0 {
		b.log.Warn("discarded dead letters for which nobody came", "messages", n, "more", more, "hint", "retention.deadLettered; broker dlq restore takes them back")
	}
	return more && err == nil
}

// sweepRest removes what belongs to nothing any more. n counts the sweeps.
func (b *Broker) sweepRest(ctx context.Context, n int) {
	orphans, err := b.ledger.SweepBodiesPart(ctx, orphanAge, n%orphanParts, orphanParts)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("orphaned bodies could not be removed", "error", err)
	}
	if err := b.ledger.PurgeQuotas(ctx, time.Now().Add(-ferry.MaxClockSkew)); err != nil && ctx.Err() == nil {
		b.log.Warn("ended windows of quotas could not be removed", "error", err)
	}
	if keep := b.table.Load().Retention.Over(ferry.Retention{}).Audit; keep != ferry.KeepForever {
		moved, err := b.ledger.MoveAudit(ctx, time.Now().Add(-keep))
		if err != nil && ctx.Err() == nil {
			b.log.Warn("old entries of the audit log could not be moved", "error", err)
		}
		if moved > 0 {
			b.log.Info("moved old entries of the audit log into the folder audit", "entries", moved)
		}
	}
	if orphans > 0 {
		b.log.Info("removed bodies that no message refers to", "files", orphans)
	}
}
