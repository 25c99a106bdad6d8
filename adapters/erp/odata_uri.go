package erp

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"ferry"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// odataLiteral writes a value of a key as OData writes it in an address, before
// the address is escaped: text between apostrophes, those within it doubled;
// numbers and booleans as they are.
func odataLiteral(v any) string {
	if s, ok := v.(string); ok {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return textOf(v)
}

// odataFilter writes the condition that all of pairs hold, and where, which is
// a condition in the destination's own words; "" : none. It is not escaped.
func odataFilter(pairs []pair, where string, literal func(pair) string) string {
	conditions := make([]string, 0, len(pairs)+1)
	for _, p := range pairs {
		conditions = append(conditions, p.field+" eq "+literal(p))
	}
	if where != "" {
		conditions = append(conditions, "("+where+")")
	}
	return strings.Join(conditions, " and ")
}

// odataKey writes the part of a path that names one document by pairs, escaped:
// (a='1',b=2).
func odataKey(pairs []pair, literal func(pair) string) string {
	values := make([]string, len(pairs))
	for i, p := range pairs {
		values[i] = p.field + "=" + url.PathEscape(literal(p))
	}
	return "(" + strings.Join(values, ",") + ")"
}

// odataQuery writes query options, names and values in turn, escaped: a space is
// %20, since OData services read a plus as a plus and answer 400. Options whose
// value is empty are left out.
func odataQuery(namesAndValues ...string) string {
	var options []string
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		if value := namesAndValues[i+1]; value != "" {
			options = append(options, namesAndValues[i]+"="+escapeQuery(value))
		}
	}
	return strings.Join(options, "&")
}

// odataDocument is the document in an answer, V2's {"d": …} taken off.
func odataDocument(value any) any {
	if object, ok := value.(map[string]any); ok && len(object) == 1 && object["d"] != nil {
		return object["d"]
	}
	return value
}

// odataETag is the ETag that a document bears in itself; "" for none.
func odataETag(document any) string {
	object, _ := document.(map[string]any)
	if tag, ok := object["@odata.etag"].(string); ok {
		return tag
	}
	metadata, _ := object["__metadata"].(map[string]any)
	tag, _ := metadata["etag"].(string)
	return tag
}

// odataProblem reads an error of OData V2 or V4. What an inner error says beside
// the words around it is joined to them: those are often "An error has occurred."
func odataProblem(a *httpcall.Answer) httpcall.Problem {
	p := httpcall.DecodeProblem(a.Body)
	value, err := mapping.Decode(a.Body)
	if err != nil {
		return p
	}
	for _, inner := range innerErrors(value) {
		if inner != "" && !strings.Contains(p.Text, inner) {
			p.Text = sentences(p.Text, httpcall.MaskText(inner))
		}
	}
	p.Text = cut(p.Text, ferry.MaxAttemptText)
	return p
}

// innerErrors are the words of error.innererror, and of those within it.
func innerErrors(value any) []string {
	object, _ := value.(map[string]any)
	for _, name := range []string{"error", "odata.error"} {
		if e, ok := object[name].(map[string]any); ok {
			object = e
		}
	}
	var texts []string
	for range 4 { // as deep as services nest them
		inner, ok := object["innererror"].(map[string]any)
		if !ok {
			inner, ok = object["internalexception"].(map[string]any)
		}
		if !ok {
			break
		}
		switch message := inner["message"].(type) {
		case string:
			texts = append(texts, strings.TrimSpace(message))
		case json.Number:
			texts = append(texts, message.String())
		}
		object = inner
	}
	return texts
}

// odataFound gives the document of pairs among those of an answer to a query; nil
// where the answer holds none. One that bears another key says that the condition
// was not honoured: that proves nothing. Destinations compare keys without regard
// to case and to spaces around them.
func odataFound(r *route, value any, pairs []pair) (any, error) {
	answer, _ := value.(map[string]any)
	items, ok := answer["value"].([]any)
	if !ok {
		return nil, errors.New("it is no list of documents")
	}
	var found []any
	for _, item := range items {
		if hasKey(item, pairs) {
			found = append(found, item)
		}
	}
	switch {
	case len(found) > 1:
		names := make([]string, len(found))
		for i, document := range found {
			names[i] = r.referenceOf(context.Background(), document)
		}
		return found[0], &severalError{strings.Join(names, ", ")}
	case len(found) == 1:
		return found[0], nil
	case len(items) > 0:
		return nil, errors.New("it holds a document of another key than was asked for")
	}
	return nil, nil
}

// hasKey says whether no field of the document contradicts pairs.
func hasKey(document any, pairs []pair) bool {
	fields, ok := document.(map[string]any)
	for _, p := range pairs {
		has, isText := fields[p.field].(string)
		want, wantText := p.value.(string)
		if isText && wantText && !strings.EqualFold(strings.TrimSpace(has), strings.TrimSpace(want)) {
			return false
		}
	}
	return ok
}

// isGUID says whether s is written as a GUID, with dashes.
func isGUID(s string) bool { return guidForm.MatchString(s) }

var guidForm = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
