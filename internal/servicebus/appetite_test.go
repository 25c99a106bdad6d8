package servicebus

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAppetiteFollowsWhatIsThere(t *testing.T) {
	var a appetite
	ask := func(most, there int, took time.Duration) int {
		n := a.of(most)
		a.learn(n, min(n, there), took)
		return n
	}
	// A full queue is soon asked for all there is room for.
	for i, want := range []int{1, 4, 16, 64, 200, 200} {
		if got := ask(200, 1000, time.Millisecond); got != want {
			t.Errorf("call %d asked for %d, not %d", i, got, want)
		}
	}
	// One that runs dry is asked for little, and an idle one for one message.
	if got := ask(200, 20, time.Millisecond); got != 200 {
		t.Errorf("asked for %d", got)
	}
	for i, want := range []int{10, 1, 1, 1} {
		if got := ask(200, 1, time.Minute); got != want {
			t.Errorf("idle call %d asked for %d, not %d", i, got, want)
		}
	}
}

func TestAppetiteStaysWithinTheRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a appetite
		for range rapid.IntRange(1, 50).Draw(t, "calls") {
			most := rapid.IntRange(1, maxReceive).Draw(t, "most")
			n := a.of(most)
			if n < 1 || n > most {
				t.Fatalf("asks for %d of %d", n, most)
			}
			a.learn(n, rapid.IntRange(0, n).Draw(t, "got"), time.Duration(rapid.IntRange(0, 1000).Draw(t, "took"))*time.Millisecond)
		}
	})
}
