package servicebus

import (
	"strconv"
	"strings"
	"time"
)

// iso writes a duration as the service reads it: ISO 8601, in days, hours,
// minutes and seconds.
func iso(d time.Duration) *string {
	var b strings.Builder
	b.WriteByte('P')
	if days := d / (24 * time.Hour); days > 0 {
		b.WriteString(strconv.FormatInt(int64(days), 10) + "D")
		d %= 24 * time.Hour
	}
	if d > 0 || b.Len() == 1 {
		b.WriteByte('T')
		for _, unit := range []struct {
			size   time.Duration
			letter string
		}{{time.Hour, "H"}, {time.Minute, "M"}} {
			if n := d / unit.size; n > 0 {
				b.WriteString(strconv.FormatInt(int64(n), 10) + unit.letter)
				d %= unit.size
			}
		}
		if d > 0 || strings.HasSuffix(b.String(), "T") {
			b.WriteString(strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "S")
		}
	}
	s := b.String()
	return &s
}
