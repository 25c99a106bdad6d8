package main

import (
	"errors"
	"log/slog"
	"strings"

	"ferry"
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
			Environment: cfg.Environment, Queue: cfg.Queue.Driver, Routes: routes, Certificate: certificate,
		}))
	}
	a.printf("%s is good: %s\n", c.Config, count(len(routes), "route"))
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
	a.writePairs(pairs)
	return unread
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

	Certificate *ferry.CertificateInfo `json:"certificate,omitempty"`
	Secrets     []checkedSecret        `json:"secrets,omitempty"`
}
