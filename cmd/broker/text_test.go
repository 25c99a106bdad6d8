package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

func TestAge(t *testing.T) {
	now := at(0)
	for _, c := range []struct {
		before time.Duration
		want   string
	}{
		{0, "0s"},
		{999 * time.Millisecond, "0s"},
		{59 * time.Second, "59s"},
		{time.Minute, "1m"},
		{59*time.Minute + 59*time.Second, "59m"},
		{time.Hour, "1h"},
		{23*time.Hour + 59*time.Minute, "23h"},
		{24 * time.Hour, "1d"},
		{3 * 24 * time.Hour, "3d"},
		{400 * 24 * time.Hour, "400d"},
		{-4 * time.Minute, "in 4m"},
		{-49 * time.Hour, "in 2d"},
	} {
		if got := age(now, now.Add(-c.before)); got != c.want {
			t.Errorf("age of %s = %q, want %q", c.before, got, c.want)
		}
	}
	if got := age(now, time.Time{}); got != "-" {
		t.Errorf("age of no time = %q", got)
	}
	if got := ageOf(now, nil); got != "-" {
		t.Errorf("age of nil = %q", got)
	}
}

func TestSizesAndDurations(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("bytesOf(%d) = %q, want %q", n, got, want)
		}
	}
	for ms, want := range map[int64]string{0: "0ms", 999: "999ms", 2500: "2.5s", 70_400: "1m10s"} {
		if got := took(ms); got != want {
			t.Errorf("took(%d) = %q, want %q", ms, got, want)
		}
	}
}

func TestWidthAndCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		to    int
		cut   string
	}{
		{"", 0, 3, ""},
		{"invoice", 7, 7, "invoice"},
		{"invoice", 7, 6, "invoi…"},
		{"invoice", 7, 1, "…"},
		{"invoice", 7, 0, ""},
		{"two words", 9, 5, "two…"},
		{"東京商事", 8, 8, "東京商事"},
		{"東京商事", 8, 7, "東京商…"},
		{"東京商事", 8, 6, "東京…"}, // half a letter does not fit
		{"e\u0301te\u0301", 3, 3, "e\u0301te\u0301"},
		{"e\u0301te\u0301", 3, 2, "e\u0301…"},
		{"ok 🚚!", 6, 5, "ok…"},
		{"한국어", 6, 5, "한국…"},
	} {
		if got := width(c.text); got != c.width {
			t.Errorf("width(%q) = %d, want %d", c.text, got, c.width)
		}
		got := cut(c.text, c.to)
		if got != c.cut {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.to, got, c.cut)
		}
		if width(got) > c.to {
			t.Errorf("cut(%q, %d) has %d columns", c.text, c.to, width(got))
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                "plain",
		"a\nb\tc":              "a\nb\tc",
		"\x1b[31mred\x1b[0m":   "·[31mred·[0m",
		"\r\b\x00\u009b2J":     "····2J",
		"abc\u202egpj.exe":     "abc·gpj.exe",
		"bad \xff byte":        "bad · byte",
		"äöü 東京 are all right": "äöü 東京 are all right",
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
	if got := oneLine(" a\n\n b\tc "); got != "a b c" {
		t.Errorf("oneLine = %q", got)
	}
}

func TestTable(t *testing.T) {
	red := func(text string) string { return "<" + text + ">" } // takes room in the bytes, none on the screen
	rows := newTable(left("NAME"), right("COUNT"), long("ERROR"), left("NOTE"))
	rows.add("a", "7", "short", "")
	rows.add(cell{"wide 東京", red}, "1234567", "an error that goes\non and on", "x")
	rows.add("missing cells")
	for _, c := range []struct {
		name string
		on   screen
		want string
	}{
		{"unbounded", screen{}, `
NAME             COUNT  ERROR                         NOTE
a                    7  short
<wide 東京>      1234567  an error that goes on and on  x
missing cells
`},
		{"cut", screen{terminal: true, width: 50}, `
NAME             COUNT  ERROR                 NOTE
a                    7  short
<wide 東京>      1234567  an error that goes…   x
missing cells
`},
		{"too narrow to fit at all", screen{terminal: true, width: 10}, `
NAME             COUNT  ERROR         NOTE
a                    7  short
<wide 東京>      1234567  an error th…  x
missing cells
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got strings.Builder
			if err := rows.write(&got, c.on, paint{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, "\n"+got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAdviceFitsTheReason(t *testing.T) {
	for _, reason := range ferry.Reasons() {
		e := ferry.Envelope{ID: mustID(idRejected), State: ferry.StateDeadLettered, DeadLetter: &ferry.DeadLetter{Reason: reason}}
		warning, steps := advice(e, "7c8d9e0f")
		if len(steps) == 0 {
			t.Errorf("%s: nothing to do", reason)
			continue
		}
		if mayExist(reason) && warning == "" {
			t.Errorf("%s: it may exist, and there is no warning", reason)
		}
		if mayExist(reason) && strings.Contains(steps[0].text, "replay") {
			t.Errorf("%s: the first advice is to send it again", reason)
		}
		if meaning(reason) == string(reason) {
			t.Errorf("%s is not explained", reason)
		}
	}
	open := ferry.Envelope{ID: mustID(idRejected), State: ferry.StateDeadLettered, DeadLetter: &ferry.DeadLetter{Reason: ferry.ReasonUndeliverable, Open: true}}
	if warning, steps := advice(open, "7c8d9e0f"); warning == "" || strings.Contains(steps[0].text, "replay") {
		t.Errorf("a receiver may have done it: %q, %+v", warning, steps)
	}
	for _, s := range ferry.States() {
		_, steps := advice(ferry.Envelope{State: s}, "x")
		if wants := s == ferry.StateDeadLettered || s == ferry.StateDiscarded; (len(steps) > 0) != wants {
			t.Errorf("%s: %d steps", s, len(steps))
		}
	}
}

func TestWaitingForNamesTheDestination(t *testing.T) {
	until := at(4 * time.Minute)
	for reason, want := range map[string]string{
		"unavailable":  ", its destination is down, in 4m",
		"throttled":    ", its destination asked for a pause, in 4m",
		"unauthorized": ", its destination refuses the credentials, in 4m",
		"new\x1bword":  ", waits: new",
	} {
		if got := waitingFor(at(0), &ferry.WaitingFor{Reason: reason, Until: &until}); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", reason, got)
		}
	}
}
