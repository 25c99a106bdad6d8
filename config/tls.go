package config

import (
	"strings"

	"ferry/secret"
)

// SecretFile is a secret that is written as the path of a file, or as a reference.
type SecretFile string

// Path is the file; empty: the secret lies elsewhere.
func (f SecretFile) Path() string {
	if strings.HasPrefix(string(f), "env:") || strings.HasPrefix(string(f), "@") {
		return ""
	}
	return strings.TrimPrefix(string(f), "file:")
}

// Ref is the secret as a reference.
func (f SecretFile) Ref() secret.Ref { return seedRef(string(f)) }

// BrokerTLS is the certificate of the broker's listener. Files are read again when
// they change.
type BrokerTLS struct {
	// Cert is a PEM file: the broker's certificate, and what is between it and its
	// root; default: what Key refers to holds it as well.
	Cert string `yaml:"cert"`
	// Key is its private key, PEM, not encrypted: a path, or a reference to a secret.
	Key SecretFile `yaml:"key"`
	// ClientCA is a PEM file: whose certificates callers may show; default none are
	// asked for.
	ClientCA string `yaml:"clientCa"`
	// MinVersion is 1.2, the default, or 1.3.
	MinVersion string `yaml:"minVersion"`
}

func (t *BrokerTLS) check(d *decoder) {
	if t == nil {
		return
	}
	if t.Key == "" || t.Cert == "" && t.Key.Path() != "" {
		d.at("tls", "cert: FILE and key: FILE", "tls: cert and key are both needed")
	}
	if t.Key.Path() == "" && t.Key != "" {
		if _, err := secret.ParseRef(string(t.Key)); err != nil {
			message, hint := sentence(err)
			d.at("tls.key", hint, "tls.key: %s", message)
		}
	}
	for name, file := range map[string]string{"cert": t.Cert, "key": t.Key.Path(), "clientCa": t.ClientCA} {
		if file != "" {
			d.checkFile("tls."+name, file)
		}
	}
	if t.MinVersion != "" {
		d.checkOneOf("tls.minVersion", t.MinVersion, "1.2", "1.3")
	}
}
