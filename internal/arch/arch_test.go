// Package arch holds the structure of the project to its rules.
package arch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// may lists, per package, which packages of the project it may import. What is
// not listed may import nothing of the project. Implementations never import
// each other; every arrow points down.
var may = map[string][]string{
	"ferry":                               {},
	"ferry/mapping":                       {"ferry"},
	"ferry/shape":                         {"ferry", "ferry/mapping", "ferry/internal/conform"},
	"ferry/internal/conform":              {},
	"ferry/secret":                        {"ferry"},
	"ferry/secret/keyvault":               {"ferry", "ferry/config", "ferry/secret", "ferry/internal/azure"},
	"ferry/accesslog":                     {"ferry"},
	"ferry/trace":                         {"ferry"},
	"ferry/trace/otlp":                    {"ferry", "ferry/secret", "ferry/trace"},
	"ferry/internal/vaultdouble":          {},
	"ferry/privacy":                       {"ferry"},
	"ferry/retry":                         {"ferry"},
	"ferry/breaker":                       {"ferry"},
	"ferry/pace":                          {},
	"ferry/calendar":                      {"ferry"},
	"ferry/jwtauth":                       {"ferry"},
	"ferry/internal/issuer":               {},
	"ferry/httpauth":                      {"ferry", "ferry/secret", "ferry/internal/azure"},
	"ferry/internal/disk":                 {},
	"ferry/internal/faultfs":              {},
	"ferry/internal/commit":               {"ferry/internal/disk"},
	"ferry/internal/rules":                {},
	"ferry/internal/systemd":              {},
	"ferry/internal/hangup":               {},
	"ferry/internal/azure":                {"ferry"},
	"ferry/internal/foreign":              {},
	"ferry/internal/hostile":              {},
	"ferry/internal/azurite":              {"ferry/internal/foreign"},
	"ferry/internal/cap":                  {"ferry/internal/foreign"},
	"ferry/internal/windowsauth":          {},
	"ferry/internal/oauthmock":            {"ferry/internal/foreign"},
	"ferry/internal/logicapps":            {},
	"ferry/internal/servicebus":           {"ferry"},
	"ferry/internal/sbemu":                {"ferry/internal/sbemu/atom", "ferry/internal/sbemu/entity", "ferry/internal/sbemu/sas", "ferry/internal/sbemu/wire"},
	"ferry/internal/sbemu/atom":           {"ferry/internal/sbemu/entity"},
	"ferry/internal/sbemu/entity":         {},
	"ferry/internal/sbemu/sas":            {},
	"ferry/internal/sbemu/wire":           {},
	"ferry/queue/sbqueue":                 {"ferry", "ferry/queue", "ferry/internal/servicebus"},
	"ferry/queue/blobbodies":              {"ferry", "ferry/queue"},
	"ferry/intake":                        {"ferry", "ferry/internal/servicebus", "ferry/shape", "ferry/trace"},
	"ferry/queue":                         {"ferry"},
	"ferry/queue/memqueue":                {"ferry", "ferry/queue"},
	"ferry/queue/natsqueue":               {"ferry", "ferry/queue", "ferry/internal/disk"},
	"ferry/queue/queuetest":               {"ferry", "ferry/queue"},
	"ferry/queue/drivers":                 {"ferry", "ferry/config", "ferry/secret", "ferry/queue", "ferry/queue/natsqueue", "ferry/queue/sbqueue", "ferry/queue/blobbodies", "ferry/internal/azure", "ferry/internal/servicebus"},
	"ferry/adapters":                      {"ferry", "ferry/httpauth"},
	"ferry/adapters/httpcall":             {"ferry", "ferry/mapping", "ferry/trace"},
	"ferry/adapters/erp":                  {"ferry", "ferry/adapters", "ferry/adapters/httpcall", "ferry/httpauth", "ferry/internal/apispec", "ferry/mapping", "ferry/privacy", "ferry/secret", "ferry/shape"},
	"ferry/adapters/adaptertest":          {"ferry", "ferry/adapters", "ferry/adapters/adaptertest/practice", "ferry/httpauth", "ferry/secret"},
	"ferry/adapters/adaptertest/practice": {},
	"ferry/store":                         {"ferry", "ferry/internal/commit", "ferry/internal/disk", "ferry/internal/rules"},
	"ferry/notify":                        {"ferry", "ferry/trace"},
	"ferry/api":                           {"ferry", "ferry/accesslog", "ferry/connector", "ferry/ratelimit", "ferry/secret", "ferry/shape"},
	"ferry/connector":                     {"ferry"},
	"ferry/ratelimit":                     {"ferry"},
	"ferry/certs":                         {"ferry"},
	"ferry/client":                        {"ferry"},
	"ferry/config":                        {"ferry", "ferry/adapters", "ferry/calendar", "ferry/httpauth", "ferry/mapping", "ferry/privacy", "ferry/retry", "ferry/secret", "ferry/shape"},
	"ferry/broker":                        {"ferry", "ferry/calendar", "ferry/mapping", "ferry/privacy", "ferry/queue", "ferry/shape", "ferry/store", "ferry/trace", "ferry/internal/disk", "ferry/internal/rules"},
	"ferry/worker":                        {"ferry", "ferry/adapters", "ferry/breaker", "ferry/config", "ferry/pace", "ferry/queue", "ferry/retry", "ferry/trace", "ferry/internal/commit", "ferry/internal/disk", "ferry/internal/rules"},
	"ferry/cmd/broker":                    anything,
	"ferry/cmd/worker":                    anything,
	"ferry/cmd/practice-erp":              {"ferry/adapters/adaptertest/practice"},
	"ferry/internal/bench":                anything,
	"ferry/e2e":                           anything,
	"ferry/e2e/sim":                       anything,
	"ferry/internal/arch":                 {},
	"ferry/internal/apispec":              {"ferry", "ferry/httpauth", "ferry/internal/conform"},
	"ferry/internal/postman":              {"ferry", "ferry/httpauth", "ferry/internal/apispec"},
	"ferry/internal/prism":                {"ferry/internal/foreign"},
	"ferry/internal/stanza":               {"ferry", "ferry/internal/apispec"},
	"ferry/docs":                          anything,
}

