package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// residentPeak says how far the memory of processes has risen together since it
// was called, bytes.
func residentPeak(t *testing.T, all ...*process) (rose func() int64) {
	t.Helper()
	var before int64
	for _, p := range all {
		// 5: the peak begins anew.
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
			t.Logf("the peak of %s counts from its start: %v", p.name, err)
		}
		before += resident(t, p, "VmRSS")
	}
	return func() int64 {
		var peak int64
		for _, p := range all {
			peak += resident(t, p, "VmHWM")
		}
		t.Logf("broker and worker had %.1f MB, and at the peak %.1f MB more", float64(before)/1e6, float64(peak-before)/1e6)
		return peak - before
	}
}

func resident(t *testing.T, p *process, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("%s tells no %s", p.name, name)
	return 0
}
