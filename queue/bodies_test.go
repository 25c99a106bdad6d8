package queue

import (
	"strings"
	"testing"
	"time"

	"ferry"
)

// FuzzBodyName: nothing but what BodyName makes is read, so that a sweep never
// takes a stranger's name for one of ours.
func FuzzBodyName(f *testing.F) {
	id := ferry.NewID(time.Unix(1_800_000_000, 0))
	f.Add(BodyName(id, 1))
	f.Add(BodyName(id, 100) + ".part")
	f.Add(strings.ToUpper(BodyName(id, 2)))
	f.Add(id.String() + ".+1")
	f.Add(id.String() + ".01")
	f.Add(id.String() + ".0")
	f.Add("something else")
	f.Fuzz(func(t *testing.T, name string) {
		id, revision, ok := ParseBodyName(name)
		if ok && (BodyName(id, revision) != name || revision < 1) {
			t.Errorf("%q is read as revision %d of %s", name, revision, id)
		}
	})
}

func TestBodyName(t *testing.T) {
	id := ferry.NewID(time.Now())
	if got, revision, ok := ParseBodyName(BodyName(id, 7)); !ok || got != id || revision != 7 {
		t.Errorf("%s, %d, %t", got, revision, ok)
	}
	for _, name := range []string{"", id.String(), id.String() + ".", id.String() + ".0", id.String() + ".-1", id.String() + ".07", strings.ToUpper(id.String()) + ".1"} {
		if _, _, ok := ParseBodyName(name); ok {
			t.Errorf("%q is read", name)
		}
	}
}
