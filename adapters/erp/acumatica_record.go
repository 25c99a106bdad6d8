package erp

import (
	"strconv"

	"ferry"
	"ferry/adapters/httpcall"
)

// wrapped gives values the form that the contract-based API wants, {"value": x},
// within lines as well. What has it already, and what stands beside the fields of
// a record, stays as it is.
func wrapped(record map[string]any) map[string]any {
	out := make(map[string]any, len(record))
	for name, v := range record {
		switch name {
		case "id", "rowNumber", "delete", "custom", "files", "_links":
			out[name] = v
		default:
			out[name] = wrappedValue(v)
		}
	}
	return out
}

func wrappedValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["value"]; ok || len(v) == 0 {
			return v
		}
		return wrapped(v)
	case []any:
		lines := make([]any, len(v))
		for i, line := range v {
			if object, ok := line.(map[string]any); ok {
				line = wrapped(object)
			}
			lines[i] = line
		}
		return lines
	}
	return map[string]any{"value": v}
}

// recordErrors finds the errors that stand beside the values of a record:
// {"VendorRef": {"value": "x", "error": "…"}}, in its lines as well.
func recordErrors(fields []ferry.FieldError, place string, v any, depth int) []ferry.FieldError {
	const deepest = 6
	if depth > deepest || len(fields) >= ferry.MaxAttemptFields {
		return fields
	}
	switch v := v.(type) {
	case map[string]any:
		if text, ok := v["error"].(string); ok && text != "" && place != "" {
			fields = append(fields, ferry.FieldError{Field: place, Text: httpcall.Words(text)})
		}
		for _, name := range sortedKeys(v) {
			if name == "error" || name == "innerException" {
				continue
			}
			below := name
			if place != "" {
				below = place + "." + name
			}
			fields = recordErrors(fields, below, v[name], depth+1)
		}
	case []any:
		for i, item := range v {
			fields = recordErrors(fields, place+"["+strconv.Itoa(i)+"]", item, depth+1)
		}
	}
	return fields
}
