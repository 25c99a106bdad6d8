package calendar

import (
	"slices"
	"time"
)

// wallOf is what a clock on the wall of loc shows at t, as if it were UTC.
func wallOf(t time.Time, loc *time.Location) time.Time {
	t = t.In(loc)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instants lists when a clock on the wall of loc shows wall (given as if it were
// UTC), in order: once as a rule, twice where the clock is set back. Where it is
// set forward over it, the moment at which it is set counts: exact is false then.
func instants(wall time.Time, loc *time.Location) (list []time.Time, exact bool) {
	near := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), loc)
	start, end := near.ZoneBounds()
	around := []time.Time{near}
	if !start.IsZero() {
		around = append([]time.Time{start.Add(-1)}, around...)
	}
	if !end.IsZero() {
		around = append(around, end)
	}
	for _, t := range around {
		_, offset := t.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		if wallOf(at, loc).Equal(wall) && !slices.ContainsFunc(list, at.Equal) {
			list = append(list, at)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	if len(list) > 0 {
		return list, true
	}
	// Skipped: near lies on one side of the moment at which the clock is set, by as
	// much as wall does.
	if wallOf(near, loc).After(wall) {
		return []time.Time{start}, false
	}
	return []time.Time{end}, false
}

// first is when a clock on the wall shows wall for the first time.
func first(wall time.Time, loc *time.Location) time.Time {
	list, _ := instants(wall, loc)
	return list[0]
}

// last is when it shows it for the last time.
func last(wall time.Time, loc *time.Location) time.Time {
	list, _ := instants(wall, loc)
	return list[len(list)-1]
}
