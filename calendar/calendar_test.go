package calendar

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

func mustCompile(t *testing.T, windows ...ferry.Window) *Calendar {
	t.Helper()
	c, err := Compile(windows)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func utc(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

// TestWindows walks windows over years, over the days on which clocks are set.
func TestWindows(t *testing.T) {
	cron := func(cron string, length time.Duration, zone string) ferry.Window {
		return ferry.Window{Name: "w1", Cron: cron, For: length, Zone: zone}
	}
	for name, c := range map[string]struct {
		window ferry.Window
		from   string
		want   []string // begin and end, UTC
	}{
		"month end": {cron("0 18 L * *", 14*time.Hour, "Europe/Berlin"), "2027-01-31T08:00:00Z", []string{
			"2027-01-31T17:00:00Z 2027-02-01T07:00:00Z", "2027-02-28T17:00:00Z 2027-03-01T07:00:00Z", "2027-03-31T16:00:00Z 2027-04-01T06:00:00Z",
		}},
		"month end of a leap year":        {cron("0 18 L 2 *", 14*time.Hour, "UTC"), "2028-01-01T00:00:00Z", []string{"2028-02-29T18:00:00Z 2028-03-01T08:00:00Z", "2029-02-28T18:00:00Z 2029-03-01T08:00:00Z"}},
		"no leap year in 2100":            {cron("0 0 29 2 *", time.Hour, "UTC"), "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z 2104-02-29T01:00:00Z"}},
		"over the start of summer time":   {cron("0 18 L 3 *", 14*time.Hour, "Europe/Berlin"), "2024-01-01T00:00:00Z", []string{"2024-03-31T16:00:00Z 2024-04-01T06:00:00Z"}},
		"begun before summer time":        {cron("0 18 L-1 3 *", 14*time.Hour, "Europe/Berlin"), "2024-01-01T00:00:00Z", []string{"2024-03-30T17:00:00Z 2024-03-31T07:00:00Z"}},
		"begun before winter time":        {cron("0 18 L-5 10 *", 14*time.Hour, "Europe/Berlin"), "2030-10-01T00:00:00Z", []string{"2030-10-26T16:00:00Z 2030-10-27T06:00:00Z"}},
		"in the hour that is skipped":     {cron("30 2 * 3 *", time.Hour, "Europe/Berlin"), "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z 2026-03-29T02:00:00Z", "2026-03-30T00:30:00Z 2026-03-30T01:30:00Z"}},
		"in the hour that comes twice":    {cron("30 2 * 10 *", time.Hour, "Europe/Berlin"), "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z 2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z 2026-10-26T02:30:00Z"}},
		"each hour, one comes twice":      {cron("30 * * * *", 10*time.Minute, "Europe/Berlin"), "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z 2026-10-25T00:40:00Z", "2026-10-25T01:30:00Z 2026-10-25T01:40:00Z", "2026-10-25T02:30:00Z 2026-10-25T02:40:00Z"}},
		"each hour, one is skipped":       {cron("30 * * * *", 10*time.Minute, "Europe/Berlin"), "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z 2026-03-29T00:40:00Z", "2026-03-29T01:30:00Z 2026-03-29T01:40:00Z"}},
		"New York, spring":                {cron("30 2 * * SUN", 2*time.Hour, "America/New_York"), "2026-03-07T00:00:00Z", []string{"2026-03-08T07:00:00Z 2026-03-08T09:00:00Z", "2026-03-15T06:30:00Z 2026-03-15T08:30:00Z"}},
		"New York, autumn":                {cron("30 1 * * SUN", 2*time.Hour, "America/New_York"), "2026-10-31T00:00:00Z", []string{"2026-11-01T05:30:00Z 2026-11-01T07:30:00Z", "2026-11-08T06:30:00Z 2026-11-08T08:30:00Z"}},
		"Lord Howe, half an hour, spring": {cron("15 2 4 10 *", time.Hour, "Australia/Lord_Howe"), "2026-10-01T00:00:00Z", []string{"2026-10-03T15:30:00Z 2026-10-03T16:30:00Z"}},
		"Lord Howe, half an hour, autumn": {cron("45 1 5 4 *", time.Hour, "Australia/Lord_Howe"), "2026-04-01T00:00:00Z", []string{"2026-04-04T14:45:00Z 2026-04-04T15:45:00Z"}},
		"Kolkata":                         {cron("0 9 1 * *", time.Hour, "Asia/Kolkata"), "2026-06-30T00:00:00Z", []string{"2026-07-01T03:30:00Z 2026-07-01T04:30:00Z"}},
		"midnight that is skipped":        {cron("0 0 * * *", time.Hour, "America/Santiago"), "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z 2026-09-06T05:00:00Z"}},
		"names and nth":                   {cron("0 22 * * FRI#2", 3*time.Hour, ""), "2026-11-01T00:00:00Z", []string{"2026-11-13T22:00:00Z 2026-11-14T01:00:00Z", "2026-12-11T22:00:00Z 2026-12-12T01:00:00Z"}},
		"last Friday":                     {cron("0 22 * * FRI#L", 3*time.Hour, ""), "2026-11-01T00:00:00Z", []string{"2026-11-27T22:00:00Z 2026-11-28T01:00:00Z"}},
		"third last day":                  {cron("0 6 L-2 * *", time.Hour, ""), "2026-02-01T00:00:00Z", []string{"2026-02-26T06:00:00Z 2026-02-26T07:00:00Z"}},
		"last weekday":                    {cron("0 6 LW * *", time.Hour, ""), "2026-02-01T00:00:00Z", []string{"2026-02-27T06:00:00Z 2026-02-27T07:00:00Z"}},
		"Sundays as 7":                    {cron("0 6 * * 7", time.Hour, ""), "2026-11-23T00:00:00Z", []string{"2026-11-29T06:00:00Z 2026-11-29T07:00:00Z"}},
		"days": {ferry.Window{Name: "w1", Zone: "Europe/Berlin", Dates: []string{"2026-12-31", "2026-12-24..2026-12-26"}}, "2026-11-01T00:00:00Z", []string{
			"2026-12-23T23:00:00Z 2026-12-26T23:00:00Z", "2026-12-30T23:00:00Z 2026-12-31T23:00:00Z",
		}},
		"a day of 23 hours": {ferry.Window{Name: "w1", Zone: "Europe/Berlin", Dates: []string{"2026-03-29"}}, "2026-01-01T00:00:00Z", []string{"2026-03-28T23:00:00Z 2026-03-29T22:00:00Z"}},
		"a day of 25 hours": {ferry.Window{Name: "w1", Zone: "Europe/Berlin", Dates: []string{"2026-10-25"}}, "2026-01-01T00:00:00Z", []string{"2026-10-24T22:00:00Z 2026-10-25T23:00:00Z"}},
		"with a time of day, which comes twice": {ferry.Window{Name: "w1", Zone: "Europe/Berlin", Dates: []string{"2026-10-24T18:00..2026-10-25T02:30"}}, "2026-01-01T00:00:00Z", []string{
			"2026-10-24T16:00:00Z 2026-10-25T01:30:00Z",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range mustCompile(t, c.window).Coming(utc(t, c.from), len(c.want)) {
				got = append(got, s.From.Format(time.RFC3339)+" "+s.To.Format(time.RFC3339))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// TestEveryMinute holds windows of half an hour against a clock that is read every
// minute, over the days on which it is set, in four zones.
func TestEveryMinute(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, begin := range []string{"2027-03-12", "2027-03-27", "2027-04-03", "2027-10-02", "2027-10-30", "2027-11-06"} {
			for _, hour := range []int{1, 2} {
				from := utc(t, begin+"T00:00:00Z")
				c := mustCompile(t, ferry.Window{Name: "w1", Cron: "10 " + string(rune('0'+hour)) + " * * *", For: 30 * time.Minute, Zone: zone})
				begun := map[string]time.Time{} // by day: the first moment at or after ten past
				for at := from.Add(-24 * time.Hour); at.Before(from.Add(72 * time.Hour)); at = at.Add(time.Minute) {
					wall := at.In(loc)
					day := wall.Format(time.DateOnly)
					if _, ok := begun[day]; !ok && (wall.Hour() > hour || wall.Hour() == hour && wall.Minute() >= 10) && wall.Day() == at.Add(-time.Minute).In(loc).Day() {
						begun[day] = at
					}
				}
				for at := from; at.Before(from.Add(48 * time.Hour)); at = at.Add(time.Minute) {
					want := false
					for _, b := range begun {
						want = want || !at.Before(b) && at.Before(b.Add(30*time.Minute))
					}
					if _, got := c.Holds(at); got != want {
						t.Fatalf("%s at %s, window at %d:10: held %t, want %t", zone, at.In(loc), hour, got, want)
					}
				}
			}
		}
	}
}

// TestOverlaps joins windows that overlap or touch.
func TestOverlaps(t *testing.T) {
	c := mustCompile(t,
		ferry.Window{Name: "night", Cron: "0 22 * * *", For: 4 * time.Hour},
		ferry.Window{Name: "backup", Cron: "0 1 * * *", For: 2 * time.Hour},
		ferry.Window{Name: "early", Cron: "0 3 * * *", For: time.Hour},
		ferry.Window{Name: "noon", Cron: "0 12 * * *", For: time.Hour},
	)
	want := []Span{
		{Name: "noon", From: utc(t, "2026-11-23T12:00:00Z"), To: utc(t, "2026-11-23T13:00:00Z")},
		{Name: "backup, early, night", From: utc(t, "2026-11-23T22:00:00Z"), To: utc(t, "2026-11-24T04:00:00Z")},
		{Name: "noon", From: utc(t, "2026-11-24T12:00:00Z"), To: utc(t, "2026-11-24T13:00:00Z")},
	}
	if diff := cmp.Diff(want, c.Coming(utc(t, "2026-11-23T08:00:00Z"), 3)); diff != "" {
		t.Fatal(diff)
	}
	for at, want := range map[string]bool{"2026-11-23T21:59:59Z": false, "2026-11-23T22:00:00Z": true, "2026-11-24T02:30:00Z": true, "2026-11-24T03:59:59Z": true, "2026-11-24T04:00:00Z": false} {
		if s, got := c.Holds(utc(t, at)); got != want || got && !s.To.Equal(utc(t, "2026-11-24T04:00:00Z")) {
			t.Errorf("at %s: %v %t, want %t", at, s, got, want)
		}
	}
	// What was worked out for a later moment does not answer for an earlier one.
	if s, ok := c.Next(utc(t, "2026-11-23T12:30:00Z")); !ok || s.Name != "noon" {
		t.Errorf("%v %t", s, ok)
	}
}

func TestEndless(t *testing.T) {
	now := utc(t, "2026-11-23T08:00:00Z")
	for name, c := range map[string]struct {
		windows []ferry.Window
		want    bool
	}{
		"all day, every day": {[]ferry.Window{{Name: "w1", Cron: "0 0 * * *", For: 24 * time.Hour}}, true},
		"each minute":        {[]ferry.Window{{Name: "w1", Cron: "* * * * *", For: time.Minute}}, true},
		"two that alternate": {[]ferry.Window{{Name: "w1", Cron: "0 0 * * *", For: 12 * time.Hour}, {Name: "w2", Cron: "0 12 * * *", For: 12 * time.Hour}}, true},
		"a minute is left":   {[]ferry.Window{{Name: "w1", Cron: "0 0 * * *", For: 24*time.Hour - time.Minute}}, false},
		"over now":           {[]ferry.Window{{Name: "w1", Dates: []string{"2026-11-01"}}}, false},
		"none":               {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mustCompile(t, c.windows...).Endless(now); got != c.want {
				t.Fatalf("endless %t, want %t", got, c.want)
			}
		})
	}
}

func TestWindowsThatCannotBe(t *testing.T) {
	good := ferry.Window{Name: "w1", Cron: "0 18 L * *", For: 14 * time.Hour}
	many := make([]ferry.Window, ferry.MaxWindows+1)
	for i := range many {
		many[i] = good
		many[i].Name = "w-" + string(rune('a'+i))
	}
	dates := make([]string, ferry.MaxWindowDates+1)
	for i := range dates {
		dates[i] = "2026-12-24"
	}
	for name, c := range map[string]struct {
		windows []ferry.Window
		text    string
	}{
		"too many":       {many, "21 windows"},
		"the same name":  {[]ferry.Window{good, good}, "two windows have the name w1"},
		"bad name":       {[]ferry.Window{{Name: "Month End", Cron: good.Cron, For: good.For}}, "cannot be the name of a window"},
		"never":          {[]ferry.Window{{Name: "w1", Cron: "0 0 30 2 *", For: time.Hour}}, "never comes"},
		"never, by week": {[]ferry.Window{{Name: "w1", Cron: "0 0 * 2 MON#6", For: time.Hour}}, "cron"},
		"zone inside":    {[]ferry.Window{{Name: "w1", Cron: "CRON_TZ=Asia/Tokyo 0 0 1 *", For: time.Hour}}, "five fields"},
		"descriptor":     {[]ferry.Window{{Name: "w1", Cron: "@every 1h x x x", For: time.Hour}}, "five fields"},
		"both":           {[]ferry.Window{{Name: "w1", Cron: good.Cron, For: good.For, Dates: []string{"2026-12-24"}}}, "cron and dates"},
		"neither":        {[]ferry.Window{{Name: "w1"}}, "never begins"},
		"too long":       {[]ferry.Window{{Name: "w1", Cron: good.Cron, For: 32 * 24 * time.Hour}}, "for is"},
		"local":          {[]ferry.Window{{Name: "w1", Cron: good.Cron, For: good.For, Zone: "Local"}}, "not a time zone"},
		"too many dates": {[]ferry.Window{{Name: "w1", Dates: dates}}, "401 dates"},
		"a time alone":   {[]ferry.Window{{Name: "w1", Dates: []string{"2026-12-24T18:00"}}}, "not a date"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(c.windows)
			if err == nil || ferry.CodeOf(err) != ferry.CodeBadConfig && ferry.CodeOf(err) != ferry.CodeBadName || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%v, want %q", err, c.text)
			}
		})
	}
}

