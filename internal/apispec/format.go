package apispec

import (
	stdbase64 "encoding/base64"
	"errors"
	"net/mail"
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
