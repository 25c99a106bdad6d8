// Package docs_test keeps the documents true.
package docs_test

import (
	"os"
	"reflect"
	"regexp"
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

func TestEveryPathIsNamed(t *testing.T) {
	text := read(t, "http.md")
	paths := regexp.MustCompile(`"(/[a-z0-9/{}.-]+)"`).FindAllStringSubmatch(read(t, "../api/routes.go"), -1)
	if len(paths) < 20 {
		t.Fatalf("%d paths found in routes.go", len(paths))
	}
	for _, m := range paths {
		words := strings.Split(strings.TrimPrefix(m[1], "/"), "/")
		last := words[len(words)-1]
		if strings.HasPrefix(last, "{") {
			last = words[len(words)-2]
		}
		if last == "rotate" || last == "revoke" || last == "cancel" {
			continue // of keys, workers and operations: openapi.json has them
		}
		if !strings.Contains(text, "/"+last) {
			t.Errorf("http.md does not name %s", m[1])
		}
	}
}

func TestEveryCommandIsNamed(t *testing.T) {
	text := read(t, "cli.md")
	command := regexp.MustCompile(`(?m)^\s(\w+)\s+\w+Cmd\s+.cmd:""`)
	for _, file := range []string{"../cmd/broker/commands.go", "../cmd/worker/run.go"} {
		found := command.FindAllStringSubmatch(read(t, file), -1)
		if len(found) < 4 {
			t.Fatalf("%d commands found in %s", len(found), file)
		}
		for _, m := range found {
			if !strings.Contains(text, "`"+strings.ToLower(m[1])) {
				t.Errorf("cli.md does not name %s of %s", strings.ToLower(m[1]), file)
			}
		}
	}
}

func TestEveryMetricIsNamed(t *testing.T) {
	text := read(t, "operations.md")
	metric := regexp.MustCompile(`(?:counter|desc)\("([a-z_]+)"|Name:\s+"ferry_([a-z_]+)"`)
	seen := 0
	for _, file := range []string{"../broker/metrics.go", "../worker/metrics.go"} {
		for _, m := range metric.FindAllStringSubmatch(read(t, file), -1) {
			seen++
			if name := "ferry_" + m[1] + m[2]; !strings.Contains(text, "`"+name) {
				t.Errorf("operations.md does not name %s", name)
			}
		}
	}
	if seen < 20 {
		t.Fatalf("%d metrics found", seen)
	}
}
