package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const mask = "***"

// Value is a secret. However it is printed, marshalled or logged, it shows as
// ***; only Reveal gives it away.
type Value struct {
	text string
}

// NewValue makes a Value of text.
func NewValue(text string) Value { return Value{text: text} }

// Reveal gives the secret, for the one place that sends it.
func (v Value) Reveal() string { return v.text }

// IsZero says whether there is no secret.
func (v Value) IsZero() bool { return v.text == "" }

func (v Value) String() string { return mask }

// GoString masks %#v.
func (v Value) GoString() string { return mask }

// Format masks every verb, also %d and %x, which would print the field.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// MarshalText masks text encodings, such as JSON object keys and YAML.
func (v Value) MarshalText() ([]byte, error) { return []byte(mask), nil }

// MarshalJSON masks JSON.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// LogValue masks structured logs.
func (v Value) LogValue() slog.Value { return slog.StringValue(mask) }
