package api

import (
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"ferry"
)

// The options of a message, as query parameters and as headers.
const (
	propertyPrefix   = "Ferry-Property-" // in canonical form, as net/http has it
	propertiesHeader = "Ferry-Properties"

	maxTimeToLive  = 3650 * 24 * time.Hour
	maxContentType = 256
)

// option reads an option that may stand in a header and under several names in
// the query. Places that disagree are refused: there is no telling which one was
// meant.
func (c *call) option(header string, names ...string) (value string, given bool, err error) {
	for _, v := range c.r.Header[header] {
		if header == keyHeader {
			if v, err = unquote(v); err != nil {
				return "", false, err
			}
		}
		if given && v != value {
			return "", false, disagree(header, names[0])
		}
		value, given = v, true
	}
	for _, name := range names {
		for _, v := range c.query[name] {
			if given && v != value {
				return "", false, disagree(header, name)
			}
			value, given = v, true
		}
	}
	return value, given, nil
}

func disagree(header, name string) error {
	return ferry.Errorf(ferry.CodeBadRequest, "%s and %s are given with different values", header, name).
		WithHint("give an option once, in the query or as a header")
}

const (
	keyHeader      = "Idempotency-Key"
	conflictHeader = "Ferry-On-Conflict"
)

// unquote reads an idempotency key: a string of RFC 8941 in quotes, or the bare
// key.
func unquote(s string) (string, error) {
	if s == "" || s[0] != '"' {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i == len(s)-1 {
				return string(b), nil
			}
			return "", badQuotes()
		case '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", badQuotes()
			}
		}
		b = append(b, s[i])
	}
	return "", badQuotes()
}

func badQuotes() error {
	return ferry.Errorf(ferry.CodeBadKey, "the quotes of the idempotency key do not match").
		WithHint(`write it bare, or as "key" with \" and \\ for quotes and backslashes in it`)
}

// rawOptions are the options of one message as text, wherever they came from.
type rawOptions struct {
	key, correlationID, orderingKey    string
	deliverAt, timeToLive, callbackURL string
	onConflict, bodyRef                string
	keyGiven                           bool
}

// options reads the options of a message sent alone.
func (c *call) options() (o rawOptions, err error) {
	take := func(into *string, header string, names ...string) bool {
		if err != nil {
			return false
		}
		var given bool
		*into, given, err = c.option(header, names...)
		return given
	}
	o.keyGiven = take(&o.key, keyHeader, "idempotencyKey", "messageId")
	take(&o.correlationID, "Ferry-Correlation-Id", "correlationId")
	take(&o.orderingKey, "Ferry-Ordering-Key", "orderingKey", "sessionId")
	take(&o.deliverAt, "Ferry-Deliver-At", "deliverAt")
	take(&o.timeToLive, "Ferry-Time-To-Live", "timeToLive")
	take(&o.callbackURL, "Ferry-Callback-Url", "callbackUrl")
	take(&o.onConflict, conflictHeader, "onConflict")
	take(&o.bodyRef, "Ferry-Body-Ref", "bodyRef")
	return o, err
}

// apply checks the options and puts them into m, whose Route, CreatedAt and
// Properties are set. The second result names the option that is wrong.
func (o *rawOptions) apply(m *ferry.Message, route *ferry.Route) (*ferry.Error, string) {
	if o.keyGiven && o.key == "" {
		return ferry.Errorf(ferry.CodeBadKey, "the idempotency key is empty").
			WithHint("leave it out, or give 1 to %d printable ASCII characters", ferry.MaxKeyLength), "idempotencyKey"
	}
	if !plain(o.correlationID) {
		return ferry.Errorf(ferry.CodeBadCorrelationID, "the correlation id has control characters or is not UTF-8"), "correlationId"
	}
	if !plain(o.orderingKey) {
		return ferry.Errorf(ferry.CodeBadOrderingKey, "the ordering key has control characters or is not UTF-8"), "orderingKey"
	}
	m.IdempotencyKey, m.CorrelationID, m.OrderingKey, m.OnConflict = o.key, o.correlationID, o.orderingKey, o.onConflict
	if o.timeToLive != "" {
		d, err := ferry.ParseDuration(o.timeToLive)
		if err != nil {
			return asError(err), "timeToLive"
		}
		if d <= 0 || d > maxTimeToLive {
			return ferry.Errorf(ferry.CodeBadDuration, "the time to live %s is out of range", clip(o.timeToLive)).
				WithHint("more than nothing, at most 3650d"), "timeToLive"
		}
		m.TimeToLive = d
	}
	if o.deliverAt != "" {
		at, fault := parseTime("deliverAt", o.deliverAt)
		if fault != nil {
			return fault, "deliverAt"
		}
		if life := lifeOf(m, route); at.Sub(m.CreatedAt) >= life {
			return ferry.Errorf(ferry.CodeBadTime, "the message would expire before %s", clip(o.deliverAt)).
				WithHint("its time to live is %s; give a longer timeToLive", life), "deliverAt"
		}
		m.DeliverAt = at
	}
	if o.callbackURL != "" {
		if fault := checkCallback(o.callbackURL); fault != nil {
			return fault, "callbackUrl"
		}
		m.CallbackURL = o.callbackURL
	}
	if fault := m.Validate(); fault != nil {
		return fault, optionOf(fault.Code)
	}
	return nil, ""
}

