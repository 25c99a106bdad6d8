package erp

import (
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// odataSet is an entity set, and what is known of its key: "Invoices",
// "Invoices(ID:guid)", "A_SupplierInvoice(SupplierInvoice,FiscalYear)".
type odataSet struct {
	path  string            // as it stands in addresses
	names []string          // of the key's fields; none: not known
	kinds map[string]string // types by name, where they are no text
}

// The types of a key's fields, whose literals are written without apostrophes, or
// with a word before them in V2. Numbers are numbers of JSON.
const (
	kindGUID           = "guid"
	kindDateTime       = "datetime"
	kindDateTimeOffset = "datetimeoffset"
	kindDate           = "date"
	kindNumber         = "number"
)

var (
	setName   = regexp.MustCompile(`^[\pL_][\pL\pN_.-]*(/[\pL_][\pL\pN_.-]*)*$`)
	fieldName = regexp.MustCompile(`^[\pL_][\pL\pN_]*$`)
)

func isSetName(s string) bool { return len(s) <= 256 && setName.MatchString(s) }

func parseSet(s string) (odataSet, error) {
	name, rest, hasKey := strings.Cut(s, "(")
	set := odataSet{kinds: map[string]string{}}
	if !isSetName(name) {
		return set, bad("entity: %q names no entity set", s).WithHint("such as A_SupplierInvoice, or Invoices(ID:guid) with the fields of its key")
	}
	set.path = (&url.URL{Path: name}).EscapedPath()
	if !hasKey {
		return set, nil
	}
	inner, closed := strings.CutSuffix(rest, ")")
	if !closed {
		return set, bad("entity: %q has a ( without its )", s)
	}
	for _, field := range strings.Split(inner, ",") {
		field, kind, _ := strings.Cut(strings.TrimSpace(field), ":")
		if !fieldName.MatchString(field) || slices.Contains(set.names, field) {
			return set, bad("entity: %q names no field of a key", field).WithHint("such as Invoices(ID:guid)")
		}
		switch kind {
		case "", "string":
		case kindGUID, kindDateTime, kindDateTimeOffset, kindDate, kindNumber:
			set.kinds[field] = kind
		default:
			return set, bad("entity: there is no type %q", kind).WithHint("string, which is the default, guid, date, datetime, datetimeoffset or number")
		}
		set.names = append(set.names, field)
	}
	return set, nil
}

// referenceOf is jq for the key of a document with those fields; "" for none.
func referenceOf(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return "." + names[0]
	}
	return "[." + strings.Join(names, ", .") + `] | map(tostring) | join("/")`
}

// typed are literals that name their type, as the mapping functions odataguid,
// odatadatetime and odatadatetimeoffset write them for V2.
var typed = regexp.MustCompile(`^(guid|datetime|datetimeoffset|time)'([0-9A-Za-z:.+-]+)'$`)

// literal writes a value of the key as OData writes it in an address, before the
// address is escaped. V2 puts the type before it, V4 writes all but text bare.
func (s *odataSet) literal(field string, v any, v2 bool) string {
	text, isText := v.(string)
	if !isText {
		return odataLiteral(v)
	}
	if m := typed.FindStringSubmatch(text); m != nil {
		if v2 {
			return text
		}
		return m[2]
	}
	kind := s.kinds[field]
	switch {
	case kind == "" || !bare.MatchString(text):
		return odataLiteral(v)
	case kind == kindNumber, !v2:
		return text
	case kind == kindDate:
		kind = kindDateTime
	}
	return kind + "'" + text + "'"
}

// bare is what may stand in an address without apostrophes: a payload must not be
// able to add to a condition.
var bare = regexp.MustCompile(`^[0-9A-Za-z:.+-]+$`)

