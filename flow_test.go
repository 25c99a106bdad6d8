package ferry

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const (
	someFlow = "0c4a2c1d-9d4b-4c59-8f8c-2a4c5e6f7a8b"
	someRun  = "08584653536760200319026785874CU62"
	someEnv  = "Default-11111111-2222-3333-4444-555555555555"
	someSub  = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
)

func TestFlowOf(t *testing.T) {
	const agent = "azure-logic-apps/1.0 (workflow 5d3c2b1a; version 08584653)"
	for name, tc := range map[string]struct {
		headers map[string]string
		want    *Flow
	}{
		"nothing":      {nil, nil},
		"another tool": {map[string]string{"User-Agent": "curl/8", "X-Ms-Client-Tracking-Id": "x", "X-Ms-Action-Tracking-Id": "y"}, nil},
		"Power Automate": {map[string]string{
			"User-Agent": agent + " microsoft-flow/1.0", "X-Ms-Workflow-Id": "wf", "X-Ms-Workflow-Name": someFlow, "X-Ms-Workflow-Run-Id": someRun,
			"X-Ms-Workflow-Operation-Name": "Post_invoice", "X-Ms-Action-Tracking-Id": "act", "X-Ms-Client-Tracking-Id": someRun,
			"X-Ms-Client-Environment-Id": someEnv,
		}, &Flow{
			Name: someFlow, WorkflowID: "wf", RunID: someRun, Operation: "Post_invoice", TrackingID: "act", ClientTrackingID: someRun,
			Environment: someEnv, Platform: PlatformPowerAutomate,
		}},
		"Logic Apps": {map[string]string{
			"User-Agent": agent, "X-Ms-Workflow-Name": "invoices", "X-Ms-Workflow-Run-Id": someRun,
			"X-Ms-Workflow-Subscription-Id": someSub, "X-Ms-Workflow-Resourcegroup-Name": "rg-erp",
		}, &Flow{Name: "invoices", WorkflowID: "5d3c2b1a", RunID: someRun, SubscriptionID: someSub, ResourceGroup: "rg-erp", Platform: PlatformLogicApps}},
		"the agent alone":                 {map[string]string{"User-Agent": agent}, &Flow{WorkflowID: "5d3c2b1a", Platform: PlatformLogicApps}},
		"an agent without a workflow":     {map[string]string{"User-Agent": "azure-logic-apps/1.0 ("}, nil},
		"an agent that breaks off":        {map[string]string{"User-Agent": "azure-logic-apps/1.0 (workflow 5d3c", "X-Ms-Workflow-Name": "n"}, &Flow{Name: "n", Platform: PlatformLogicApps}},
		"a run only as tracking id":       {map[string]string{"X-Ms-Workflow-Name": "n", "X-Ms-Client-Tracking-Id": someRun}, &Flow{Name: "n", RunID: someRun, ClientTrackingID: someRun}},
		"a tracking id of the maker":      {map[string]string{"X-Ms-Workflow-Name": "n", "X-Ms-Client-Tracking-Id": "INV-5"}, &Flow{Name: "n", ClientTrackingID: "INV-5"}},
		"control characters":              {map[string]string{"X-Ms-Workflow-Name": "a\x00b\r\nc\x1b[31m\u0085d"}, &Flow{Name: "abc[31md"}},
		"no UTF-8":                        {map[string]string{"X-Ms-Workflow-Name": "a\xffb"}, &Flow{Name: "ab"}},
		"long":                            {map[string]string{"X-Ms-Workflow-Name": strings.Repeat("ä", 200)}, &Flow{Name: strings.Repeat("ä", 128)}},
		"long, cut inside of a character": {map[string]string{"X-Ms-Workflow-Name": "x" + strings.Repeat("ä", 200)}, &Flow{Name: "x" + strings.Repeat("ä", 127)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := FlowOf(func(header string) string { return tc.headers[header] })
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlowLink(t *testing.T) {
	cloud := Flow{Name: someFlow, RunID: someRun, Environment: someEnv}
	logic := Flow{Name: "invoices", RunID: someRun, SubscriptionID: someSub, ResourceGroup: "rg-erp"}
	const maker = "https://make.powerautomate.com/environments/" + someEnv + "/flows/" + someFlow + "/runs/" + someRun
	const portal = "https://portal.azure.com/#view/Microsoft_Azure_EMA/LogicAppsMonitorBlade/runid/%2Fsubscriptions%2F" + someSub +
		"%2FresourceGroups%2Frg-erp%2Fproviders%2FMicrosoft.Logic%2Fworkflows%2Finvoices%2Fruns%2F" + someRun
	with := func(f Flow, change func(*Flow)) Flow { change(&f); return f }
	for name, tc := range map[string]struct {
		flow Flow
		want string
	}{
		"Power Automate":             {cloud, maker},
		"Power Automate, by its own": {with(cloud, func(f *Flow) { f.Platform = PlatformPowerAutomate }), maker},
		"Power Automate also tells subscription and group": {with(cloud, func(f *Flow) {
			f.Platform, f.SubscriptionID, f.ResourceGroup = PlatformPowerAutomate, someSub, "FLOW-RG"
		}), maker},
		"an environment of its own":      {with(cloud, func(f *Flow) { f.Environment = someSub }), strings.Replace(maker, someEnv, someSub, 1)},
		"no environment":                 {with(cloud, func(f *Flow) { f.Environment = "" }), ""},
		"the environment's display name": {with(cloud, func(f *Flow) { f.Environment = "Contoso (default)" }), ""},
		"a way out of the path":          {with(cloud, func(f *Flow) { f.Environment = "../../evil" }), ""},
		"another host in the flow":       {with(cloud, func(f *Flow) { f.Name = "https://evil.example/0000000000000000" }), ""},
		"a run with a slash":             {with(cloud, func(f *Flow) { f.RunID = someRun + "/../x" }), ""},
		"a run with a query":             {with(cloud, func(f *Flow) { f.RunID = someRun + "?x=1" }), ""},
		"a run that is too short":        {with(cloud, func(f *Flow) { f.RunID = "0858" }), ""},
		"a run of letters":               {with(cloud, func(f *Flow) { f.RunID = strings.Repeat("a", 30) }), ""},
		"a run without unit":             {with(cloud, func(f *Flow) { f.RunID = someRun[:29] }), strings.TrimSuffix(maker, "CU62")},
		"digits of another script":       {with(cloud, func(f *Flow) { f.RunID = strings.Repeat("١", 29) }), ""},
		"Logic Apps":                     {logic, portal},
		"Logic Apps, by its own":         {with(logic, func(f *Flow) { f.Platform = PlatformLogicApps }), portal},
		"Logic Apps, by Power Automate":  {with(logic, func(f *Flow) { f.Platform = PlatformPowerAutomate }), ""},
		"no subscription":                {with(logic, func(f *Flow) { f.SubscriptionID = "" }), ""},
		"a group with a slash":           {with(logic, func(f *Flow) { f.ResourceGroup = "rg/providers" }), ""},
		"a group of dots":                {with(logic, func(f *Flow) { f.ResourceGroup = ".." }), ""},
		"a group with a script":          {with(logic, func(f *Flow) { f.ResourceGroup = "<script>" }), ""},
		"a long workflow":                {with(logic, func(f *Flow) { f.Name = strings.Repeat("w", 81) }), ""},
		"a workflow with brackets":       {with(logic, func(f *Flow) { f.Name = "in(2)" }), strings.Replace(portal, "invoices", "in%282%29", 1)},
		"a GUID of other letters":        {with(logic, func(f *Flow) { f.SubscriptionID = strings.Replace(someSub, "a", "g", 1) }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.flow.Link(); got != tc.want {
				t.Errorf("\n%s, want\n%s", got, tc.want)
			}
		})
	}
	if got := (*Flow)(nil).Link(); got != "" {
		t.Errorf("no flow: %s", got)
	}
}

// Whatever a caller says, a link leads to one of two hosts, and a field is short
// and plain.
func FuzzFlow(f *testing.F) {
	f.Add("azure-logic-apps/1.0 (workflow x; version 1) microsoft-flow/1.0", someFlow, someRun, someEnv, "", "")
	f.Add("azure-logic-apps/1.0 (workflow ", "invoices", someRun, "", someSub, "rg-erp")
	f.Add("", "\x00\u2028", someRun, "Default-", someSub, "..")
	f.Fuzz(func(t *testing.T, agent, name, run, env, subscription, group string) {
		headers := map[string]string{
			"User-Agent": agent, "X-Ms-Workflow-Name": name, "X-Ms-Workflow-Run-Id": run, "X-Ms-Client-Environment-Id": env,
			"X-Ms-Workflow-Subscription-Id": subscription, "X-Ms-Workflow-Resourcegroup-Name": group,
		}
		flow := FlowOf(func(header string) string { return headers[header] })
		if flow == nil {
			return
		}
		for _, v := range []string{flow.Name, flow.WorkflowID, flow.RunID, flow.Environment, flow.SubscriptionID, flow.ResourceGroup} {
			if len(v) > MaxFlowField || !utf8.ValidString(v) || strings.ContainsAny(v, "\x00\r\n\x1b\x7f") {
				t.Errorf("kept %q", v)
			}
		}
		link := flow.Link()
		if link == "" {
			return
		}
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Host != "make.powerautomate.com" && u.Host != "portal.azure.com" ||
			strings.Contains(link, "..") || strings.ContainsAny(link, "\"'<>\\ ") {
			t.Errorf("%q, %v", link, err)
		}
	})
}
