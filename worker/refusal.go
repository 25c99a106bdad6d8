package worker

import (
	"strings"
	"time"

	"ferry/adapters"
)

// The hold on refused credentials. Each failed logon counts towards the lock of
// an account, so they are tried again rarely.
const (
	refusedFor   = 30 * time.Minute
	refusedTries = 3 // of its own accord, per refusedPer
	refusedPer   = 24 * time.Hour
)

// refusal is the memory of refused credentials.
type refusal struct {
	holds   bool
	at      time.Time
	print   string      // fingerprint of the credentials that were refused
	tries   []time.Time // when they were tried again after refusedFor
	kept    bool        // the book has it, too
	unknown bool        // which ones were refused only the book can tell
}

// refusalBook keeps refusals over a restart: the account's lock counts on, too.
type refusalBook interface {
	keepRefusal(destination string, at time.Time, tries []time.Time, fingerprint string) error
	dropRefusal(destination string) error
	// refusalOf gives what was kept about a destination, nil: nothing; same: it was
	// about these very credentials.
	refusalOf(destination, fingerprint string) (r *keptRefusal, same bool, err error)
}

// nobody's is a fingerprint that no credentials have: nothing is trusted.
const nobodys = "refused"

func (d *Dest) fingerprint() string {
	if f, ok := d.opts.Destination.(adapters.Fingerprinter); ok {
		return f.Fingerprint()
	}
	return ""
}

// remember gives the destination its book, and takes up what was refused before
// the worker ended. It is called once, before the first call.
func (d *Dest) remember(book refusalBook) error {
	print := d.fingerprint()
	r, same, err := book.refusalOf(d.opts.Name, print)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.book = book
	if err != nil || r == nil {
		return err
	}
	d.refusal.kept = true
	unknown := !same && unreadable(print)
	switch {
	case unknown:
		print = "" // they may be these, once they can be read
	case !same:
		return nil // others are tried afresh
	}
	at := r.At
	if now := time.Now(); at.After(now) {
		at = now // the clock went back
	}
	d.refusal = refusal{holds: true, at: at, print: print, tries: r.Tries, kept: true, unknown: unknown}
	d.trusted = nobodys
	return nil
}

// unreadable says whether a fingerprint is that of a secret that could not be read.
func unreadable(print string) bool { return strings.Contains(print, adapters.Unreadable) }

// refused holds the destination until the credentials change, somebody resumes
// a route, or refusedFor has passed. print is the fingerprint that was refused: where
// it could not be read, those that were refused before stay so.
func (d *Dest) refused(print string) (changed bool) {
	d.mu.Lock()
	r := &d.refusal
	if unreadable(print) && (r.print != "" || r.unknown) {
		print = r.print
	}
	changed = !r.holds
	if changed {
		r.at = time.Now()
		if r.print != print && !r.unknown {
			r.tries = nil
		}
	}
	r.holds, r.print, r.unknown, d.trusted = true, print, r.unknown && print == "", nobodys
	d.mu.Unlock()
	if changed {
		d.keep()
	}
	return changed
}

// keep writes the refusal into the book. What cannot be written is tried again
// by the next change; meanwhile this process holds all the same.
func (d *Dest) keep() {
	d.mu.Lock()
	book, r := d.book, d.refusal
	tries := append([]time.Time(nil), r.tries...)
	d.mu.Unlock()
	if book == nil || r.print == "" {
		return // without credentials there is no account to lock
	}
	if err := book.keepRefusal(d.opts.Name, r.at, tries, r.print); err != nil {
		d.warn("refusal.keep", err)
		return
	}
	d.mu.Lock()
	d.refusal.kept = true
	d.mu.Unlock()
}

// accepted: the destination let a call in that bore these credentials.
func (d *Dest) accepted(print string) (changed bool) {
	d.mu.Lock()
	if d.refusal.holds || d.trusted == print {
		d.mu.Unlock()
		return false
	}
	d.trusted = print
	d.refusal.tries, d.refusal.print, d.refusal.unknown = nil, "", false
	drop := d.refusal.kept && d.book != nil
	d.refusal.kept = false
	d.mu.Unlock()
	if drop {
		if err := d.book.dropRefusal(d.opts.Name); err != nil {
			d.warn("refusal.drop", err)
		}
	}
	return true
}

// careful says whether only one call may be out: the credentials at hand were
// not accepted yet, and a wrong password must not be sent many times at once.
func (d *Dest) careful() bool { return d.print != d.trusted }

// resumed notes that somebody resumed a route of the destination, at a time by this
// process's clock. What was refused later stays refused.
func (d *Dest) resumed(at time.Time) {
	d.mu.Lock()
	lift := d.refusal.holds && at.After(d.refusal.at)
	if lift {
		d.refusal.holds = false
	}
	d.mu.Unlock()
	if lift {
		d.tell()
	}
}

// liftRefusal tries refused credentials again when they changed, or time has
// passed. The try is on disk before it is made.
func (d *Dest) liftRefusal() {
	d.mu.Lock()
	holds, refused, unknown := d.refusal.holds, d.refusal.print, d.refusal.unknown
	d.mu.Unlock()
	if !holds {
		return
	}
	if r, ok := d.opts.Destination.(adapters.Rereader); ok {
		r.Reread()
	}
	print := d.fingerprint() // reads files: not under the lock
	fresh := print != refused && !unreadable(print)
	if unknown {
		if !fresh {
			return
		}
		_, same, err := d.book.refusalOf(d.opts.Name, print)
		if err != nil {
			d.warn("refusal.read", err)
			return
		}
		d.mu.Lock()
		d.refusal.print, d.refusal.unknown = print, false
		if fresh = !same; fresh {
			d.refusal.tries = nil
		}
		d.mu.Unlock()
	}
	d.mu.Lock()
	now := time.Now()
	tried := !fresh && d.nextTry(now).Equal(now)
	if tried {
		d.refusal.tries = append(d.refusal.tries, now)
	}
	d.mu.Unlock()
	if tried {
		d.keep()
	}
	if !fresh && !tried {
		return
	}
	d.mu.Lock()
	d.refusal.holds = false
	d.mu.Unlock()
	d.tell()
}

// nextTry is when refused credentials are tried again by themselves: now, or
// later. It forgets tries that count no more.
func (d *Dest) nextTry(now time.Time) time.Time {
	r := &d.refusal
	for len(r.tries) > 0 && now.Sub(r.tries[0]) >= refusedPer {
		r.tries = r.tries[1:]
	}
	at := r.at.Add(refusedFor)
	if len(r.tries) >= refusedTries {
		at = later(at, r.tries[len(r.tries)-refusedTries].Add(refusedPer))
	}
	return later(at, now)
}

func (d *Dest) warn(what string, err error) {
	if d.log != nil {
		d.log.Warn(what, "destination", d.opts.Name, "error", err.Error())
	}
}
