package calendar

import (
	"slices"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"ferry"
)

// window is one window, compiled.
type window struct {
	name string
	loc  *time.Location

	schedule cron.Schedule // nil: dates
	hourly   bool          // it begins in every hour that passes, also in one that comes twice
	length   time.Duration

	spans []Span // of dates, in order
}

// setMost is the most by which clocks are set, in one go.
const setMost = 3 * time.Hour

// next is the first time of the window that ends after t; false: none does.
func (w *window) next(t time.Time) (Span, bool) {
	if w.schedule == nil {
		for _, s := range w.spans {
			if s.To.After(t) {
				return s, true
			}
		}
		return Span{}, false
	}
	after := t.Add(-w.length)
	var from time.Time
	for wall := w.schedule.Next(w.wallBefore(after)); !wall.IsZero(); wall = w.schedule.Next(wall) {
		begins, exact := instants(wall, w.loc)
		if !from.IsZero() && !begins[0].Before(from) {
			break
		}
		switch {
		case w.hourly && !exact:
			continue // the hour does not pass at all
		case !w.hourly:
			begins = begins[:1]
		}
		for _, at := range begins {
			if at.After(after) && (from.IsZero() || at.Before(from)) {
				from = at
			}
		}
		if !from.IsZero() && !w.hourly {
			break
		}
	}
	if from.IsZero() {
		return Span{}, false
	}
	return Span{From: from.UTC(), To: from.Add(w.length).UTC(), Name: w.name}, true
}

// wallBefore is a time on the wall behind which every moment after t is shown:
// where the clock is set around t, earlier by as much.
func (w *window) wallBefore(t time.Time) time.Time {
	wall := wallOf(t, w.loc)
	start, end := t.In(w.loc).ZoneBounds()
	if !start.IsZero() && t.Sub(start) < 2*setMost || !end.IsZero() && end.Sub(t) < 2*setMost {
		return wall.Add(-setMost)
	}
	return wall.Add(-1) // the next one may be at t itself
}

func compile(w *ferry.Window) (*window, *ferry.Error) {
	if err := ferry.ValidName("window", w.Name); err != nil {
		return nil, err
	}
	fault := func(format string, args ...any) *ferry.Error {
		return ferry.Errorf(ferry.CodeBadConfig, "window "+w.Name+": "+format, args...)
	}
	zone := w.Zone
	if zone == "" {
		zone = "UTC"
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || strings.EqualFold(zone, "local") {
		return nil, fault("%.60q is not a time zone", w.Zone).WithHint("a name of the IANA's data base, such as Europe/Berlin or America/New_York")
	}
	c := &window{name: w.Name, loc: loc, length: w.For}
	switch {
	case w.Cron != "" && len(w.Dates) > 0:
		return nil, fault("it has cron and dates").WithHint("make two windows of it")
	case w.Cron == "" && len(w.Dates) == 0:
		return nil, fault("it never begins").WithHint(`cron: "0 18 L * *" and for: 14h, or dates: [2026-12-24..2026-12-26]`)
	case len(w.Dates) > 0 && w.For != 0:
		return nil, fault("for is of windows with cron").WithHint("dates say their own end: 2026-12-24T18:00..2026-12-27T06:00")
	case len(w.Dates) > 0:
		return c, c.setDates(w, fault)
	case w.For < ferry.MinWindowLength || w.For > ferry.MaxWindowLength:
		return nil, fault("for is %s", w.For).WithHint("from 1m to 31d, such as 14h")
	}
	return c, c.setCron(w, fault)
}

type faulty func(format string, args ...any) *ferry.Error

// yearsAhead is how far a cron expression is followed until it counts as one that
// never comes: a 29 February that is a Sunday comes every 28 years, and 40 over a
// century without a leap year.
const yearsAhead = 45

func (c *window) setCron(w *ferry.Window, fault faulty) *ferry.Error {
	fields := strings.Fields(w.Cron)
	if len(fields) != 5 || strings.ContainsAny(w.Cron, "=@") || len(w.Cron) > 200 {
		return fault("cron %.60q has not five fields", w.Cron).WithHint(`minute, hour, day of the month, month, day of the week: "0 18 L * *"; the zone has a key of its own`)
	}
	parser, err := cron.TryNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Extended)
	if err != nil {
		return fault("%w", err)
	}
	if c.schedule, err = parser.WithMaxSearchYears(yearsAhead).Parse(w.Cron); err != nil {
		return fault("cron %.60q: %w", w.Cron, err).WithHint(`such as "0 18 L * *", the last day of each month at 18:00, or "0 22 * * FRI", each Friday at 22:00`)
	}
	if any := func(field string) bool { return strings.HasPrefix(field, "*") || field == "?" }; !any(fields[2]) && !any(fields[4]) {
		return fault("cron %.60q names days of the month and days of the week", w.Cron).
			WithHint("cron programs do not agree whether one or both must fit: make two windows of it, or write FRI#1 for the first Friday, FRI#L for the last")
	}
	c.hourly = strings.HasPrefix(fields[1], "*")
	if c.schedule.Next(time.Now().UTC()).IsZero() {
		return fault("cron %.60q never comes", w.Cron).WithHint("is there such a day in such a month?")
	}
	return nil
}

func (c *window) setDates(w *ferry.Window, fault faulty) *ferry.Error {
	if len(w.Dates) > ferry.MaxWindowDates {
		return fault("it has %d dates", len(w.Dates)).WithHint("at most %d", ferry.MaxWindowDates)
	}
	for _, text := range w.Dates {
		begin, end, isRange := strings.Cut(text, "..")
		if !isRange {
			end = begin
		}
		from, _, err := day(begin)
		if err != nil || !isRange && strings.Contains(text, "T") {
			return fault("%.60q is not a date", text).WithHint("2026-12-24, or 2026-12-24..2026-12-26, or 2026-12-24T18:00..2026-12-27T06:00")
		}
		to, timed, err := day(end)
		if err != nil {
			return fault("%.60q is not a date", text).WithHint("2026-12-24, or 2026-12-24..2026-12-26, or 2026-12-24T18:00..2026-12-27T06:00")
		}
		if !timed {
			to = to.AddDate(0, 0, 1) // the last day is included
		}
		s := Span{From: first(from, c.loc).UTC(), To: last(to, c.loc).UTC(), Name: c.name}
		if !s.To.After(s.From) {
			return fault("%.60q ends before it begins", text)
		}
		c.spans = append(c.spans, s)
	}
	slices.SortFunc(c.spans, func(a, b Span) int { return a.From.Compare(b.From) })
	// Sorted by their ends as well, so that the first that ends after a time is the
	// first there is.
	joined := c.spans[:1]
	for _, s := range c.spans[1:] {
		end := &joined[len(joined)-1]
		if s.From.After(end.To) {
			joined = append(joined, s)
		} else if s.To.After(end.To) {
			end.To = s.To
		}
	}
	c.spans = joined
	return nil
}

// day reads a date, or a date with a time of day, as if it were UTC.
func day(text string) (at time.Time, timed bool, err error) {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "T") {
		at, err = time.Parse("2006-01-02T15:04", text)
		return at, true, err
	}
	at, err = time.Parse(time.DateOnly, text)
	return at, false, err
}
