package config

// BrokerTLS is the certificate of the broker's listener. Files are read again when
// they change.
type BrokerTLS struct {
	// Cert is a PEM file: the broker's certificate, and what is between it and its
	// root; Key its private key, PEM, not encrypted.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
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
	if t.Cert == "" || t.Key == "" {
		d.at("tls", "cert: FILE and key: FILE", "tls: cert and key are both needed")
	}
	for name, file := range map[string]string{"cert": t.Cert, "key": t.Key, "clientCa": t.ClientCA} {
		if file != "" {
			d.checkFile("tls."+name, file)
		}
	}
	if t.MinVersion != "" {
		d.checkOneOf("tls.minVersion", t.MinVersion, "1.2", "1.3")
	}
}
