package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/config"
	"ferry/secret"
)

// TestExamplesWork loads each pair of example files as the programs do, and
// makes every destination and route of the worker's.
func TestExamplesWork(t *testing.T) {
	top := root(t)
	for _, folder := range []string{"examples", "examples/compose", "examples/servicebus"} {
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
	for _, c := range []struct {
		shown, worker string
		nth           int // of the commands there
	}{
		{"README.md", "examples/worker.yaml", 0},
		{"docker-compose.yml", "examples/compose/worker.yaml", 0},
		{"docker-compose.yml", "examples/servicebus/worker.yaml", 1},
	} {
		t.Run(c.worker, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(top, c.shown))
			if err != nil {
				t.Fatal(err)
			}
			// A command in JSON form reads like one in a shell after this.
			plain := regexp.MustCompile(`[\[\]",\s]+`).ReplaceAllString(string(text), " ")
			all := regexp.MustCompile(`workers add (\S+) --routes (\S+) --out (\S+)`).FindAllStringSubmatch(plain, -1)
			if len(all) <= c.nth {
				t.Fatalf("%s does not show how to make a login for %s", c.shown, c.worker)
			}
			m := all[c.nth]
			file, err := os.ReadFile(filepath.Join(top, c.worker))
			if err != nil {
				t.Fatal(err)
			}
			worker := loadWorker(t, filepath.Join(top, c.worker))
			if m[1] != worker.Name {
				t.Errorf("%s adds worker %s, %s is %s", c.shown, m[1], c.worker, worker.Name)
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
