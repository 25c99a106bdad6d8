package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"ferry"
	"ferry/adapters"
)

// RouteOverride is what of a worker's route is otherwise for the messages of one
// version: keys of the route, over those of the route itself.
type RouteOverride struct {
	adapters.RouteConfig `yaml:"-"` // whole, once the file is read

	node *yaml.Node
	path string
}

// decodeNode keeps the keys until the route that they stand in is complete.
func (o *RouteOverride) decodeNode(_ *decoder, n *yaml.Node, path string) { o.node, o.path = n, path }

// completeVersions puts what versions say over what the route says.
func (r *WorkerRoute) completeVersions(d *decoder, dest *Destination) {
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		o := r.Versions[name]
		o.RouteConfig = r.RouteConfig
		if o.node != nil {
			d.value(o.node, reflect.ValueOf(&o.RouteConfig).Elem(), o.path)
		}
		if o.Lookup == nil && (o.KeyField != "" || len(o.Key) > 0) && dest != nil && dest.MakesLookups() {
			o.Lookup = &adapters.LookupConfig{}
		}
		r.Versions[name] = o
	}
}

// checkVersions checks each version as the route that it makes.
func (r *WorkerRoute) checkVersions(d *decoder, path string, destinations map[string]*Destination) {
	if len(r.Versions) > ferry.MaxVersions {
		d.at(path+".versions", "", "%s.versions has %d entries, %d at most", path, len(r.Versions), ferry.MaxVersions)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		at := fmt.Sprintf("%s.versions.%s", path, clip(name))
		if err := ferry.ValidVersion(name); err != nil {
			d.at(at, err.Hint, "%s: %s", at, err.Message)
		}
		for _, key := range []string{"confirm", "confirmHeader", "poll", "async", "activity", "write", "finish", "finished"} {
			if d.has(at + "." + key) {
				d.at(at+"."+key, "routes that confirm or write otherwise are routes of their own", "%s.%s is the same for all versions of a route", at, key)
			}
		}
		one := *r
		one.RouteConfig, one.Versions = r.Versions[name].RouteConfig, nil
		one.check(d, at, destinations)
	}
}
