package ferry_test

import (
	"encoding/json"
	"testing"
	"time"

	"ferry"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]ferry.Rate{
		"10/s":      {Calls: 10, Per: time.Second},
		"600/m":     {Calls: 600, Per: time.Minute},
		" 600 / m ": {Calls: 600, Per: time.Minute},
		"1000/h":    {Calls: 1000, Per: time.Hour},
		"10000/d":   {Calls: 10000, Per: 24 * time.Hour},
		"50000/7d":  {Calls: 50000, Per: 7 * 24 * time.Hour},
		"5/90s":     {Calls: 5, Per: 90 * time.Second},
		"5/PT5M":    {Calls: 5, Per: 5 * time.Minute},
		"":          {},
	} {
		r, err := ferry.ParseRate(text)
		if err != nil || r != want {
			t.Errorf("%q: %+v, %v", text, r, err)
			continue
		}
		if again, err := ferry.ParseRate(r.String()); err != nil || again != r {
			t.Errorf("%q is written %q, which is %+v, %v", text, r, again, err)
		}
	}
	for _, text := range []string{"600", "600/", "/m", "0/m", "-1/m", "1.5/s", "10/ms", "10/500ms", "10/y", "9999999999/s", "2000000000/h", "10/1000d", "ten/m"} {
		if r, err := ferry.ParseRate(text); ferry.CodeOf(err) != ferry.CodeBadDuration {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

func TestLimitDefaultsAndChecks(t *testing.T) {
	for rate, burst := range map[string]int{"600/m": 20, "10/m": 10, "3/m": 3, "1000/s": 2000, "50000/h": 28, "": 0} {
		r, err := ferry.ParseRate(rate)
		if err != nil {
			t.Fatal(err)
		}
		if got := (ferry.Limit{Rate: r}).BurstOr(); got != burst {
			t.Errorf("%s: burst %d, want %d", rate, got, burst)
		}
	}
	minute := ferry.Rate{Calls: 1, Per: time.Minute}
	for name, l := range map[string]ferry.Limit{
		"burst without rate": {Burst: 5}, "negative burst": {Rate: minute, Burst: -1}, "quota of a minute": {Quota: minute},
		"quota of a year": {Quota: ferry.Rate{Calls: 1, Per: 365 * 24 * time.Hour}},
	} {
		if l.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestLimitAsJSON(t *testing.T) {
	var l ferry.Limit
	if err := json.Unmarshal([]byte(`{"rate":"600/m","burst":7,"quota":"10000/d"}`), &l); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(ferry.Key{Limit: l})
	var key struct{ Limit map[string]any }
	if err != nil || json.Unmarshal(text, &key) != nil || key.Limit["rate"] != "600/m" || key.Limit["burst"] != 7.0 || key.Limit["quota"] != "10000/d" {
		t.Errorf("%s, %v", text, err)
	}
	if text, err = json.Marshal(ferry.Key{}); err != nil || json.Unmarshal(text, &key) != nil {
		t.Errorf("%s, %v", text, err)
	}
}
