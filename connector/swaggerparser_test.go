package connector

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/foreign"
)

// TestSwaggerParser holds the definitions against a validator that others wrote.
func TestSwaggerParser(t *testing.T) {
	folder := foreign.Folder(t, "FERRY_SWAGGER_PARSER", "swagger-parser")
	args := []string{filepath.Join(folder, "check.mjs")}
	dir := t.TempDir()
	made := fixtures(t)
	for name, c := range made {
		file := filepath.Join(dir, name+".json")
		if err := os.WriteFile(file, fileNamed(t, c, DefinitionFile), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.Command("node", args...).CombinedOutput()
	if err != nil || strings.Count(string(out), "valid: ") != len(made) {
		t.Fatalf("%v: %s", err, out)
	}
	bad := filepath.Join(dir, "bad.json")
	text := strings.Replace(string(fileNamed(t, made["one"], DefinitionFile)), `"in": "body"`, `"in": "cookie"`, 1)
	if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("node", args[0], bad).CombinedOutput(); err == nil {
		t.Errorf("a definition that is wrong is taken: %s", out)
	}
	t.Logf("%d definitions are valid", len(made))
}
