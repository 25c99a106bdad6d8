package api

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"ferry"
)

// Certificate says whose certificate stands for a key, on connections that this
// process itself ends. One of Subject, SAN and Thumbprint is set.
type Certificate struct {
	Who        ferry.Identity
	Subject    string // the whole name, as RFC 2253 writes it
	SAN        string // one of the alternative names: host, mail address, URI
	Thumbprint string // SHA-256 of the certificate, hex in lower case
}

// certified is the identity of the certificate that the caller proved to have the
// key of, if it is one of those that stand for keys. Only what the TLS handshake
// verified counts; a header that a proxy may have set does not.
func (c *call) certified() (ferry.Identity, error) {
	tls := c.r.TLS
	if len(c.api.opts.Certificates) == 0 || tls == nil || len(tls.VerifiedChains) == 0 || len(tls.VerifiedChains[0]) == 0 {
		return ferry.Identity{}, noCredentials()
	}
	leaf := tls.VerifiedChains[0][0]
	switch {
	case c.start.After(leaf.NotAfter): // during a connection that lives for long
		return ferry.Identity{}, ferry.Errorf(ferry.CodeUnauthenticated, "the client certificate has expired")
	case c.start.Before(leaf.NotBefore):
		return ferry.Identity{}, ferry.Errorf(ferry.CodeUnauthenticated, "the client certificate is not valid yet")
	}
	sum := sha256.Sum256(leaf.Raw)
	thumbprint := hex.EncodeToString(sum[:])
	for i := range c.api.opts.Certificates {
		if known := &c.api.opts.Certificates[i]; known.matches(leaf, thumbprint) {
			return known.Who, nil
		}
	}
	return ferry.Identity{}, ferry.Errorf(ferry.CodeUnauthenticated, "the client certificate is of nobody that this broker knows: %s", clip(leaf.Subject.String())).
		WithHint("clientCertificates in the broker's configuration lists those that stand for a key")
}

func (k *Certificate) matches(leaf *x509.Certificate, thumbprint string) bool {
	switch {
	case k.Thumbprint != "":
		return k.Thumbprint == thumbprint
	case k.Subject != "":
		return k.Subject == leaf.Subject.String()
	case k.SAN == "":
		return false
	}
	for _, host := range leaf.DNSNames {
		if strings.EqualFold(host, k.SAN) {
			return true
		}
	}
	for _, mail := range leaf.EmailAddresses {
		if mail == k.SAN {
			return true
		}
	}
	for _, uri := range leaf.URIs {
		if uri.String() == k.SAN {
			return true
		}
	}
	for _, ip := range leaf.IPAddresses {
		if ip.String() == k.SAN {
			return true
		}
	}
	return false
}
