package main

import (
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(a *app) error {
	v := versionInfo{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if a.json() {
		return a.writeJSON(v)
	}
	a.printf("broker %s (%s, %s)\n", v.Version, v.Go, v.Platform)
	return nil
}

type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// version is what the build recorded: the module's version, or "devel" with the
// commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	const commitLength = 12
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= commitLength {
			return "devel-" + s.Value[:commitLength]
		}
	}
	return "devel"
}
