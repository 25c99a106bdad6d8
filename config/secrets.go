package config

import (
	"net"
	"slices"
	"strings"
	"time"

	"ferry/secret"
)

// Secrets says how secrets are read that lie elsewhere than on this machine.
type Secrets struct {
	KeyVault KeyVault `yaml:"keyVault"`
}

// KeyVault is how Azure Key Vault is asked, for every @Microsoft.KeyVault(…) of the
// file.
type KeyVault struct {
	// Credential asks for the secrets; default the first that the machine offers. Its
	// own secrets cannot lie in a vault.
	Credential Credential `yaml:"credential"`
	// Refresh is how often secrets are read anew; default 5 min, 10 s to 1 day.
	Refresh time.Duration `yaml:"refresh"`
	// Cloud is public (the default), china or usGovernment: where VaultName=… and
	// the tokens are.
	Cloud string `yaml:"cloud"`
	// Suffix is what follows the name in VaultName=…; default that of Cloud.
	Suffix string `yaml:"suffix"`
	// Authority is where tokens come from; default that of Cloud.
	Authority string `yaml:"authority"`
	// Endpoint is dialled in the place of a vault's own address, HOST:PORT: private
	// endpoints, and test doubles.
	Endpoint string `yaml:"endpoint"`
	CA       string `yaml:"ca"` // a PEM file: certificates that are trusted beside the system's
	ca       fileSum
	// VerifyChallenge: the token is asked for the vault's own domain only. false is for
	// emulators, and goes with Endpoint. Default true.
	VerifyChallenge *bool `yaml:"verifyChallenge"`
}

// The clouds of Azure.
const (
	CloudPublic       = "public"
	CloudChina        = "china"
	CloudUSGovernment = "usGovernment"
)

// Bounds of KeyVault.Refresh.
const (
	defaultRefresh = 5 * time.Minute
	minRefresh     = 10 * time.Second
	maxRefresh     = 24 * time.Hour
)

// Verifies says whether the vault's challenge is held against its address.
func (k *KeyVault) Verifies() bool { return k.VerifyChallenge == nil || *k.VerifyChallenge }

// Secrets lists the secrets that are needed to ask the vault.
func (k *KeyVault) Secrets() []secret.Ref {
	return slices.DeleteFunc([]secret.Ref{k.Credential.ClientSecret, k.Credential.Password}, secret.Ref.IsZero)
}

func (s *Secrets) complete() {
	k := &s.KeyVault
	setDefault(&k.Refresh, defaultRefresh)
	setDefault(&k.Cloud, CloudPublic)
	suffix, authority := "vault.azure.net", ""
	switch k.Cloud {
	case CloudChina:
		suffix, authority = "vault.azure.cn", "https://login.chinacloudapi.cn/"
	case CloudUSGovernment:
		suffix, authority = "vault.usgovcloudapi.net", "https://login.microsoftonline.us/"
	}
	setDefault(&k.Suffix, suffix)
	setDefault(&k.Authority, authority)
}

func (s *Secrets) check(d *decoder) {
	const path = "secrets.keyVault"
	k := &s.KeyVault
	d.checkOneOf(path+".cloud", k.Cloud, CloudPublic, CloudChina, CloudUSGovernment)
	d.checkSpan(path+".refresh", int64(k.Refresh), int64(minRefresh), int64(maxRefresh), showDuration)
	if !k.Credential.isZero() {
		k.Credential.check(d, path+".credential")
	}
	for _, ref := range k.Secrets() {
		if _, ok := ref.Vault(); ok {
			d.at(path+".credential", "write env:NAME or file:PATH, or use an identity that needs no secret",
				"%s.credential: what opens the vault cannot lie in a vault", path)
		}
	}
	if !namespaceName.MatchString(k.Suffix) || len(k.Suffix) > 253 {
		d.at(path+".suffix", "write it like vault.azure.net", "%s.suffix: %q is not a domain", path, clip(k.Suffix))
	}
	if k.Authority != "" {
		d.checkURL(path+".authority", k.Authority, "https://login.microsoftonline.us", "https")
	}
	if k.Endpoint != "" {
		if host, port, err := net.SplitHostPort(k.Endpoint); err != nil || host == "" || port == "" {
			d.at(path+".endpoint", "write HOST:PORT", "%s.endpoint: %q is not an address", path, clip(k.Endpoint))
		}
	}
	if !k.Verifies() && k.Endpoint == "" {
		d.at(path+".verifyChallenge", "add endpoint: HOST:PORT of the emulator, or take the key out",
			"%s.verifyChallenge: false is for emulators, which endpoint names", path)
	}
	k.ca = d.readFile(path+".ca", k.CA)
}

// AccessLog is where a line of JSON for each request goes.
type AccessLog struct {
	// Path is a file, or "-" for standard output.
	Path string `yaml:"path"`
	// MaxSize is where a file is rotated; default 64 MiB, 1 MiB to 16 GiB.
	MaxSize Size `yaml:"maxSize"`
	// Keep is how many files are kept beside the current one; default 5, at most 100.
	Keep *int `yaml:"keep"`
}

const (
	defaultLogSize = 64 << 20
	minLogSize     = 1 << 20
	maxLogSize     = 16 << 30
	defaultLogKeep = 5
	maxLogKeep     = 100
)

func (a *AccessLog) complete() {
	if a == nil {
		return
	}
	setDefault(&a.MaxSize, Size(defaultLogSize))
	if a.Keep == nil {
		keep := defaultLogKeep
		a.Keep = &keep
	}
}

func (a *AccessLog) check(d *decoder) {
	if a == nil {
		return
	}
	if strings.TrimSpace(a.Path) == "" {
		d.at("accessLog", "add path: access.log, or - for standard output", "accessLog.path is missing")
	}
	d.checkSpan("accessLog.maxSize", int64(a.MaxSize), minLogSize, maxLogSize, showBytes)
	d.checkSpan("accessLog.keep", int64(*a.Keep), 0, maxLogKeep, showCount)
}
