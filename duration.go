package ferry

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const durationHint = `write it in Go units plus days, such as "30d", "1d12h" or "1m30s", or as ISO 8601, such as "PT5M" or "P1DT2H"`

// ParseDuration reads a duration in Go units plus d for days of 24 hours ("30d",
// "1d12h", "90s", "-5m"), or in ISO 8601 with weeks, days, hours, minutes and
// seconds ("PT5M", "P1DT2H", "P2W", "PT0.5S"). Years and months of ISO 8601 have
// no fixed length and are refused, as is what does not fit a time.Duration
// (about 292 years). The error's code is CodeBadDuration.
func ParseDuration(s string) (time.Duration, error) {
	rest, sign := s, time.Duration(1)
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		if rest[0] == '-' {
			sign = -1
		}
		rest = rest[1:]
	}
	if rest != "" && (rest[0] == 'P' || rest[0] == 'p') {
		d, ok := parseISODuration(rest[1:])
		if !ok {
			return 0, badDuration(s)
		}
		return sign * d, nil
	}
	days, rest, ok := cutDays(rest)
	if !ok {
		return 0, badDuration(s)
	}
	if rest == "" {
		return sign * days, nil
	}
	if rest[0] == '-' || rest[0] == '+' { // a second sign
		return 0, badDuration(s)
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d > math.MaxInt64-days {
		return 0, badDuration(s)
	}
	return sign * (days + d), nil
}

func badDuration(s string) error {
	return Errorf(CodeBadDuration, "%q is not a duration", clip(s, 64)).WithHint(durationHint)
}

// cutDays takes a leading "<number>d" off. The rest is what time.ParseDuration
// understands; it is empty only after days.
func cutDays(s string) (time.Duration, string, bool) {
	i := strings.IndexByte(s, 'd')
	if i < 0 {
		return 0, s, s != ""
	}
	d, ok := scale(s[:i], 24*time.Hour)
	return d, s[i+1:], ok
}

// parseISODuration reads what follows the P: [nW][nD][T[nH][nM][nS]], at least
// one part, each at most once and in this order, only the last with decimals.
func parseISODuration(s string) (time.Duration, bool) {
	var sum time.Duration
	units := dateUnits
	inTime, parts := false, 0
	for s != "" {
		if (s[0] == 'T' || s[0] == 't') && !inTime && len(s) > 1 {
			inTime, units, s = true, timeUnits, s[1:]
			continue
		}
		i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
		if i <= 0 {
			return 0, false
		}
		letter := s[i] &^ 0x20 // upper case
		for len(units) > 0 && units[0].letter != letter {
			units = units[1:]
		}
		if len(units) == 0 {
			return 0, false
		}
		number := strings.Replace(s[:i], ",", ".", 1)
		if strings.Contains(number, ".") && i+1 != len(s) {
			return 0, false
		}
		d, ok := scale(number, units[0].size)
		if !ok || d > math.MaxInt64-sum {
			return 0, false
		}
		sum += d
		units, s = units[1:], s[i+1:]
		parts++
	}
	return sum, parts > 0
}

type isoUnit struct {
	letter byte
	size   time.Duration
}

var (
	dateUnits = []isoUnit{{'W', 7 * 24 * time.Hour}, {'D', 24 * time.Hour}}
	timeUnits = []isoUnit{{'H', time.Hour}, {'M', time.Minute}, {'S', time.Second}}
)

// scale is number × unit, where number has digits and at most one point.
func scale(number string, unit time.Duration) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(number, ".")
	if whole == "" && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, false
	}
	var n int64
	if whole != "" {
		v, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || v > math.MaxInt64/int64(unit) {
			return 0, false
		}
		n = v * int64(unit)
	}
	if fraction != "" {
		f, err := strconv.ParseFloat("0."+fraction, 64)
		if err != nil {
			return 0, false
		}
		part := int64(math.Round(f * float64(unit)))
		if part > math.MaxInt64-n {
			return 0, false
		}
		n += part
	}
	return time.Duration(n), true
}
