package mapping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/itchyny/gojq"
)

// function is one that programs get beyond jq.
type function struct {
	name        string
	least, most int // arguments
	call        func(in any, args []any) (any, error)
}

// shape is a function that gives null for null: what is optional in a message
// stays so in the document.
func shape(name string, args int, f func(in any, args []any) (any, error)) function {
	return function{name: name, least: args, most: args, call: func(in any, args []any) (any, error) {
		if in == nil {
			return nil, nil
		}
		return f(in, args)
	}}
}

func allFunctions() []function {
	return slices.Concat(decimalFunctions(), dateFunctions(), keyFunctions())
}

// Functions lists the names of the functions that programs get beyond jq.
func Functions() []string {
	var names []string
	for _, f := range allFunctions() {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// options makes them known to the compiler. An error names the function.
func options() []gojq.CompilerOption {
	var out []gojq.CompilerOption
	add := func(f function, place string) {
		out = append(out, gojq.WithFunction(f.name, f.least, f.most, func(in any, args []any) any {
			value, err := f.call(in, args)
			if err != nil {
				return fmt.Errorf("%s%w", place, err)
			}
			return value
		}))
	}
	for _, f := range allFunctions() {
		add(f, f.name+": ")
	}
	for _, f := range guards() {
		add(f, "")
	}
	return out
}

// wholeNumber reads an argument that is one, between least and most.
func wholeNumber(v any, least, most int) (int, error) {
	text := ""
	switch v := v.(type) {
	case json.Number:
		text = string(v)
	case int:
		text = strconv.Itoa(v)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s is no whole number from %d to %d", shown(v), least, most)
	}
	return n, nil
}

// shown is a value as errors quote it: short.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %q", clip(v))
	case json.Number:
		return "the number " + clip(string(v))
	case int:
		return "the number " + strconv.Itoa(v)
	default:
		return kindOf(v)
	}
}
