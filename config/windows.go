package config

import (
	"fmt"

	"ferry"
	"ferry/calendar"
)

func (r *BrokerRoute) checkWindows(d *decoder, path string) {
	path += ".windows"
	if len(r.Windows) > ferry.MaxWindows {
		d.at(path, "one window may have many dates", "%s has %d entries, %d at most", path, len(r.Windows), ferry.MaxWindows)
		return
	}
	first := map[string]bool{}
	for i, w := range r.Windows {
		at := fmt.Sprintf("%s[%d]", path, i)
		if w.Name == "" {
			d.at(at, "add name: such as month-end; people see it", "%s has no name", at)
			continue
		}
		if first[w.Name] {
			d.at(at+".name", "", "the window %s stands here twice", clip(w.Name))
		}
		first[w.Name] = true
		if err := calendar.Check(w); err != nil {
			d.at(at, err.Hint, "%s: %s", at, err.Error())
		}
	}
}
