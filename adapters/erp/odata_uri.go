package erp

import (
	"encoding/json"
	"net/url"
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

// odataItems are the documents of an answer: those of {"value": […]}, of V2's
// {"d": {"results": […]}}, or the one document that it is.
func odataItems(value any) []any {
	value = odataDocument(value)
	object, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	for _, name := range []string{"value", "results"} {
		if items, ok := object[name].([]any); ok {
			return items
		}
	}
	return []any{value}
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
