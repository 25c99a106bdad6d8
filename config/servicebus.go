package config

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"ferry/secret"
)

// ServiceBus says how a Service Bus namespace is reached: by a connection string,
// or by its name with a credential of Entra ID. Every part that talks to Service
// Bus takes these keys.
type ServiceBus struct {
	// ConnectionString is a secret: env:NAME or file:PATH. It may be that of one queue.
	ConnectionString secret.Ref `yaml:"connectionString"`
	Namespace        string     `yaml:"namespace"` // x.servicebus.windows.net
	// Credential goes with Namespace; default the first that the machine offers.
	Credential Credential `yaml:"credential"`

	WebSockets bool   `yaml:"webSockets"` // AMQP over WebSockets on port 443; default false
	Proxy      string `yaml:"proxy"`      // with WebSockets: the URL of an HTTP proxy, or "env"; default none
	CA         string `yaml:"ca"`         // a PEM file: certificates that are trusted beside the system's
	ca         fileSum
	// Endpoint is dialled in the place of the namespace's own address, HOST:PORT:
	// private endpoints, and test doubles.
	Endpoint string `yaml:"endpoint"`
	// AdminURL is where queues are looked at and made, such as that of an emulator;
	// default https at the namespace.
	AdminURL string `yaml:"adminUrl"`
}

// IsZero says whether no namespace is named.
func (s ServiceBus) IsZero() bool { return s.ConnectionString.IsZero() && s.Namespace == "" }

// Secrets lists the secrets that are needed, so that a program can say before it
// starts that one cannot be resolved.
func (s ServiceBus) Secrets() []secret.Ref {
	var refs []secret.Ref
	for _, ref := range []secret.Ref{s.ConnectionString, s.Credential.ClientSecret, s.Credential.Password} {
		if !ref.IsZero() {
			refs = append(refs, ref)
		}
	}
	return refs
}

// The kinds of credentials of Entra ID.
const (
	CredentialManaged     = "managedIdentity"
	CredentialSecret      = "clientSecret"
	CredentialCertificate = "certificate"
	CredentialWorkload    = "workloadIdentity"
	CredentialCLI         = "azureCli"
	CredentialDefault     = "default"
)

// Credential says who asks Entra ID for tokens.
type Credential struct {
	Type         string     `yaml:"type"` // one of the constants above; empty: default
	TenantID     string     `yaml:"tenantId"`
	ClientID     string     `yaml:"clientId"`     // managedIdentity: names a user-assigned one
	ClientSecret secret.Ref `yaml:"clientSecret"` // of the app registration
	Certificate  string     `yaml:"certificate"`  // a file with its key, PEM or PKCS#12
	certificate  fileSum
	Password     secret.Ref `yaml:"password"`  // of that file
	TokenFile    string     `yaml:"tokenFile"` // workloadIdentity; default what the environment names
}

func (c Credential) isZero() bool { return c == Credential{} }

// BrokerServiceBus is the queue on a Service Bus namespace, or, where another
// driver carries the queue, the namespace that intakes use.
type BrokerServiceBus struct {
	ServiceBus `yaml:",inline"`
	// Prefix begins the names of the broker's own queues; default ferry.
	Prefix string `yaml:"prefix"`
	// Lock is the lock duration of its queues; default 1 min, from 5 s to 5 min.
	Lock time.Duration `yaml:"lock"`
	// Provision has the broker make its queues at the start where they are missing:
	// it needs the right Manage then. Default false.
	Provision bool `yaml:"provision"`

	// Bodies is where bodies lie that are too large for a message; default none: they
	// come from the broker, part by part.
	Bodies *Bodies `yaml:"bodies"`
}

// WorkerServiceBus is a worker's way to a queue on Service Bus.
type WorkerServiceBus struct {
	ServiceBus `yaml:",inline"`
	Prefix     string `yaml:"prefix"` // the broker's; default ferry
	// Lock is the lock duration of the queues: the broker's queue.servicebus.lock;
	// default 1 min.
	Lock time.Duration `yaml:"lock"`
	// NKey is where the seed lies that `broker workers add` made, which signs what
	// the worker says: a path, file:PATH or env:NAME. A seed itself is refused.
	NKey string `yaml:"nkey"`

	// Bodies is the broker's; default none.
	Bodies *Bodies `yaml:"bodies"`
}

// Seed is NKey as a reference.
func (s WorkerServiceBus) Seed() secret.Ref { return seedRef(s.NKey) }

