package config

import (
	"errors"
	"maps"
	"slices"

	"ferry/adapters"
	"ferry/mapping"
)

// checkJQ compiles a jq program, so that a typing error is told before the start.
// It may use the variables of those names.
func (d *decoder) checkJQ(path, program string, variables ...string) {
	if program == "" {
		return
	}
	if _, err := mapping.CompileVars(program, variables...); err != nil {
		d.atProgram(path, err)
	}
}

// checkPrograms compiles the programs between {= and } of a text that requests are
// made of.
func (d *decoder) checkPrograms(path, text string) {
	if _, err := mapping.Pieces(text, adapters.Variables()...); err != nil {
		d.atProgram(path, err)
	}
}

// checkRequest compiles the programs in what the route's requests are made of.
func (r *WorkerRoute) checkRequest(d *decoder, path string) {
	d.checkPrograms(path+".url", r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Query)) {
		d.checkPrograms(path+".query."+name, r.Query[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		d.checkPrograms(path+".headers."+name, r.Headers[name])
	}
	if r.Lookup != nil {
		d.checkPrograms(path+".lookup.url", r.Lookup.URL)
	}
}

// atProgram reports a fault of a program on its line of the file, where the file
// has the program with its lines.
func (d *decoder) atProgram(path string, err error) {
	message, hint := sentence(err)
	line := d.line(path)
	var source *mapping.SourceError
	if first, ok := d.blocks[path]; ok && errors.As(err, &source) {
		line = first + source.Line - 1
	}
	d.report(line, hint, "%s: %s", path, message)
}