var anything = []string{"*"}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Module     *struct{ Main bool }
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Module", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func TestImportsOnlyGoDown(t *testing.T) {
	for _, p := range list(t) {
		allowed, known := may[p.ImportPath]
		if !known {
			t.Errorf("%s is not in the table of this test: say what it may import", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			ours := i == "ferry" || strings.HasPrefix(i, "ferry/")
			if p.ImportPath == "ferry" && (ours || strings.Contains(i, ".")) {
				t.Errorf("the vocabulary imports %s: only the standard library is allowed", i)
			}
			if ours && !slices.Contains(allowed, "*") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s, which the table does not allow", p.ImportPath, i)
			}
		}
	}
}

func TestProgramsDoNotLinkTestSupport(t *testing.T) {
	for _, p := range list(t) {
		if !strings.HasPrefix(p.ImportPath, "ferry/cmd/") {
			continue
		}
		for _, d := range p.Deps {
			if d == "testing" || d == "ferry/queue/queuetest" || d == "ferry/adapters/adaptertest" || d == "ferry/queue/memqueue" || d == "ferry/internal/faultfs" || d == "ferry/internal/logicapps" || strings.Contains(d, "hanwen/go-fuse") || strings.Contains(d, "pgregory.net/rapid") {
				t.Errorf("%s links %s", p.ImportPath, d)
			}
		}
	}
}

// sources calls see for every Go file that is no test.
func sources(t *testing.T, see func(path string, f *ast.File, set *token.FileSet)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != top {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err == nil {
			see(filepath.ToSlash(rel), f, set)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoInitNoExitNoState(t *testing.T) {
	sources(t, func(path string, f *ast.File, set *token.FileSet) {
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init(): register explicitly", set.Position(fn.Pos()))
			}
			// What a test has switched off is in no ordinary build.
			if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.VAR && path != "internal/rules/off.go" {
				for _, spec := range gen.Specs {
					checkVar(t, set, spec.(*ast.ValueSpec))
				}
			}
		}
		if strings.HasPrefix(path, "cmd/") || strings.HasPrefix(path, "internal/bench/") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "os" && sel.Sel.Name == "Exit" || x.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal")) {
						t.Errorf("%s: only main ends the process", set.Position(call.Pos()))
					}
				}
			}
			return true
		})
	})
}

