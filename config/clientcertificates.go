package config

import (
	"encoding/hex"
	"fmt"
	"strings"

	"ferry"
)

// ClientCertificate is a certificate that stands for a key, on connections to this
// broker itself (tls). It must come from an authority of tls.clientCa, and it is
// known by one of Subject, SAN and Thumbprint.
type ClientCertificate struct {
	Name   string   `yaml:"name"`   // what callers are called after: cert:NAME
	Role   string   `yaml:"role"`   // sender, receiver, operator or admin
	Routes []string `yaml:"routes"` // sender, receiver: which; none means all
	// Subject is the whole distinguished name as RFC 2253 writes it, such as
	// CN=flow-host,O=Contoso.
	Subject string `yaml:"subject"`
	// SAN is one of the certificate's alternative names: a host, a mail address or a URI.
	SAN string `yaml:"san"`
	// Thumbprint is the SHA-256 of the certificate, in hex, with colons or without.
	Thumbprint string `yaml:"thumbprint"`
	// EnvironmentID is the Power Platform environment of the flows that call so.
	EnvironmentID string `yaml:"environmentId"`
}

func (b *Broker) checkClientCertificates(d *decoder) {
	list := b.ClientCertificates
	if len(list) > ferry.MaxClientCerts {
		d.at("clientCertificates", "", "there are %d certificates, %d at most", len(list), ferry.MaxClientCerts)
	}
	if len(list) > 0 && !d.has("tls.clientCa") {
		d.at("clientCertificates", "add tls: {cert: …, key: …, clientCa: …}: only certificates of the authorities in that file are looked at", "clientCertificates need tls.clientCa")
	}
	names, marks := map[string]int{}, map[string]int{}
	for i := range list {
		c, path := &list[i], fmt.Sprintf("clientCertificates[%d]", i)
		if c.Name == "" {
			d.at(path, "add name:", "%s has no name", path)
		} else {
			d.checkName(path+".name", "certificate", c.Name)
		}
		if line, twice := names[c.Name]; twice && c.Name != "" {
			d.at(path+".name", "", "the certificate %s stands here twice, first on line %d", clip(c.Name), line)
		} else {
			names[c.Name] = d.line(path + ".name")
		}
		if mark := c.check(d, path); mark != "" {
			if line, twice := marks[mark]; twice {
				d.at(path, "", "%s is known by the same as the one on line %d", path, line)
			} else {
				marks[mark] = d.line(path)
			}
		}
		b.checkBound(d, path, c.Role, c.Routes)
	}
}

// check returns what the certificate is known by.
func (c *ClientCertificate) check(d *decoder, path string) string {
	if len(c.EnvironmentID) > ferry.MaxEnvironmentID {
		d.at(path+".environmentId", "", "%s.environmentId has more than %d characters", path, ferry.MaxEnvironmentID)
	}
	given, mark := 0, ""
	for _, way := range []string{c.Subject, c.SAN, c.Thumbprint} {
		if way != "" {
			given++
			mark = way
		}
	}
	if given != 1 {
		d.at(path, "give one of subject, san and thumbprint", "%s is known by %d things, it must be one", path, given)
		return ""
	}
	if c.Thumbprint == "" {
		return mark
	}
	c.Thumbprint = strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(c.Thumbprint))
	sum, err := hex.DecodeString(c.Thumbprint)
	switch {
	case err == nil && len(sum) == 20:
		d.at(path+".thumbprint", "openssl x509 -in FILE -noout -fingerprint -sha256", "%s.thumbprint is a SHA-1; the SHA-256 is wanted", path)
	case err != nil || len(sum) != 32:
		d.at(path+".thumbprint", "openssl x509 -in FILE -noout -fingerprint -sha256", "%s.thumbprint is not a SHA-256 in hex", path)
	}
	return c.Thumbprint
}
