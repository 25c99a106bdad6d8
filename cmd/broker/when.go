package main

import (
	"strings"
	"time"

	"ferry"
)

// past reads a --since or --until: a time (2026-11-23T08:00:00Z), a day of UTC
// (2026-11-23), or how long ago (2h, 3d). Empty is the zero time.
func (a *app) past(flag, value string) (time.Time, error) {
	return a.moment(flag, value, -1)
}

// future reads a pause's --until: a time, a day, or how long from now.
func (a *app) future(flag, value string) (time.Time, error) {
	return a.moment(flag, value, 1)
}

func (a *app) moment(flag, value string, direction time.Duration) (time.Time, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := ferry.ParseDuration(value); err == nil && d >= 0 {
		return a.now().Add(direction * d).UTC(), nil
	}
	return time.Time{}, usagef("%s %q is neither a time nor a duration", flag, value).
		withHint("such as 2026-11-23T08:00:00Z, 2026-11-23, 2h or 3d")
}
