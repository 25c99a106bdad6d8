package apispec

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what a file may hold, so that a small one cannot make a large value.
const (
	maxDepth = 100       // of nesting: reading takes time with it
	maxNodes = 1_000_000 // values, aliases followed
)

// toJSON gives JSON as it is, and YAML as JSON: keys as text, and numbers as they
// were written.
func toJSON(data []byte) ([]byte, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return nil, bad("it is empty")
	case trimmed[0] == '{' && json.Valid(data):
		if DeeperThan(data, maxDepth) {
			return nil, bad("it is nested deeper than %d", maxDepth)
		}
		return data, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, bad("it is neither JSON nor YAML: %s", cut(oneLine(strings.TrimPrefix(err.Error(), "yaml: ")), 200))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, bad("it is no description: it does not begin with a group of keys")
	}
	versionsAreText(doc.Content[0])
	w := &writer{}
	if err := w.node(doc.Content[0], 0); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

// versionsAreText keeps version: 1.0 from being a number, which readers refuse.
func versionsAreText(root *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key, value := root.Content[i].Value, root.Content[i+1]; {
		case key == "info" && value.Kind == yaml.MappingNode:
			versionsAreText(value)
		case (key == "version" || key == "openapi" || key == "swagger") && value.Kind == yaml.ScalarNode:
			value.Tag = "!!str"
		}
	}
}

// DeeperThan says whether valid JSON is nested deeper than most.
func DeeperThan(data []byte, most int) bool {
	depth, text := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// writer writes YAML nodes as JSON.
type writer struct {
	out   bytes.Buffer
	nodes int
}

func (w *writer) node(n *yaml.Node, depth int) error {
	w.nodes++
	switch {
	case depth > maxDepth:
		return bad("line %d: it is nested deeper than %d", n.Line, maxDepth)
	case w.nodes > maxNodes:
		return bad("it has more than %d values, aliases counted as often as they are used", maxNodes)
	case w.out.Len() > 4*MaxBytes:
		return bad("it is too large once its aliases are followed")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.node(n.Alias, depth+1)
	case yaml.MappingNode:
		return w.mapping(n, depth)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.node(item, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
	default:
		w.scalar(n)
	}
	return nil
}

func (w *writer) mapping(n *yaml.Node, depth int) error {
	pairs, err := w.merged(n, 0)
	if err != nil {
		return err
	}
	w.out.WriteByte('{')
	for i, pair := range pairs {
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.text(pair[0].Value)
		w.out.WriteByte(':')
		if err := w.node(pair[1], depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

// merged lists the pairs of a mapping, those of << after its own.
func (w *writer) merged(n *yaml.Node, depth int) ([][2]*yaml.Node, error) {
	var own, inherited [][2]*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, bad("line %d: a key is not a word", key.Line)
		case key.Tag == "!!merge":
			more, err := w.inherit(value, depth)
			if err != nil {
				return nil, err
			}
			inherited = append(inherited, more...)
		case seen[key.Value]:
			return nil, bad("line %d: the key %q stands here twice", key.Line, cut(key.Value, 64))
		default:
			seen[key.Value] = true
			own = append(own, [2]*yaml.Node{key, value})
		}
	}
	for _, pair := range inherited {
		if !seen[pair[0].Value] {
			seen[pair[0].Value] = true
			own = append(own, pair)
		}
	}
	return own, nil
}

func (w *writer) inherit(value *yaml.Node, depth int) ([][2]*yaml.Node, error) {
	if w.nodes++; depth > maxDepth || w.nodes > maxNodes {
		return nil, bad("line %d: its merges lead too deep", value.Line)
	}
	switch value.Kind {
	case yaml.AliasNode:
		return w.inherit(value.Alias, depth+1)
	case yaml.MappingNode:
		return w.merged(value, depth+1)
	case yaml.SequenceNode:
		var all [][2]*yaml.Node
		for _, item := range value.Content {
			more, err := w.inherit(item, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return all, nil
	default:
		return nil, bad("line %d: what is merged is no group of keys", value.Line)
	}
}

// scalar writes a value by its tag. What YAML calls a date is text in JSON, and so
// is a number in a form that JSON does not have.
func (w *writer) scalar(n *yaml.Node) {
	switch n.ShortTag() {
	case "!!null":
		w.out.WriteString("null")
	case "!!bool":
		var b bool
		_ = n.Decode(&b)
		w.out.WriteString(strconv.FormatBool(b))
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			w.out.WriteString(n.Value)
			return
		}
		var number float64
		if err := n.Decode(&number); err == nil {
			if text, err := json.Marshal(number); err == nil { // not: infinity
				w.out.Write(text)
				return
			}
		}
		w.text(n.Value)
	default:
		w.text(n.Value)
	}
}

func (w *writer) text(s string) {
	text, _ := json.Marshal(s) // a string can always be written
	w.out.Write(text)
}
