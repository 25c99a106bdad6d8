package store

import (
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
)

func rss() string {
	b, _ := os.ReadFile("/proc/self/status")
	out := ""
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "RssAnon") || strings.HasPrefix(l, "VmHWM") {
			out += strings.Join(strings.Fields(l), " ") + "; "
		}
	}
	return out
}

func TestZZ(t *testing.T) {
	t.Log(rss())
	at := time.Now()
	lap := func(what string) { t.Log(what, time.Since(at).Round(100*time.Microsecond), rss()); at = time.Now() }
	l, err := Open("/tmp/life/full/broker", Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lap("open")
	none := func(string) string { return "" }
	for _, f := range []ferry.DeadLetterFilter{{Limit: 50}, {Route: "bench", Limit: 50}, {Group: "zzz", Limit: 50}, {Q: "nothing", Limit: 50}, {Code: "E43", Limit: 50}, {Reason: "Expired", Limit: 50}, {Sender: "none", Limit: 50}} {
		p, err := l.DeadLetters(f, none)
		lap("dead " + f.Route + f.Group + f.Q + f.Code)
		_, _ = p, err
	}
	_, err = l.Groups(ferry.DeadLetterFilter{}, none)
	lap("groups")
	for _, f := range []ferry.MessageFilter{{Limit: 50}, {Route: "bench", Limit: 50}, {State: ferry.StateDeadLettered, Limit: 50}, {State: ferry.StateCompleted, Limit: 50}, {Q: "ended-", Limit: 50}, {Q: "order-dead-00012", Limit: 50}, {Q: "dead-00000012", Limit: 50}} {
		p, err := l.Messages(f)
		lap("messages " + string(f.State) + f.Q)
		_, _ = p, err
	}
	_, err = l.ResolveID("abcdef")
	lap("resolve")
	_, err = l.OldestPending("bench")
	lap("oldest")
}
