package mapping

import (
	"cmp"
	"crypto/sha1" // UUIDs of version 5 are made with it; nothing is protected by it
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// keyFunctions shape keys; docs/mapping.md has an example of each. A key that is
// null or empty is an error: it would find, or make, the wrong document.
func keyFunctions() []function {
	return []function{
		key0("urikey", func(s string) (string, error) { return uriKey(s), nil }),
		key0("guid", func(s string) (string, error) { return GUID(s), nil }),
		key0("guid32", func(s string) (string, error) { return GUID32(s), nil }),
		key0("odataguid", func(s string) (string, error) { return "guid'" + GUID(s) + "'", nil }),
		key0("fromsapalpha", func(s string) (string, error) {
			if strings.Trim(s, "0123456789") != "" {
				return s, nil
			}
			return cmp.Or(strings.TrimLeft(s, "0"), "0"), nil
		}),
		{name: "odatakey", call: func(in any, _ []any) (any, error) {
			switch v := in.(type) {
			case bool:
				return strconv.FormatBool(v), nil
			case string:
				if v != "" {
					return "'" + strings.ReplaceAll(v, "'", "''") + "'", nil
				}
			}
			return keyText(in)
		}},
		{name: "shortkey", least: 1, most: 1, call: func(in any, args []any) (any, error) {
			s, err := keyText(in)
			if err != nil {
				return nil, err
			}
			most, err := wholeNumber(args[0], leastShortKey, 10_000)
			if err != nil {
				return nil, fmt.Errorf("the most characters: %w", err)
			}
			return ShortKey(s, most), nil
		}},
		{name: "sapalpha", least: 1, most: 1, call: func(in any, args []any) (any, error) {
			s, err := keyText(in)
			if err != nil {
				return nil, err
			}
			length, err := wholeNumber(args[0], 1, 1000)
			switch {
			case err != nil:
				return nil, fmt.Errorf("the length: %w", err)
			case utf8.RuneCountInString(s) > length:
				return nil, fmt.Errorf("the key %q has more than %d characters", clip(s), length)
			case strings.Trim(s, "0123456789") != "":
				return s, nil // only numbers are filled up
			}
			return strings.Repeat("0", length-len(s)) + s, nil
		}},
	}
}

// leastShortKey is the least that programs may ask a short key to have: of fewer
// characters of a hash, two keys are soon the same.
const leastShortKey = 8

func key0(name string, f func(string) (string, error)) function {
	return function{name: name, call: func(in any, _ []any) (any, error) {
		s, err := keyText(in)
		if err != nil {
			return nil, err
		}
		return f(s)
	}}
}

// keyText is the text of a key: a text, or a number as it is written.
func keyText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return "", errors.New("the key is empty")
		}
		return v, nil
	case json.Number, int, *big.Int:
		return numberText(v)
	default:
		return "", fmt.Errorf("%s is no key: text or a number is wanted", kindOf(v))
	}
}

// uriKey escapes all but the unreserved characters of RFC 3986, section 2.3; a
// space becomes %20: OData services refuse a plus.
func uriKey(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// hashLength is how many characters of a hash stand in a short key: 80 bits, so
// that among a billion keys two would be the same once in a million times.
const hashLength = 16

// ShortKey shapes a key for a field of at most `most` characters, the same on
// every call. A key that fits, of letters, digits, dash, underscore and dots
// (no dot first), stays as it is. Any other becomes its beginning, with dashes
// for what is not safe, a dash, and 16 characters of its SHA-256 in lower-case
// base32; below 20 characters the hash alone, of `most` characters. Lower and
// upper case need not be told apart to tell two hashes apart. Empty stays empty.
func ShortKey(s string, most int) string {
	if s == "" || most < 1 || len(s) <= most && safeKey(s) {
		return s[:min(len(s), max(most, 0))]
	}
	sum := sha256.Sum256([]byte(s))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
	room := most - hashLength - 1
	if room < 3 {
		return hash[:min(most, hashLength)]
	}
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < room; i++ {
		switch c := s[i]; {
		case safeKeyByte(c) && !(c == '.' && b.Len() == 0):
			b.WriteByte(c)
		case b.Len() > 0 && b.String()[b.Len()-1] != '-':
			b.WriteByte('-')
		}
	}
	if start := strings.TrimRight(b.String(), "-."); start != "" {
		return start + "-" + hash[:hashLength]
	}
	return hash[:hashLength]
}

func safeKey(s string) bool {
	for i := 0; i < len(s); i++ {
		if !safeKeyByte(s[i]) {
			return false
		}
	}
	return s[0] != '.'
}

func safeKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// keySpace is the name space in which GUIDs are made of keys.
const keySpace = "\x6f\x1d\x1b\x0c\x52\xa9\x4e\x0e\x9b\x3a\x27\xd4\x0c\x5e\x81\x93"

// GUID gives the UUID of a key, with dashes and in lower case: the same on every
// call. A key that is a UUID (RFC 9562), with or without dashes and braces, is its
// own. Any other becomes a UUID of version 5 in the name space
// 6f1d1b0c-52a9-4e0e-9b3a-27d40c5e8193.
func GUID(s string) string {
	if own, ok := ownGUID(s); ok {
		return dashed(own)
	}
	sum := sha1.Sum([]byte(keySpace + s))
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return dashed(hex.EncodeToString(id))
}

// GUID32 is GUID without dashes and in upper case: 32 characters, as the RequestID
// of an SAP Gateway is written.
func GUID32(s string) string {
	return strings.ToUpper(strings.ReplaceAll(GUID(s), "-", ""))
}

// ownGUID gives the 32 digits of a text that is a UUID, in lower case.
func ownGUID(s string) (string, bool) {
	if len(s) == 38 && s[0] == '{' && s[37] == '}' {
		s = s[1:37]
	}
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(s) != 32 {
		return "", false
	}
	if _, err := hex.DecodeString(s); err != nil {
		return "", false
	}
	return strings.ToLower(s), true
}

func dashed(digits string) string {
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}
