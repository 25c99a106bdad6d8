package practice_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/adapters/adaptertest/practice"
)

// statuses calls each key several times, and gives the answers by key and call.
func statuses(t *testing.T, seed uint64, keys, calls int, backwards bool) map[string]int {
	t.Helper()
	c := client{t, practice.New("", practice.Settings{OnDuplicate: practice.Repeat})}
	c.do("PUT", "/_settings", fmt.Sprintf(`{"onDuplicate":"repeat","seed":%d}`, seed))
	if status, answer := c.do("POST", "/_faults", `[
		{"kind":"status","status":429,"times":-1,"chance":0.10},
		{"kind":"status","status":404,"on":"lookup","times":-1},
		{"kind":"statusAfterWrite","status":500,"times":-1,"chance":0.02}]`); status != 204 {
		t.Fatalf("%d %v", status, answer)
	}
	got := map[string]int{}
	for call := range calls {
		for i := range keys {
			if backwards { // other keys' calls come between, in another order
				i = keys - 1 - i
			}
			key := fmt.Sprintf("key-%04d", i)
			status, _ := c.do("POST", "/invoices", `{}`, "Idempotency-Key", key)
			got[fmt.Sprint(key, " ", call)] = status
		}
	}
	return got
}

// TestChance: the shares add up, the same seed draws alike whatever comes between
// the calls of a key, and another seed draws otherwise.
func TestChance(t *testing.T) {
	t.Parallel()
	const keys, calls = 4000, 2
	count := map[int]int{}
	for _, status := range statuses(t, 7, keys, calls, false) {
		count[status]++
	}
	for status, share := range map[int]float64{429: 0.10, 500: 0.02} {
		n, want := float64(count[status]), share*keys*calls
		if math.Abs(n-want) > 5*math.Sqrt(want) {
			t.Errorf("%d came %v times, not about %v", status, n, want)
		}
	}
	one := statuses(t, 7, 300, calls, false)
	if got := fmt.Sprint(statuses(t, 7, 300, calls, true)); got != fmt.Sprint(one) {
		t.Error("the same seed, key and number of the call do not draw alike")
	}
	if got := fmt.Sprint(statuses(t, 8, 300, calls, false)); got == fmt.Sprint(one) {
		t.Error("another seed draws alike")
	}
	again := false
	for key, status := range one {
		again = again || strings.HasSuffix(key, " 0") && status != one[strings.TrimSuffix(key, "0")+"1"]
	}
	if !again {
		t.Error("every call of a key draws as its first one did")
	}
}

func TestChanceIsChecked(t *testing.T) {
	c := client{t, practice.New("", practice.Settings{})}
	for body, want := range map[string]int{
		`{"kind":"slow","times":-1,"chance":1}`: 204, `{"kind":"slow","times":-1,"chance":1.01}`: 400,
		`{"kind":"slow","times":-1,"chance":-0.1}`: 400, `{"kind":"slow","times":3,"chance":0.5}`: 400, `{"kind":"slow","chance":0.5}`: 400,
	} {
		if status, _ := c.do("POST", "/_faults", body); status != want {
			t.Errorf("%s: %d, not %d", body, status, want)
		}
	}
	if err := practice.New("", practice.Settings{}).Fail(practice.Fault{Kind: practice.FaultSlow, Times: -1, Chance: math.NaN()}); err == nil {
		t.Error("NaN is a chance")
	}
}

// TestPlaces: documents tell their place within their ordering key, in the order
// in which they were written.
func TestPlaces(t *testing.T) {
	c := client{t, practice.New("", practice.Settings{OrderBy: "account"})}
	for _, body := range []string{`{"account":"A","n":1}`, `{"account":"B","n":1}`, `{"n":0}`, `<account>A</account>`, `{"account":"A","n":2}`, `{"account":7}`} {
		c.do("POST", "/invoices", body)
	}
	var got []string
	for _, d := range c.erp.Documents("") {
		got = append(got, fmt.Sprint(d.OrderingKey, d.Place))
	}
	if want := "A1 B1 0 0 A2 71"; strings.Join(got, " ") != want {
		t.Errorf("places %v, not %s", got, want)
	}
}

// TestOverlap: two creates of one ordering key at a time are seen; a create lasts
// until its late write is done.
func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		erp := practice.New("", practice.Settings{OrderBy: "account"})
		pipe := newPipe(erp)
		defer pipe.close()
		post := func(account string) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://erp/invoices", strings.NewReader(`{"account":"`+account+`"}`))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := pipe.client.Do(req)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			synctest.Wait()
		}
		for _, c := range []struct {
			account string
			fault   practice.Fault
			between func()
			want    bool
		}{
			{"one-after-the-other", practice.Fault{Kind: practice.FaultSlow, Delay: time.Second}, func() { time.Sleep(time.Second + time.Millisecond) }, false},
			{"at-a-time", practice.Fault{Kind: practice.FaultSlow, Delay: time.Second}, func() { time.Sleep(time.Second / 2) }, true},
			{"caller-gone", practice.Fault{Kind: practice.FaultHang}, func() { time.Sleep(2*time.Second + time.Millisecond) }, false},
			{"late-write-due", practice.Fault{Kind: practice.FaultCutWriteLate, Delay: 3 * time.Second}, func() { time.Sleep(2900 * time.Millisecond) }, true},
			{"late-write-done", practice.Fault{Kind: practice.FaultCutWriteLate, Delay: 3 * time.Second}, func() { time.Sleep(3100 * time.Millisecond) }, false},
		} {
			if err := erp.Fail(c.fault); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { defer close(done); post(c.account) }()
			c.between()
			post(c.account)
			<-done
			time.Sleep(5 * time.Second)
			got := false
			for _, key := range erp.State().Overlapped {
				got = got || key == c.account
			}
			if got != c.want {
				t.Errorf("%s: overlap seen: %t", c.account, got)
			}
		}
	})
}
