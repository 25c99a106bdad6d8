package main

import "strings"

type meCmd struct{}

// Run shows whose key this is.
func (meCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	me, err := c.Me(a.ctx)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(me)
	}
	at, err := a.findServer()
	if err != nil {
		return err
	}
	a.writePairs([]pair{
		{"name", me.Name},
		{"role", string(me.Role)},
		{"routes", strings.ReplaceAll(orAll(me.Routes), ",", ", ")},
		{"key", me.KeyID + ", from " + at.key.from},
		{"server", at.url},
		{"environment", printable(me.Environment)},
		{"version", printable(me.Version)},
	})
	return nil
}
