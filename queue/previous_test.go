package queue

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

// update writes what this version sends into testdata/previous. It is run in the
// commit of a release (scripts/previous-version), and the files are then those that
// every later version has to read.
var update = flag.Bool("update", false, "write testdata/previous")

// packet is one kind of what travels.
type packet struct {
	value  func() any // of this version, every field set
	encode func(v any) []byte
	decode func(data []byte) (any, error)
}

func packets() map[string]packet {
	asJSON := func(v any) []byte {
		text, err := json.MarshalIndent(v, "", "\t")
		if err != nil {
			panic(err)
		}
		return append(text, '\n')
	}
	return map[string]packet{
		"handout.bin": {
			value: func() any {
				h := filled[ferry.HandOut]()
				h.Properties = map[string]string{"one": "1"}
				h.Body, h.Size = []byte("body"), 4
				return h
			},
			encode: func(v any) []byte { return encodeWhole(v.(ferry.HandOut)) },
			decode: func(data []byte) (any, error) { return decodeHandOut(data) },
		},
		"receipt.bin": {
			value:  func() any { return filled[ferry.Receipt]() },
			encode: func(v any) []byte { r := v.(ferry.Receipt); return encodeReceipt(&r) },
			decode: func(data []byte) (any, error) { return decodeReceipt(data) },
		},
		"signal.bin": {
			value:  func() any { return filled[Signal]() },
			encode: func(v any) []byte { return encodeSignal(v.(Signal)) },
			decode: func(data []byte) (any, error) { return decodeSignal(data) },
		},
		"hello.json": {
			value: func() any { return filled[Hello]() }, encode: asJSON,
			decode: func(data []byte) (any, error) { var h Hello; err := json.Unmarshal(data, &h); return h, err },
		},
		"welcome.json": {
			value: func() any { return filled[Welcome]() }, encode: asJSON,
			decode: func(data []byte) (any, error) { var w Welcome; err := json.Unmarshal(data, &w); return w, err },
		},
		"claim.json": {
			value: func() any { return filled[ClaimRequest]() }, encode: asJSON,
			decode: func(data []byte) (any, error) { var c ClaimRequest; err := json.Unmarshal(data, &c); return c, err },
		},
		"body.json": {
			value: func() any { return filled[BodyRequest]() }, encode: asJSON,
			decode: func(data []byte) (any, error) { var b BodyRequest; err := json.Unmarshal(data, &b); return b, err },
		},
	}
}

// filled is a value with every field set, always the same.
func filled[T any]() T {
	var v T
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 9, 0, *n, 1, time.UTC)))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`{}`)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 251))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	}
}

const previousFolder = "testdata/previous"

// What the version before sends is read whole: put into today's form again, it is
// what it was. And what today's version sends has every field that the version before
// knew, under the same number: its reader finds all that it needs, and skips the
// rest.
func TestPacketsOfThePreviousVersion(t *testing.T) {
	for name, p := range packets() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(previousFolder, name)
			if *update {
				if err := os.MkdirAll(previousFolder, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, p.encode(p.value()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			value, err := p.decode(data)
			if err != nil {
				t.Fatalf("it cannot be read: %v", err)
			}
			again := p.encode(value)
			if filepath.Ext(name) == ".json" {
				if lost := lostMembers(t, data, again, ""); len(lost) > 0 {
					t.Errorf("members that the version before sends, and that are lost: %v", lost)
				}
				if lost := lostNames(t, data, p.encode(p.value()), ""); len(lost) > 0 {
					t.Errorf("members that the version before knows, and that are not sent: %v", lost)
				}
				return
			}
			if diff := cmp.Diff(fieldList(t, data), fieldList(t, again)); diff != "" {
				t.Errorf("read and written again (-before +now):\n%s", diff)
			}
			now := map[int]bool{}
			for _, f := range fieldList(t, p.encode(p.value())) {
				now[f.Number] = true
			}
			for _, f := range fieldList(t, data) {
				if !now[f.Number] {
					t.Errorf("the version before knows field %d, and it is not sent", f.Number)
				}
			}
		})
	}
}

type rawField struct {
	Number int
	Value  string
}

// fieldList takes a packet apart; both its first bytes are of the form that both
// versions know.
func fieldList(t *testing.T, data []byte) (list []rawField) {
	t.Helper()
	if len(data) < 2 || data[0] != 1 {
		t.Fatalf("a packet of another version: %v", data[:min(len(data), 2)])
	}
	f := fields{rest: data[2:]}
	for {
		n, v, ok := f.next()
		if !ok {
			break
		}
		list = append(list, rawField{n, string(v)})
	}
	if f.err != nil {
		t.Fatal(f.err)
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Number < list[j].Number || list[i].Number == list[j].Number && list[i].Value < list[j].Value
	})
	return list
}

func members(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// lostMembers lists what before has and after has not, or has otherwise.
func lostMembers(t *testing.T, before, after []byte, path string) []string {
	t.Helper()
	return lost(members(t, before), members(t, after), path, true)
}

// lostNames is lostMembers by the names alone.
func lostNames(t *testing.T, before, after []byte, path string) []string {
	t.Helper()
	return lost(members(t, before), members(t, after), path, false)
}

func lost(a, b any, path string, values bool) (list []string) {
	switch a := a.(type) {
	case map[string]any:
		b, _ := b.(map[string]any)
		for name, value := range a {
			other, ok := b[name]
			if !ok && !values && len(b) == 1 && len(a) == 1 { // a map, whose keys are values
				for _, only := range b {
					other, ok = only, true
				}
			}
			if !ok {
				list = append(list, path+"."+name)
				continue
			}
			list = append(list, lost(value, other, path+"."+name, values)...)
		}
	case []any:
		b, _ := b.([]any)
		if len(b) != len(a) {
			return []string{path}
		}
		for i := range a {
			list = append(list, lost(a[i], b[i], fmt.Sprintf("%s[%d]", path, i), values)...)
		}
	default:
		if values && !reflect.DeepEqual(a, b) {
			list = append(list, path)
		}
	}
	return list
}
