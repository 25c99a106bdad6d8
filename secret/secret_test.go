package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
	"ferry/secret"
)

const hush = "hunter2-hunter2"

func TestParseRef(t *testing.T) {
	for in, ok := range map[string]bool{
		"env:ERP_KEY": true, "file:/run/secrets/erp": true, "file:./k": true, "@Microsoft.KeyVault(VaultName=v;SecretName=s)": true,
		"": false, "env:": false, "file:": false, "env:A B": false, "env:A=B": false, "ENV:A": false, hush: false,
		"@Microsoft.KeyVault(VaultName=v": false, "$" + hush: false, "Env:" + hush: false,
	} {
		ref, err := secret.ParseRef(in)
		if (err == nil) != ok || ok && ref.String() != in {
			t.Errorf("%q: %q, %v", in, ref, err)
			continue
		}
		if ok {
			continue
		}
		var e *ferry.Error
		if !errors.As(err, &e) || e.Code != ferry.CodeBadConfig || e.Hint == "" || strings.Contains(e.Message+e.Hint, hush) {
			t.Errorf("%q: %+v", in, err)
		}
	}
	var r secret.Ref
	if err := r.UnmarshalText([]byte("env:A")); err != nil || r != "env:A" || r.IsZero() {
		t.Errorf("%q, %v", r, err)
	}
	if err := r.UnmarshalText([]byte(hush)); err == nil || r != "env:A" {
		t.Errorf("%q, %v", r, err)
	}
	if s := fmt.Sprint(secret.Ref(hush)); strings.Contains(s, hush) {
		t.Errorf("a literal in the place of a reference shows: %s", s)
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) secret.Ref {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return secret.Ref("file:" + path)
	}
	r := secret.Resolver{LookupEnv: func(name string) (string, bool) {
		v, ok := map[string]string{"SET": hush, "EMPTY": ""}[name]
		return v, ok
	}}
	for name, c := range map[string]struct {
		ref  secret.Ref
		want string // "" for an error
	}{
		"env":             {"env:SET", hush},
		"env not set":     {"env:UNSET", ""},
		"env empty":       {"env:EMPTY", ""},
		"file":            {file("a", hush), hush},
		"one newline":     {file("b", hush+"\n"), hush},
		"one CR LF":       {file("c", hush+"\r\n"), hush},
		"only one":        {file("d", hush+"\n\n"), hush + "\n"},
		"spaces are kept": {file("e", " x "), " x "},
		"largest":         {file("f", strings.Repeat("x", secret.MaxSize)), strings.Repeat("x", secret.MaxSize)},
		"too large":       {file("g", strings.Repeat("x", secret.MaxSize+1)), ""},
		"empty file":      {file("h", "\n"), ""},
		"no file":         {secret.Ref("file:" + filepath.Join(dir, "none")), ""},
		"a folder":        {secret.Ref("file:" + dir), ""},
		"key vault":       {"@Microsoft.KeyVault(VaultName=v;SecretName=s)", ""},
		"literal":         {hush, ""},
		"none":            {"", ""},
	} {
		v, err := r.Resolve(c.ref)
		if (err == nil) != (c.want != "") || v.Reveal() != c.want {
			t.Errorf("%s: %d characters, %v", name, len(v.Reveal()), err)
		}
		var e *ferry.Error
		if err != nil && (!errors.As(err, &e) || e.Hint == "" || strings.Contains(e.Message+e.Hint, hush)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResolveReadsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if v, err := (secret.Resolver{}).Resolve(secret.Ref("file:" + path)); err != nil || v.Reveal() != text {
			t.Errorf("%q, %v", v.Reveal(), err)
		}
	}
	t.Setenv("FERRY_TEST_SECRET", hush)
	if v, err := (secret.Resolver{}).Resolve("env:FERRY_TEST_SECRET"); err != nil || v.Reveal() != hush {
		t.Errorf("the process's environment: %v", err)
	}
}

func TestValueNeverShows(t *testing.T) {
	v := secret.NewValue(hush)
	holder := struct {
		V secret.Value
		P *secret.Value
	}{v, &v}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t"} {
		fmt.Fprintf(&shown, verb+verb+verb, v, &v, holder)
	}
	for _, x := range []any{v, &v, holder, map[string]secret.Value{"a": v}} {
		data, err := json.Marshal(x)
		if err != nil || !bytes.Contains(data, []byte(`"***"`)) {
			t.Errorf("%s, %v", data, err)
		}
		shown.Write(data)
	}
	text, err := v.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(text)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "v", v, "p", &v, "h", holder)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "v", v, "p", &v, "h", holder)
	fmt.Fprint(&shown, v.String(), v.GoString(), v.LogValue())
	for _, leak := range []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%X", hush), "hunter"} {
		if strings.Contains(shown.String(), leak) {
			t.Errorf("it shows: %s", shown.String())
		}
	}
	if v.Reveal() != hush || v.IsZero() || !(secret.Value{}).IsZero() {
		t.Error("Reveal or IsZero")
	}
}
