package mapping

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strconv"

	"github.com/itchyny/gojq"
)

// A program is stopped between two of its steps, and a step of the library can ask
// for gigabytes: "0" * .width, .[.position] = 1, or tojson of a value that shares its
// parts. The guards look at what a step would make before it is made, or right
// after where it cannot more than double what there is.

// maxItems bounds arrays that steps make: so many lie in MaxInput bytes, and twice
// that.
const maxItems = 2 * MaxInput

// maxIndex bounds positions in arrays, which are filled up to them.
const maxIndex = MaxInput / 2

// guard puts guards around the steps of a parsed program. What the program defines
// itself is left alone, whatever its name.
func guard(query *gojq.Query) {
	g := guarding{own: map[string]bool{}}
	walk(reflect.ValueOf(query), func(node any) {
		if def, ok := node.(*gojq.FuncDef); ok {
			g.own[def.Name] = true
			for _, parameter := range def.Args {
				g.own[parameter] = true
			}
		}
	})
	walk(reflect.ValueOf(query), g.visit)
}

// guarding is what is known of the program.
type guarding struct{ own map[string]bool }

func (g guarding) visit(node any) {
	switch node := node.(type) {
	case *gojq.Query:
		guardQuery(node)
	case *gojq.Term:
		if node.Func == nil || !g.own[node.Func.Name] {
			guardTerm(node)
		}
	case *gojq.Index:
		if node.Start != nil && !node.IsSlice && !isSmallConstant(node.Start) {
			node.Start = pipe(node.Start, call("_index"))
		}
	case *gojq.String:
		for i, q := range node.Queries {
			if q.Term == nil || q.Term.Str == nil {
				node.Queries[i] = &gojq.Query{Term: inParentheses(pipe(q, call("_printable")))}
			}
		}
	}
}

// walk visits what is below v, then v itself.
func walk(v reflect.Value, visit func(node any)) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		walk(v.Elem(), visit)
		visit(v.Interface())
	case reflect.Struct:
		for i := range v.NumField() {
			walk(v.Field(i), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), visit)
		}
	}
}

func guardQuery(q *gojq.Query) {
	const other = "$_other"
	switch q.Op {
	case gojq.OpMul:
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: call("_times", q.Left, q.Right).Term}
	case gojq.OpAdd:
		if q.Left != nil {
			sum := gojq.Query{Left: q.Left, Op: gojq.OpAdd, Right: q.Right}
			*q = gojq.Query{FuncDefs: q.FuncDefs, Term: inParentheses(pipe(&sum, call("_sized")))}
		}
	case gojq.OpUpdateMul, gojq.OpUpdateAdd:
		made := call("_times", identity(), variable(other))
		if q.Op == gojq.OpUpdateAdd {
			made = pipe(&gojq.Query{Left: identity(), Op: gojq.OpAdd, Right: variable(other)}, call("_sized"))
		}
		*q = gojq.Query{
			FuncDefs: q.FuncDefs, Left: q.Right, Op: gojq.OpPipe, Patterns: []*gojq.Pattern{{Name: other}},
			Right: &gojq.Query{Left: q.Left, Op: gojq.OpModify, Right: made},
		}
	}
}

func guardTerm(t *gojq.Term) {
	const separator = "$_separator"
	step := *t
	step.SuffixList = nil
	before := ""
	switch f := t.Func; {
	case t.Type == gojq.TermTypeFormat && t.Str == nil:
		before = "_printable"
	case t.Type != gojq.TermTypeFunc:
	case len(f.Args) == 0:
		before = map[string]string{"tojson": "_printable", "tostring": "_printable", "transpose": "_rows", "add": "_summands"}[f.Name]
	case f.Name == "add" && len(f.Args) == 1:
		all := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeArray, Array: &gojq.Array{Query: f.Args[0]}}}
		sum := pipe(all, pipe(call("_summands"), call("add")))
		*t = gojq.Term{Type: gojq.TermTypeQuery, Query: sum, SuffixList: t.SuffixList}
		return
	case f.Name == "join" && len(f.Args) == 1:
		joined := pipe(call("_joined", variable(separator)), call("join", variable(separator)))
		bound := &gojq.Query{Left: f.Args[0], Op: gojq.OpPipe, Patterns: []*gojq.Pattern{{Name: separator}}, Right: joined}
		*t = gojq.Term{Type: gojq.TermTypeQuery, Query: bound, SuffixList: t.SuffixList}
		return
	case f.Name == "setpath" && len(f.Args) == 2, f.Name == "getpath" && len(f.Args) == 1:
		f.Args[0] = pipe(f.Args[0], call("_path"))
		return
	}
	if before != "" {
		*t = gojq.Term{
			Type: gojq.TermTypeQuery, Query: pipe(call(before), &gojq.Query{Term: &step}), SuffixList: t.SuffixList,
		}
	}
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func variable(name string) *gojq.Query { return call(name) }

