package erp

import (
	"encoding/xml"
	"fmt"
	"strings"

	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// maxFaults is how many details of an error are read.
const maxFaults = 200

// odataErrors reads an error of OData V4 (error.message, details[]), of V2
// (error.message.value, innererror.errordetails[]), and of SAP Gateway in XML,
// which is what it answers where Accept got lost. Among several faults, a lock
// decides: the others may be gone when it is.
func odataErrors(a *httpcall.Answer) httpcall.Problem {
	fault, ok := readFault(a.Body)
	if !ok {
		return odataProblem(a)
	}
	fault.settle()
	plain, err := mapping.Encode(fault.plain())
	if err != nil {
		return odataProblem(a)
	}
	p := odataProblem(&httpcall.Answer{Status: a.Status, Header: a.Header, Body: plain})
	if id := a.Header.Get("Content-Id"); id != "" && p.Text != "" {
		p.Text = fmt.Sprintf("request %s: %s", id, p.Text)
	}
	return p
}

// odataFault is an error, or one of its details.
type odataFault struct {
	code, text, target, severity, trace string
	inner                               any
	details                             []odataFault
}

func readFault(body []byte) (odataFault, bool) {
	trimmed := strings.TrimSpace(string(body[:min(len(body), 64)]))
	if strings.HasPrefix(trimmed, "<") {
		return readXMLFault(body)
	}
	value, err := mapping.Decode(body)
	if err != nil {
		return odataFault{}, false
	}
	object, _ := value.(map[string]any)
	var e map[string]any
	for _, name := range []string{"error", "odata.error"} {
		if inner, ok := object[name].(map[string]any); ok {
			e = inner
		}
	}
	if e == nil {
		return odataFault{}, false
	}
	f := faultOf(e)
	f.takeDetails(e["details"])
	if inner, ok := e["innererror"].(map[string]any); ok {
		f.trace = text(inner["transactionid"])
		f.takeDetails(inner["errordetails"])
		f.inner = map[string]any{"message": inner["message"], "innererror": inner["innererror"], "internalexception": inner["internalexception"]}
	}
	return f, true
}

func (f *odataFault) takeDetails(v any) {
	items, ok := v.([]any)
	if object, isObject := v.(map[string]any); isObject { // V2 wraps lists
		items, ok = object["errordetail"].([]any)
	}
	if !ok {
		return
	}
	for _, item := range items[:min(len(items), maxFaults)] {
		if object, ok := item.(map[string]any); ok {
			f.details = append(f.details, faultOf(object))
		}
	}
}

func faultOf(e map[string]any) odataFault {
	f := odataFault{code: text(e["code"]), severity: text(e["severity"])}
	switch message := e["message"].(type) {
	case map[string]any: // V2: {lang, value}
		f.text = text(message["value"])
	default:
		f.text = text(message)
	}
	for _, name := range []string{"target", "propertyref"} {
		if f.target == "" {
			f.target = text(e[name])
		}
	}
	if strings.HasPrefix(f.target, "/#TRANSIENT#") { // SAP's mark of what belongs to no field
		f.target = strings.TrimPrefix(strings.TrimPrefix(f.target, "/#TRANSIENT#"), "/")
	}
	return f
}

func text(v any) string {
	switch v.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	return strings.TrimSpace(textOf(v))
}

type xmlFault struct {
	XMLName xml.Name `xml:"error"`
	Code    string   `xml:"code"`
	Message string   `xml:"message"`
	Trace   string   `xml:"innererror>transactionid"`
	Details []struct {
		Code     string `xml:"code"`
		Message  string `xml:"message"`
		Property string `xml:"propertyref"`
		Target   string `xml:"target"`
		Severity string `xml:"severity"`
	} `xml:"innererror>errordetails>errordetail"`
}

func readXMLFault(body []byte) (odataFault, bool) {
	var x xmlFault
	if err := xml.Unmarshal(body, &x); err != nil || x.Code == "" && x.Message == "" {
		return odataFault{}, false
	}
	f := odataFault{code: strings.TrimSpace(x.Code), text: strings.TrimSpace(x.Message), trace: strings.TrimSpace(x.Trace)}
	for _, d := range x.Details[:min(len(x.Details), maxFaults)] {
		detail := odataFault{code: strings.TrimSpace(d.Code), text: strings.TrimSpace(d.Message), severity: strings.TrimSpace(d.Severity)}
		if detail.target = strings.TrimSpace(d.Target); detail.target == "" {
			detail.target = strings.TrimSpace(d.Property)
		}
		f.details = append(f.details, detail)
	}
	return f, true
}

// settle leaves out what says nothing new: details that are no faults, those that
// repeat the error itself, and the exceptions that SAP wraps around messages.
func (f *odataFault) settle() {
	var details []odataFault
	for _, d := range f.details {
		switch {
		case d.severity == "info" || d.severity == "success":
		case strings.HasPrefix(d.code, "/IWBEP/CX_"):
		case d.text == f.text && d.target == "":
		default:
			details = append(details, d)
		}
		if isLock(d.code, d.text) && !isLock(f.code, f.text) {
			f.code, f.text = d.code, d.text
		}
	}
	f.details = details
}

// plain is the error in V4's shape. A detail without a target is told by its code.
func (f *odataFault) plain() any {
	e := map[string]any{"code": f.code, "message": f.text}
	if f.inner != nil || f.trace != "" {
		inner, _ := f.inner.(map[string]any)
		if inner == nil {
			inner = map[string]any{}
		}
		inner["transactionid"] = f.trace
		e["innererror"] = inner
	}
	details := make([]any, 0, len(f.details)+1)
	if f.target != "" && len(f.details) == 0 {
		details = append(details, map[string]any{"target": f.target, "message": f.text})
	}
	for _, d := range f.details {
		target := d.target
		if target == "" {
			target = d.code
		}
		details = append(details, map[string]any{"target": target, "message": d.text})
	}
	if len(details) > 0 {
		e["details"] = details
	}
	return map[string]any{"error": e}
}
