package mapping

import (
	"fmt"
	"strconv"
	"time"
)

// dateFunctions shape dates and moments; docs/mapping.md has an example of each.
// They give null for null, so that what is optional stays so.
func dateFunctions() []function {
	zones := &zoneCache{known: map[string]*time.Location{}}
	return []function{
		date0("isodate", func(m moment) (any, error) { return m.date(), nil }),
		date0("sapdate", func(m moment) (any, error) { return m.t.Format("20060102"), nil }),
		date0("odatadate", func(m moment) (any, error) { return odataDate(m) + ")/", nil }),
		date0("odatadateoffset", func(m moment) (any, error) {
			// Some servers take MS for local time and some for UTC: of +0000 both make the same.
			if _, err := m.instant(); err != nil {
				return nil, err
			}
			return odataDate(m) + "+0000)/", nil
		}),
		date0("fromodatadate", func(m moment) (any, error) { return m.String(), nil }),
		date0("odatadatetime", func(m moment) (any, error) {
			t := m.t
			if m.kind == offsetTime {
				t = t.UTC()
			}
			return "datetime'" + t.Format("2006-01-02T15:04:05.999") + "'", nil
		}),
		date0("odatadatetimeoffset", func(m moment) (any, error) {
			t, err := m.instant()
			return "datetimeoffset'" + t.Format("2006-01-02T15:04:05.999Z") + "'", err
		}),
		date0("utctime", func(m moment) (any, error) {
			t, err := m.instant()
			return t.Format(time.RFC3339Nano), err
		}),
		date0("odootime", func(m moment) (any, error) {
			t, err := m.instant()
			return t.Format(time.DateTime), err
		}),
		date0("trytondate", func(m moment) (any, error) {
			year, month, day := m.t.Date()
			return map[string]any{"__class__": "date", "year": year, "month": int(month), "day": day}, nil
		}),
		date0("trytondatetime", func(m moment) (any, error) {
			t, err := m.instant()
			return trytonDateTime(t), err
		}),
		shape("fromtryton", 0, fromTryton),
		ofDay(zones, "startofday", 0, 0, 0),
		ofDay(zones, "noon", 12, 0, 0),
		ofDay(zones, "endofday", 23, 59, 59),
		date1("inzone", func(m moment, arg any) (any, error) {
			loc, err := zones.find(arg)
			if err != nil {
				return nil, err
			}
			t, err := m.instant()
			return t.In(loc).Format(time.RFC3339Nano), err
		}),
		date1("withzone", func(m moment, arg any) (any, error) {
			loc, err := zones.find(arg)
			switch {
			case err != nil:
				return nil, err
			case m.kind == dateOnly:
				return nil, fmt.Errorf("%s has no time of day: startofday, noon and endofday take a zone", m.date())
			case m.kind == offsetTime:
				return nil, fmt.Errorf("%s has an offset already: inzone shows it in another zone", m)
			}
			t, err := m.inZone(loc)
			return t.Format(time.RFC3339Nano), err
		}),
		date1("formatdate", func(m moment, arg any) (any, error) {
			layout, hasTime, err := layoutOf(arg)
			if err == nil && hasTime && m.kind == dateOnly {
				err = fmt.Errorf("%s has no time of day, and the pattern %v wants one", m.date(), arg)
			}
			return m.t.Format(layout), err
		}),
		shape("parsedate", 1, func(in any, args []any) (any, error) { return parseDate(in, args[0]) }),
		date1("adddays", func(m moment, arg any) (any, error) {
			n, err := wholeNumber(arg, -3_700_000, 3_700_000)
			if err != nil {
				return nil, err
			}
			return dayText(m.day().AddDate(0, 0, n))
		}),
		date1("addmonths", func(m moment, arg any) (any, error) {
			n, err := wholeNumber(arg, -120_000, 120_000)
			if err != nil {
				return nil, err
			}
			year, month, day := m.t.Date()
			first := time.Date(year, month+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
			return dayText(first.AddDate(0, 0, min(day, endOfMonth(first).Day())-1))
		}),
		date0("endofmonth", func(m moment) (any, error) { return dayText(endOfMonth(m.day())) }),
	}
}

// fromTryton reads what Tryton writes as objects: dates, moments and decimals.
func fromTryton(in any, _ []any) (any, error) {
	o, ok := in.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is no object with a __class__", shown(in))
	}
	if o["__class__"] == "Decimal" {
		d, err := toDecimal(o["decimal"])
		if err != nil {
			return nil, err
		}
		return d.number(), nil
	}
	m, err := momentOfTryton(o)
	return m.String(), err
}

// odataDate is the beginning of OData V2's form, in milliseconds: of the moment
// in UTC, or of what the clock shows where there is no offset.
func odataDate(m moment) string { return "/Date(" + strconv.FormatInt(m.t.UnixMilli(), 10) }

func trytonDateTime(t time.Time) map[string]any {
	return map[string]any{
		"__class__": "datetime", "year": t.Year(), "month": int(t.Month()), "day": t.Day(),
		"hour": t.Hour(), "minute": t.Minute(), "second": t.Second(), "microsecond": t.Nanosecond() / 1000,
	}
}

// ofDay makes a moment of a day: in UTC, or in the zone that is given.
func ofDay(zones *zoneCache, name string, hour, minute, second int) function {
	return function{name: name, least: 0, most: 1, call: func(in any, args []any) (any, error) {
		if in == nil {
			return nil, nil
		}
		m, err := parseMoment(in)
		if err != nil {
			return nil, err
		}
		loc := time.UTC
		if len(args) > 0 {
			if loc, err = zones.find(args[0]); err != nil {
				return nil, err
			}
		}
		year, month, day := m.t.Date()
		wall := moment{t: time.Date(year, month, day, hour, minute, second, 0, time.UTC), kind: wallTime}
		t, err := wall.inZone(loc)
		if err != nil {
			// Clocks are put forward over it, at midnight in some countries: as much later.
			_, offset := wall.t.AddDate(0, 0, -1).In(loc).Zone()
			t = wall.t.Add(-time.Duration(offset) * time.Second).In(loc)
		}
		return t.Format(time.RFC3339), nil
	}}
}

// parseDate reads a date as the pattern has it: a date, or a time without an
// offset where the pattern has one of day.
func parseDate(in, pattern any) (any, error) {
	layout, hasTime, err := layoutOf(pattern)
	if err != nil {
		return nil, err
	}
	text, ok := in.(string)
	if !ok {
		return nil, fmt.Errorf("%s is no text of the pattern %v", shown(in), pattern)
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return nil, fmt.Errorf("the text %q is no date of the pattern %v", clip(text), pattern)
	}
	m := moment{t: t, kind: dateOnly}
	if hasTime {
		m.kind = wallTime
	}
	if m, err = bounded(m, text); err != nil {
		return nil, err
	}
	return m.String(), nil
}

func endOfMonth(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -1)
}

func dayText(t time.Time) (any, error) {
	m, err := bounded(moment{t: t}, "the day")
	return m.date(), err
}

func date0(name string, f func(moment) (any, error)) function {
	return shape(name, 0, func(in any, _ []any) (any, error) {
		m, err := parseMoment(in)
		if err != nil {
			return nil, err
		}
		return f(m)
	})
}

func date1(name string, f func(moment, any) (any, error)) function {
	return shape(name, 1, func(in any, args []any) (any, error) {
		m, err := parseMoment(in)
		if err != nil {
			return nil, err
		}
		return f(m, args[0])
	})
}