// Bodies is where bodies lie that are too large for a message of Service Bus.
type Bodies struct {
	// Container is its URL, https://ACCOUNT.blob.core.windows.net/NAME; with
	// ConnectionString its name alone.
	Container        string     `yaml:"container"`
	ConnectionString secret.Ref `yaml:"connectionString"` // of the storage account
	Credential       Credential `yaml:"credential"`       // default that of the namespace
	// SASURL is the container's URL with a shared access signature: a secret, in the
	// place of the keys above.
	SASURL secret.Ref `yaml:"sasUrl"`
	// Lifetime is how long a body stays; default 30 days, from 1 day to 1 year.
	Lifetime time.Duration `yaml:"lifetime"`
}

// Secrets lists the secrets that are needed.
func (b *Bodies) Secrets() []secret.Ref {
	if b == nil {
		return nil
	}
	var refs []secret.Ref
	for _, ref := range []secret.Ref{b.ConnectionString, b.SASURL, b.Credential.ClientSecret, b.Credential.Password} {
		if !ref.IsZero() {
			refs = append(refs, ref)
		}
	}
	return refs
}

// BodyRef says which bodies senders may name by URL.
type BodyRef struct {
	// Accounts are hosts, such as contoso.blob.core.windows.net; at most 20. Blobs of
	// others are refused.
	Accounts []string `yaml:"accounts"`
	// Credential reads blobs whose URL is not signed; default none: only signed URLs
	// are taken.
	Credential *Credential `yaml:"credential"`
}

const maxBodyRefAccounts = 20

func (r *BodyRef) check(d *decoder) {
	if r == nil {
		return
	}
	if len(r.Accounts) == 0 || len(r.Accounts) > maxBodyRefAccounts {
		d.at("bodyRef", "add accounts: [ACCOUNT.blob.core.windows.net]", "bodyRef.accounts has %d entries, 1 to %d are possible", len(r.Accounts), maxBodyRefAccounts)
	}
	if r.Credential != nil {
		r.Credential.check(d, "bodyRef.credential")
	}
}

// Bounds and defaults of a queue on Service Bus.
const (
	defaultPrefix    = "ferry"
	defaultBusLock   = time.Minute
	maxBusLock       = 5 * time.Minute
	defaultBodyLife  = 30 * day
	maxPrefix        = 50
	defaultBusWindow = 10_000
)

func (s *BrokerServiceBus) complete() {
	setDefault(&s.Prefix, defaultPrefix)
	setDefault(&s.Lock, defaultBusLock)
	s.Bodies.complete()
}

func (s *WorkerServiceBus) complete() {
	setDefault(&s.Prefix, defaultPrefix)
	setDefault(&s.Lock, defaultBusLock)
	s.Bodies.complete()
}

func (b *Bodies) complete() {
	if b != nil {
		setDefault(&b.Lifetime, defaultBodyLife)
	}
}

func (s *BrokerServiceBus) check(d *decoder, path string) {
	s.ServiceBus.check(d, path)
	d.checkPrefix(path+".prefix", s.Prefix)
	d.checkSpan(path+".lock", int64(s.Lock), int64(minLock), int64(maxBusLock), showDuration)
	s.Bodies.check(d, path+".bodies")
}

func (s *WorkerServiceBus) check(d *decoder, path string) {
	s.ServiceBus.check(d, path)
	d.checkPrefix(path+".prefix", s.Prefix)
	d.checkSpan(path+".lock", int64(s.Lock), int64(minLock), int64(maxBusLock), showDuration)
	d.checkNKey(path+".nkey", s.NKey, "name the file that `broker workers add NAME --out FILE` wrote")
	s.Bodies.check(d, path+".bodies")
}

// check wants one way to a namespace, whole and without contradictions.
func (s *ServiceBus) check(d *decoder, path string) {
	switch {
	case s.IsZero():
		d.at(path, "add connectionString: env:NAME, or namespace: NAME.servicebus.windows.net", "%s names no namespace", path)
	case !s.ConnectionString.IsZero() && s.Namespace != "":
		d.at(path+".namespace", "a connection string names its namespace; with a credential of Entra ID write namespace alone",
			"%s.namespace and %s.connectionString exclude each other", path, path)
	case !s.ConnectionString.IsZero() && !s.Credential.isZero():
		d.at(path+".credential", "take one of the two out", "%s.credential and %s.connectionString exclude each other", path, path)
	case s.Namespace != "":
		d.checkNamespace(path+".namespace", s.Namespace)
		s.Credential.check(d, path+".credential")
	}
	switch s.Proxy {
	case "", "env":
	default:
		d.checkURL(path+".proxy", s.Proxy, "http://proxy.example:3128, or env", "http", "https")
	}
	if s.Proxy != "" && !s.WebSockets {
		d.at(path+".proxy", "add webSockets: true", "%s.proxy: AMQP goes through a proxy only over WebSockets", path)
	}
	if s.Endpoint != "" {
		if host, port, err := net.SplitHostPort(s.Endpoint); err != nil || host == "" || port == "" {
			d.at(path+".endpoint", "write HOST:PORT", "%s.endpoint: %q is not an address", path, clip(s.Endpoint))
		}
	}
	if s.AdminURL != "" {
		d.checkURL(path+".adminUrl", s.AdminURL, "http://127.0.0.1:5300", "https", "http")
	}
	s.ca = d.readFile(path+".ca", s.CA)
}

