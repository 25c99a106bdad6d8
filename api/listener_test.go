package api

import (
	"slices"
	"testing"
)

func TestPrintListeners(t *testing.T) {
	a := newAPI(nil, Options{})
	var l []string
	for _, ep := range a.endpoints() {
		l = append(l, string(ep.listener())+" "+ep.method+" "+ep.path)
	}
	slices.Sort(l)
	for _, s := range l {
		t.Log(s)
	}
}
