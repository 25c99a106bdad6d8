package main

import (
	"testing"

	"ferry"
)

// A reload that somebody asks for is refused once the server stops, and one that is
// under way gives up before anything is closed; the file is not called a bad one.
func TestNoReloadRunsIntoTheStop(t *testing.T) {
	r := startReloaded(t, "routes: [{name: orders}]\ndrain: {delay: 500ms}\n")
	r.write("routes: [{name: orders}, {name: notes}]\ndrain: {delay: 500ms}\n")
	r.s.reloader.turn.Lock() // a reload is under way
	answers := make(chan error)
	go func() {
		_, err := r.s.reloader.asked(t.Context(), "ada", "")
		answers <- err
	}()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	<-r.s.reloader.serving.Done()
	select {
	case <-stopped:
		t.Error("the server stopped in the middle of a reload")
	default:
	}
	r.s.reloader.turn.Unlock()
	if err := <-answers; ferry.CodeOf(err) != ferry.CodeStopping {
		t.Errorf("one that waited: %v", err)
	}
	if _, err := r.s.reloader.asked(t.Context(), "ada", ""); ferry.CodeOf(err) != ferry.CodeStopping {
		t.Errorf("one of during the drain: %v", err)
	}
	if _, ok := r.s.broker.Route("notes"); ok {
		t.Error("it was taken over")
	}
	if problems := r.s.reloader.problems(); len(problems) != 0 {
		t.Errorf("the file is blamed: %v", problems)
	}
	<-stopped
}