// keyOf is the part of a path that names the document: as the document itself says
// it, else from the fields of its key. Where its own address leads to does not
// count: it may be relative, or of a host that only the service knows.
func (s *odataSet) keyOf(document any, v2 bool) (string, error) {
	if key := predicateOf(document); key != "" {
		return key, nil
	}
	pairs, err := s.pairsOf(document)
	if err != nil {
		return "", err
	}
	return odataKey(pairs, func(p pair) string { return s.literal(p.field, p.value, v2) }), nil
}

// parametersOf are the key's fields as parameters of a function import of V2.
func (s *odataSet) parametersOf(document any) (string, error) {
	pairs := splitPredicate(predicateOf(document))
	if len(pairs) == 1 && pairs[0][0] == "" && len(s.names) == 1 {
		pairs[0][0] = s.names[0]
	}
	if len(pairs) == 0 || pairs[0][0] == "" {
		values, err := s.pairsOf(document)
		if err != nil {
			return "", err
		}
		pairs = nil
		for _, p := range values {
			pairs = append(pairs, [2]string{p.field, s.literal(p.field, p.value, true)})
		}
	}
	query := make([]string, len(pairs))
	for i, p := range pairs {
		query[i] = p[0] + "=" + escapeQuery(p[1])
	}
	return strings.Join(query, "&"), nil
}

func (s *odataSet) pairsOf(document any) ([]pair, error) {
	object, _ := document.(map[string]any)
	if len(s.names) == 0 {
		return nil, errors.New("the document does not say its address, and entity does not name the fields of its key, such as Invoices(ID:guid)")
	}
	pairs := make([]pair, 0, len(s.names))
	for _, name := range s.names {
		switch v := object[name].(type) {
		case string, json.Number, bool:
			pairs = append(pairs, pair{name, v})
		default:
			return nil, errors.New("the document has no " + name + ", which is of its key")
		}
	}
	return pairs, nil
}

// predicateOf is the key in the address that a document says it has, with its
// brackets and escaped; "" for none.
func predicateOf(document any) string {
	object, _ := document.(map[string]any)
	metadata, _ := object["__metadata"].(map[string]any)
	for _, v := range []any{metadata["uri"], metadata["id"], object["@odata.editLink"], object["@odata.id"]} {
		if address, ok := v.(string); ok {
			if key := predicateIn(address); key != "" {
				return key
			}
		}
	}
	return ""
}

// predicateIn is the last pair of brackets of an address that ends with it.
func predicateIn(address string) string {
	path, _, _ := strings.Cut(address, "?")
	if !strings.HasSuffix(path, ")") || len(path) > 2<<10 {
		return ""
	}
	quoted := false
	for i := len(path) - 2; i > 0; i-- {
		switch {
		case path[i] == '\'' || i >= 2 && strings.EqualFold(path[i-2:i+1], "%27"):
			quoted = !quoted
		case path[i] == '(' && !quoted:
			key := path[i:]
			if strings.ContainsAny(key, "#\\ \t\r\n") || !decodes(key) {
				return ""
			}
			return key
		case path[i] == '/' && !quoted:
			return ""
		}
	}
	return ""
}

func decodes(s string) bool {
	_, err := url.PathUnescape(s)
	return err == nil
}

// splitPredicate takes (A='x',B=1) apart into names and literals, not escaped. A
// key of one field may have no name.
func splitPredicate(key string) [][2]string {
	inner, err := url.PathUnescape(strings.TrimSuffix(strings.TrimPrefix(key, "("), ")"))
	if err != nil || inner == "" {
		return nil
	}
	var pairs [][2]string
	start, quoted := 0, false
	for i := 0; i <= len(inner); i++ {
		if i < len(inner) && inner[i] == '\'' {
			quoted = !quoted
		}
		if i == len(inner) || inner[i] == ',' && !quoted {
			part := inner[start:i]
			name, literal, named := strings.Cut(part, "=")
			if !named || !fieldName.MatchString(name) {
				name, literal = "", part
			}
			pairs = append(pairs, [2]string{name, literal})
			start = i + 1
		}
	}
	return pairs
}
