package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"ferry"
)

// serverContext is one broker of contexts.yaml:
//
//	current: prod                # used without --context; may be left out
//	contexts:
//	  prod:
//	    server: https://broker.example
//	    keyFile: prod.key        # relative to this file's folder
//	    ca: authority.pem        # likewise; who signed the broker's certificate, when no machine knows it
type serverContext struct {
	Server  string `yaml:"server"`
	KeyFile string `yaml:"keyFile"`
	CA      string `yaml:"ca"`

	name string
}

type contextsFile struct {
	Current  string                   `yaml:"current"`
	Contexts map[string]serverContext `yaml:"contexts"`
}

// chosenContext is the context that --context names, else the file's current
// one, else none.
func (a *app) chosenContext() (serverContext, error) {
	wanted := a.globals.Context
	path := contextsPath(runtime.GOOS, a.env)
	file, err := readContexts(path)
	if errors.Is(err, fs.ErrNotExist) {
		if wanted == "" {
			return serverContext{}, nil
		}
		return serverContext{}, usagef("there is no context %q: %s does not exist", wanted, path).
			withHint("it looks like: contexts: {%s: {server: https://broker.example, keyFile: %s.key}}", wanted, wanted)
	}
	if err != nil {
		return serverContext{}, err
	}
	name := firstOf(wanted, file.Current)
	if name == "" {
		return serverContext{}, nil
	}
	chosen, ok := file.Contexts[name]
	if !ok {
		return serverContext{}, usagef("there is no context %q in %s", name, path).
			withHint("known contexts: %s", strings.Join(file.names(), ", "))
	}
	if chosen.Server == "" {
		return serverContext{}, fmt.Errorf("the context %q in %s names no server", name, path)
	}
	chosen.name = name
	if chosen.KeyFile != "" && !filepath.IsAbs(chosen.KeyFile) {
		chosen.KeyFile = filepath.Join(filepath.Dir(path), chosen.KeyFile)
	}
	if chosen.CA != "" && !filepath.IsAbs(chosen.CA) {
		chosen.CA = filepath.Join(filepath.Dir(path), chosen.CA)
	}
	return chosen, nil
}

func readContexts(path string) (contextsFile, error) {
	if path == "" {
		return contextsFile{}, fs.ErrNotExist
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return contextsFile{}, err
	}
	var file contextsFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return contextsFile{}, ferry.Errorf(ferry.CodeBadConfig, "%s: %w", path, err).
			WithHint("a context has server and keyFile; keys themselves do not stand in this file")
	}
	return file, nil
}

func (f contextsFile) names() []string {
	names := make([]string, 0, len(f.Contexts))
	for name := range f.Contexts {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// contextsPath is ferry/contexts.yaml in the user's configuration folder; empty
// when the environment names none.
func contextsPath(system string, env func(string) string) string {
	folder := ""
	switch system {
	case "windows":
		folder = env("AppData")
	case "darwin":
		if home := env("HOME"); home != "" {
			folder = filepath.Join(home, "Library", "Application Support")
		}
	default:
		folder = env("XDG_CONFIG_HOME")
		if home := env("HOME"); folder == "" && home != "" {
			folder = filepath.Join(home, ".config")
		}
	}
	if folder == "" {
		return ""
	}
	return filepath.Join(folder, "ferry", "contexts.yaml")
}
