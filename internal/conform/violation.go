package conform

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// report gathers violations from a tree of errors.
type report struct {
	words *Words
	list  []Violation
}

func (r *report) full() bool { return len(r.list) >= MaxViolations }

func (r *report) say(at []string, format string, args ...any) {
	if r.full() {
		return
	}
	v := Violation{Pointer: pointer(at), Text: cut(fmt.Sprintf(format, args...), 400)}
	if !slices.Contains(r.list, v) { // parts of an allOf say the same
		r.list = append(r.list, v)
	}
}

func pointer(at []string) string {
	var b strings.Builder
	for _, part := range at {
		b.WriteString("/" + escape(part))
	}
	return cut(b.String(), 500)
}

// escape writes a name for a JSON pointer (RFC 6901).
func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// add walks to the leaves of a tree, which say what is wrong.
func (r *report) add(e *jsonschema.ValidationError) {
	if r.full() {
		return
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AnyOf:
		r.alternatives(e)
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			r.say(e.InstanceLocation, "fits more than one of the forms of which it may have one")
			return
		}
		r.alternatives(e)
	case *kind.Contains, *kind.MinContains, *kind.PropertyNames, *kind.ContentSchema:
		r.leaf(e)
	default:
		if len(e.Causes) == 0 {
			r.leaf(e)
			return
		}
		causes := slices.Clone(e.Causes)
		slices.SortStableFunc(causes, func(a, b *jsonschema.ValidationError) int {
			return slices.Compare(a.InstanceLocation, b.InstanceLocation)
		})
		for _, cause := range causes {
			r.add(cause)
		}
	}
}

// alternatives says what keeps a value from the alternative that it comes closest
// to: those of another type are out of the question where one is of its type, and
// of the rest the one with the fewest violations is meant.
func (r *report) alternatives(e *jsonschema.ValidationError) {
	var best []Violation
	var types []string
	candidates := 0
	for _, cause := range e.Causes {
		own := report{words: r.words}
		own.add(cause)
		if wanted := typeWanted(cause, e.InstanceLocation); wanted != nil {
			types = append(types, wanted...)
			continue
		}
		if candidates++; best == nil || len(own.list) < len(best) {
			best = own.list
		}
	}
	switch {
	case candidates == 0 && len(types) > 0:
		slices.Sort(types)
		r.say(e.InstanceLocation, "must be %s", alternative(slices.Compact(types)))
	case candidates > 1:
		r.say(e.InstanceLocation, "fits none of the %d forms that it may have; of the nearest one:", candidates)
		fallthrough
	default:
		for _, v := range best {
			if !r.full() && !slices.Contains(r.list, v) {
				r.list = append(r.list, v)
			}
		}
	}
}

// typeWanted gives the types that a value should have had, when it is the type of
// the very value that is wrong.
func typeWanted(e *jsonschema.ValidationError, at []string) []string {
	for len(e.Causes) == 1 {
		e = e.Causes[0]
	}
	if k, ok := e.ErrorKind.(*kind.Type); ok && len(e.Causes) == 0 && slices.Equal(e.InstanceLocation, at) {
		return k.Want
	}
	return nil
}

// leaf says in words what one keyword wants. It never repeats the value.
func (r *report) leaf(e *jsonschema.ValidationError) {
	at := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			r.say(append(slices.Clone(at), name), "is missing")
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			r.say(append(slices.Clone(at), name), "is missing, and %s asks for it", cut(k.Prop, 100))
		}
	case *kind.AdditionalProperties:
		slices.Sort(k.Properties)
		for _, name := range k.Properties {
			r.say(append(slices.Clone(at), name), "%s", r.words.Unknown)
		}
	case *kind.FalseSchema:
		r.say(at, "may not stand here")
	case *kind.Type:
		r.say(at, "must be %s, not %s", alternative(k.Want), article(k.Got))
	case *kind.Enum:
		r.say(at, "must be one of %s", Values(k.Want))
	case *kind.Const:
		r.say(at, "must be %s", Values([]any{k.Want}))
	case *kind.Format:
		if k.Want == KeyReadOnly {
			r.say(at, "%s", r.words.ReadOnly)
			return
		}
		r.say(at, "is no %s", k.Want)
	case *kind.Pattern:
		r.say(at, "does not match %s", cut(k.Want, 200))
	case *kind.MinLength:
		r.say(at, "has %d characters, at least %d are wanted", k.Got, k.Want)
	case *kind.MaxLength:
		r.say(at, "has %d characters, at most %d are allowed", k.Got, k.Want)
	case *kind.MinItems:
		r.say(at, "has %d items, at least %d are wanted", k.Got, k.Want)
	case *kind.MaxItems:
		r.say(at, "has %d items, at most %d are allowed", k.Got, k.Want)
	case *kind.MinProperties:
		r.say(at, "has %d members, at least %d are wanted", k.Got, k.Want)
	case *kind.MaxProperties:
		r.say(at, "has %d members, at most %d are allowed", k.Got, k.Want)
	case *kind.UniqueItems:
		r.say(at, "has the same item twice, at %d and %d", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains, *kind.MinContains:
		r.say(at, "lacks an item of the form that it must have")
	case *kind.PropertyNames:
		r.say(append(slices.Clone(at), k.Property), "may not have this name")
	default:
		r.number(e)
	}
}

func (r *report) number(e *jsonschema.ValidationError) {
	at := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.Minimum:
		r.say(at, "must be at least %s", decimal(k.Want))
	case *kind.Maximum:
		r.say(at, "must be at most %s", decimal(k.Want))
	case *kind.ExclusiveMinimum:
		r.say(at, "must be more than %s", decimal(k.Want))
	case *kind.ExclusiveMaximum:
		r.say(at, "must be less than %s", decimal(k.Want))
	case *kind.MultipleOf:
		r.say(at, "must be a multiple of %s", decimal(k.Want))
	case *kind.Not:
		r.say(at, "has a form that it may not have")
	case *kind.MaxContains:
		r.say(at, "has too many items of one form, at most %d are allowed", k.Want)
	default:
		var keyword string
		if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
			keyword = path[len(path)-1]
		}
		r.say(at, "does not keep to %s of the schema", keyword)
	}
}

// decimal writes a bound as people do.
func decimal(r *big.Rat) string {
	text := r.FloatString(20)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}

// maxChoices is how many values of an enumeration are told.
const maxChoices = 20

// Values tells some of an enumeration.
func Values(list []any) string {
	var out []string
	for _, v := range list[:min(len(list), maxChoices)] {
		out = append(out, cut(oneLine(fmt.Sprint(orNull(v))), 60))
	}
	if len(list) > maxChoices {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

func orNull(v any) any {
	if v == nil {
		return "null"
	}
	return v
}

func article(kind string) string {
	switch kind {
	case "array", "object", "integer":
		return "an " + kind
	case "null":
		return kind
	}
	return "a " + kind
}

func alternative(kinds []string) string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = article(k)
	}
	return strings.Join(out, " or ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cut shortens text to at most n bytes.
func cut(s string, n int) string {
	const more = "…"
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(more)], "") + more
}
