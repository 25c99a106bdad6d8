package mapping

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // Windows, and small containers, have no time zones of their own
)

// moment is a date, or a date with a time of day, with or without an offset.
type moment struct {
	t    time.Time // in UTC where zone is not offset
	kind momentKind
}

type momentKind int

const (
	dateOnly   momentKind = iota // a calendar day
	wallTime                     // a time of day in an unknown zone
	offsetTime                   // a moment
)

// momentForms names in errors what can be read.
const momentForms = "such as 2026-11-26, 20261126, 2026-11-26T10:30:00Z or /Date(1795651200000)/"

// parseMoment reads the forms in which ERPs and senders write dates.
func parseMoment(v any) (moment, error) {
	switch v := v.(type) {
	case string:
		return parseMomentText(v)
	case map[string]any:
		return momentOfTryton(v)
	default:
		return moment{}, fmt.Errorf("%s is no date: a text is wanted, %s", shown(v), momentForms)
	}
}

func parseMomentText(s string) (moment, error) {
	if inner, ok := strings.CutPrefix(s, "/Date("); ok {
		return parseODataDate(s, inner)
	}
	for _, form := range []struct {
		layout string
		kind   momentKind
	}{
		{time.DateOnly, dateOnly},
		{"20060102", dateOnly},
		{time.RFC3339, offsetTime},
		{"2006-01-02T15:04:05", wallTime},
		{time.DateTime, wallTime},
		{"2006-01-02 15:04:05Z07:00", offsetTime},
		{"2006-01-02T15:04:05Z0700", offsetTime},
		{"2006-01-02T15:04", wallTime},
		{"2006-01-02T15:04Z07:00", offsetTime},
	} {
		if t, err := time.Parse(form.layout, s); err == nil {
			return bounded(moment{t: t, kind: form.kind}, s)
		}
	}
	return moment{}, fmt.Errorf("the text %q is no date: %s", clip(s), momentForms)
}

// parseODataDate reads what OData V2 writes for Edm.DateTime and
// Edm.DateTimeOffset: /Date(MS)/ and /Date(MS+MINUTES)/, MS counted in UTC.
func parseODataDate(s, inner string) (moment, error) {
	fail := fmt.Errorf("the text %q is no date of OData: such as /Date(1795651200000)/ or /Date(1795651200000+0060)/", clip(s))
	inner, ok := strings.CutSuffix(inner, ")/")
	if !ok {
		return moment{}, fail
	}
	digits, minutes := inner, ""
	if i := strings.LastIndexAny(inner, "+-"); i > 0 {
		digits, minutes = inner[:i], inner[i:]
	}
	ms, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return moment{}, fail
	}
	m := moment{t: time.UnixMilli(ms).UTC(), kind: wallTime}
	if minutes != "" {
		offset, err := strconv.Atoi(minutes)
		if err != nil || offset < -24*60 || offset > 24*60 {
			return moment{}, fail
		}
		m.kind = offsetTime
		if offset != 0 {
			m.t = m.t.In(time.FixedZone("", offset*60))
		}
	}
	return bounded(m, s)
}

// bounded refuses years that the forms with four digits cannot write.
func bounded(m moment, what string) (moment, error) {
	if year := m.t.Year(); year < 1 || year > 9999 {
		return moment{}, fmt.Errorf("%s lies outside of the years 1 to 9999", clip(what))
	}
	return m, nil
}

// date is the day as it is written, whatever the time of day and the offset.
func (m moment) date() string { return m.t.Format(time.DateOnly) }

