package api

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// flag reads a true or false of the query; absent is false.
func (c *call) flag(name string) (bool, error) {
	switch v := c.q(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, ferry.Errorf(ferry.CodeBadRequest, "%s=%q means nothing", name, clip(v)).
			WithHint("true or false")
	}
}

// number reads a whole number from low to high of the query, or gives otherwise.
func (c *call) number(name string, low, high, otherwise int) (int, error) {
	v := c.q(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, ferry.Errorf(ferry.CodeBadFilter, "%s=%q is out of range", name, clip(v)).
			WithHint("a whole number from %d to %d", low, high)
	}
	return n, nil
}

// limit reads the length of a page.
func (c *call) limit() (int, error) {
	return c.number("limit", 1, ferry.MaxListLimit, ferry.DefaultListLimit)
}

// moment reads a time of the query: with an offset, or as a duration back from
// now, such as 24h or 7d.
func (c *call) moment(name string) (time.Time, error) {
	v := c.q(name)
	if v == "" {
		return time.Time{}, nil
	}
	if d, err := ferry.ParseDuration(v); err == nil {
		return c.start.Add(-d).UTC().Truncate(time.Millisecond), nil
	}
	t, fault := parseTime(name, v)
	if fault != nil {
		fault.Hint += "; or as how long ago, such as 24h or 7d"
		return time.Time{}, fault
	}
	return t, nil
}

// future reads a time in a request's body that must lie ahead; "" is the zero
// time.
func (c *call) future(name, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, fault := parseTime(name, value)
	if fault != nil {
		return time.Time{}, fault
	}
	if !t.After(c.start) {
		return time.Time{}, ferry.Errorf(ferry.CodeBadTime, "%s=%s is past", name, clip(value))
	}
	return t, nil
}

// checkNote bounds a note, and asks for one where it is required.
func checkNote(note string, required bool) error {
	if len(note) > ferry.MaxNoteLength {
		return ferry.Errorf(ferry.CodeNoteTooLong, "the note has %d bytes", len(note)).
			WithHint("at most %d", ferry.MaxNoteLength)
	}
	if required && strings.TrimSpace(note) == "" {
		return ferry.Errorf(ferry.CodeNoteRequired, "this needs a note").
			WithHint("say why; it is kept with the message and in the audit")
	}
	return nil
}

// invalid is a fault of one member of a request.
func invalid(pointer, format string, args ...any) *ferry.Error {
	e := ferry.Errorf(ferry.CodeInvalid, format, args...)
	e.Details = []ferry.ErrorDetail{{Detail: e.Message, Pointer: pointer}}
	return e
}

// decodeBase64 takes the standard alphabet, with or without padding.
func decodeBase64(s string) ([]byte, error) {
	if strings.HasSuffix(s, "=") {
		return base64.StdEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
