package ferry_test

import (
	"testing"
	"time"

	"ferry"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		in   string
		want time.Duration
	}{
		{"30d", 30 * day},
		{"1d12h", 36 * time.Hour},
		{"1.5d", 36 * time.Hour},
		{"1d2h3m4.5s", day + 2*time.Hour + 3*time.Minute + 4500*time.Millisecond},
		{"0", 0},
		{"0d", 0},
		{"-1d", -day},
		{"-1d12h", -36 * time.Hour},
		{"90s", 90 * time.Second},
		{"1h30m", 90 * time.Minute},
		{"250ms", 250 * time.Millisecond},
		{"PT5M", 5 * time.Minute},
		{"P1DT2H", day + 2*time.Hour},
		{"P2W", 14 * day},
		{"P30D", 30 * day},
		{"PT0.5S", 500 * time.Millisecond},
		{"PT0,5S", 500 * time.Millisecond},
		{"PT36H", 36 * time.Hour},
		{"pt1h", time.Hour},
		{"-PT1M", -time.Minute},
		{"P0D", 0},
		{"P106751D", 106751 * day},
	} {
		got, err := ferry.ParseDuration(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", tc.in, got, err, tc.want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for _, in := range []string{
		"", "5", "d", "-", "--1d", "1d-2h", "1d+2h", "+-1h", "1d2d", "h1d", "1d 2h", "five", "1w",
		"P", "PT", "P1", "P1Y", "P1M", "PT1H2H", "PT1S1M", "PT1.5H1M", "P1DT", "PTT1H", "PT.S", "P-1D", "P1H", "PT1D",
		"106752d", "106751d24h", "P106752D", "PT9999999999999999999S", "9999999999999999999999d", "1e3d",
	} {
		got, err := ferry.ParseDuration(in)
		if ferry.CodeOf(err) != ferry.CodeBadDuration {
			t.Errorf("ParseDuration(%q) = %v, %v; want the code %s", in, got, err, ferry.CodeBadDuration)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"30d", "1d12h", "PT5M", "P1DT2H", "-1.5d", "P1Y", "PT0,5S", "99999999999d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ferry.ParseDuration(s)
		if err != nil {
			if ferry.CodeOf(err) != ferry.CodeBadDuration {
				t.Fatalf("ParseDuration(%q): code %q", s, ferry.CodeOf(err))
			}
			return
		}
		again, err := ferry.ParseDuration(d.String())
		if err != nil || again != d {
			t.Fatalf("ParseDuration(%q) = %v, which reads back as %v, %v", s, d, again, err)
		}
	})
}
