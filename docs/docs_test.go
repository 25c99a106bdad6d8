// Package docs_test keeps the documents true.
package docs_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
	"ferry/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryErrorCodeIsExplained(t *testing.T) {
	text := read(t, "errors.md")
	codes := regexp.MustCompile(`(?m)^\s+Code\w+\s+Code = "(\w+)"`).FindAllStringSubmatch(read(t, "../errors.go"), -1)
	if len(codes) < 40 {
		t.Fatalf("%d codes found in errors.go", len(codes))
	}
	for _, m := range codes {
		row := regexp.MustCompile("(?m)^\\| `" + m[1] + "` \\| (\\d+) \\| \\S").FindStringSubmatch(text)
		if row == nil {
			t.Errorf("errors.md does not explain %s", m[1])
			continue
		}
		if want := strconv.Itoa(api.Status(ferry.Code(m[1]))); row[1] != want {
			t.Errorf("errors.md gives %s the status %s, it is %s", m[1], row[1], want)
		}
	}
	if rows := strings.Count(text, "\n| `"); rows != len(codes) {
		t.Errorf("errors.md has %d rows for %d codes", rows, len(codes))
	}
}

func TestEveryConfigurationKeyIsExplained(t *testing.T) {
	text := read(t, "configuration.md")
	for _, root := range []reflect.Type{reflect.TypeFor[config.Broker](), reflect.TypeFor[config.Worker]()} {
		for _, key := range keys(root, map[reflect.Type]bool{}) {
			if !strings.Contains(text, "`"+key+"`") {
				t.Errorf("configuration.md does not explain %s of %s", key, root.Name())
			}
		}
	}
}

// keys are the yaml names below a type, without those of later versions.
func keys(t reflect.Type, seen map[reflect.Type]bool) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || t.PkgPath() == "time" {
		return nil
	}
	seen[t] = true
	var list []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Tag.Get("later") != "" || name == "-" {
			continue
		}
		if name != "" {
			list = append(list, name)
		}
		list = append(list, keys(f.Type, seen)...)
	}
	return list
}

