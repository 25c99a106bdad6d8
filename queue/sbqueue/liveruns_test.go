package sbqueue

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"ferry/internal/sbemu"
)

// TestLiveRuns runs some cases of TestConformanceLive as somebody does who has a
// namespace: in another process, which only knows its connection string. Nothing is
// left there.
func TestLiveRuns(t *testing.T) {
	if os.Getenv(liveNamespace) != "" {
		t.Skip("TestConformanceLive itself runs")
	}
	t.Parallel()
	double, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer double.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const cases = "^(SendReceiveComplete|DuplicateIdDropped|ConcurrentReceiversNoDoubleLock|LossIsANewIncarnation|SetAsideIsBroughtBack|HelloAndWelcome|SurvivesKill|WorkerIsConfined)$"
	child := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run=^TestConformanceLive$/"+cases)
	child.Env = append(os.Environ(), liveNamespace+"="+double.ConnectionString(), liveAdmin+"=http://"+double.Addr())
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for result, want := range map[string]int{"PASS": 7, "SKIP": 1, "FAIL": 0} {
		if got := len(regexp.MustCompile(`(?m)^    --- `+result+": TestConformanceLive/").FindAll(out, -1)); got != want {
			t.Errorf("%s: %d cases, want %d\n%s", result, got, want, out)
		}
	}
	if left := double.Namespace().Queues(); len(left) > 0 {
		t.Errorf("%d queues are left there, the first is %s", len(left), left[0].Config().Name)
	}
	if n := double.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
