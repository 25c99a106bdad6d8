package shape

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"ferry"
)

// toUTF8 gives text as UTF-8. A byte order mark wins, then charset, which the
// content type names, then what the XML itself declares; else it is UTF-8. These
// are the encodings that are met with in the mail of ERPs; others are refused by
// name rather than guessed.
func toUTF8(data []byte, charset string) ([]byte, *ferry.Error) {
	switch {
	case bytes.HasPrefix(data, []byte("\ufeff")):
		return valid(data[3:])
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return fromUTF16(data[2:], binary.BigEndian)
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		return fromUTF16(data[2:], binary.LittleEndian)
	}
	if charset == "" {
		charset = declared(data)
	}
	switch name := strings.ToLower(charset); name {
	case "", "utf-8", "utf8":
		return valid(data)
	case "us-ascii", "ascii":
		return valid(data)
	case "utf-16", "utf-16be":
		return fromUTF16(data, binary.BigEndian)
	case "utf-16le":
		return fromUTF16(data, binary.LittleEndian)
	case "iso-8859-1", "latin1", "iso8859-1":
		return fromTable(data, nil)
	case "iso-8859-15", "latin9":
		return fromTable(data, latin9())
	case "windows-1252", "cp1252":
		return fromTable(data, windows1252())
	}
	return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "the encoding %q is not taken", clip(charset)).
		WithHint("send UTF-8; UTF-16, ISO-8859-1, ISO-8859-15 and windows-1252 are taken too")
}

func valid(data []byte) ([]byte, *ferry.Error) {
	if !utf8.Valid(data) {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "the body is not UTF-8").
			WithHint("declare the encoding that it is in, or send UTF-8")
	}
	return data, nil
}

// declared is the encoding in an XML declaration.
func declared(data []byte) string {
	if !bytes.HasPrefix(data, []byte("<?xml")) {
		return ""
	}
	head, _, ok := bytes.Cut(data[:min(len(data), 256)], []byte("?>"))
	if !ok {
		return ""
	}
	_, rest, ok := bytes.Cut(head, []byte("encoding"))
	if !ok {
		return ""
	}
	rest = bytes.TrimLeft(rest, " \t\r\n=")
	if len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
		return ""
	}
	name, _, _ := bytes.Cut(rest[1:], rest[:1])
	return string(name)
}

func fromUTF16(data []byte, order binary.ByteOrder) ([]byte, *ferry.Error) {
	if len(data)%2 != 0 {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "the body is not UTF-16: it has an odd number of bytes")
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i += 2 {
		r := rune(order.Uint16(data[i:]))
		if utf16.IsSurrogate(r) {
			var second rune
			if i+4 <= len(data) {
				second = rune(order.Uint16(data[i+2:]))
			}
			if r = utf16.DecodeRune(r, second); r == utf8.RuneError {
				return nil, ferry.Errorf(ferry.CodeBadRequest, "the body is not UTF-16: half of a pair stands alone")
			}
			i += 2
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// fromTable reads an encoding of one byte a character that is ISO-8859-1 but for
// the exceptions; 0 is no character.
func fromTable(data []byte, exceptions map[byte]rune) ([]byte, *ferry.Error) {
	out := make([]byte, 0, len(data)+len(data)/8)
	for _, c := range data {
		r, other := exceptions[c]
		if !other {
			r = rune(c)
		}
		if other && r == 0 {
			return nil, ferry.Errorf(ferry.CodeBadRequest, "the body has a byte that is no character of its encoding")
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

func latin9() map[byte]rune {
	return map[byte]rune{0xa4: '€', 0xa6: 'Š', 0xa8: 'š', 0xb4: 'Ž', 0xb8: 'ž', 0xbc: 'Œ', 0xbd: 'œ', 0xbe: 'Ÿ'}
}

func windows1252() map[byte]rune {
	table := map[byte]rune{}
	for i, r := range []rune("€\x00‚ƒ„…†‡ˆ‰Š‹Œ\x00Ž\x00\x00‘’“”•–—˜™š›œ\x00žŸ") {
		table[byte(0x80+i)] = r
	}
	return table
}
