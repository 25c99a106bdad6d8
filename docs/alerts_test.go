package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rules is a file of rules for Prometheus.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert       string
			Expr        string
			For         string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

// TestAlerts: each has a severity, a sentence, something to do and a section that is
// there; what it asks for is a metric that broker or worker has, with the labels that
// it has; and each is tested, firing and not.
func TestAlerts(t *testing.T) {
	var file rules
	if err := yaml.Unmarshal([]byte(read(t, "../examples/prometheus-alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	tests := read(t, "../examples/prometheus-alerts_test.yaml")
	handbook, known := anchors(read(t, "operations.md")), knownMetrics(t)
	seen := map[string]bool{}
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Ferry") {
				t.Errorf("%s stands twice, or has another's name", r.Alert)
			}
			seen[r.Alert] = true
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("%s does not say what is the matter, how bad it is and what to do", r.Alert)
			}
			if anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "docs/operations.md"); !ok || !slices.Contains(handbook, anchor) {
				t.Errorf("%s leads to %s, which is not there", r.Alert, r.Annotations["runbook_url"])
			}
			for _, what := range []string{" fires", " does not"} {
				if !strings.Contains(tests, "name: "+r.Alert+what+"\n") {
					t.Errorf("no test that %s%s", r.Alert, what)
				}
			}
			metrics := regexp.MustCompile(`ferry_[a-z_]+`).FindAllString(r.Expr, -1)
			if len(metrics) == 0 {
				t.Errorf("%s asks for nothing of Ferry's: %s", r.Alert, r.Expr)
			}
			var labels []string
			for _, name := range metrics {
				has, ok := known[name]
				if !ok {
					t.Errorf("%s asks for %s, which nobody has", r.Alert, name)
				}
				labels = append(labels, has...)
			}
			for _, label := range labelsIn(r.Expr + r.Annotations["summary"] + r.Annotations["action"]) {
				if !slices.Contains(append(labels, "instance", "le"), label) {
					t.Errorf("%s names the label %s, and its metrics have %q", r.Alert, label, labels)
				}
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d alerts", len(seen))
	}
}

func labelsIn(text string) (list []string) {
	for _, m := range regexp.MustCompile(`\$labels\.(\w+)|[{,]\s*(\w+)\s*=~?"`).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1]+m[2])
	}
	for _, m := range regexp.MustCompile(`(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			list = append(list, strings.TrimSpace(name))
		}
	}
	return list
}

// knownMetrics are those of broker and worker with their labels, as the sources
// describe them.
func knownMetrics(t *testing.T) map[string][]string {
	known := map[string][]string{}
	described := regexp.MustCompile(`(?:counter|desc)\("([a-z_]+)", "[^"]*"((?:, "[a-z]+")*)\)`)
	direct := regexp.MustCompile(`NewDesc\("(ferry_[a-z_]+)", "[^"]*", (?:nil|\[\]string\{([^}]*)\})`)
	options := regexp.MustCompile(`Name: +"(ferry_[a-z_]+)"`)
	words := regexp.MustCompile(`[a-z]+`)
	for _, file := range metricSources() {
		source := read(t, file)
		for _, m := range described.FindAllStringSubmatch(source, -1) {
			known["ferry_"+m[1]] = append(known["ferry_"+m[1]], words.FindAllString(m[2], -1)...)
		}
		for _, m := range direct.FindAllStringSubmatch(source, -1) {
			known[m[1]] = append(known[m[1]], words.FindAllString(m[2], -1)...)
		}
		for _, m := range options.FindAllStringSubmatch(source, -1) {
			known[m[1]] = append(known[m[1]], "route", "verdict", "outcome", "state")
			known[m[1]+"_bucket"] = nil
		}
	}
	known["ferry_config_reload_success"] = nil // of reloads of the configuration
	return known
}

// metricSources are where metrics are described.
func metricSources() []string {
	return []string{
		"../broker/counters.go", "../broker/gauges.go", "../worker/metrics.go", "../worker/gauges.go", "../trace/outlet.go",
		"../secret/keyvault/metrics.go", "../cmd/broker/accesslog.go",
	}
}

// TestOperatorEventsLeadToTheHandbook: the sections that events name are there.
func TestOperatorEventsLeadToTheHandbook(t *testing.T) {
	handbook := anchors(read(t, "operations.md"))
	found := regexp.MustCompile(`return "([a-z-]+)"`).FindAllStringSubmatch(read(t, "../broker/lookout.go"), -1)
	if len(found) < 4 {
		t.Fatalf("%d sections found", len(found))
	}
	for _, m := range found {
		if !slices.Contains(handbook, "#"+m[1]) {
			t.Errorf("there is no section %s", m[1])
		}
	}
}
