package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"ferry"
	"ferry/calendar"
	"ferry/config"
)

type checkCmd struct {
	Config  string `default:"broker.yaml" placeholder:"FILE" help:"The file (${default})."`
	Offline bool   `help:"Read the file alone, not the secrets that it refers to."`
}

// Run reads the file and its secrets as `broker serve` would, and starts nothing.
func (c checkCmd) Run(a *app) error {
	cfg, err := config.LoadBroker(c.Config)
	if err != nil {
		return err
	}
	windows, endless, err := comingWindows(cfg, a.now())
	if err != nil {
		return err
	}
	routes := make([]string, len(cfg.Routes))
	for i, r := range cfg.Routes {
		routes[i] = r.Name
	}
	quiet := slog.New(slog.DiscardHandler)
	secrets := openSecrets(cfg, quiet)
	defer secrets.close()
	cert, err := certificateOf(cfg, secrets.Resolver, quiet)
	if err != nil {
		return err
	}
	var certificate *ferry.CertificateInfo
	if cert != nil {
		certificate = cert.Info()
		for _, w := range cert.Warnings() {
			a.remark("warning: %s", w)
		}
	}
	checkedSecrets, unread := secrets.check(cfg, c.Offline, a.now())
	if a.json() {
		return errors.Join(unread, a.writeJSON(checked{
			Secrets: checkedSecrets,
			File:    c.Config, Listen: cfg.Listen, PublicURL: cfg.PublicURL, DataDir: cfg.DataDir,
			Environment: cfg.Environment, Queue: cfg.Queue.Driver, Routes: routes, Windows: windows, Certificate: certificate,
		}))
	}
	a.printf("%s is good: %s\n", c.Config, count(len(routes), "route"))
	for _, name := range endless {
		a.remark("warning: the windows of route %s leave no time to deliver in", name)
	}
	a.tellSecrets(checkedSecrets)
	pairs := []pair{
		{"listen", cfg.Listen},
		{"public URL", cfg.PublicURL},
		{"data", cfg.DataDir},
		{"environment", cfg.Environment},
		{"queue", cfg.Queue.Driver},
		{"routes", strings.Join(routes, "\n")},
	}
	if certificate != nil {
		pairs = append(pairs, pair{"certificate", strings.Join(certificate.Names, ", ") + ", until " + moment(certificate.NotAfter)})
	}
	for _, name := range routes {
		if list, ok := windows[name]; ok {
			pairs = append(pairs, pair{"windows of " + name, windowLines(list)})
		}
	}
	a.writePairs(pairs)
	return unread
}

// shownWindows is how many windows of each route `broker check` tells of.
const shownWindows = 3

// comingWindows are the next windows of each route that has some, and the routes
// that these leave no time to deliver in.
func comingWindows(cfg *config.Broker, now time.Time) (coming map[string][]ferry.WindowTime, endless []string, err error) {
	coming = map[string][]ferry.WindowTime{}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		c, err := calendar.Compile(r.Windows)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			continue
		}
		coming[r.Name] = c.Coming(now, shownWindows)
		if c.Endless(now) {
			endless = append(endless, r.Name)
		}
	}
	return coming, endless, nil
}

func windowLines(list []ferry.WindowTime) string {
	if len(list) == 0 {
		return "none any more"
	}
	lines := make([]string, len(list))
	for i, w := range list {
		lines[i] = fmt.Sprintf("%s, from %s to %s", w.Name, moment(w.From), moment(w.To))
	}
	return strings.Join(lines, "\n")
}

// checked is what a good file says, for scripts; it holds no secret.
type checked struct {
	File        string   `json:"file"`
	Listen      string   `json:"listen"`
	PublicURL   string   `json:"publicUrl"`
	DataDir     string   `json:"dataDir"`
	Environment string   `json:"environment,omitempty"`
	Queue       string   `json:"queue"`
	Routes      []string `json:"routes"`

	// Windows are the next three of each route that has some.
	Windows     map[string][]ferry.WindowTime `json:"windows,omitempty"`
	Certificate *ferry.CertificateInfo        `json:"certificate,omitempty"`
	Secrets     []checkedSecret               `json:"secrets,omitempty"`
}
