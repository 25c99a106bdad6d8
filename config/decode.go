package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"ferry"
	"ferry/secret"
)

// Bounds of a file, so that aliases cannot make a small one large.
const (
	maxFile  = 1 << 20 // bytes
	maxNodes = 100_000 // values, aliases followed
	maxShown = 50      // problems reported
)

// decoder fills structs from YAML nodes and collects every fault. It exists
// because the YAML library stops at the first fault, knows no "did you mean",
// and cannot tell later checks the line of a key.
//
// Fields carry the key in the tag yaml:"…"; "-" and untagged fields are not in
// files, ",inline" merges an embedded struct. A field with the tag later:"true"
// is a known key of something that this version does not do: it is refused.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	problems Problems
	lines    map[string]int // path such as routes[0].orderBy -> line
	blocks   map[string]int // path of a text with lines of its own, behind a |: the first of them
	nodes    int
}

func (d *decoder) report(line int, hint, format string, args ...any) {
	if len(d.problems) < maxShown {
		d.problems = append(d.problems, Problem{File: d.file, Line: line, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
}

// at reports a fault of the value at path, or of what holds it when the file
// does not mention the value itself.
func (d *decoder) at(path, hint, format string, args ...any) {
	d.report(d.line(path), hint, format, args...)
}

func (d *decoder) line(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

// has says whether the file sets the key.
func (d *decoder) has(path string) bool {
	_, ok := d.lines[path]
	return ok
}

// parse reads the file's one document; nil when it is empty or damaged.
func (d *decoder) parse(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if len(strings.TrimSpace(string(data))) > 0 && err.Error() != "EOF" {
			line, message := yamlFault(err)
			d.report(line, "look for a bracket, a quote or an indentation that is amiss, there or above", "this is not YAML: %s", message)
		}
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		d.report(second.Line, "keep one document, without ---", "the file has more than one document")
	} else if err.Error() != "EOF" {
		line, message := yamlFault(err)
		d.report(line, "look for a bracket, a quote or an indentation that is amiss, there or above", "this is not YAML: %s", message)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil
	}
	return doc.Content[0]
}

// yamlFault takes "yaml: line 3: words" apart.
func yamlFault(err error) (int, string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, words, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return line, words
			}
		}
	}
	return 1, text
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	refType      = reflect.TypeFor[secret.Ref]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// nodeDecoder is a value that has more than one form in files.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, path string)
}

// value decodes one node into v, which can be set.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	for hops := 0; n.Kind == yaml.AliasNode && n.Alias != nil && hops < 10; hops++ {
		n = n.Alias
	}
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.report(n.Line, "", "the file has more than %d values", maxNodes)
		}
		return
	}
	if path != "" {
		d.lines[path] = n.Line
		if n.Kind == yaml.ScalarNode && n.Style&yaml.LiteralStyle != 0 {
			d.blocks[path] = n.Line + 1
		}
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a key without a value keeps its default
	}
	if own, ok := v.Addr().Interface().(nodeDecoder); ok {
		own.decodeNode(d, n, path)
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case v.Type() == durationType, v.Addr().Type().Implements(textType):
		d.scalar(n, v, path)
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case v.Kind() == reflect.Map:
		d.table(n, v, path)
	case v.Kind() == reflect.Slice:
		d.list(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n.Line, "", "%s must be a group of keys", called(path))
		return
	}
	fields := map[string]field{}
	collect(v, fields)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		f, known := fields[name]
		switch first, twice := seen[name]; {
		case twice:
			d.report(key.Line, "", "%s stands here twice, first on line %d", called(join(path, name)), first)
		case !known:
			d.unknown(key, path, fields)
		case f.later:
			d.report(key.Line, "take the key out", "%s is not supported by this version", called(join(path, name)))
		default:
			d.value(value, f.value, join(path, name))
		}
		seen[name] = key.Line
	}
}

func (d *decoder) unknown(key *yaml.Node, path string, fields map[string]field) {
	known := make([]string, 0, len(fields))
	for name := range fields {
		known = append(known, name)
	}
	slices.Sort(known)
	hint := "known keys: " + strings.Join(known, ", ")
	if near := nearest(key.Value, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	d.report(key.Line, hint, "unknown key %q%s", clip(key.Value), where)
}

// field is a place for one key.
type field struct {
	value reflect.Value
	later bool
}

func collect(v reflect.Value, into map[string]field) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			collect(v.Field(i), into)
		case name != "" && name != "-":
			into[name] = field{value: v.Field(i), later: f.Tag.Get("later") == "true"}
		}
	}
}

func (d *decoder) table(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n.Line, "", "%s must be a group of keys", called(path))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			d.report(key.Line, "", "a key of %s must be a word", called(path))
			continue
		}
		name := reflect.ValueOf(key.Value)
		if v.MapIndex(name).IsValid() {
			d.report(key.Line, "", "%s stands here twice", called(join(path, key.Value)))
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], element, join(path, key.Value))
		v.SetMapIndex(name, element)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.report(n.Line, "begin each entry with a dash", "%s must be a list", called(path))
		return
	}
	for i, item := range n.Content {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(item, element, fmt.Sprintf("%s[%d]", path, i))
		v.Set(reflect.Append(v, element))
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.report(n.Line, "", "%s must be a single value", called(path))
		return
	}
	text := n.Value
	if v.Type() != refType { // a secret is only ever a reference
		var err error
		if text, err = expand(text, d.env); err != nil {
			message, hint := sentence(err)
			d.report(n.Line, hint, "%s: %s", called(path), message)
			return
		}
	}
	if err := setScalar(v, text, n.Tag); err != nil {
		message, hint := sentence(err)
		d.report(n.Line, hint, "%s: %s", called(path), message)
	}
}

func setScalar(v reflect.Value, text, tag string) error {
	if v.Type() == durationType {
		duration, err := ferry.ParseDuration(text)
		v.SetInt(int64(duration))
		return err
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil || tag == "!!int" {
			return ferry.Errorf(ferry.CodeBadConfig, "%q is neither true nor false", clip(text)).WithHint("write true or false")
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return ferry.Errorf(ferry.CodeBadConfig, "%q is not a whole number", clip(text)).WithHint("write digits only, such as 100")
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return ferry.Errorf(ferry.CodeBadConfig, "%q is not a number", clip(text)).WithHint("write a number such as 0.5")
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("a value of the kind %s cannot be configured", v.Kind())
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return clip(name)
	}
	return path + "." + clip(name)
}

func called(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
