package sim

import (
	"fmt"
	"strings"
	"time"
)

// story is what happened, in readable lines.
type story struct {
	begun time.Time
	lines []string
}

func (s *story) add(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf("%9.3fs  ", time.Since(s.begun).Seconds())+fmt.Sprintf(format, args...))
}

func (s *story) String() string {
	var b strings.Builder
	for i, line := range s.lines {
		fmt.Fprintf(&b, "%4d %s\n", i+1, line)
	}
	return b.String()
}

func (w *world) tellf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story.add(format, args...)
}