// day is the calendar day as midnight in UTC.
func (m moment) day() time.Time {
	year, month, day := m.t.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// instant is the moment in UTC; a date or a time without an offset is none.
func (m moment) instant() (time.Time, error) {
	switch m.kind {
	case dateOnly:
		return time.Time{}, fmt.Errorf("%s has no time of day: startofday, noon and endofday give it one", m.date())
	case wallTime:
		return time.Time{}, fmt.Errorf(`%s has no offset: withzone("Europe/Berlin") says where it is that time`, m)
	}
	return m.t.UTC(), nil
}

// wall is what the clock shows, as if in UTC.
func (m moment) wall() time.Time {
	year, month, day := m.t.Date()
	hour, minute, second := m.t.Clock()
	return time.Date(year, month, day, hour, minute, second, m.t.Nanosecond(), time.UTC)
}

// String writes ISO 8601: a date, a time of day without an offset, or RFC 3339.
func (m moment) String() string {
	switch m.kind {
	case dateOnly:
		return m.date()
	case wallTime:
		return m.t.Format("2006-01-02T15:04:05.999999999")
	}
	return m.t.Format(time.RFC3339Nano)
}

// zoneCache keeps the time zones that a program has asked for: they lie in files.
type zoneCache struct {
	mu    sync.Mutex
	known map[string]*time.Location
}

// find gives a time zone by its IANA name. The machine's own is refused: the same
// message must give the same document wherever the worker runs.
func (z *zoneCache) find(name any) (*time.Location, error) {
	text, ok := name.(string)
	if !ok || text == "" || text == "Local" {
		return nil, fmt.Errorf("%s is no time zone: an IANA name is wanted, such as Europe/Berlin or UTC", shown(name))
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if loc := z.known[text]; loc != nil {
		return loc, nil
	}
	loc, err := time.LoadLocation(text)
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %q: an IANA name is wanted, such as Europe/Berlin or UTC", clip(text))
	}
	z.known[text] = loc
	return loc, nil
}

// inZone says when it is what the clock of m shows in that zone. A time that comes
// twice, when clocks are put back, is the first of the two; one that is left out,
// when they are put forward, is an error.
func (m moment) inZone(loc *time.Location) (time.Time, error) {
	wall := m.wall()
	var found time.Time
	// Offsets change at most once within a day of the wall time.
	for _, around := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := wall.Add(around).In(loc).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		if (moment{t: t}).wall().Equal(wall) && (found.IsZero() || t.Before(found)) {
			found = t
		}
	}
	if found.IsZero() {
		return time.Time{}, fmt.Errorf("%s does not exist in %s: clocks are put forward over it", m, loc)
	}
	return found, nil
}

// The patterns of parsedate and formatdate, longest first, and what they are in
// the layouts of package time.
func patternWords() [][2]string {
	return [][2]string{{"YYYY", "2006"}, {"MM", "01"}, {"DD", "02"}, {"HH", "15"}, {"mm", "04"}, {"ss", "05"}, {"M", "1"}, {"D", "2"}}
}

// layoutOf turns a pattern such as DD.MM.YYYY into a layout of package time.
func layoutOf(pattern any) (layout string, hasTime bool, err error) {
	s, ok := pattern.(string)
	if !ok || s == "" || len(s) > 64 {
		return "", false, fmt.Errorf("%s is no pattern: such as DD.MM.YYYY or YYYY-MM-DD HH:mm:ss", shown(pattern))
	}
	var b strings.Builder
next:
	for s != "" {
		for _, word := range patternWords() {
			if rest, ok := strings.CutPrefix(s, word[0]); ok {
				hasTime = hasTime || strings.Contains("HHmmss", word[0])
				b.WriteString(word[1])
				s = rest
				continue next
			}
		}
		// T and Z stand for themselves; a digit would be taken for a part of the layout.
		if c := s[0]; c != 'T' && c != 'Z' && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			return "", false, fmt.Errorf("the pattern %q has %q, which means nothing: YYYY, MM, M, DD, D, HH, mm and ss do", pattern, c)
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String(), hasTime, nil
}

// momentOfTryton reads {"__class__": "date", …} and {"__class__": "datetime", …}.
func momentOfTryton(o map[string]any) (moment, error) {
	class, _ := o["__class__"].(string)
	m := moment{kind: dateOnly}
	if class == "datetime" {
		m.kind = offsetTime // Tryton's are in UTC
	} else if class != "date" {
		return moment{}, errors.New("the object is neither a date nor a datetime of Tryton, by its __class__")
	}
	part := func(name string) int {
		text, err := numberText(o[name])
		if err != nil {
			return 0
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return -1
		}
		return n
	}
	year, month, day := part("year"), part("month"), part("day")
	hour, minute, second, micro := part("hour"), part("minute"), part("second"), part("microsecond")
	if m.kind == dateOnly {
		hour, minute, second, micro = 0, 0, 0, 0
	}
	m.t = time.Date(year, time.Month(month), day, hour, minute, second, micro*1000, time.UTC)
	written := [...]int{m.t.Year(), int(m.t.Month()), m.t.Day(), m.t.Hour(), m.t.Minute(), m.t.Second(), m.t.Nanosecond() / 1000}
	if written != [...]int{year, month, day, hour, minute, second, micro} {
		return moment{}, fmt.Errorf("the %s of Tryton, of year %d, month %d, day %d does not exist", class, year, month, day)
	}
	return bounded(m, class)
}
