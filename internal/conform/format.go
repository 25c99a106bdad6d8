package conform

import (
	stdbase64 "encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// ofText makes the check of a format that is of text; another type is for the
// schema's type to judge.
func ofText(check func(string) error) func(any) error {
	return func(v any) error {
		if s, ok := v.(string); ok {
			return check(s)
		}
		return nil
	}
}

// dateTime checks a date and a time with its zone (RFC 3339, section 5.6). A leap
// second is one.
func dateTime(s string) error {
	t := strings.ToUpper(s)
	if len(t) > 19 && t[17:19] == "60" {
		t = t[:17] + "59" + t[19:]
	}
	_, err := time.Parse(time.RFC3339Nano, t)
	return err
}

// uuid checks eight, four, four, four and twelve hexadecimal digits (RFC 9562).
func uuid(s string) error {
	wrong := errors.New("it is no UUID")
	if len(s) != 36 {
		return wrong
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if dash != (c == '-') || !dash && !hex {
			return wrong
		}
	}
	return nil
}

// email checks an address alone, without a name beside it.
func email(s string) error {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s {
		return errors.New("it is no e-mail address")
	}
	return nil
}

// base64 checks the standard alphabet (RFC 4648, section 4), with or without line ends.
func base64(s string) error {
	_, err := stdbase64.StdEncoding.DecodeString(s)
	return err
}

// OpenAPIFormats are those of OpenAPI that are checked. Others are notes for people, or read
// so differently that a refusal would be a guess.
func OpenAPIFormats() map[string]func(any) error {
	whole := func(bits int) func(any) error {
		return func(v any) error {
			n, ok := v.(json.Number)
			if !ok {
				return nil
			}
			return inRange(string(n), bits)
		}
	}
	return map[string]func(any) error{
		"date":      ofText(func(s string) error { _, err := time.Parse(time.DateOnly, s); return err }),
		"date-time": ofText(dateTime),
		"uuid":      ofText(uuid),
		"email":     ofText(email),
		"byte":      ofText(base64),
		"int32":     whole(32),
		"int64":     whole(64),
	}
}

// inRange says whether a number that is whole fits into so many bits. That it has
// to be whole is for the type to say.
func inRange(number string, bits int) error {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return errors.New("it is out of range")
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		f = 0
		if bits == 32 && (n > math.MaxInt32 || n < math.MinInt32) {
			return errors.New("it is out of range")
		}
	}
	limit := math.Ldexp(1, bits-1)
	if f >= limit || f < -limit {
		return errors.New("it is out of range")
	}
	return nil
}
