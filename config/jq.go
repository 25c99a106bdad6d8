package config

import (
	"errors"

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
