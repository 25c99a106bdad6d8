package ferry

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Rate is how many calls or messages may come in a time; the zero Rate does not
// limit. As text it is a number per s, m, h or d, or per a duration: 600/m,
// 10000/d, 50000/7d.
type Rate struct {
	Calls int
	Per   time.Duration // how long it is
}

// The bounds of a Rate. A nanosecond is the least that two calls may be apart.
const (
	day          = 24 * time.Hour
	maxRateCalls = 1_000_000_000
	minRatePer   = time.Second
	maxRatePer   = 366 * day
	minQuotaPer  = time.Hour
	maxQuotaPer  = 31 * day
)

// ParseRate reads the text of a Rate. The error has the code badDuration.
func ParseRate(text string) (Rate, error) {
	var r Rate
	err := r.UnmarshalText([]byte(text))
	return r, err
}

// IsZero says whether nothing is limited.
func (r Rate) IsZero() bool { return r.Calls <= 0 || r.Per <= 0 }

// PerSecond is the rate in calls per second, 0 for no limit.
func (r Rate) PerSecond() float64 {
	if r.IsZero() {
		return 0
	}
	return float64(r.Calls) / r.Per.Seconds()
}

// String is the text of the rate; empty for none.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	for _, unit := range rateUnits {
		if r.Per == unit.per {
			return strconv.Itoa(r.Calls) + "/" + unit.name
		}
	}
	per := r.Per.String()
	if r.Per%day == 0 {
		per = strconv.Itoa(int(r.Per/day)) + "d"
	}
	return strconv.Itoa(r.Calls) + "/" + per
}

var rateUnits = []struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", day}}

// MarshalText writes the text of the rate.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text of a Rate; an empty one is none.
func (r *Rate) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Rate{}
		return nil
	}
	count, unit, _ := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	per := ratePer(strings.TrimSpace(unit))
	if err != nil || n < 1 || n > maxRateCalls || per < minRatePer || per > maxRatePer || int64(n) > int64(per) {
		shown := string(text)
		if len(shown) > 64 {
			shown = shown[:64] + "…"
		}
		return Errorf(CodeBadDuration, "%q is not a rate", shown).
			WithHint("write calls per second, minute, hour or day: 10/s, 600/m, 1000/h, 10000/d, or per another time: 50000/7d")
	}
	*r = Rate{Calls: n, Per: per}
	return nil
}

// ratePer is the time of a unit, 0 when it is none.
func ratePer(unit string) time.Duration {
	for _, u := range rateUnits {
		if u.name == unit {
			return u.per
		}
	}
	d, err := ParseDuration(unit)
	if err != nil {
		return 0
	}
	return d
}

// Limit bounds what a key, or a route, is sent: Rate with Burst at any moment,
// Quota in windows that begin with the UTC day (or with multiples of the quota's
// time, weeks on Mondays). Messages count, not requests.
type Limit struct {
	Rate Rate `json:"rate,omitzero"`
	// Burst is how many may come at once after a pause; 0: those of two seconds, or
	// 10 where that is fewer. (Who waits as told waits whole seconds: with less than
	// those of one, some of the rate would be lost.)
	Burst int  `json:"burst,omitempty"`
	Quota Rate `json:"quota,omitzero"`
}

// IsZero says whether nothing is limited.
func (l Limit) IsZero() bool { return l.Rate.IsZero() && l.Quota.IsZero() }

// String is the limit in few words, "none" without one.
func (l Limit) String() string {
	text := ""
	if !l.Rate.IsZero() {
		text = l.Rate.String() + ", " + strconv.Itoa(l.BurstOr()) + " at once"
	}
	if !l.Quota.IsZero() {
		if text != "" {
			text += "; "
		}
		text += l.Quota.String()
	}
	if text == "" {
		return "none"
	}
	return text
}

// Check says what cannot be meant. The error has the code invalid.
func (l Limit) Check() *Error {
	switch {
	case l.Burst < 0 || l.Burst > maxRateCalls:
		return Errorf(CodeInvalid, "a burst of %d cannot be", l.Burst).WithHint("how many messages may come at once, such as 50")
	case l.Burst > 0 && l.Rate.IsZero():
		return Errorf(CodeInvalid, "a burst without a rate limits nothing").WithHint("add the rate, such as 600/m")
	case !l.Quota.IsZero() && (l.Quota.Per < minQuotaPer || l.Quota.Per > maxQuotaPer):
		return Errorf(CodeInvalid, "the quota %s is for a time that is not from 1h to 31d", l.Quota).WithHint("such as 10000/d; a rate bounds shorter times")
	}
	return nil
}

// BurstOr is the burst, by default derived from the rate; 0 without a rate.
func (l Limit) BurstOr() int {
	switch {
	case l.Rate.IsZero():
		return 0
	case l.Burst > 0:
		return l.Burst
	}
	burst := max(10, int(math.Ceil(2*l.Rate.PerSecond())))
	if l.Rate.Per >= time.Minute {
		burst = min(burst, l.Rate.Calls)
	}
	return burst
}

// QuotaUse names the window of a quota that a message is counted in.
type QuotaUse struct {
	Name  string    // whose, and which: "key:ID/24h0m0s"
	Until time.Time // the end of the window
	Per   time.Duration
}
