package shape

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// quick says of most bodies that are true to a schema that they are, in a small part
// of the time that the library takes. It only ever says yes: what it does not know, or
// finds wrong, is left to the library, which is right in every detail and has the
// words. A schema with a keyword that is not known here has none.
type quick struct {
	never, always  bool
	refs           *quick // what $ref leads to
	types          uint8
	enum           []any
	properties     map[string]*quick
	required       []string
	others         *quick // additionalProperties; nil: any
	items          *quick // nil: any
	least, most    [3]int // members, items, characters; most 0: no bound
	pattern        *regexp.Regexp
	format         string
	bounds         []bound
	all            []*quick
	any            []*quick
	numeric, texty bool
	unique         bool
}

const (
	isObject = 1 << iota
	isArray
	isString
	isNumber
	isInteger
	isBool
	isNull
)

// bound is one keyword that bounds a number.
type bound struct {
	keyword string
	value   amount
}

// amount is a decimal: n / 10^scale.
type amount struct {
	n     int64
	scale int
}

// quickSteps is how much is looked at before the rest is left to the library.
const quickSteps = 1_000_000

// fits says that a value is true to the schema; false says nothing.
func (q *quick) fits(v any) bool {
	left := quickSteps
	return q.hold(v, &left, 0)
}

func (q *quick) hold(v any, left *int, depth int) bool {
	if *left--; *left < 0 || depth > 2*maxDepth || q.never {
		return false
	}
	if q.refs != nil && !q.refs.hold(v, left, depth+1) {
		return false
	}
	if len(q.enum) > 0 && !q.listed(v) {
		return false
	}
	for _, part := range q.all {
		if !part.hold(v, left, depth+1) {
			return false
		}
	}
	if len(q.any) > 0 && !q.oneOfAny(v, left, depth) {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		return q.allows(isObject) && q.object(v, left, depth)
	case []any:
		return q.allows(isArray) && q.array(v, left, depth)
	case string:
		return q.allows(isString) && (!q.texty || q.text(v))
	case json.Number:
		return q.number(string(v))
	case bool:
		return q.allows(isBool)
	case nil:
		return q.allows(isNull)
	}
	return false
}

func (q *quick) allows(kind uint8) bool { return q.types == 0 || q.types&kind != 0 }

func (q *quick) oneOfAny(v any, left *int, depth int) bool {
	for _, part := range q.any {
		if part.hold(v, left, depth+1) {
			return true
		}
	}
	return false
}

// listed looks for a value that is written as one of the enumeration.
func (q *quick) listed(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	for _, one := range q.enum {
		switch one.(type) {
		case map[string]any, []any:
			continue
		}
		if one == v {
			return true
		}
	}
	return false
}

func within(n int, least, most int) bool { return n >= least && (most == 0 || n <= most) }

func (q *quick) object(v map[string]any, left *int, depth int) bool {
	if !within(len(v), q.least[0], q.most[0]) {
		return false
	}
	for _, name := range q.required {
		if _, ok := v[name]; !ok {
			return false
		}
	}
	if q.properties == nil && q.others == nil {
		return true
	}
	for name, value := range v {
		schema := q.properties[name]
		if schema == nil {
			schema = q.others
		}
		if schema != nil && !schema.hold(value, left, depth+1) {
			return false
		}
	}
	return true
}

func (q *quick) array(v []any, left *int, depth int) bool {
	if !within(len(v), q.least[1], q.most[1]) {
		return false
	}
	if q.unique && !distinct(v) {
		return false
	}
	if q.items == nil {
		return true
	}
	for _, item := range v {
		if !q.items.hold(item, left, depth+1) {
			return false
		}
	}
	return true
}

// distinct says that items differ: a few texts, or one of anything.
func distinct(v []any) bool {
	const most = 50
	if len(v) > most {
		return false
	}
	for i, item := range v {
		s, is := item.(string)
		if !is && len(v) > 1 {
			return false
		}
		for _, before := range v[:i] {
			if before == s {
				return false
			}
		}
	}
	return true
}

func (q *quick) text(s string) bool {
	if (q.least[2] > 0 || q.most[2] > 0) && !within(utf8.RuneCountInString(s), q.least[2], q.most[2]) {
		return false
	}
	if q.pattern != nil && !q.pattern.MatchString(s) {
		return false
	}
	switch q.format {
	case "":
		return true
	case "date":
		_, err := time.Parse(time.DateOnly, s)
		return err == nil
	case "date-time": // those in UTC, without a leap second
		_, err := time.Parse(time.RFC3339Nano, s)
		return err == nil && strings.HasSuffix(s, "Z") && !strings.Contains(s, ",")
	case "email":
		return plainEmail(s)
	default:
		return false
	}
}

// plainEmail takes what nobody doubts to be an address.
func plainEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(s) > 100 || len(local) > 60 || strings.Contains(domain, "@") || !strings.Contains(domain, ".") {
		return false
	}
	for i, part := range append([]string{local}, strings.Split(domain, ".")...) {
		if part == "" || len(part) > 60 || part[0] == '-' || part[len(part)-1] == '-' || part[0] == '.' || part[len(part)-1] == '.' || strings.Contains(part, "..") {
			return false
		}
		for j := range len(part) {
			c := part[j]
			plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
			if !plain && (i > 0 || c != '.' && c != '_' && c != '+') {
				return false
			}
		}
	}
	return true
}

func (q *quick) number(s string) bool {
	if q.types != 0 {
		kind := uint8(isInteger)
		if strings.ContainsAny(s, ".eE") {
			kind = isNumber
		}
		// 1.0 is an integer, too: that is for the library to see.
		if q.types&kind == 0 {
			return false
		}
	}
	if !q.numeric {
		return true
	}
	a, ok := parseAmount(s)
	if !ok {
		return false
	}
	for _, b := range q.bounds {
		x, y, ok := align(a, b.value)
		switch {
		case !ok,
			b.keyword == "minimum" && x < y, b.keyword == "maximum" && x > y,
			b.keyword == "exclusiveMinimum" && x <= y, b.keyword == "exclusiveMaximum" && x >= y,
			b.keyword == "multipleOf" && (y <= 0 || x%y != 0):
			return false
		}
	}
	return true
}

func amountOf(v any) (amount, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return amount{}, false
	}
	return parseAmount(string(number))
}

// parseAmount reads a decimal of at most 18 digits without an exponent.
func parseAmount(s string) (amount, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(s) > 18 {
		return amount{}, false
	}
	n, err := strconv.ParseInt(whole+fraction, 10, 64)
	return amount{n, len(fraction)}, err == nil
}

// align gives two amounts as whole numbers of one unit.
func align(a, b amount) (x, y int64, ok bool) {
	for a.scale < b.scale {
		if a.n > 1e17 || a.n < -1e17 {
			return 0, 0, false
		}
		a.n, a.scale = a.n*10, a.scale+1
	}
	for b.scale < a.scale {
		if b.n > 1e17 || b.n < -1e17 {
			return 0, 0, false
		}
		b.n, b.scale = b.n*10, b.scale+1
	}
	return a.n, b.n, true
}
