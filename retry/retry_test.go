package retry_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"ferry/retry"
)

func TestDelayStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := retry.Policy{
			Attempts:     rapid.IntRange(0, 100).Draw(t, "attempts"),
			InitialDelay: time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "initial")),
			MaxDelay:     time.Duration(rapid.Int64Range(int64(time.Hour), int64(retry.MaxDelay)).Draw(t, "max")),
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("Validate: %v", err)
		}
		spent := rapid.IntRange(-3, 5000).Draw(t, "spent")
		most := p.Cap(spent)
		if most <= 0 || most > p.MaxDelay || spent <= 1 && most != p.InitialDelay {
			t.Fatalf("Cap(%d) = %s of %+v", spent, most, p)
		}
		if next := p.Cap(spent + 1); next < most {
			t.Fatalf("Cap falls from %s to %s", most, next)
		}
		d := p.Delay(spent)
		if least := min(100*time.Millisecond, most/4); d < least || d > most {
			t.Fatalf("Delay(%d) = %s, not within [%s, %s]", spent, d, least, most)
		}
	})
}

func TestDelayDoublesAndSpreads(t *testing.T) {
	p := retry.Policy{}
	want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}
	for i, w := range want {
		if got := p.Cap(i + 1); got != w {
			t.Errorf("Cap(%d) = %s, want %s", i+1, got, w)
		}
	}
	if got := p.Cap(30); got != 10*time.Minute {
		t.Errorf("Cap(30) = %s, want 10m", got)
	}
	// Full jitter: over 400 draws from 16 s, each quarter of the range is met.
	var quarters [4]int
	for range 400 {
		quarters[min(int(p.Delay(4)*4/(16*time.Second)), 3)]++
	}
	for i, n := range quarters {
		if n < 40 {
			t.Errorf("quarter %d was drawn %d times of 400, want about 100", i, n)
		}
	}
}

func TestExhausted(t *testing.T) {
	for _, c := range []struct {
		attempts, spent int
		want            bool
	}{{0, 7, false}, {0, 8, true}, {1, 0, false}, {1, 1, true}, {3, 4, true}} {
		if got := (retry.Policy{Attempts: c.attempts}).Exhausted(c.spent); got != c.want {
			t.Errorf("attempts %d: Exhausted(%d) = %t", c.attempts, c.spent, got)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		policy retry.Policy
		ok     bool
	}{
		"defaults":             {retry.Policy{}, true},
		"short maximum alone":  {retry.Policy{MaxDelay: time.Second}, true},
		"long initial alone":   {retry.Policy{InitialDelay: time.Hour}, true},
		"negative attempts":    {retry.Policy{Attempts: -1}, false},
		"too many attempts":    {retry.Policy{Attempts: 1001}, false},
		"negative delay":       {retry.Policy{InitialDelay: -time.Second}, false},
		"negative maximum":     {retry.Policy{MaxDelay: -time.Second}, false},
		"maximum below":        {retry.Policy{InitialDelay: time.Minute, MaxDelay: time.Second}, false},
		"maximum above a day":  {retry.Policy{MaxDelay: 25 * time.Hour}, false},
		"initial of a nanosec": {retry.Policy{InitialDelay: 1}, false},
	} {
		if err := c.policy.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: Validate = %v", name, err)
		}
	}
}
