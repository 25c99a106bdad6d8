package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ferry/adapters/erp"
	"ferry/config"
	"ferry/secret"
)

// TestEveryDialectIsListed: with its settings, as the code has them, and a page.
func TestEveryDialectIsListed(t *testing.T) {
	text := read(t, "erp/README.md")
	rows := regexp.MustCompile("(?m)^\\| \\[`([a-z0-9-]+)`\\]\\(([^)]+)\\) \\| [^|]+ \\| ([^|]*) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(text, -1)
	var listed []string
	for _, row := range rows {
		name := row[1]
		listed = append(listed, name)
		var settings []string
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[3], -1) {
			settings = append(settings, m[1])
		}
		if want := erp.Settings(name); !slices.Equal(settings, want) {
			t.Errorf("erp/README.md gives %s the settings %q, it takes %q", name, settings, want)
		}
		if row[2] != name+".md" {
			t.Errorf("erp/README.md leads from %s to %s", name, row[2])
		}
		if _, err := os.Stat("erp/" + row[2]); err != nil {
			t.Errorf("%s has no page", name)
		}
	}
	slices.Sort(listed)
	if dialects := erp.Dialects(); !slices.Equal(listed, dialects) {
		t.Errorf("erp/README.md lists %q, there are %q", listed, dialects)
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// TestExamplesOfDialectsLoad: a page has a complete example, and each of its examples
// is a worker.yaml whose routes can be made.
func TestExamplesOfDialectsLoad(t *testing.T) {
	pages, err := filepath.Glob("erp/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		complete := 0
		for _, m := range yamlBlock.FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(m[1], "routes:") || strings.Contains(m[1], "spec:") {
				continue
			}
			if strings.Count(m[1], "\n") <= 10 {
				complete++
			}
			loadExample(t, page, m[1])
		}
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); complete == 0 && slices.Contains(erp.Dialects(), name) && name != "openapi" {
			t.Errorf("%s has no complete example of at most ten lines", page)
		}
	}
}

func loadExample(t *testing.T, page, text string) {
	t.Helper()
	if !strings.Contains(text, "queue:") {
		text = "name: worker-1\nqueue: {nats: {url: \"nats://127.0.0.1:4222\", nkey: env:LOGIN}}\n" + text
	}
	file := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	worker, err := config.LoadWorker(file)
	if err != nil {
		t.Errorf("%s: %v", page, err)
		return
	}
	for _, r := range worker.Routes {
		d, err := erp.New(secret.Resolver{}, nil)(worker.Destinations[r.Destination.Name].DestinationConfig)
		if err != nil {
			t.Errorf("%s: %v", page, err)
			continue
		}
		if _, err := d.Route(r.RouteConfig); err != nil {
			t.Errorf("%s: %v", page, err)
		}
		_ = d.Close() // nothing was opened
	}
}
