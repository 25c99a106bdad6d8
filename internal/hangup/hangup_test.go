//go:build unix

package hangup

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func hangUp(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestItIsIgnoredWithoutATerminal(t *testing.T) {
	ignored := make(chan struct{})
	ctx, stop := Context(t.Context(), Ends(strings.NewReader("")), func() { ignored <- struct{}{} })
	for range 2 {
		hangUp(t)
		<-ignored
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("it ended: %v", err)
	}
	stop()
	after := Notify()
	hangUp(t) // ends nothing
	<-after
}

func TestItEndsWhatRunsOnATerminal(t *testing.T) {
	ctx, stop := Context(t.Context(), true, func() { t.Error("it was ignored") })
	defer stop()
	hangUp(t)
	<-ctx.Done()
	hangUp(t)
}
