package broker

import (
	"fmt"
	"time"

	"ferry"
)

// certificateWarning is when status begins to warn of a certificate that ends.
const certificateWarning = 14 * 24 * time.Hour

// certificate is the listener's; nil without TLS.
func (b *Broker) certificate() *ferry.CertificateInfo {
	if b.opts.Certificate == nil {
		return nil
	}
	return b.opts.Certificate()
}

func certificateProblems(c *ferry.CertificateInfo) []string {
	if c == nil {
		return nil
	}
	var list []string
	if c.Problem != "" {
		list = append(list, "the new files of the certificate cannot be used, the one before stays: "+c.Problem)
	}
	switch left := time.Until(c.NotAfter); {
	case left <= 0:
		list = append(list, "the certificate of the listener ended at "+c.NotAfter.UTC().Format(time.RFC3339)+": callers refuse it; write the new one over its files")
	case left < certificateWarning:
		list = append(list, fmt.Sprintf("the certificate of the listener ends in %d days, at %s", int(left.Hours()/24), c.NotAfter.UTC().Format(time.RFC3339)))
	}
	return list
}
