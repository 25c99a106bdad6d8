package ferry

import "time"

// Window is a time in which a route's messages are not delivered: a month end, a
// night of maintenance, a holiday. They are accepted meanwhile, and their time to
// live stands still. Either Cron and For, or Dates.
type Window struct {
	Name string `yaml:"name" json:"name"` // as people see it; see ValidName
	// Cron says when the window begins, in five fields and by the clock on the wall of
	// Zone; the day of the month may be L (the last), L-3, LW or 15W, the day of the
	// week FRI#2 or FRI#L.
	Cron string `yaml:"cron" json:"cron,omitempty"`
	// For is how long it lasts from then on, in time that passes: from 1 minute to 31
	// days.
	For time.Duration `yaml:"for" json:"for,omitempty"`
	// Zone is a name of the IANA's data base, such as Europe/Berlin; default UTC.
	Zone string `yaml:"zone" json:"zone,omitempty"`
	// Dates are days, 2026-12-24, or what lies between two, 2026-12-24..2026-12-26, the
	// last one included; by the clock on the wall of Zone. With a time of day,
	// 2026-12-24T18:00..2026-12-27T06:00, it ends there.
	Dates []string `yaml:"dates" json:"dates,omitempty"`
}

// Limits of windows.
const (
	MaxWindows      = 20 // of a route
	MaxWindowDates  = 400
	MinWindowLength = time.Minute
	MaxWindowLength = 31 * 24 * time.Hour
)

// WindowTime is one time that a window takes up.
type WindowTime struct {
	Name string    `json:"name"` // of the windows that make it up, with commas between
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}
