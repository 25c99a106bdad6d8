package calendar

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"ferry"
)

// Span is a time in which nothing is delivered: from From on, until before To; in
// UTC. Name names the windows that make it up, with commas between.
type Span = ferry.WindowTime

// Calendar is all windows of a route together. Where they overlap or touch, they
// count as one. It may be used by many goroutines.
type Calendar struct {
	windows []*window
	known   atomic.Pointer[known] // what was worked out last
}

// known is the answer for every moment from at to the end of the span.
type known struct {
	at   time.Time
	span Span
}

// Compile makes the calendar of windows; nil when there are none. An error is a
// *ferry.Error that names the window, with a hint.
func Compile(windows []ferry.Window) (*Calendar, error) {
	if len(windows) == 0 {
		return nil, nil
	}
	if len(windows) > ferry.MaxWindows {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "there are %d windows", len(windows)).WithHint("at most %d on a route; one window may have many dates", ferry.MaxWindows)
	}
	c := &Calendar{}
	for i := range windows {
		w, err := compile(&windows[i])
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(c.windows, func(other *window) bool { return other.name == w.name }) {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "two windows have the name %s", w.name)
		}
		c.windows = append(c.windows, w)
	}
	return c, nil
}

// Check says why a window alone cannot be.
func Check(w ferry.Window) *ferry.Error {
	_, err := compile(&w)
	return err
}

// Holds says whether a window holds at now, and in which span.
func (c *Calendar) Holds(now time.Time) (Span, bool) {
	s, ok := c.Next(now)
	return s, ok && !s.From.After(now)
}

// joinMost bounds the times that are joined to one span. A span of more ends
// there, and the next one begins at its end.
const joinMost = 1000

// Next is the span that now lies in, else the next one; false: there is none any
// more.
func (c *Calendar) Next(now time.Time) (Span, bool) {
	if c == nil {
		return Span{}, false
	}
	if k := c.known.Load(); k != nil && !now.Before(k.at) && now.Before(k.span.To) {
		return k.span, true
	}
	s, ok := c.join(now)
	if ok {
		c.known.Store(&known{at: now, span: s})
	}
	return s, ok
}

// join finds the first span that ends after now.
func (c *Calendar) join(now time.Time) (s Span, ok bool) {
	for _, w := range c.windows {
		if is, some := w.next(now); some && (!ok || is.From.Before(s.From)) {
			s, ok = is, true
		}
	}
	if !ok {
		return s, false
	}
	var names []string
	for n, grown := 0, true; grown && n < joinMost; n++ {
		grown = false
		for _, w := range c.windows {
			// The first that ends at or after the end so far.
			is, some := w.next(s.To.Add(-1))
			if !some || is.From.After(s.To) {
				continue
			}
			if !slices.Contains(names, w.name) {
				names = append(names, w.name)
			}
			if is.From.Before(s.From) {
				s.From = is.From
			}
			if is.To.After(s.To) {
				s.To, grown = is.To, true
				continue
			}
			// One that begins where it ends goes on with it.
			if is, some = w.next(s.To); some && !is.From.After(s.To) && is.To.After(s.To) {
				s.To, grown = is.To, true
			}
		}
	}
	s.From = c.begin(s.From)
	for _, w := range c.windows {
		if is, some := w.next(s.From); some && is.From.Before(s.To) && !slices.Contains(names, w.name) {
			names = append(names, w.name)
		}
	}
	slices.Sort(names)
	s.Name = strings.Join(names, ", ")
	return s, true
}

// begin is when the span began of which a time begins at from: what is over by now
// may lead up to it. So a span is the same whenever it is asked for. Of more times
// than are joined it is from.
func (c *Calendar) begin(from time.Time) time.Time {
	first := from
	for range joinMost {
		grown := false
		for _, w := range c.windows {
			// The first that ends at or after the begin so far.
			if is, some := w.next(first.Add(-1)); some && is.From.Before(first) {
				first, grown = is.From, true
			}
		}
		if !grown {
			return first
		}
	}
	return from
}

// Coming lists the next spans from now on, the one that holds included.
func (c *Calendar) Coming(now time.Time, most int) (list []Span) {
	if c == nil {
		return nil
	}
	for len(list) < most {
		s, ok := c.join(now)
		if !ok {
			return list
		}
		if len(list) > 0 && s.From.Before(now) {
			s.From = now // the rest of more than are joined
		}
		list = append(list, s)
		now = s.To
	}
	return list
}

// foreseen is how long a span must be at least to count as one without an end.
const foreseen = 35 * 24 * time.Hour

// Endless says whether the windows leave no time to deliver, as far as can be
// foreseen.
func (c *Calendar) Endless(now time.Time) bool {
	next := now
	for s, ok := c.Next(now); ok; s, ok = c.join(next) {
		if s.From.After(next) {
			return false // a gap
		}
		if next = s.To; next.Sub(now) >= foreseen {
			return true
		}
	}
	return false
}