// TestASpanStaysAsItIs asks within a span, in any order: it begins and is called the
// same all the time, also where the window that it began with is over.
func TestASpanStaysAsItIs(t *testing.T) {
	windows := []ferry.Window{
		{Name: "night", Cron: "0 22 * * *", For: 4 * time.Hour},
		{Name: "backup", Cron: "0 1 * * *", For: 2 * time.Hour},
		{Name: "early", Cron: "0 3 * * *", For: time.Hour},
		{Name: "each-hour", Cron: "0 10-13 * * *", For: time.Hour},
		{Name: "closing", Dates: []string{"2026-11-24T04:00..2026-11-24T04:30"}},
	}
	night := Span{Name: "backup, closing, early, night", From: utc(t, "2026-11-23T22:00:00Z"), To: utc(t, "2026-11-24T04:30:00Z")}
	day := Span{Name: "each-hour", From: utc(t, "2026-11-24T10:00:00Z"), To: utc(t, "2026-11-24T14:00:00Z")}
	asked := mustCompile(t, windows...)
	for _, span := range []Span{night, day} {
		for at := span.From; at.Before(span.To); at = at.Add(10 * time.Minute) {
			if s, ok := asked.Next(span.To); !ok || s.From.Before(span.To) { // the ledger looks ahead
				t.Fatalf("after %s: %v %t", span.To, s, ok)
			}
			for _, c := range []*Calendar{asked, mustCompile(t, windows...)} {
				s, ok := c.Holds(at)
				if diff := cmp.Diff(span, s); !ok || diff != "" {
					t.Fatalf("at %s: %t, %s", at, ok, diff)
				}
			}
		}
	}
}