func identity() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }

func pipe(a, b *gojq.Query) *gojq.Query { return &gojq.Query{Left: a, Op: gojq.OpPipe, Right: b} }

func inParentheses(q *gojq.Query) *gojq.Term { return &gojq.Term{Type: gojq.TermTypeQuery, Query: q} }

// isSmallConstant says whether a position needs no guard.
func isSmallConstant(q *gojq.Query) bool {
	if q.Term == nil || len(q.Term.SuffixList) > 0 {
		return false
	}
	switch q.Term.Type {
	case gojq.TermTypeString:
		return q.Term.Str.Queries == nil
	case gojq.TermTypeNumber:
		n, err := strconv.ParseFloat(q.Term.Number, 64)
		return err == nil && n <= maxIndex
	case gojq.TermTypeUnary:
		return q.Term.Unary.Term.Type == gojq.TermTypeNumber && q.Term.Unary.Op == gojq.OpSub
	}
	return false
}

// guards are the functions that guard puts into programs. Each gives its input, or
// an error.
func guards() []function {
	same := func(name string, check func(any, []any) error, args int) function {
		return function{name: name, least: args, most: args, call: func(in any, args []any) (any, error) {
			return in, check(in, args)
		}}
	}
	times := &multiplication{}
	return []function{
		same("_index", func(in any, _ []any) error { return checkIndex(in) }, 0),
		same("_path", func(in any, _ []any) error {
			path, _ := in.([]any)
			for _, step := range path {
				if err := checkIndex(step); err != nil {
					return err
				}
			}
			return nil
		}, 0),
		same("_sized", func(in any, _ []any) error {
			switch v := in.(type) {
			case string:
				return checkSize(len(v))
			case []any:
				if len(v) > maxItems {
					return fmt.Errorf("the program makes an array of more than %d items", maxItems)
				}
			}
			return nil
		}, 0),
		same("_rows", func(in any, _ []any) error { return checkRows(in) }, 0),
		same("_summands", func(in any, _ []any) error { return checkJoined(in, 0) }, 0),
		same("_joined", func(in any, args []any) error {
			separator, _ := args[0].(string)
			return checkJoined(in, len(separator))
		}, 1),
		same("_printable", func(in any, _ []any) error {
			switch in.(type) {
			case []any, map[string]any:
				left := MaxOutput
				return printable(in, &left, 0)
			}
			return nil
		}, 0),
		{name: "_times", least: 2, most: 2, call: func(_ any, args []any) (any, error) { return times.of(args[0], args[1]) }},
	}
}

func checkSize(n int) error {
	if n > MaxOutput {
		return fmt.Errorf("the program makes a text of more than %d bytes", MaxOutput)
	}
	return nil
}

func checkIndex(v any) error {
	switch v.(type) {
	case int, float64, *big.Int, json.Number:
		if n, ok := gojq.ToFloat64(v); !ok || n > maxIndex {
			return fmt.Errorf("the position %s in an array is beyond %d", shown(v), maxIndex)
		}
	}
	return nil
}

func checkRows(in any) error {
	rows, _ := in.([]any)
	widest := 0
	for _, row := range rows {
		items, _ := row.([]any)
		widest = max(widest, len(items))
	}
	if widest > 0 && len(rows) > maxItems/widest {
		return fmt.Errorf("transpose makes a table of %d times %d", widest, len(rows))
	}
	return nil
}

// checkJoined bounds the texts of an array, put together, or of an object.
func checkJoined(in any, separator int) error {
	total := 0
	take := func(item any) error {
		switch v := item.(type) {
		case string:
			total += len(v)
		case []any:
			total += len(v)
		}
		total += separator
		return checkSize(total)
	}
	switch v := in.(type) {
	case []any:
		for _, item := range v {
			if err := take(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := take(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// printable takes from left what the JSON of v has at the least, without making it.
func printable(v any, left *int, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the program makes a value nested deeper than %d", maxDepth)
	}
	*left -= 8 // so that it ends soon, too
	switch v := v.(type) {
	case string:
		*left -= len(v)
	case json.Number:
		*left -= len(v)
	case []any:
		for _, item := range v {
			if err := printable(item, left, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, item := range v {
			*left -= len(name) + 3
			if err := printable(item, left, depth+1); err != nil {
				return err
			}
		}
	}
	if *left < 0 {
		return checkSize(MaxOutput + 1)
	}
	return nil
}
