package erp

import (
	"encoding/json"
	"regexp"
	"strings"

	"ferry"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

var (
	frappeClass = regexp.MustCompile(`^(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)(?::\s*|$)`) // before the words of an exception
	// frappeMissing is what MandatoryError says: [DocType, name]: field, field.
	frappeMissing = regexp.MustCompile(`(?s)^\[.*?\]:\s*([\w ,]+)$`)
	// frappeNoLink is what LinkValidationError says, in English.
	frappeNoLink = regexp.MustCompile(`^Could not find (.+)$`)
)

// frappeProblem reads an error of Frappe: the class of the exception, what the
// application said to the user (_server_messages: JSON texts in a JSON list in a
// JSON text, with HTML in them), else the exception's words. Tracebacks (exc) are
// not read: they quote code and data. Version 2 of the API lists errors instead.
func frappeProblem(a *httpcall.Answer) httpcall.Problem {
	value, err := mapping.Decode(a.Body)
	object, ok := value.(map[string]any)
	if err != nil || !ok {
		return httpcall.DecodeProblem(a.Body) // such as the plain words of a 429, or a proxy's page
	}
	if list, ok := object["errors"].([]any); ok && len(list) > 0 {
		return frappeErrors(list)
	}
	var p httpcall.Problem
	p.Code, _ = object["exc_type"].(string)
	exception, _ := object["exception"].(string)
	class, words := frappeException(exception)
	if p.Code == "" {
		p.Code = class
	}
	said := frappeMessages(object["_server_messages"])
	if len(said) == 0 {
		for _, name := range []string{"_error_message", "message"} {
			if text, ok := object[name].(string); ok && text != "" {
				said = []string{httpcall.Words(text)}
				break
			}
		}
	}
	if len(said) == 0 && words != "" {
		said = []string{words}
	}
	p.Text = strings.Join(said, "; ")
	p.Fields = frappeFields(p.Code, append(said, words))
	return p.Bounded()
}

// frappeErrors reads the list of version 2: {type, message, exception, title}.
func frappeErrors(list []any) httpcall.Problem {
	var p httpcall.Problem
	var said []string
	for _, e := range list[:min(len(list), ferry.MaxAttemptFields)] {
		if code, ok := member(e, "type").(string); ok && p.Code == "" {
			p.Code = code
		}
		if text, ok := member(e, "message").(string); ok && text != "" {
			said = append(said, httpcall.Words(text))
		}
	}
	p.Text, p.Fields = strings.Join(said, "; "), frappeFields(p.Code, said)
	return p.Bounded()
}

// frappeException parts an exception's class from its words. Its last line alone
// stands there; more would be a traceback.
func frappeException(text string) (class, words string) {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	m := frappeClass.FindStringSubmatch(text)
	if m == nil {
		return "", httpcall.Words(text)
	}
	return m[1], httpcall.Words(text[len(m[0]):])
}

// frappeMessages are the words of _server_messages, each once.
func frappeMessages(v any) []string {
	text, _ := v.(string)
	var list []any
	if text == "" || json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	var said []string
	seen := map[string]bool{}
	for _, item := range list[:min(len(list), ferry.MaxAttemptFields)] {
		words, _ := item.(string)
		var message map[string]any
		switch {
		case json.Unmarshal([]byte(words), &message) == nil:
			words, _ = message["message"].(string)
		case words == "":
			words, _ = member(item, "message").(string)
		}
		if words = httpcall.Words(words); words != "" && !seen[words] {
			said, seen[words] = append(said, words), true
		}
	}
	return said
}

// frappeFields are the fields that an error names in a shape of its own.
func frappeFields(code string, said []string) []ferry.FieldError {
	var fields []ferry.FieldError
	for _, text := range said {
		switch code {
		case "MandatoryError":
			if m := frappeMissing.FindStringSubmatch(text); m != nil {
				for _, name := range strings.Split(m[1], ",") {
					fields = append(fields, ferry.FieldError{Field: strings.TrimSpace(name), Text: "a value is missing"})
				}
				return fields
			}
		case "LinkValidationError":
			if m := frappeNoLink.FindStringSubmatch(text); m != nil {
				for _, link := range strings.Split(m[1], ", ") {
					if i := strings.LastIndex(link, ": "); i > 0 {
						fields = append(fields, ferry.FieldError{Field: link[:i], Text: "there is no " + link[i+2:]})
					}
				}
				return fields
			}
		}
	}
	return fields
}
