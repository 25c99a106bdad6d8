package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// age says how far t is from now in one unit: "12s", "4m", "2h", "3d", or
// "in 4m" for what is to come. The zero time is "-".
func age(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d)
}

func ageOf(now time.Time, t *time.Time) string {
	if t == nil {
		return "-"
	}
	return age(now, *t)
}

// span is a duration in its largest whole unit up to days.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	default:
		return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
	}
}

// took is a call's duration from milliseconds: "120ms", "2.5s", "1m10s".
func took(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", ms)
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

// moment is a time for people, in UTC as everywhere in Ferry.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// bytesOf is a size for people.
func bytesOf(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, names := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for value >= unit && len(names) > 1 {
		value, names = value/unit, names[1:]
	}
	return fmt.Sprintf("%.1f %s", value, names[0])
}

// count is "1 message", "3 messages".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable makes text of senders and destinations safe to show: control
// characters, which could steer the terminal, become "·". Line breaks and tabs
// stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == utf8.RuneError:
			return '·'
		}
		return r
	}, s)
}

// oneLine is printable text without line breaks.
func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

// width is how many columns s takes on a terminal.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// cut shortens s to at most columns, with … in place of what was cut.
func cut(s string, columns int) string {
	if width(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	used := 0
	for i, r := range s {
		w := runeWidth(r)
		if used+w > columns-1 {
			return strings.TrimRight(s[:i], " ") + "…"
		}
		used += w
	}
	return s
}

// runeWidth is 0 for marks that join the letter before them, 2 for the wide
// letters of East Asia and emoji (Unicode Standard Annex 11), else 1.
func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	for _, w := range wideRanges() {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

func wideRanges() [13][2]rune {
	return [...][2]rune{
		{0x1100, 0x115f},
		{0x2e80, 0x303e},
		{0x3041, 0x33ff},
		{0x3400, 0x4dbf},
		{0x4e00, 0x9fff},
		{0xa000, 0xa4cf},
		{0xac00, 0xd7a3},
		{0xf900, 0xfaff},
		{0xfe30, 0xfe6f},
		{0xff00, 0xff60},
		{0xffe0, 0xffe6},
		{0x1f300, 0x1faff},
		{0x20000, 0x3fffd},
	}
}
