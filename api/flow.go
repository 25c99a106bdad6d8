package api

import (
	"net/http"
	"strings"

	"ferry"
)

// maxFlowField bounds what is kept of a flow's header; longer ones are cut,
// because lineage is recorded when present and never required.
const maxFlowField = 256

// flowOf reads the lineage of a Power Automate or Logic Apps run from the
// headers that their HTTP actions send; nil when another program calls.
func flowOf(h http.Header) *ferry.Flow {
	name := h["X-Ms-Workflow-Name"]
	run := h["X-Ms-Workflow-Run-Id"]
	if len(name) == 0 && len(run) == 0 {
		return nil
	}
	f := &ferry.Flow{
		Name:        flowField(name),
		RunID:       flowField(run),
		Operation:   flowField(h["X-Ms-Workflow-Operation-Name"]),
		TrackingID:  flowField(h["X-Ms-Action-Tracking-Id"]),
		Environment: flowField(h["X-Ms-Client-Environment-Id"]),
	}
	if f.RunID == "" {
		// The client tracking id is the run's unless the maker chose another.
		f.RunID = flowField(h["X-Ms-Client-Tracking-Id"])
	}
	return f
}

func flowField(values []string) string {
	if len(values) == 0 || !plain(values[0]) {
		return ""
	}
	v := values[0]
	if len(v) > maxFlowField {
		v = strings.ToValidUTF8(v[:maxFlowField], "")
	}
	return v
}

// trackedAs is the correlation id that a maker set in the flow's trigger: the
// client tracking id, where it is not simply the run.
func trackedAs(h http.Header, f *ferry.Flow) string {
	if f == nil {
		return ""
	}
	id := flowField(h["X-Ms-Client-Tracking-Id"])
	if id == f.RunID || len(id) > ferry.MaxOrderingKeyLength {
		return ""
	}
	return id
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
