package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is a key of broker.yaml whose value is another one. It holds no value:
// some are nobody's business.
type Change struct {
	// Key is where it stands, such as limits.perKey.rate or routes[invoices].schema;
	// routes and other entries that have names go by them.
	Key string
	// How is added, removed or changed.
	How string
	// NextStart: a running broker cannot take it over.
	NextStart bool
}

func (c Change) String() string {
	if c.How == "changed" {
		return c.Key
	}
	return c.Key + " " + c.How
}

// How a running broker takes a key over: the tag reload of each key of the file's
// first level says it, and holds for what is below unless that says otherwise.
const (
	reloadLive  = "live"
	reloadStart = "start" // at the next start
)

// Changes lists what differs between two configurations, in the order of the keys.
func Changes(before, after *Broker) []Change {
	d := &differ{}
	d.group(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), "", false)
	return d.changes
}

// Effective is after with the keys of before that a running broker cannot take over.
func Effective(before, after *Broker) *Broker {
	made := *after
	keepStart(reflect.ValueOf(before).Elem(), reflect.ValueOf(&made).Elem())
	return &made
}

// keepStart goes into groups only: entries of lists are live, or their list is not.
func keepStart(before, into reflect.Value) {
	t := into.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Tag.Get("yaml") == "" || !f.IsExported():
		case f.Tag.Get("reload") == reloadStart:
			into.Field(i).Set(before.Field(i))
		case f.Type.Kind() == reflect.Struct:
			keepStart(before.Field(i), into.Field(i))
		}
	}
}

type differ struct{ changes []Change }

func (d *differ) note(key, how string, start bool) {
	d.changes = append(d.changes, Change{Key: key, How: how, NextStart: start})
}

func (d *differ) group(a, b reflect.Value, path string, start bool) {
	t := a.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		at := join(path, name)
		starts := start || f.Tag.Get("reload") == reloadStart
		switch {
		case options == "inline":
			d.group(a.Field(i), b.Field(i), path, starts)
		case name == "" && f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Uint8:
			// What was read from the file that the key of this name names.
			d.content(join(path, f.Name), bytes.Equal(a.Field(i).Bytes(), b.Field(i).Bytes()), starts)
		case name == "" && f.Type == reflect.TypeFor[fileSum]():
			d.content(join(path, f.Name), a.Field(i).Equal(b.Field(i)), starts)
		case name == "" || name == "-":
		default:
			d.value(a.Field(i), b.Field(i), at, starts)
		}
	}
}

// content notes that a file of the same name holds something else.
func (d *differ) content(key string, same, start bool) {
	if !same && !d.has(key) {
		d.note(key, "changed", start)
	}
}

func (d *differ) has(key string) bool {
	return slices.ContainsFunc(d.changes, func(c Change) bool { return c.Key == key })
}

func (d *differ) value(a, b reflect.Value, path string, start bool) {
	t := a.Type()
	switch {
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		switch {
		case a.IsNil() && b.IsNil():
		case a.IsNil():
			d.note(path, "added", start)
		case b.IsNil():
			d.note(path, "removed", start)
		default:
			d.value(a.Elem(), b.Elem(), path, start)
		}
	case t.Kind() == reflect.Struct && hasKeys(t):
		d.group(a, b, path, start)
	case t.Kind() == reflect.Slice && named(t.Elem()):
		d.entries(a, b, path, start)
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		d.note(path, "changed", start)
	}
}

// entries compares lists whose entries have names.
func (d *differ) entries(a, b reflect.Value, path string, start bool) {
	before := byName(a)
	seen := map[string]bool{}
	for i := range b.Len() {
		name := b.Index(i).FieldByName("Name").String()
		key := fmt.Sprintf("%s[%s]", path, name)
		was, ok := before[name]
		switch {
		case seen[name]:
		case !ok:
			d.note(key, "added", start)
		default:
			d.value(was, b.Index(i), key, start)
		}
		seen[name] = true
	}
	for i := range a.Len() {
		if name := a.Index(i).FieldByName("Name").String(); !seen[name] {
			d.note(fmt.Sprintf("%s[%s]", path, name), "removed", start)
			seen[name] = true
		}
	}
}

func byName(list reflect.Value) map[string]reflect.Value {
	m := map[string]reflect.Value{}
	for i := range list.Len() {
		m[list.Index(i).FieldByName("Name").String()] = list.Index(i)
	}
	return m
}

func named(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	f, ok := t.FieldByName("Name")
	return ok && f.Type.Kind() == reflect.String && f.Tag.Get("yaml") == "name"
}

// hasKeys says whether a struct is a group of keys, and no value of its own.
func hasKeys(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") != "" {
			return true
		}
	}
	return false
}
