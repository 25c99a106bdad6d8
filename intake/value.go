package intake

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

// maxDepth bounds how deep values may be nested: what lies deeper is left out.
const maxDepth = 64

// textOf is a value of AMQP as text: of a property, of an id.
func textOf(v any) string {
	switch v := v.(type) {
	case nil, amqp.Null:
		return ""
	case string:
		return v
	case amqp.Symbol:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case amqp.UUID:
		return v.String()
	}
	if inner, ok := described(v); ok {
		return textOf(inner)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(r.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(r.Uint(), 10)
	case reflect.Map, reflect.Slice, reflect.Array:
		text, err := jsonOf(v)
		if err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v)
}

// jsonOf is a value of AMQP as JSON.
func jsonOf(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(plainValue(v, 0)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// plainValue makes of a value of AMQP what encoding/json can write: bytes become
// base64, times and UUIDs text, keys of maps text.
func plainValue(v any, depth int) any {
	if depth > maxDepth {
		return nil
	}
	switch v := v.(type) {
	case nil, amqp.Null:
		return nil
	case string, bool, int, uint, int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return v
	case float32:
		return plainFloat(float64(v), v)
	case float64:
		return plainFloat(v, v)
	case time.Time, []byte, amqp.UUID, amqp.Symbol:
		return textOf(v)
	}
	if inner, ok := described(v); ok {
		return plainValue(inner, depth+1)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Map:
		object := make(map[string]any, r.Len())
		for each := r.MapRange(); each.Next(); {
			object[textOf(each.Key().Interface())] = plainValue(each.Value().Interface(), depth+1)
		}
		return object
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = plainValue(r.Index(i).Interface(), depth+1)
		}
		return list
	}
	return fmt.Sprint(v)
}

// plainFloat is a number, or text where JSON has none.
func plainFloat(f float64, v any) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return textOf(v)
	}
	return v
}

// Ticks, the unit of .NET's times and durations: 100 ns, of times since the year 1.
const (
	tick       = 100 * time.Nanosecond
	unixTicks  = 621_355_968_000_000_000
	ticksOfDay = 864_000_000_000
)

// described takes the value out of a described type. Those that .NET clients send
// in properties mean times and durations.
func described(v any) (inner any, ok bool) {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	if r.Kind() != reflect.Struct {
		return nil, false
	}
	name, value := r.FieldByName("Descriptor"), r.FieldByName("Value")
	if !name.IsValid() || !value.IsValid() || !name.CanInterface() || !value.CanInterface() {
		return nil, false
	}
	inner = value.Interface()
	ticks, counts := inner.(int64)
	if !counts {
		return inner, true
	}
	switch kind := textOf(name.Interface()); {
	case strings.HasSuffix(kind, ":datetime-offset"):
		since := ticks - unixTicks
		return time.Unix(since/int64(time.Second/tick), since%int64(time.Second/tick)*int64(tick)).UTC(), true
	case strings.HasSuffix(kind, ":timespan"):
		return timespan(ticks), true
	}
	return inner, true
}

// timespan is a duration as .NET writes it: [-][d.]hh:mm:ss[.fffffff].
func timespan(ticks int64) string {
	sign, u := "", uint64(ticks)
	if ticks < 0 {
		sign, u = "-", -u
	}
	var out strings.Builder
	out.WriteString(sign)
	if days := u / ticksOfDay; days > 0 {
		fmt.Fprintf(&out, "%d.", days)
	}
	seconds := u % ticksOfDay / uint64(time.Second/tick)
	fmt.Fprintf(&out, "%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	if rest := u % uint64(time.Second/tick); rest > 0 {
		fmt.Fprintf(&out, ".%07d", rest)
	}
	return out.String()
}
