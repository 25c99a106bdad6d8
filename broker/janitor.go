package broker

import (
	"context"
	"time"

	"ferry"
)

const (
	overdueEvery = 10 * time.Second
	overdueBound = 20_000 // entries of the due index in one round
	overdueStep  = 2_000  // and under one read of the ledger
	purgeEvery   = time.Hour
	orphanAge    = time.Hour
	noteUseEvery = 10 * time.Minute // when keys were last used
)

// janitor ends what nobody else ends: messages whose time to live passed while
// no worker could hold them, pauses that were to end, ended messages beyond the
// retention, events that are no longer kept, files of bodies that no message refers
// to.
func (b *Broker) janitor(ctx context.Context) {
	purged, noted, look := time.Time{}, time.Now(), overdueLook{}
	for ctx.Err() == nil {
		b.expireOverdue(ctx, &look)
		b.endPauses(ctx)
		if time.Since(noted) >= noteUseEvery {
			noted = time.Now()
			b.keepKeyUse(ctx)
		}
		b.dropEvents(ctx)
		if time.Since(purged) >= purgeEvery {
			purged = time.Now()
			b.purge(ctx)
			if err := b.ledger.ForgetSubscriptions(ctx, time.Now().Add(-ferry.SubscriptionShown)); err != nil && ctx.Err() == nil {
				b.log.Warn("subscriptions that were dropped could not be removed", "error", err)
			}
		}
		sleep(ctx, overdueEvery)
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
	info, err := b.ledger.Route(name)
	if err != nil || paused(info) {
		return 0, nil, err // a pause holds the message: its time does not run out meanwhile
	}
	ids, looked, next, err := b.ledger.Overdue(name, after, time.Now(), bound)
	if err != nil || len(ids) == 0 {
		return looked, next, err
	}
	n, err := b.ledger.Expire(ctx, ids, b.continueAfterDead)
	b.log.Warn("messages expired before they could be delivered", "route", name, "messages", n)
	if err != nil {
		return looked, nil, err
	}
	return looked, next, nil
}

func (b *Broker) endPauses(ctx context.Context) {
	for _, name := range b.names() {
		info, err := b.ledger.Route(name)
		if err != nil || info.Paused == nil || paused(info) {
			continue
		}
		if err := b.ledger.Resume(ctx, name, "the pause has ended", "broker"); err != nil {
			b.log.Warn("a pause could not be ended", "route", name, "error", err)
			continue
		}
		b.nudge(name)
		b.helloAgain(ctx, name)
	}
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

func (b *Broker) purge(ctx context.Context) {
	n, err := b.ledger.Purge(ctx, time.Now().Add(-b.opts.Retention))
	if err != nil && ctx.Err() == nil {
		b.log.Warn("ended messages could not be removed", "error", err)
	}
	orphans, err := b.ledger.SweepBodies(ctx, orphanAge)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("orphaned bodies could not be removed", "error", err)
	}
	if err := b.ledger.PurgeQuotas(ctx, time.Now().Add(-ferry.MaxClockSkew)); err != nil && ctx.Err() == nil {
		b.log.Warn("ended windows of quotas could not be removed", "error", err)
	}
	if n+orphans > 0 {
		b.log.Info("removed what is beyond the retention", "messages", n, "orphanedBodies", orphans)
	}
}
