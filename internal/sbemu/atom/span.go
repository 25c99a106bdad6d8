package atom

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// forever is how the service writes a time that does not end: the longest of .NET.
const forever = "P10675199DT2H48M5.4775807S"

var (
	errSpan = errors.New("not a time span of ISO 8601")
	spanOf  = regexp.MustCompile(`^P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?$`)
)

// parseSpan reads a time span in days, hours, minutes and seconds. One that is longer
// than some 280 years is for ever, and 0.
func parseSpan(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	m := spanOf.FindStringSubmatch(text)
	if m == nil || m[1]+m[2]+m[3]+m[4] == "" {
		return 0, errSpan
	}
	var seconds float64
	for i, unit := range []float64{86400, 3600, 60, 1} {
		if m[i+1] != "" {
			n, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				return 0, errSpan
			}
			seconds += n * unit
		}
	}
	if seconds > 9e9 {
		return 0, nil
	}
	return time.Duration(seconds*1e6+0.5) * time.Microsecond, nil
}

// writeSpan writes one; 0 is for ever.
func writeSpan(d time.Duration) string {
	if d == 0 {
		return forever
	}
	var b strings.Builder
	b.WriteByte('P')
	if days := d / (24 * time.Hour); days > 0 {
		b.WriteString(strconv.FormatInt(int64(days), 10) + "D")
	}
	rest := d % (24 * time.Hour)
	if rest == 0 {
		return b.String()
	}
	b.WriteByte('T')
	if h := rest / time.Hour; h > 0 {
		b.WriteString(strconv.FormatInt(int64(h), 10) + "H")
	}
	if m := rest % time.Hour / time.Minute; m > 0 {
		b.WriteString(strconv.FormatInt(int64(m), 10) + "M")
	}
	if s := rest % time.Minute; s > 0 {
		b.WriteString(strconv.FormatFloat(s.Seconds(), 'f', -1, 64) + "S")
	}
	return b.String()
}