var (
	// A host name of at least two labels: sovereign clouds and private zones end
	// otherwise than the public one.
	namespaceName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)
	prefixName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])+$`)
)

func (d *decoder) checkNamespace(path, name string) {
	if !namespaceName.MatchString(name) || len(name) > 253 {
		d.at(path, "write it like contoso.servicebus.windows.net", "%s: %q is not the host name of a namespace", path, clip(name))
	}
}

func (d *decoder) checkPrefix(path, prefix string) {
	if !prefixName.MatchString(prefix) || len(prefix) > maxPrefix {
		d.at(path, "letters, digits, points, dashes and underlines, a letter or a digit first", "%s: %q cannot begin the names of queues", path, clip(prefix))
	}
}

func (d *decoder) checkFile(path, file string) {
	if file == "" {
		return
	}
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		d.at(path, "", "%s: there is no file %s", path, clip(file))
	}
}

// credentialKeys are the keys that a kind of credential needs, and those that it
// takes.
func credentialKeys(kind string) (needs, takes []string) {
	switch kind {
	case CredentialManaged:
		return nil, []string{"clientId"}
	case CredentialSecret:
		return []string{"tenantId", "clientId", "clientSecret"}, nil
	case CredentialCertificate:
		return []string{"tenantId", "clientId", "certificate"}, []string{"password"}
	case CredentialWorkload:
		return nil, []string{"tenantId", "clientId", "tokenFile"}
	default:
		return nil, []string{"tenantId"}
	}
}

func (c *Credential) check(d *decoder, path string) {
	kind := c.Type
	if kind == "" {
		kind = CredentialDefault
	}
	if !d.checkOneOf(path+".type", kind, CredentialManaged, CredentialSecret, CredentialCertificate, CredentialWorkload, CredentialCLI, CredentialDefault) {
		return
	}
	needs, takes := credentialKeys(kind)
	for _, key := range []struct{ name, value string }{
		{"tenantId", c.TenantID},
		{"clientId", c.ClientID},
		{"clientSecret", string(c.ClientSecret)},
		{"certificate", c.Certificate},
		{"password", string(c.Password)},
		{"tokenFile", c.TokenFile},
	} {
		needed := slices.Contains(needs, key.name)
		switch {
		case needed && key.value == "":
			d.at(path, fmt.Sprintf("%s needs %s", kind, strings.Join(needs, ", ")), "%s.%s is missing", path, key.name)
		case key.value != "" && !needed && !slices.Contains(takes, key.name):
			d.at(path+"."+key.name, "known with it: "+strings.Join(append(needs, takes...), ", "), "%s.%s is not used with type %s", path, key.name, kind)
		}
	}
	c.certificate = d.readFile(path+".certificate", c.Certificate)
	d.checkFile(path+".tokenFile", c.TokenFile)
}

func (b *Bodies) check(d *decoder, path string) {
	if b == nil {
		return
	}
	switch {
	case !b.SASURL.IsZero():
		if b.Container != "" || !b.ConnectionString.IsZero() || !b.Credential.isZero() {
			d.at(path+".sasUrl", "take one of the two ways out", "%s.sasUrl stands alone: it names the container and brings its rights", path)
		}
	case b.Container == "":
		d.at(path, "add container: https://ACCOUNT.blob.core.windows.net/NAME", "%s.container is missing", path)
	case !b.ConnectionString.IsZero():
		if !containerName.MatchString(b.Container) || len(b.Container) < 3 || len(b.Container) > 63 {
			d.at(path+".container", "with connectionString write the container's name alone", "%s.container: %q is not the name of a container", path, clip(b.Container))
		}
		if !b.Credential.isZero() {
			d.at(path+".credential", "take one of the two out", "%s.credential and %s.connectionString exclude each other", path, path)
		}
	default:
		d.checkURL(path+".container", b.Container, "https://ACCOUNT.blob.core.windows.net/NAME", "https")
		if !b.Credential.isZero() {
			b.Credential.check(d, path+".credential")
		}
	}
	d.checkSpan(path+".lifetime", int64(b.Lifetime), int64(day), int64(365*day), showDuration)
}
