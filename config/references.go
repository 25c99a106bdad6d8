package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"ferry/secret"
)

// Reference is a place of a configuration file where a secret stands.
type Reference struct {
	Path string // such as destinations.erp.auth.key
	Ref  secret.Ref
}

// References lists every secret that the file refers to, by path. Destinations that
// stand in a route are listed as those of its name.
func (b *Broker) References() []Reference { return references(b) }

// References lists every secret that the worker needs, by path.
func (w *Worker) References() []Reference {
	other := "queue.servicebus."
	if w.Queue.Driver == DriverServiceBus {
		other = "queue.nats."
	}
	return slices.DeleteFunc(references(w), func(r Reference) bool { return strings.HasPrefix(r.Path, other) })
}

func references(file any) []Reference {
	var list []Reference
	collectRefs(reflect.ValueOf(file), "", &list)
	return list
}

// collectRefs walks over the whole file, so that no place of a secret is left out.
func collectRefs(v reflect.Value, path string, list *[]Reference) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			collectRefs(v.Elem(), path, list)
		}
	case reflect.Slice:
		for i := range v.Len() {
			collectRefs(v.Index(i), fmt.Sprintf("%s[%d]", path, i), list)
		}
	case reflect.Map:
		keys := slices.SortedFunc(maps.Keys(mapOf(v)), cmp.Compare)
		for _, key := range keys {
			collectRefs(mapOf(v)[key], join(path, key), list)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case options == "inline":
				collectRefs(v.Field(i), path, list)
			case name == "" || name == "-" || !f.IsExported():
			case name == "nkey" && f.Type.Kind() == reflect.String && v.Field(i).String() != "":
				*list = append(*list, Reference{join(path, name), seedRef(v.Field(i).String())})
			default:
				collectRefs(v.Field(i), join(path, name), list)
			}
		}
	case reflect.String:
		if v.Type() == secretFileType && v.String() != "" {
			*list = append(*list, Reference{path, SecretFile(v.String()).Ref()})
		}
		if v.Type() == refType && v.String() != "" {
			*list = append(*list, Reference{path, secret.Ref(v.String())})
		}
	}
}

var secretFileType = reflect.TypeFor[SecretFile]()

func mapOf(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for it := v.MapRange(); it.Next(); {
		out[it.Key().String()] = it.Value()
	}
	return out
}