func lifeOf(m *ferry.Message, route *ferry.Route) time.Duration {
	switch {
	case m.TimeToLive > 0:
		return m.TimeToLive
	case route.TimeToLive > 0:
		return route.TimeToLive
	default:
		return ferry.DefaultTimeToLive
	}
}

// optionOf names the option that Message.Validate found wrong.
func optionOf(code ferry.Code) string {
	switch code {
	case ferry.CodeBadKey:
		return "idempotencyKey"
	case ferry.CodeBadOrderingKey:
		return "orderingKey"
	case ferry.CodeBadCorrelationID:
		return "correlationId"
	case ferry.CodeTooManyProperties:
		return "properties"
	case ferry.CodeBadDuration:
		return "timeToLive"
	default:
		return "onConflict"
	}
}

func asError(err error) *ferry.Error {
	if e, ok := errors.AsType[*ferry.Error](err); ok {
		return e
	}
	return ferry.Errorf(ferry.CodeBadRequest, "%w", err)
}

// parseTime reads a time with an offset.
func parseTime(name, value string) (time.Time, *ferry.Error) {
	t, err := time.Parse(time.RFC3339, value)
	if err == nil && t.Year() >= 1970 {
		return t.UTC().Truncate(time.Millisecond), nil
	}
	e := ferry.Errorf(ferry.CodeBadTime, "%s=%q is not a time with an offset", name, clip(value)).
		WithHint("write it as 2026-11-23T09:30:00Z or 2026-11-23T10:30:00+01:00")
	if strings.Contains(value, " ") {
		e.Hint += "; in a query the + is written %2B"
	}
	return time.Time{}, e
}

func checkCallback(s string) *ferry.Error {
	u, err := url.Parse(s)
	if err == nil && len(s) <= ferry.MaxCallbackURL && u.Hostname() != "" && u.User == nil && u.Fragment == "" && plain(s) &&
		(u.Scheme == "https" || u.Scheme == "http" && ownMachine(u.Hostname())) {
		return nil
	}
	// The URL is not repeated: its query is often a secret.
	return ferry.Errorf(ferry.CodeBadCallbackURL, "the callback URL cannot be used").
		WithHint("an absolute https URL without user and fragment, at most %d bytes", ferry.MaxCallbackURL)
}

// ownMachine says whether a host can only be the broker's own machine: what is
// sent there needs no TLS. The service decides whether it may be called at all.
func ownMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// plain says whether text may travel on as a header's value or in a log: UTF-8
// without control characters.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
		if s[i] >= utf8.RuneSelf {
			return utf8.ValidString(s) && strings.IndexFunc(s, isControl) < 0
		}
	}
	return true
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// properties reads the custom properties: one JSON object in Ferry-Properties,
// and headers Ferry-Property-NAME, whose names are taken in lower case because
// headers have no case.
func (c *call) properties() (map[string]string, error) {
	var props map[string]string
	for header, values := range c.r.Header {
		if len(header) < len(propertiesHeader) || header[:len("Ferry-Prop")] != "Ferry-Prop" {
			continue
		}
		if header != propertiesHeader && !strings.HasPrefix(header, propertyPrefix) {
			continue
		}
		for _, v := range values {
			one := map[string]string{}
			if header == propertiesHeader {
				if err := json.Unmarshal([]byte(v), &one); err != nil {
					return nil, ferry.Errorf(ferry.CodeBadRequest, "%s is not a JSON object of strings", propertiesHeader)
				}
			} else {
				one[strings.ToLower(header[len(propertyPrefix):])] = v
			}
			for name, value := range one {
				if before, ok := props[name]; ok && before != value {
					return nil, ferry.Errorf(ferry.CodeBadRequest, "the property %q is given with different values", clip(name))
				}
				if props == nil {
					props = map[string]string{}
				}
				props[name] = value
			}
		}
	}
	if fault := checkProperties(props); fault != nil {
		return nil, fault
	}
	return props, nil
}

// checkProperties checks the names and values; Message.Validate bounds them.
func checkProperties(props map[string]string) *ferry.Error {
	for name, value := range props {
		ok := name != "" && len(name) <= 128
		for i := 0; ok && i < len(name); i++ {
			ch := name[i]
			ok = ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' ||
				ch == '-' || ch == '_' || ch == '.'
		}
		if !ok {
			return ferry.Errorf(ferry.CodeBadRequest, "%q cannot be the name of a property", clip(name)).
				WithHint("1 to 128 letters, digits, dashes, underscores and dots")
		}
		if !plain(value) {
			return ferry.Errorf(ferry.CodeBadRequest, "the property %q has control characters or is not UTF-8", clip(name))
		}
	}
	return nil
}
