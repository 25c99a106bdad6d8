package worker

import (
	"time"

	"ferry"
	"ferry/internal/rules"
	"ferry/queue"
)

// The broker's word says whether a route is this inbox's, under which binding,
// and for how long calls may begin on it. Another inbox that gets the route waits
// until the word has surely ended, or until this worker says that it has heard.

// heardLately is how long ago the broker may have been heard and still count as
// there: for what needs it, such as a claim.
const heardLately = 3 * helloEvery

// moment is a time by two clocks: the one that only goes on, and the one on the
// wall. The first stands still while a machine sleeps, the other can be set.
type moment struct {
	steady time.Time // with the reading of the clock that only goes on
	wall   time.Time
}

func atMoment(t time.Time) moment { return moment{steady: t, wall: t.Round(0)} }

// since is how long ago m was at another moment, by the clock that says more.
func (m moment) since(earlier moment) time.Duration {
	return max(m.steady.Sub(earlier.steady), m.wall.Sub(earlier.wall))
}

// until is how long it is from another moment to m, by the clock that says less.
func (m moment) until(now moment) time.Duration { return -now.since(m) }

// left is how long it is until a deadline. A machine that slept may be past one that
// its steady clock has yet to come to.
func left(deadline time.Time) time.Duration { return atMoment(deadline).until(atMoment(time.Now())) }

// word is what the broker last said of a route.
type word struct {
	queue.RouteWelcome
	named bool   // it spoke of the route at all
	asked moment // when it was asked
	heard moment // when it answered
	at    time.Time
}

// good is how long it lets calls begin, or where turns are claimed, messages be
// received.
func (w *word) good() time.Duration {
	switch {
	case w.Claims:
		return heardLately
	case w.Good <= 0:
		return queue.WordGood
	default:
		return min(w.Good, ferry.MaxWorkAway)
	}
}

// holds says whether it lets calls begin, or messages be received, at a moment.
func (w *word) holds(now moment) bool {
	return w.named && w.Granted && (now.since(w.asked) < w.good() || !rules.On(rules.TakeOver))
}

// take takes the broker's word about the route, asked for at a time, and says
// whether it changed. It replaces any earlier one, as it came after it.
func (r *route) take(w queue.RouteWelcome, named bool, asked, at time.Time) (changed bool) {
	r.mu.Lock()
	before := r.word
	held := before.holds(atMoment(time.Now()))
	if w.Binding == 0 {
		w.Binding = before.Binding // it could not say: what was heard stays heard
	}
	r.word = word{RouteWelcome: w, named: named, asked: atMoment(asked), heard: atMoment(time.Now()), at: at}
	r.mu.Unlock()
	r.gate.watch(w.Hold, r.poke)
	r.gate.set(r.isHeld(time.Now()))
	changed = before.named != named || before.Granted != w.Granted || before.Paused != w.Paused || before.Claims != w.Claims || before.Why != w.Why || !before.PausedAt.Equal(w.PausedAt)
	if changed || !held || before.Binding != w.Binding {
		r.poke()
	}
	if !w.ResumedAt.IsZero() && !w.ResumedAt.Equal(before.ResumedAt) {
		if resumed, known := resumedHere(w.ResumedAt, at, before); known {
			r.Destination.resumed(resumed)
		}
	}
	return changed
}

// resumedHere is when a route was resumed by this process's clock; the broker gives that,
// and the time of its word, by its own. A resume that is yet to come says that its clock
// was set back since: it was just now, unless this is the first word of the route.
func resumedHere(resumed, at time.Time, before word) (here time.Time, known bool) {
	now := time.Now()
	if at.IsZero() { // a broker of before, that does not tell its time
		return resumed, true
	}
	here = now.Add(resumed.Sub(at))
	if !here.After(now) {
		return here, true
	}
	return now, before.named
}

// last is the broker's last word about the route.
func (r *route) last() word {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.word
}

// mayBegin says whether the message may be called for now, as far as the broker's
// last word goes: the route is this inbox's, under the binding that the message
// was handed out under.
func (r *route) mayBegin(h *ferry.HandOut, now time.Time) bool {
	w := r.last()
	held, _ := w.held(atMoment(now))
	return !held && (w.holds(atMoment(now)) && !w.Claims && !w.otherThan(h) || !rules.On(rules.TakeOver))
}

// otherThan says whether the message was handed out under another binding than
// the one that the word is about.
func (w *word) otherThan(h *ferry.HandOut) bool {
	return h.Binding != 0 && w.Binding != 0 && h.Binding != w.Binding && rules.On(rules.Binding) && rules.On(rules.Identity)
}

// settledElsewhere says whether a message that is not this inbox's to call for has
// a later turn by now: it was handed out under an earlier binding than the one
// under which the route was granted to this inbox, or before its turns were claimed.
func (r *route) settledElsewhere(h *ferry.HandOut, inbox string) bool {
	w := r.last()
	if !w.named || !w.Granted {
		return false
	}
	after := w.at.After(h.PublishedAt)
	if w.otherThan(h) {
		return after || h.Binding < w.Binding
	}
	return after && (h.Inbox != inbox || w.Claims)
}
