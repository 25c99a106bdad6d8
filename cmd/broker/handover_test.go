package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A secret's file is there when it holds the secret, whole, and not before: whoever
// is killed in between leaves nothing that looks like one.
func TestHandOver(t *testing.T) {
	gone := errors.New("the broker is away")
	for name, c := range map[string]struct {
		before, meanwhile string // in the file; "-": there is none
		fails             error
		holds, says       string
	}{
		"made":                {"-", "-", nil, "SECRET\n", ""},
		"not made":            {"-", "-", gone, "-", "away"},
		"there already":       {"OLD", "OLD", nil, "OLD", "exists"},
		"left empty":          {"", "", nil, "SECRET\n", ""},
		"left empty again":    {"", "", gone, "", "away"},
		"taken meanwhile":     {"-", "NEW", nil, "NEW", "rotate it"},
		"taken over an empty": {"", "NEW", nil, "NEW", "rotate it"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "w.nk")
			write := func(text string) {
				if text == "-" {
					return
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			read := func() string {
				text, err := os.ReadFile(file)
				if err != nil {
					return "-"
				}
				return string(text)
			}
			write(c.before)
			err := (&app{}).handOver(file, func() (string, error) {
				if now := read(); now != c.before {
					t.Errorf("before the secret is made the file holds %q", now)
				}
				if c.meanwhile != c.before {
					write(c.meanwhile)
				}
				return "SECRET", c.fails
			})
			if got := read(); got != c.holds || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("it holds %q, want %q: %v", got, c.holds, err)
			}
			list, err := os.ReadDir(filepath.Dir(file))
			if err != nil || len(list) > 1 || len(list) == 1 && list[0].Name() != "w.nk" {
				t.Errorf("beside it: %v %v", list, err)
			}
		})
	}
}
