package ferry

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxFlowField bounds each field of a Flow, bytes. Longer ones are cut: lineage is
// kept when it is told, and never required.
const MaxFlowField = 256

// Flow is the lineage of a Power Automate or Logic Apps run, as the headers of its
// call told it. Nobody vouches for it: it helps people to find the run, and
// decides nothing but what is taken for a repeat.
type Flow struct {
	Name             string `json:"name,omitempty"`             // the workflow's name; in Power Automate the flow's id
	WorkflowID       string `json:"workflowId,omitempty"`       // the engine's own id of the workflow
	RunID            string `json:"runId,omitempty"`            // as the run history lists it
	Operation        string `json:"operation,omitempty"`        // the action's name
	TrackingID       string `json:"trackingId,omitempty"`       // of this execution of the action: x-ms-action-tracking-id
	ClientTrackingID string `json:"clientTrackingId,omitempty"` // the run's id, unless the maker chose another
	Environment      string `json:"environment,omitempty"`      // of Power Platform; from the key where the call does not tell it
	SubscriptionID   string `json:"subscriptionId,omitempty"`   // of Azure
	ResourceGroup    string `json:"resourceGroup,omitempty"`
	// Platform is PlatformPowerAutomate or PlatformLogicApps, where the call says so.
	Platform string `json:"platform,omitempty"`
	// RunURL is the page of the run, where all of its parts are known. It is made
	// when the message is shown, and never stored.
	RunURL string `json:"runUrl,omitempty"`
}

// Whose engine runs a flow.
const (
	PlatformPowerAutomate = "powerAutomate"
	PlatformLogicApps     = "logicApps"
)

// FlowAgent begins the User-Agent of every call of the engine.
const FlowAgent = "azure-logic-apps/"

// FlowOf reads the lineage of a run; get gives a header by its canonical name. nil
// when nothing names a workflow or its run.
func FlowOf(get func(header string) string) *Flow {
	field := func(header string) string { return flowField(get(header)) }
	f := &Flow{
		Name: field("X-Ms-Workflow-Name"), WorkflowID: field("X-Ms-Workflow-Id"), RunID: field("X-Ms-Workflow-Run-Id"),
		Operation: field("X-Ms-Workflow-Operation-Name"), TrackingID: field("X-Ms-Action-Tracking-Id"),
		ClientTrackingID: field("X-Ms-Client-Tracking-Id"), Environment: field("X-Ms-Client-Environment-Id"),
		SubscriptionID: field("X-Ms-Workflow-Subscription-Id"), ResourceGroup: field("X-Ms-Workflow-Resourcegroup-Name"),
	}
	f.readAgent(get("User-Agent"))
	if f.RunID == "" && isRunID(f.ClientTrackingID) {
		f.RunID = f.ClientTrackingID
	}
	if f.Name == "" && f.WorkflowID == "" && f.RunID == "" {
		return nil
	}
	return f
}

// readAgent reads "azure-logic-apps/1.0 (workflow ID; version V)", to which Power
// Automate adds " microsoft-flow/1.0".
func (f *Flow) readAgent(agent string) {
	rest, ok := strings.CutPrefix(agent, FlowAgent)
	if !ok {
		return
	}
	f.Platform = PlatformLogicApps
	if strings.Contains(rest, "microsoft-flow/") {
		f.Platform = PlatformPowerAutomate
	}
	if _, rest, ok = strings.Cut(rest, "(workflow "); ok && f.WorkflowID == "" {
		f.WorkflowID = flowField(rest[:max(strings.IndexAny(rest, ";)"), 0)])
	}
}

// flowField is what is kept of a header's value: text without control characters.
func flowField(v string) string {
	plain := true
	for i := 0; i < len(v) && plain; i++ {
		plain = v[i] >= 0x20 && v[i] < 0x7f
	}
	if !plain {
		v = strings.Map(func(r rune) rune {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
				return -1
			}
			return r
		}, v)
	}
	if len(v) > MaxFlowField {
		v = strings.ToValidUTF8(v[:MaxFlowField], "")
	}
	return v
}

// Link is the address of the run's page, "" where it cannot be told: a link is
// made of what callers say only when each part has the shape that it must have.
func (f *Flow) Link() string {
	if f == nil || !isRunID(f.RunID) {
		return ""
	}
	switch {
	case f.Platform != PlatformLogicApps && isGUID(f.Name) && isEnvironment(f.Environment):
		return "https://make.powerautomate.com/environments/" + url.PathEscape(f.Environment) +
			"/flows/" + url.PathEscape(f.Name) + "/runs/" + url.PathEscape(f.RunID)
	case f.Platform != PlatformPowerAutomate && isGUID(f.SubscriptionID) && isResourceName(f.ResourceGroup) && isWorkflowName(f.Name):
		run := "/subscriptions/" + f.SubscriptionID + "/resourceGroups/" + f.ResourceGroup +
			"/providers/Microsoft.Logic/workflows/" + f.Name + "/runs/" + f.RunID
		return "https://portal.azure.com/#view/Microsoft_Azure_EMA/LogicAppsMonitorBlade/runid/" + url.QueryEscape(run)
	}
	return ""
}

// isRunID knows run ids by their look: some thirty digits, and CU with the number
// of a scale unit.
func isRunID(s string) bool {
	digits, unit, found := strings.Cut(s, "CU")
	return len(digits) >= 20 && len(digits) <= 40 && only(digits, "0123456789") &&
		(!found || unit != "" && len(unit) <= 5 && only(unit, "0123456789"))
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && !only(s[i:i+1], "0123456789abcdefABCDEF") {
			return false
		}
	}
	return true
}

// isEnvironment: a GUID, or that of a tenant's default environment.
func isEnvironment(s string) bool {
	return isGUID(strings.TrimPrefix(s, "Default-"))
}

const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.()"

// isResourceName: what Azure takes for the name of a resource group, of ASCII.
func isResourceName(s string) bool {
	return s != "" && len(s) <= 90 && only(s, nameLetters) && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..")
}

func isWorkflowName(s string) bool { return len(s) <= 80 && isResourceName(s) }

func only(s, letters string) bool { return strings.Trim(s, letters) == "" }
