package entity

import "time"

// MaxRemembered is how many message ids a duplicate window holds; beyond it the
// oldest are forgotten.
const MaxRemembered = 1_000_000

// window remembers the message ids of a while.
type window struct {
	until map[string]time.Time
	queue []remembered // oldest first
}

type remembered struct {
	id    string
	until time.Time
}

// seen tells whether the id is remembered.
func (w *window) seen(id string, now time.Time) bool {
	until, ok := w.until[id]
	return ok && now.Before(until)
}

func (w *window) remember(id string, now time.Time, length time.Duration) {
	w.forget(now)
	if w.until == nil {
		w.until = make(map[string]time.Time)
	}
	until := now.Add(length)
	w.until[id] = until
	w.queue = append(w.queue, remembered{id, until})
}

func (w *window) forget(now time.Time) {
	n := 0
	for n < len(w.queue) && (!now.Before(w.queue[n].until) || len(w.queue)-n >= MaxRemembered) {
		old := w.queue[n]
		if w.until[old.id].Equal(old.until) { // not remembered anew since
			delete(w.until, old.id)
		}
		n++
	}
	if n > 0 {
		clear(w.queue[:n])
		w.queue = w.queue[n:]
	}
}
