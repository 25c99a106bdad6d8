package shape

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"ferry"
)

// Bundle makes one document of the JSON Schema in a file and of the files that it
// refers to, each relative to the one that refers: what another file holds stands
// under $defs, and every $ref begins with #. A schema of one file is given as it
// is written. The order of members is kept. read gives a file; it is asked for
// names below the folder of file and beside it only as the schema says them.
// Nothing is fetched from a network.
func Bundle(file string, read func(name string) ([]byte, error)) (json.RawMessage, error) {
	b := &bundle{read: read, parts: map[string]*part{}}
	root, err := b.load(filepath.ToSlash(file))
	if err != nil {
		return nil, err
	}
	if err := b.follow(root); err != nil {
		return nil, err
	}
	if len(b.order) == 1 {
		return root.data, nil
	}
	return b.join()
}

// part is one file of a schema.
type part struct {
	file string // with slashes
	data []byte
	tree *node
	at   string // JSON pointer of where it stands in the bundle, from #
	refs []ref
	// what of it can be referred to otherwise than by a pointer
	anchors map[string]string // name -> pointer within the file
	ids     int               // $id below the root
	dynamic bool
}

// ref is one $ref.
type ref struct {
	node *node
	to   *part
	rest string // the fragment, without #
}

type bundle struct {
	read  func(string) ([]byte, error)
	parts map[string]*part
	order []*part
	size  int
}

func (b *bundle) load(file string) (*part, error) {
	if p := b.parts[file]; p != nil {
		return p, nil
	}
	if len(b.order) == MaxSchemaFiles {
		return nil, bad("the schema refers to more than %d files", MaxSchemaFiles)
	}
	data, err := b.read(filepath.FromSlash(file))
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	if b.size += len(data); b.size > MaxSchema {
		return nil, bad("the schema is larger than %d bytes", MaxSchema).WithHint("with all files that it refers to")
	}
	tree, err := parseTree(data)
	if err != nil {
		return nil, bad("%s is not JSON: %s", file, reason(err)).WithHint("a JSON Schema is a file of JSON, each name once in an object")
	}
	if tree.kind != '{' && tree.raw != "true" && tree.raw != "false" {
		return nil, bad("%s is no JSON Schema: it is neither an object nor true or false", file)
	}
	p := &part{file: file, data: data, tree: tree, anchors: map[string]string{}}
	b.parts[file] = p
	b.order = append(b.order, p)
	return p, nil
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

// follow loads what a file refers to, and what that refers to.
func (b *bundle) follow(p *part) error {
	p.walk(p.tree, "", true)
	for i := range p.refs {
		r := &p.refs[i]
		target, fragment, _ := strings.Cut(r.node.text, "#")
		r.to, r.rest = p, fragment
		if target == "" {
			continue
		}
		name, err := b.locate(p, target)
		if err != nil {
			return err
		}
		if name == "" {
			continue // its own id, or that of a specification
		}
		if known := b.parts[name]; known != nil {
			r.to = known
			continue
		}
		if r.to, err = b.load(name); err != nil {
			return err
		}
		if err := b.follow(r.to); err != nil {
			return err
		}
	}
	return nil
}

// locate gives the file that a $ref names.
func (b *bundle) locate(p *part, target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", bad("%s: $ref %s is no reference", p.file, strconv.Quote(clip(target)))
	}
	if p.ids > 0 {
		return "", nil // what it names may lie in the file itself: the compiler tells
	}
	if id := p.tree.get("$id"); id != nil && id.text == target {
		return "", nil
	}
	if u.IsAbs() {
		if u.Host == "json-schema.org" {
			return "", nil
		}
		for _, other := range b.order {
			if id := other.tree.get("$id"); id != nil && strings.TrimSuffix(id.text, "#") == target {
				return other.file, nil
			}
		}
		return "", bad("%s: $ref %s is not in a file", p.file, strconv.Quote(clip(target))).
			WithHint("nothing is fetched: put the schema beside this one and refer to it by its file's name")
	}
	if u.Host != "" || path.IsAbs(u.Path) || strings.Contains(u.Path, ":") {
		return "", bad("%s: $ref %s is not relative to the file", p.file, strconv.Quote(clip(target)))
	}
	return path.Join(path.Dir(p.file), u.Path), nil
}

