package erp_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/config"
	"ferry/secret"
)

// loadExample reads the practice ERP's example of a dialect as a worker would.
func loadExample(t *testing.T, dialect, url, key string) (adapters.DestinationConfig, adapters.RouteConfig) {
	t.Helper()
	text, err := practice.Example(dialect)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{practice.ExampleURL, practice.ExampleKey} {
		if !strings.Contains(text, part) {
			t.Fatalf("the example of %s does not name %s", dialect, part)
		}
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, practice.ExampleURL, url), practice.ExampleKey, key)
	file := filepath.Join(t.TempDir(), "worker.yaml")
	head := "name: worker-1\nqueue: {nats: {url: \"nats://127.0.0.1:4222\", nkey: env:LOGIN}}\n"
	if err := os.WriteFile(file, []byte(head+text), 0o600); err != nil {
		t.Fatal(err)
	}
	worker, err := config.LoadWorker(file)
	if err != nil {
		t.Fatalf("the example of %s: %v", dialect, err)
	}
	if len(worker.Destinations) != 1 || worker.Destinations["erp"] == nil || len(worker.Routes) != 1 || worker.Routes[0].Name != "supplier-invoices" {
		t.Fatalf("the example of %s has other parts than the destination erp and the route supplier-invoices", dialect)
	}
	return worker.Destinations["erp"].DestinationConfig, worker.Routes[0].RouteConfig
}

// practiceHarness is the suite's harness for a dialect, from the practice ERP's
// example, whose map is left out: the cases send invoices in the ERP's own words.
func practiceHarness(t *testing.T, dialect string) adaptertest.Harness {
	t.Helper()
	return adaptertest.Harness{
		Open: erp.New(secret.Resolver{}, nil),
		Mode: dialect,
		Destination: func(url, keyFile string) adapters.DestinationConfig {
			dest, _ := loadExample(t, dialect, url, "file:"+filepath.ToSlash(keyFile))
			return dest
		},
		Route: func() adapters.RouteConfig {
			_, route := loadExample(t, dialect, practice.ExampleURL, practice.ExampleKey)
			route.Map = "."
			return route
		},
	}
}

// TestPracticeERPSpeaksTheDialects: each can be practised, but for descriptions of
// any API, which have no system of their own.
func TestPracticeERPSpeaksTheDialects(t *testing.T) {
	for _, dialect := range erp.Dialects() {
		if !slices.Contains(practice.Dialects(), dialect) && dialect != "openapi" {
			t.Errorf("the practice ERP does not speak %s", dialect)
		}
	}
	for _, dialect := range practice.Dialects() {
		dest, route := loadExample(t, dialect, practice.ExampleURL, practice.ExampleKey)
		if dest.Dialect != dialect {
			t.Errorf("the example of %s is of the dialect %s", dialect, dest.Dialect)
		}
		opened, err := erp.New(secret.Resolver{}, nil)(dest)
		if err != nil {
			t.Errorf("%s: %v", dialect, err)
			continue
		}
		if _, err := opened.Route(route); err != nil {
			t.Errorf("%s: %v", dialect, err)
		}
		if _, err := practice.RequiredOf(dialect); err != nil {
			t.Error(err)
		}
	}
}
