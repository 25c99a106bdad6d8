package api

import (
	"net/http"
	"strings"

	"ferry"
)

// flowOf reads the lineage of a Power Automate or Logic Apps run; nil when another
// program calls, which costs these few looks. The environment that a call does not
// tell is that of its key.
func (c *call) flowOf() *ferry.Flow {
	h := c.r.Header
	agent := h["User-Agent"]
	if len(h["X-Ms-Workflow-Name"]) == 0 && len(h["X-Ms-Workflow-Run-Id"]) == 0 && len(h["X-Ms-Workflow-Id"]) == 0 &&
		(len(agent) == 0 || !strings.HasPrefix(agent[0], ferry.FlowAgent)) {
		return nil
	}
	f := ferry.FlowOf(func(name string) string {
		if values := h[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	})
	if f != nil && f.Environment == "" && f.Platform != ferry.PlatformLogicApps {
		f.Environment = c.who.Environment
	}
	return f
}

// trackedAs is the correlation id that a maker set in the flow's trigger: the
// client tracking id, where it is not simply the run.
func trackedAs(f *ferry.Flow) string {
	if f == nil || f.ClientTrackingID == f.RunID || len(f.ClientTrackingID) > ferry.MaxOrderingKeyLength {
		return ""
	}
	return f.ClientTrackingID
}

// tracestate is what goes with the sender's traceparent; one that is too long is
// dropped, as is one without it.
func tracestate(h http.Header) string {
	values := h["Tracestate"]
	if len(values) == 0 || traceparent(h) == "" {
		return ""
	}
	if state := strings.Join(values, ","); len(state) <= ferry.MaxTracestate {
		return state
	}
	return ""
}

// traceparent is the sender's W3C trace context; a damaged one is dropped, as
// its specification asks.
func traceparent(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 {
		return ""
	}
	v := values[0]
	if len(v) != 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" ||
		v[3:35] == "00000000000000000000000000000000" || v[36:52] == "0000000000000000" {
		return ""
	}
	for i := 0; i < len(v); i++ {
		ch := v[i]
		if i != 2 && i != 35 && i != 52 && (ch < '0' || ch > '9') && (ch < 'a' || ch > 'f') {
			return ""
		}
	}
	return v
}
