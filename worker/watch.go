package worker

import (
	"context"
	"errors"
	"time"

	"ferry/adapters"
	"ferry/breaker"
)

// The hold on refused credentials. Each failed logon counts towards the lock of
// an account, so they are tried again rarely.
const (
	refusedFor    = 30 * time.Minute
	refusedTries  = 3 // of its own accord, per refusedPer
	refusedPer    = 24 * time.Hour
	watchInterval = 5 * time.Second
	probeTimeout  = 10 * time.Second
)

// refusal is the memory of refused credentials.
type refusal struct {
	holds       bool
	at          time.Time
	fingerprint string      // of the credentials that were refused
	tries       []time.Time // when they were tried again after refusedFor
	resumedAt   time.Time   // when somebody last resumed a route
}

func (d *Dest) fingerprint() string {
	if f, ok := d.opts.Destination.(adapters.Fingerprinter); ok {
		return f.Fingerprint()
	}
	return ""
}

// refused holds the destination until the credentials change, somebody resumes
// a route, or refusedFor has passed.
func (d *Dest) refused() (changed bool) {
	fingerprint := d.fingerprint()
	d.mu.Lock()
	defer d.mu.Unlock()
	changed = !d.refusal.holds
	if changed {
		d.refusal.at = time.Now()
	}
	d.refusal.holds, d.refusal.fingerprint, d.cautious = true, fingerprint, true
	return changed
}

// accepted: the destination let a call in.
func (d *Dest) accepted() (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed = d.cautious
	if d.cautious && !d.refusal.holds {
		d.cautious = false
		d.refusal.tries = nil
	}
	return changed
}

// resumed notes that somebody resumed a route of the destination.
func (d *Dest) resumed(at time.Time) {
	d.mu.Lock()
	newer := at.After(d.refusal.resumedAt)
	if newer {
		d.refusal.resumedAt = at
	}
	lift := newer && d.refusal.holds && at.After(d.refusal.at)
	if lift {
		d.refusal.holds = false
	}
	d.mu.Unlock()
	if lift {
		d.tell()
	}
}

// watch probes a destination that is down and lifts the hold on credentials,
// until ctx ends.
func (d *Dest) watch(ctx context.Context) {
	for {
		timer := time.NewTimer(d.watchAfter())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.nudge:
			timer.Stop()
		case <-timer.C:
		}
		d.liftRefusal()
		d.probe(ctx)
	}
}

// watchAfter is when watch has something to do next.
func (d *Dest) watchAfter() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusal.holds {
		return watchInterval
	}
	if d.breaker.Snapshot().State != breaker.Closed && !d.noProbe {
		return max(d.breaker.Wait(), time.Millisecond)
	}
	return time.Hour // woken when there is
}

func (d *Dest) liftRefusal() {
	d.mu.Lock()
	holds, refused := d.refusal.holds, d.refusal.fingerprint
	d.mu.Unlock()
	if !holds {
		return
	}
	fresh := d.fingerprint() != refused // reads files: not under the lock
	d.mu.Lock()
	now := time.Now()
	lift := fresh
	if !lift && now.Sub(d.refusal.at) >= refusedFor {
		for len(d.refusal.tries) > 0 && now.Sub(d.refusal.tries[0]) >= refusedPer {
			d.refusal.tries = d.refusal.tries[1:]
		}
		if lift = len(d.refusal.tries) < refusedTries; lift {
			d.refusal.tries = append(d.refusal.tries, now)
		}
	}
	if lift {
		d.refusal.holds = false
	}
	d.mu.Unlock()
	if lift {
		d.tell()
	}
}

// probe asks a destination that is down whether it is back, when that is due.
func (d *Dest) probe(ctx context.Context) {
	d.mu.Lock()
	skip := d.noProbe || d.refusal.holds || d.breaker.Snapshot().State == breaker.Closed || !d.breaker.Allow()
	d.mu.Unlock()
	if skip {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	switch err := d.opts.Destination.Probe(ctx); {
	case err == nil:
		d.breaker.Success()
	case errors.Is(err, adapters.ErrNoProbe):
		d.mu.Lock()
		d.noProbe = true
		d.mu.Unlock()
		d.breaker.Lost()
	default:
		d.breaker.Unavailable(true)
	}
	d.tell()
}
