package httpcall_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters/httpcall"
)

func TestDecodeProblem(t *testing.T) {
	field := func(name, text string) ferry.FieldError { return ferry.FieldError{Field: name, Text: text} }
	for name, c := range map[string]struct {
		body string
		want httpcall.Problem
	}{
		"RFC 9457 with pointers": {
			`{"type":"https://e.example/errors/validation","title":"Invalid","status":422,"detail":"two faults","errors":[{"detail":"is required","pointer":"#/number"},{"detail":"too small","pointer":"#/total"}]}`,
			httpcall.Problem{Code: "validation", Text: "Invalid: two faults", Fields: []ferry.FieldError{field("#/number", "is required"), field("#/total", "too small")}},
		},
		"RFC 9457 with fields": {
			`{"type":"about:blank","title":"One or more validation errors occurred.","errors":{"Number":["required","too short"],"Date":["wrong"]}}`,
			httpcall.Problem{Text: "One or more validation errors occurred.", Fields: []ferry.FieldError{field("Date", "wrong"), field("Number", "required; too short")}},
		},
		"error with details": {
			`{"error":{"code":"BadRequest_X","message":"no","details":[{"code":"c","message":"bad vat","target":"lines[0].vat"}]}}`,
			httpcall.Problem{Code: "BadRequest_X", Text: "no", Fields: []ferry.FieldError{field("lines[0].vat", "bad vat")}},
		},
		"OData V2": {
			`{"error":{"code":"F5/702","message":{"lang":"en","value":"period closed"},"innererror":{"errordetails":[{"code":"F5/702","message":"period 11 is closed","propertyref":"PostingDate"}]}}}`,
			httpcall.Problem{Code: "F5/702", Text: "period closed", Fields: []ferry.FieldError{field("PostingDate", "period 11 is closed")}},
		},
		"SAP Gateway's transaction": {
			`{"error":{"code":"SY/530","message":{"lang":"en","value":"no"},"innererror":{"transactionid":"6A0B","timestamp":"20261126","errordetails":[]}}}`,
			httpcall.Problem{Code: "SY/530", Text: "no", Trace: "6A0B"},
		},
		"Business Central keeps its id in the text": {
			`{"error":{"code":"Application_DialogException","message":"No.  CorrelationId:  1f3e4c5d-0000-4000-8000-0123456789ab."}}`,
			httpcall.Problem{Code: "Application_DialogException", Text: "No.  CorrelationId:  1f3e4c5d-0000-4000-8000-0123456789ab."},
		},
		"trace of ASP.NET":     {`{"title":"Bad","status":400,"traceId":"00-4bf9-01"}`, httpcall.Problem{Text: "Bad", Trace: "00-4bf9-01"}},
		"message":              {`{"message":"nope","code":17}`, httpcall.Problem{Code: "17", Text: "nope"}},
		"error text":           {`{"error":"nope"}`, httpcall.Problem{Text: "nope"}},
		"OAuth":                {`{"error":"invalid_client","error_description":"unknown client"}`, httpcall.Problem{Code: "invalid_client", Text: "unknown client"}},
		"errors with fields":   {`{"errors":[{"field":"a","message":"x"},{"field":"b","message":"y"}]}`, httpcall.Problem{Fields: []ferry.FieldError{field("a", "x"), field("b", "y")}}},
		"errors as texts":      {`{"errors":["first","second"]}`, httpcall.Problem{Text: "first", Fields: []ferry.FieldError{field("", "second")}}},
		"JSON:API":             {`{"errors":[{"code":"E1","title":"Bad","detail":"too long","source":{"pointer":"/data/a"}}]}`, httpcall.Problem{Code: "E1", Fields: []ferry.FieldError{field("/data/a", "Bad: too long")}}},
		"list at the top":      {`[{"errorCode":"DUP","message":"duplicate value"}]`, httpcall.Problem{Code: "DUP", Text: "duplicate value"}},
		"list with places":     {`{"detail":"x","errors":[{"loc":["body","total"],"msg":"not a number"}]}`, httpcall.Problem{Text: "x", Fields: []ferry.FieldError{field("body.total", "not a number")}}},
		"plain text":           {"  out of paper\r\nline 2 ", httpcall.Problem{Text: "out of paper\nline 2", Quoted: true}},
		"a document":           {`{"id":"X-1","total":3}`, httpcall.Problem{Text: `{"id":"X-1","total":3}`, Quoted: true}},
		"HTML":                 {`<html><head><title>502 Bad Gateway</title><style>p{}</style></head><body><h1>502 Bad Gateway</h1><p>nginx &amp; co</p></body></html>`, httpcall.Problem{Text: "502 Bad Gateway nginx & co", Quoted: true}},
		"XML":                  {`<?xml version="1.0"?><error><code>X</code><message>bad</message></error>`, httpcall.Problem{Text: "X bad", Quoted: true}},
		"control characters":   {"a\x00b\x1b[31mc\x7f", httpcall.Problem{Text: "a b [31mc", Quoted: true}},
		"empty":                {"", httpcall.Problem{Quoted: true}},
		"a secret in the text": {`{"message":"GET /x?code=abcdef failed"}`, httpcall.Problem{Text: "GET /x?code=*** failed"}},
	} {
		if diff := cmp.Diff(c.want, httpcall.DecodeProblem([]byte(c.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestProblemIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"code":"` + strings.Repeat("c", 5000) + `","message":"` + strings.Repeat("€", 5000) + `","errors":[`)
	for i := range 500 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"field":"` + strings.Repeat("f", 1000) + `","message":"` + strings.Repeat("m", 5000) + `"}`)
	}
	b.WriteString(`]}`)
	checkBounds(t, httpcall.DecodeProblem([]byte(b.String())))
}

func checkBounds(t *testing.T, p httpcall.Problem) {
	t.Helper()
	if len(p.Text) > ferry.MaxAttemptText || len(p.Code) > 128 || len(p.Fields) > ferry.MaxAttemptFields || !utf8.ValidString(p.Text+p.Code) {
		t.Errorf("text %d bytes, code %d, %d fields", len(p.Text), len(p.Code), len(p.Fields))
	}
	for _, f := range p.Fields {
		if len(f.Field) > 256 || len(f.Text) > 1024 || !utf8.ValidString(f.Field+f.Text) {
			t.Errorf("field of %d and %d bytes", len(f.Field), len(f.Text))
		}
	}
}

func FuzzDecodeProblem(f *testing.F) {
	for _, s := range []string{
		`{"error":{"code":"a","message":{"value":"b"},"details":[{"target":"c"}]}}`, `{"errors":{"a":["b",{"message":"c"}]}}`,
		`[["a"]]`, `<a><!-- `, `{"error":{"error":{"error":{}}}}`, "\xff\xfe", `{"errors":[{"source":{"pointer":1}}],"title":"t","detail":"d"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkBounds(t, httpcall.DecodeProblem(body)) })
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "1.5", "", "-1", "99999999999999999999", "1e9", "NaN", "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "..", "."} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := httpcall.ParseRetryAfter(s, now)
		if d < 0 || d > ferry.MaxRetryAfter || !ok && d != 0 {
			t.Errorf("%q: %s, %t", s, d, ok)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		header map[string]string
		want   time.Duration
	}{
		"seconds":                {map[string]string{"Retry-After": " 30 "}, 30 * time.Second},
		"decimals":               {map[string]string{"Retry-After": "0.5"}, 500 * time.Millisecond},
		"date":                   {map[string]string{"Retry-After": in(90 * time.Second)}, 90 * time.Second},
		"date gone by":           {map[string]string{"Retry-After": in(-time.Minute)}, 0},
		"date far away":          {map[string]string{"Retry-After": in(100 * time.Hour)}, time.Hour},
		"by the server's clock":  {map[string]string{"Retry-After": in(time.Hour), "Date": in(58 * time.Minute)}, 2 * time.Minute},
		"milliseconds":           {map[string]string{"X-Ms-Retry-After-Ms": "250", "Retry-After": "1"}, 250 * time.Millisecond},
		"too many":               {map[string]string{"Retry-After": "99999999999999999999"}, time.Hour},
		"nonsense":               {map[string]string{"Retry-After": "tomorrow"}, 0},
		"negative":               {map[string]string{"Retry-After": "-3"}, 0},
		"none":                   {nil, 0},
		"nothing but dots":       {map[string]string{"Retry-After": ".."}, 0},
		"an exponent is no form": {map[string]string{"Retry-After": "1e3"}, 0},
	} {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		if got := httpcall.RetryAfter(h, now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestCorrelationID(t *testing.T) {
	h := http.Header{}
	if got := httpcall.CorrelationID(h); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	h.Set("request-id", "r-1")
	h.Set("x-correlation-id", strings.Repeat("c", 500))
	if got := httpcall.CorrelationID(h); len(got) > 128 || !strings.HasPrefix(got, "ccc") {
		t.Errorf("got %q", got)
	}
}

func TestTraceOf(t *testing.T) {
	for name, want := range map[string]string{
		"ms-dyn-aid": "dyn", "ms-correlation-x": "bc", "request-id": "bc2", "x-ms-service-request-id": "dv",
		"X-N-OperationId": "ns", "X-CorrelationID": "sap", "SAP_MessageProcessingLogID": "cpi", "x-correlation-id": "x",
	} {
		a := &httpcall.Answer{Header: http.Header{}}
		a.Header.Set(name, want)
		if got := httpcall.TraceOf(a, httpcall.Problem{Trace: "body"}); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := httpcall.TraceOf(&httpcall.Answer{}, httpcall.Problem{Trace: "body"}); got != "body" {
		t.Errorf("%q", got)
	}
}