// walk finds what matters for joining in a schema, or in a group of schemas.
func (p *part) walk(n *node, at string, schema bool) {
	for i, item := range n.items {
		p.walk(item, at+"/"+strconv.Itoa(i), true)
	}
	for _, m := range n.members {
		here := at + "/" + escape(m.name)
		if !schema {
			p.walk(m.value, here, true)
			continue
		}
		switch m.name {
		case "$ref":
			if m.value.kind == '"' {
				p.refs = append(p.refs, ref{node: m.value})
			}
		case "$anchor":
			p.anchors[m.value.text] = at
		case "$id", "id":
			if at != "" && m.value.kind == '"' {
				p.ids++
			}
		case "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor":
			p.dynamic = true
		case "enum", "const", "default", "examples", "example":
			// values, whatever they look like
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies":
			p.walk(m.value, here, false)
		default:
			p.walk(m.value, here, true)
		}
	}
}

// join puts the files under the $defs of the first.
func (b *bundle) join() (json.RawMessage, error) {
	root := b.order[0]
	if root.tree.kind != '{' {
		return root.data, nil
	}
	defs := root.tree.get("$defs")
	if defs == nil || defs.kind != '{' {
		defs = &node{kind: '{'}
		root.tree.set("$defs", defs)
	}
	for _, p := range b.order {
		if p.ids > 0 || p.dynamic {
			return nil, bad("%s has $id below its root, or $dynamicRef: such a schema cannot be joined with other files", p.file).
				WithHint("write it in one file, or refer by $ref alone")
		}
		if own, first := p.tree.get("$schema"), root.tree.get("$schema"); p != root && own != nil && (first == nil || own.text != first.text) {
			return nil, bad("%s and %s have different $schema", root.file, p.file).WithHint("write both to one draft")
		}
		if p == root {
			continue
		}
		name := strings.TrimSuffix(path.Base(p.file), ".json")
		for i := 2; defs.get(name) != nil; i++ {
			name = strings.TrimSuffix(path.Base(p.file), ".json") + "-" + strconv.Itoa(i)
		}
		p.at = "/$defs/" + escape(name)
		defs.set(name, p.tree)
	}
	for _, p := range b.order {
		for _, r := range p.refs {
			if u, err := url.Parse(r.node.text); err == nil && u.Host == "json-schema.org" {
				continue
			}
			if err := r.point(p); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range b.order[1:] {
		p.tree.drop("$id", "$schema", "$anchor")
	}
	joined := root.tree.append(nil)
	if len(joined) > MaxSchema {
		return nil, bad("the schema is larger than %d bytes", MaxSchema).WithHint("with all files that it refers to")
	}
	return joined, nil
}

// point makes the reference one within the bundle.
func (r *ref) point(from *part) error {
	fragment, err := url.PathUnescape(r.rest)
	if err != nil {
		return bad("%s: $ref %s is no reference", from.file, strconv.Quote(clip(r.node.text)))
	}
	if fragment != "" && fragment[0] != '/' {
		place, ok := r.to.anchors[fragment]
		if !ok {
			return bad("%s: $ref %s names an anchor that %s does not have", from.file, strconv.Quote(clip(r.node.text)), r.to.file)
		}
		fragment = place
	}
	r.node.text = "#" + (&url.URL{Fragment: r.to.at + fragment}).EscapedFragment()
	return nil
}

// drop takes members out of an object.
func (n *node) drop(names ...string) {
	kept := n.members[:0]
	for _, m := range n.members {
		keep := true
		for _, name := range names {
			keep = keep && m.name != name
		}
		if keep {
			kept = append(kept, m)
		}
	}
	n.members = kept
}

// escape writes a name for a JSON pointer (RFC 6901).
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
