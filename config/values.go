package config

import (
	"math"
	"strconv"
	"strings"

	"ferry"
)

// Size is a number of bytes. In files: a whole number, alone or with one of the
// units B, KB, MB, GB (powers of 1000) and KiB, MiB, GiB (powers of 1024).
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"B", 1},
}

// UnmarshalText reads the form that files have.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return ferry.Errorf(ferry.CodeBadConfig, "%q is not a size", clip(string(text))).
			WithHint("write bytes, or a unit such as 512KiB, 1MiB, 10MB")
	}
	*s = Size(n * unit)
	return nil
}

// expand puts environment variables in the place of ${env:NAME}.
func expand(s string, env func(string) (string, bool)) (string, error) {
	const open = "${env:"
	if !strings.Contains(s, open) {
		return s, nil
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, open)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" {
			return "", ferry.Errorf(ferry.CodeBadConfig, "${env: has no name and closing brace after it").
				WithHint("write ${env:NAME}")
		}
		value, ok := env(name)
		if !ok {
			return "", ferry.Errorf(ferry.CodeBadConfig, "the environment variable %s is not set", clip(name)).
				WithHint("set %s for this process", clip(name))
		}
		if out.Len()+len(value) > maxFile {
			return "", ferry.Errorf(ferry.CodeBadConfig, "the text is too long after its variables are filled in")
		}
		out.WriteString(value)
		s = after
	}
}

func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
