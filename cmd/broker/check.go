package main

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"ferry"
	"ferry/config"
	"ferry/secret/keyvault"
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
	cert, err := certificateOf(cfg, slog.New(slog.DiscardHandler))
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
	var secrets []checkedSecret
	if !c.Offline {
		secrets = a.checkSecrets(cfg)
	}
	failed := 0
	for _, s := range secrets {
		if s.Problem != "" {
			failed++
		}
	}
	var unread error
	if failed > 0 {
		unread = ferry.Errorf(ferry.CodeBadConfig, "%d of %s cannot be read", failed, count(len(secrets), "secret"))
	}
	if a.json() {
		return errors.Join(unread, a.writeJSON(checked{
			Secrets: secrets, Certificate: certificate,
			File: c.Config, Listen: cfg.Listen, PublicURL: cfg.PublicURL, DataDir: cfg.DataDir,
			Environment: cfg.Environment, Queue: cfg.Queue.Driver, Routes: routes,
		}))
	}
	a.printf("%s is good: %s\n", c.Config, count(len(routes), "route"))
	a.printSecrets(secrets)
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

func (a *app) printSecrets(secrets []checkedSecret) {
	p := a.paint()
	for _, s := range secrets {
		switch {
		case s.Problem != "":
			a.printf("  %s %s: %s\n", p.red("!"), s.Path, oneLine(s.Problem))
			if s.Hint != "" {
				a.printf("    %s\n", oneLine(s.Hint))
			}
		case s.Note != "":
			a.printf("  %s %s: %s, %s\n", p.yellow("!"), s.Path, s.Secret, s.Note)
		default:
			a.printf("  %s: %s can be read\n", s.Path, s.Secret)
		}
	}
}

// checkedSecret is a secret that the file refers to; it holds none.
type checkedSecret struct {
	Path    string `json:"path"`
	Secret  string `json:"secret"` // the reference
	Version string `json:"version,omitempty"`
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Note    string `json:"note,omitempty"`
}

// checkSecrets reads every secret that the file refers to.
func (a *app) checkSecrets(cfg *config.Broker) []checkedSecret {
	secrets := openSecrets(cfg, slog.New(slog.DiscardHandler))
	defer secrets.close()
	list := []checkedSecret{}
	for _, r := range cfg.References() {
		s := checkedSecret{Path: r.Path, Secret: r.Ref.String()}
		var err error
		if ref, ok := r.Ref.Vault(); ok {
			var got keyvault.Secret
			got, err = secrets.vault.Look(ref)
			s.Version = got.Version
			if err == nil && got.Ended(a.now()) {
				s.Note = "expired at " + got.Expires.UTC().Format(time.RFC3339) + ", and is used as long as it is taken"
			}
		} else {
			_, err = secrets.Resolve(r.Ref)
		}
		if err != nil {
			s.Problem, s.Hint = err.Error(), hintOf(err)
		}
		list = append(list, s)
	}
	return list
}

// hintOf is what to do about an error, where it says so.
func hintOf(err error) string {
	if e, ok := errors.AsType[*ferry.Error](err); ok {
		return e.Hint
	}
	return ""
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
