package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxTitle       = 50  // characters
	maxDescription = 500 // characters
)

// checkTitles wants that people can tell the routes apart, where somebody chose titles.
func (b *Broker) checkTitles(d *decoder) {
	routes, first := b.FerryRoutes(), map[string]int{}
	for i := range routes {
		title := strings.ToLower(routes[i].Heading())
		at, twice := first[title]
		if !twice {
			first[title] = i
			continue
		}
		if other := &routes[at]; other.Name != routes[i].Name && (other.Title != "" || routes[i].Title != "") {
			d.at(fmt.Sprintf("routes[%d].title", i), "people see titles, and could not tell the two apart: give another title",
				"the routes %s and %s have the same title %q", other.Name, routes[i].Name, routes[i].Heading())
		}
	}
}

// checkText wants one line of at most so many characters that people can read.
func (d *decoder) checkText(path, text string, most int) {
	if n := utf8.RuneCountInString(text); n > most {
		d.at(path, "", "%s has %d characters, %d at most", path, n, most)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) || text != strings.TrimSpace(text) {
		d.at(path, "write it in one line, without blanks around it", "%s has line breaks, control characters, or blanks around it", path)
	}
}