func TestEveryCallIsNamed(t *testing.T) {
	text := read(t, "http.md")
	answer := httptest.NewRecorder()
	api.New(nil, api.Options{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	calls := 0
	for path, methods := range document.Paths {
		for method := range methods {
			calls++
			if row := "| `" + strings.ToUpper(method) + " " + path + "` |"; !strings.Contains(text, row) {
				t.Errorf("http.md has no row %s", row)
			}
		}
	}
	rows := 0
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		rows += strings.Count(text, "\n| `"+method+" /")
	}
	if rows != calls || calls < 20 {
		t.Errorf("http.md has %d rows for %d calls", rows, calls)
	}
}

func TestEveryCommandIsNamed(t *testing.T) {
	text := read(t, "cli.md")
	for program, least := range map[string]int{"broker": 35, "worker": 4} {
		files, err := filepath.Glob("../cmd/" + program + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		var source strings.Builder
		for _, file := range files {
			source.WriteString(read(t, file))
		}
		found := commandsOf(source.String(), "commands", "")
		if len(found) < least {
			t.Fatalf("%d commands found of %s: %q", len(found), program, found)
		}
		for _, command := range found {
			if !strings.Contains(text, "`"+command+"`") {
				t.Errorf("cli.md does not name %s of %s", command, program)
			}
		}
	}
}

// commandsOf are the commands below a struct of the command tree, each with its
// groups before it.
func commandsOf(source, structure, before string) (list []string) {
	_, body, _ := strings.Cut(source, "type "+structure+" struct {\n")
	body, _, _ = strings.Cut(body, "\n}")
	for _, m := range regexp.MustCompile("(?m)^\\s(\\w+)\\s+(\\w+)\\s+`cmd:").FindAllStringSubmatch(body, -1) {
		name := before + strings.ToLower(m[1])
		if below := commandsOf(source, m[2], name+" "); below != nil {
			list = append(list, below...)
		} else {
			list = append(list, name)
		}
	}
	return list
}

func TestExamplesAreGood(t *testing.T) {
	broker, err := config.LoadBroker("../examples/broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seed := filepath.Join(t.TempDir(), "erp-worker-1.nk")
	if err := os.WriteFile(seed, []byte("a seed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	example := filepath.Join(t.TempDir(), "worker.yaml")
	text := strings.Replace(read(t, "../examples/worker.yaml"), "./erp-worker-1.nk", filepath.ToSlash(seed), 1)
	if err := os.WriteFile(example, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	worker, err := config.LoadWorker(example)
	if err != nil {
		t.Fatal(err)
	}
	if broker.Routes[0].Name != worker.Routes[0].Name {
		t.Errorf("the examples name different routes: %s and %s", broker.Routes[0].Name, worker.Routes[0].Name)
	}
}

// TestLinksLead: to a file that is there, and a heading in it.
func TestLinksLead(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, page := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)#:\s]*)(#[^)\s]+)?\)`).FindAllStringSubmatch(read(t, page), -1) {
			links++
			target := m[1]
			if target == "" {
				target = page
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", page, target)
				continue
			}
			if m[2] != "" && !slices.Contains(anchors(read(t, target)), m[2]) {
				t.Errorf("%s links to %s%s, and there is no such heading", page, target, m[2])
			}
		}
	}
	if links < 30 {
		t.Fatalf("%d links found", links)
	}
}

// anchors are those of the headings, as they are made on the pages of a repository.
func anchors(text string) (list []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, "#"+strings.ReplaceAll(kept, " ", "-"))
	}
	return list
}

// TestServiceBusIsTold: the files on the page are whole ones, and every key of the
// section stands on it or on the page that it leads to.
func TestServiceBusIsTold(t *testing.T) {
	text := read(t, "service-bus.md")
	dir := t.TempDir()
	for _, name := range []string{"erp-1.nk", "erp-1.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("a file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		body := regexp.MustCompile(`(?m)^   `).ReplaceAllString(m[1], "")
		name := strings.TrimSpace(strings.TrimPrefix(body[:strings.Index(body, "\n")], "#"))
		body = regexp.MustCompile(`\./(erp-1\.\w+)`).ReplaceAllString(body, `"`+filepath.ToSlash(dir)+`/$1"`)
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broker, err := config.LoadBroker(files["broker.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	worker, err := config.LoadWorker(files["worker.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	b, w := broker.Queue.ServiceBus, worker.Queue.ServiceBus
	if b.Namespace != w.Namespace || b.Bodies.Container != w.Bodies.Container || broker.Routes[0].Name != worker.Routes[0].Name {
		t.Errorf("the two files do not belong together: %+v and %+v", b, w)
	}
	if !strings.Contains(text, "workers add "+worker.Name+" --routes "+worker.Routes[0].Name+" ") {
		t.Errorf("no login is made for worker %s", worker.Name)
	}
	for _, key := range keys(reflect.TypeFor[config.BrokerServiceBus](), map[reflect.Type]bool{}) {
		if !regexp.MustCompile(`\b`+key+`\b`).MatchString(text) && !slices.Contains([]string{"clientSecret", "password", "tokenFile", "adminUrl"}, key) {
			t.Errorf("service-bus.md does not mention %s", key)
		}
	}
}

// TestStartsOnServiceBusAreTold: each sentence that a look at the queues ends with is
// in the table of what to do.
func TestStartsOnServiceBusAreTold(t *testing.T) {
	_, table, found := strings.Cut(read(t, "service-bus.md"), "## When it does not start")
	if !found {
		t.Fatal("service-bus.md does not say what to do when it does not start")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	source := read(t, "../queue/sbqueue/check.go")
	said := regexp.MustCompile(`(?:unsuitable|warn)\((?:anew|"[^"]*"), "([^"%,]+)|ferry\.Code\w+, "the namespace %s ([^"%:]+)`).FindAllStringSubmatch(source, -1)
	if len(said) < 9 {
		t.Fatalf("%d sentences found in check.go: %q", len(said), said)
	}
	for _, m := range said {
		if sentence := strings.TrimSpace(m[1] + m[2]); !strings.Contains(table, "`"+sentence) {
			t.Errorf("the table does not have %q", sentence)
		}
	}
	sources := source + read(t, "../config/servicebus.go")
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(table, -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			sentence := regexp.MustCompile(`right (Listen|Send) `).ReplaceAllString(m[1], "right %s ")
			if !strings.Contains(sources, sentence) {
				t.Errorf("no program says %q", m[1])
			}
		}
	}
}

func TestEveryMetricIsNamed(t *testing.T) {
	text := read(t, "operations.md")
	metric := regexp.MustCompile(`(?:counter|desc)\("([a-z_]+)"|(?:Name:\s+|NewDesc\()"ferry_([a-z_]+)"`)
	seen := 0
	for _, file := range metricSources() {
		for _, m := range metric.FindAllStringSubmatch(read(t, file), -1) {
			seen++
			if name := "ferry_" + m[1] + m[2]; !strings.Contains(text, "`"+name) {
				t.Errorf("operations.md does not name %s", name)
			}
		}
	}
	if seen < 40 {
		t.Fatalf("%d metrics found", seen)
	}
}

// TestDiskFaultsAreTold: what the tables of a failing disk name can be found: each
// code is one that a disk fault ends with, each sentence is one of the programs.
func TestDiskFaultsAreTold(t *testing.T) {
	text := read(t, "operations.md")
	_, text, found := strings.Cut(text, "## When the disk fails")
	text, _, _ = strings.Cut(text, "\n## ")
	if !found {
		t.Fatal("operations.md does not say what to do when the disk fails")
	}
	var sources strings.Builder
	for _, dir := range []string{"../internal/commit", "../store", "../broker", "../worker"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				sources.WriteString(read(t, f))
			}
		}
	}
	codes := map[string]bool{"noSpace": false, "ledgerUnavailable": false, "ledgerUnreadable": false, "ledgerLocked": false, "ledgerNewer": false}
	for row := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(row, "|")
		if len(cells) != 5 || strings.HasPrefix(row, "|---") || strings.HasPrefix(row, "| when") {
			continue
		}
		if strings.TrimSpace(cells[3]) == "" {
			t.Errorf("nothing is to be done: %s", row)
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[2]+cells[3], -1) {
			name := m[1]
			if _, ok := codes[name]; ok {
				codes[name] = true
				continue
			}
			if strings.Contains(name, " ") && !strings.HasPrefix(name, "broker ") && !strings.Contains(sources.String(), name) {
				t.Errorf("no program says %q", name)
			}
		}
	}
	for code, told := range codes {
		if api.Status(ferry.Code(code)) == 0 || !told {
			t.Errorf("%s: told %v", code, told)
		}
	}
}

// TestTestsThatAreNamedExist: a rule whose test was renamed away is a rule that
// nothing holds.
func TestTestsThatAreNamedExist(t *testing.T) {
	var source strings.Builder
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, "_test.go") {
			text, readErr := os.ReadFile(path)
			source.Write(text)
			return readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range pages {
		for _, m := range regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(read(t, page), -1) {
			named++
			if !strings.Contains(source.String(), "func "+m[1]+"(") {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
	if named < 100 {
		t.Fatalf("%d tests are named", named)
	}
}
