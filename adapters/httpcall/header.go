package httpcall

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// RetryAfter is the pause that an answer asks for, at most an hour; 0 when it
// asks for none that can be read.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	// Azure services ask in milliseconds besides.
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if d, ok := seconds(h.Get(name), time.Millisecond); ok {
			return d
		}
	}
	// A date is meant by the destination's clock, which the Date header tells.
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	if d, ok := ParseRetryAfter(h.Get("Retry-After"), now); ok {
		return d
	}
	// Some count down to the end of their window instead. A longer number is a point
	// in time, in a form that each has for itself.
	if d, ok := seconds(h.Get("X-Ratelimit-Reset"), time.Second); ok && d < ferry.MaxRetryAfter {
		return d
	}
	return 0
}

// ParseRetryAfter reads the value of a Retry-After header: seconds, which may
// have decimals, or an HTTP date (RFC 9110, section 10.2.3). The result is
// between 0 and ferry.MaxRetryAfter; a date that has passed gives 0.
func ParseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if d, ok := seconds(value, time.Second); ok {
		return d, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), ferry.MaxRetryAfter), true
}

func seconds(value string, unit time.Duration) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" || len(value) > 32 || strings.Trim(value, "0123456789.") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return 0, false
	}
	if n >= float64(ferry.MaxRetryAfter/unit) {
		return ferry.MaxRetryAfter, true
	}
	return time.Duration(n * float64(unit)), true
}

// maxCorrelation bounds a correlation id, in bytes.
const maxCorrelation = 128

// CorrelationID is the destination's own name of the call, by which its people
// find it: in the header of its gateway or of its product, of Business Central
// (request-id, ms-correlation-x), Dataverse (x-ms-service-request-id), Finance &
// Operations (ms-dyn-aid), NetSuite (X-N-OperationId) and SAP.
func CorrelationID(h http.Header) string {
	names := [...]string{
		"X-Correlation-Id", "X-Correlationid", "Correlation-Id", "Ms-Correlation-X", "Ms-Dyn-Aid", "X-N-Operationid",
		"X-Ms-Service-Request-Id", "Sap-Transaction-Id", "Sap-Message-Id", "Sap_messageprocessinglogid",
		"X-Request-Id", "Request-Id", "Requestid", "X-Ms-Request-Id", "X-Ms-Correlation-Request-Id", "X-Vcap-Request-Id", "X-Trace-Id",
	} // in their canonical spelling, as headers of answers are
	best := len(names)
	for name, values := range h { // an answer has fewer headers than there are names
		if i := slices.Index(names[:best], name); i >= 0 && len(values) > 0 && values[0] != "" {
			best = i
		}
	}
	if best == len(names) {
		return ""
	}
	return cutText(MaskText(h[names[best]][0]), maxCorrelation)
}

// TraceOf is [CorrelationID] of an answer; where no header has one, what its error
// names in the body.
func TraceOf(a *Answer, p Problem) string {
	if id := CorrelationID(a.Header); id != "" {
		return id
	}
	return p.Trace
}
