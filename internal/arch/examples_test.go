package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/config"
	"ferry/secret"
)

// TestExamplesWork loads each pair of example files as the programs do, and
// makes every destination and route of the worker's.
func TestExamplesWork(t *testing.T) {
	top := root(t)
	for _, folder := range []string{"examples", "examples/compose", "examples/servicebus-emulator"} {
		t.Run(folder, func(t *testing.T) {
			broker, err := config.LoadBroker(filepath.Join(top, folder, "broker.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			worker := loadWorker(t, filepath.Join(top, folder, "worker.yaml"))
			accepted := map[string]bool{}
			for _, r := range broker.Routes {
				accepted[r.Name] = true
			}
			registry := adapters.Registry{"erp": erp.New(secret.Resolver{}, nil)}
			for _, r := range worker.Routes {
				if !accepted[r.Name] {
					t.Errorf("the worker delivers %s, which broker.yaml does not have", r.Name)
				}
				dest, err := registry.Open(worker.Destinations[r.Destination.Name].DestinationConfig)
				if err != nil {
					t.Fatalf("route %s: %v", r.Name, err)
				}
				t.Cleanup(func() { _ = dest.Close() })
				adapter, err := dest.Route(r.RouteConfig)
				if err != nil {
					t.Fatalf("route %s: %v", r.Name, err)
				}
				if !adapter.CanLookup() {
					t.Errorf("route %s has no lookup: an example should be delivered once in effect", r.Name)
				}
			}
		})
	}
}

// TestEULAsAreLeftToTheUser: the images that stand under somebody's licence get the
// user's word for it, from the user's environment, and none without it.
func TestEULAsAreLeftToTheUser(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image       string
			Profiles    []string
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for name, s := range compose.Services {
		if s.Image == "" {
			continue // built here
		}
		seen++
		if s.Environment["ACCEPT_EULA"] != "${ACCEPT_EULA:-}" || s.Environment["MSSQL_SA_PASSWORD"] != "${MSSQL_SA_PASSWORD:-}" {
			t.Errorf("%s: its licence, or its password, does not come from the user alone: %v", name, s.Environment)
		}
		if len(s.Profiles) == 0 {
			t.Errorf("%s starts without being asked for", name)
		}
	}
	if seen != 2 {
		t.Errorf("%d images of others, not 2", seen)
	}
	for name, s := range compose.Services {
		if bus := strings.HasPrefix(name, "bus-") || strings.HasPrefix(name, "servicebus-"); bus != (len(s.Profiles) == 1 && s.Profiles[0] == "servicebus") {
			t.Errorf("%s: profiles %v", name, s.Profiles)
		}
	}
}

// nkeyPath finds where a worker.yaml expects its login.
var nkeyPath = regexp.MustCompile(`nkey: ([^\s}]+)`)

// loadWorker loads a worker.yaml whose login lies in a folder of the test's:
// the files name one that `broker workers add` writes later.
func loadWorker(t *testing.T, path string) *config.Worker {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	named := nkeyPath.FindSubmatch(text)
	if named == nil {
		t.Fatalf("%s names no nkey", path)
	}
	dir := t.TempDir()
	login, changed := filepath.Join(dir, "login.nk"), filepath.Join(dir, "worker.yaml")
	text = []byte(strings.Replace(string(text), string(named[1]), fmt.Sprintf("%q", login), 1))
	for file, content := range map[string][]byte{login: []byte("a login\n"), changed: text} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	worker, err := config.LoadWorker(changed)
	if err != nil {
		t.Fatal(err)
	}
	return worker
}

// TestLoginsAreMadeForTheExamples holds the commands that make a login, in
// README.md and docker-compose.yml, against the worker.yaml that uses it.
func TestLoginsAreMadeForTheExamples(t *testing.T) {
	top := root(t)
	for _, c := range []struct{ shown, worker string }{
		{"README.md", "examples/worker.yaml"},
		{"docker-compose.yml", "examples/compose/worker.yaml"},
		{"docker-compose.yml", "examples/servicebus-emulator/worker.yaml"},
	} {
		t.Run(c.worker, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(top, c.shown))
			if err != nil {
				t.Fatal(err)
			}
			// A command in JSON form reads like one in a shell after this.
			plain := regexp.MustCompile(`[\[\]",\s]+`).ReplaceAllString(string(text), " ")
			file, err := os.ReadFile(filepath.Join(top, c.worker))
			if err != nil {
				t.Fatal(err)
			}
			worker := loadWorker(t, filepath.Join(top, c.worker))
			m := regexp.MustCompile(`workers add (` + worker.Name + `) --routes (\S+) --out (\S+)`).FindStringSubmatch(plain)
			if m == nil {
				t.Fatalf("%s does not show how to make a login for %s, the worker of %s", c.shown, worker.Name, c.worker)
			}
			if m[2] != worker.Routes[0].Name {
				t.Errorf("%s adds it for route %s, %s delivers %s", c.shown, m[2], c.worker, worker.Routes[0].Name)
			}
			if login := string(nkeyPath.FindSubmatch(file)[1]); filepath.Base(m[3]) != filepath.Base(login) {
				t.Errorf("%s writes the login to %s, %s reads %s", c.shown, m[3], c.worker, login)
			}
		})
	}
}