// checkVar lets package variables be errors, tables and the like: values that
// nothing changes. Channels, mutexes, pools and counters are state.
func checkVar(t *testing.T, set *token.FileSet, spec *ast.ValueSpec) {
	t.Helper()
	var text string
	ast.Inspect(spec, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				text += " " + x.Name + "." + sel.Sel.Name
			}
		}
		if _, ok := n.(*ast.ChanType); ok {
			text += " chan"
		}
		return true
	})
	for _, state := range []string{"sync.", "atomic.", " chan", "rand.New", "http.Client", "slog.New", "prometheus.New"} {
		if strings.Contains(text, state) {
			t.Errorf("%s: %s is state of the package (%s)", set.Position(spec.Pos()), spec.Names[0].Name, strings.TrimSpace(state))
		}
	}
}

func TestFilesStayReadable(t *testing.T) {
	const most = 450
	sources(t, func(path string, f *ast.File, set *token.FileSet) {
		if lines := set.Position(f.End()).Line; lines > most {
			t.Errorf("%s has %d lines, at most %d: what does it mix?", path, lines, most)
		}
	})
}

func TestExportedNamesAreExplained(t *testing.T) {
	sources(t, func(path string, f *ast.File, set *token.FileSet) {
		if f.Name.Name == "main" {
			return
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverExported(d)) && !usual(d.Name.Name) {
					t.Errorf("%s: %s has no doc comment", set.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
						t.Errorf("%s: %s has no doc comment", set.Position(s.Pos()), s.Name.Name)
					}
				}
			}
		}
	})
}

func receiverExported(d *ast.FuncDecl) bool {
	expr := d.Recv.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	id, ok := expr.(*ast.Ident)
	return ok && id.IsExported()
}

// usual methods explain themselves.
func usual(name string) bool {
	return slices.Contains([]string{"Error", "Unwrap", "Is", "String", "Len", "Less", "Swap", "Push", "Pop"}, name)
}

func TestReadmeMapsTheTree(t *testing.T) {
	top := root(t)
	text, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"go run ./cmd/broker dev", "go test ./..."} {
		if !bytes.Contains(text, []byte(command)) {
			t.Errorf("README.md does not show %q", command)
		}
	}
	named := regexp.MustCompile("`([a-z0-9/-]+)`").FindAllSubmatch(text, -1)
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || slices.Contains([]string{"bin", "dist", "data", "worker-data"}, e.Name()) {
			continue
		}
		if !slices.ContainsFunc(named, func(m [][]byte) bool { return string(m[1]) == e.Name() }) {
			t.Errorf("README.md does not name the folder %s", e.Name())
		}
	}
	links := regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllSubmatch(text, -1)
	for _, m := range links {
		if _, err := os.Stat(filepath.Join(top, string(m[1]))); err != nil {
			t.Errorf("README.md links to %s, which is not there", m[1])
		}
	}
}

func TestContainerFilesNameWhatIsThere(t *testing.T) {
	top := root(t)
	docker, err := os.ReadFile(filepath.Join(top, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	compose, err := os.ReadFile(filepath.Join(top, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	scanner := bufio.NewScanner(bytes.NewReader(docker))
	for scanner.Scan() {
		if _, target, ok := strings.Cut(scanner.Text(), " AS "); ok {
			targets[target] = true
		}
	}
	for _, m := range regexp.MustCompile(`target: ([a-z-]+)`).FindAllSubmatch(compose, -1) {
		if !targets[string(m[1])] {
			t.Errorf("docker-compose.yml builds %s, which the Dockerfile does not have", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\./(\S+?):/`).FindAllSubmatch(compose, -1) {
		if _, err := os.Stat(filepath.Join(top, string(m[1]))); err != nil {
			t.Errorf("docker-compose.yml mounts %s, which is not there", m[1])
		}
	}
	if !bytes.Contains(docker, []byte("USER 65532")) {
		t.Error("the images run as root")
	}
}
