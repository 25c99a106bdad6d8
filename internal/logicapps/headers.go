package logicapps

import (
	"net/http"
	"strings"
)

// Stripped says whether the HTTP action drops a header that the maker gave.
func Stripped(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "content-disposition", "content-encoding", "content-type":
		return false
	case "allow", "cookie", "expires", "host", "last-modified", "origin", "set-cookie", "transfer-encoding":
		return true
	}
	return strings.HasPrefix(name, "accept-") || strings.HasPrefix(name, "content-")
}

// header is what the engine sends with every request of an action.
func (r *Run) header(operation, actionTracking string) http.Header {
	f, guid := r.flow, GUID()
	h := http.Header{}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	agent := "azure-logic-apps/1.0 (workflow " + f.ID + "; version " + f.Version + ")"
	if !f.engine.opts.LogicApps {
		agent += " microsoft-flow/1.0"
	}
	set("User-Agent", agent)
	set("Accept-Language", "en-US")
	set("x-ms-workflow-id", f.ID)
	set("x-ms-workflow-name", f.Name)
	set("x-ms-workflow-version", f.Version)
	set("x-ms-workflow-run-id", r.ID)
	set("x-ms-workflow-run-tracking-id", r.tracking)
	set("x-ms-workflow-operation-name", operation)
	set("x-ms-workflow-system-id", "/locations/westeurope/scaleunits/prod-12/workflows/"+f.ID)
	set("x-ms-workflow-subscription-id", f.subscription)
	set("x-ms-workflow-resourcegroup-name", f.resourceGroup)
	set("x-ms-execution-location", "westeurope")
	set("x-ms-client-tracking-id", r.ClientTrackingID)
	set("x-ms-action-tracking-id", actionTracking)
	set("x-ms-activity-vector", "IN.0A")
	set("x-ms-client-environment-id", f.Environment)
	// New with each request, a retry included.
	set("x-ms-tracking-id", guid)
	set("x-ms-correlation-id", guid)
	set("x-ms-client-request-id", guid)
	return h
}
