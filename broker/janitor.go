package broker

import (
	"context"
	"time"
)

const (
	overdueEvery = 10 * time.Second
	overdueBound = 10_000
	purgeEvery   = time.Hour
	orphanAge    = time.Hour
)

// janitor ends what nobody else ends: messages whose time to live passed while
// no worker could hold them, pauses that were to end, ended messages beyond the
// retention, files of bodies that no message refers to.
func (b *Broker) janitor(ctx context.Context) {
	purged := time.Time{}
	for ctx.Err() == nil {
		b.expireOverdue(ctx)
		b.endPauses(ctx)
		if time.Since(purged) >= purgeEvery {
			purged = time.Now()
			b.purge(ctx)
		}
		sleep(ctx, overdueEvery)
	}
}

func (b *Broker) expireOverdue(ctx context.Context) {
	for _, name := range b.names {
		info, err := b.ledger.Route(name)
		if err != nil || paused(info) {
			continue // a pause holds the message: its time does not run out meanwhile
		}
		ids, err := b.ledger.Overdue(name, time.Now(), overdueBound)
		if err == nil && len(ids) > 0 {
			var n int
			n, err = b.ledger.Expire(ctx, ids, b.continueAfterDead)
			b.metrics.expired(name, n)
			b.log.Warn("messages expired before they could be delivered", "route", name, "messages", n)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("expired messages could not be set aside", "route", name, "error", err)
		}
	}
}

func (b *Broker) endPauses(ctx context.Context) {
	for _, name := range b.names {
		info, err := b.ledger.Route(name)
		if err != nil || info.Paused == nil || paused(info) {
			continue
		}
		if err := b.ledger.Resume(ctx, name, "the pause has ended", "broker"); err != nil {
			b.log.Warn("a pause could not be ended", "route", name, "error", err)
			continue
		}
		b.routes[name].relay.nudge()
		b.helloAgain(ctx, name)
	}
}

func (b *Broker) purge(ctx context.Context) {
	n, err := b.ledger.Purge(ctx, time.Now().Add(-b.opts.Retention))
	if err != nil && ctx.Err() == nil {
		b.log.Warn("ended messages could not be removed", "error", err)
	}
	orphans, err := b.ledger.SweepBodies(orphanAge)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("orphaned bodies could not be removed", "error", err)
	}
	if n+orphans > 0 {
		b.log.Info("removed what is beyond the retention", "messages", n, "orphanedBodies", orphans)
	}
}
