package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// append writes the entry as a line of JSON. Members that are empty are left out.
func (e *Entry) append(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = e.At.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, '"')
	text := func(name, value string, most int) {
		if value == "" {
			return
		}
		b = append(b, ',', '"')
		b = append(b, name...)
		b = append(b, `":`...)
		b = appendText(b, value, most)
	}
	number := func(name string, value int64) {
		b = append(b, ',', '"')
		b = append(b, name...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, value, 10)
	}
	text("requestId", e.RequestID, maxAgent)
	text("method", e.Method, 32)
	text("path", e.Path, maxPath)
	text("endpoint", e.Endpoint, maxAgent)
	text("route", e.Route, maxAgent)
	number("status", int64(e.Status))
	text("code", string(e.Code), maxAgent)
	number("bytesIn", e.BytesIn)
	number("bytesOut", e.BytesOut)
	b = append(b, `,"durationMs":`...)
	b = strconv.AppendFloat(b, float64(e.Took/time.Microsecond)/1000, 'f', -1, 64)
	text("key", e.Key, maxAgent)
	text("by", e.By, maxAgent)
	text("remote", e.Remote, maxAgent)
	text("userAgent", e.Agent, maxAgent)
	text("flowRun", e.FlowRun, maxAgent)
	return append(b, "}\n"...)
}

// appendText writes a JSON string of at most `most` bytes of s. What is not UTF-8
// becomes the replacement character, so that every line is JSON.
func appendText(b []byte, s string, most int) []byte {
	const hex = "0123456789abcdef"
	cut := ""
	if len(s) > most {
		s, cut = s[:most], "…"
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && len(s) > most-utf8.UTFMax {
			s = s[:len(s)-1] // not through a character
		}
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	b = append(b, cut...)
	return append(b, '"')
}
