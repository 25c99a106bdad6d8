package httpauth

import (
	"slices"
	"strings"

	"ferry/secret"
)

// The types of Config.
const (
	TypeNone     = "none"
	TypeAPIKey   = "apiKey"
	TypeBasic    = "basic"
	TypeOAuth2   = "oauth2"
	TypeOAuth1   = "oauth1"
	TypeEntraID  = "entraId"
	TypeNTLM     = "ntlm"
	TypeKerberos = "kerberos"
)

// Types lists the types of Config.
func Types() []string {
	return []string{TypeNone, TypeAPIKey, TypeBasic, TypeOAuth2, TypeOAuth1, TypeEntraID, TypeNTLM, TypeKerberos}
}

// How the client proves itself to the token endpoint.
const (
	ClientAuthHeader = "header"        // the secret by HTTP basic, which every server must take (RFC 6749, 2.3.1)
	ClientAuthBody   = "body"          // the secret as a parameter of the form
	ClientAuthJWT    = "privateKeyJwt" // a signed assertion in the place of a secret (RFC 7523, 2.2)
)

// The kinds of credentials of type entraId.
const (
	CredentialSecret      = "clientSecret"     // of an app registration
	CredentialCertificate = "certificate"      // likewise, by a certificate
	CredentialManaged     = "managedIdentity"  // of the machine; clientId names a user-assigned one
	CredentialWorkload    = "workloadIdentity" // of a Kubernetes pod
)

// Config says how to log on. Which settings go with which type: docs/auth.md.
type Config struct {
	Type     string     `yaml:"type"`     // one of Types; default none
	Header   string     `yaml:"header"`   // apiKey: the header that carries the key
	Prefix   string     `yaml:"prefix"`   // apiKey in a header: what stands before the key, such as "Bearer "
	Query    string     `yaml:"query"`    // apiKey: or the query parameter that carries it
	Key      secret.Ref `yaml:"key"`      // apiKey
	Username string     `yaml:"username"` // basic, ntlm, kerberos
	Password secret.Ref `yaml:"password"` // basic, ntlm, kerberos; entraId: of the certificate's file

	// oauth2: client credentials (RFC 6749, 4.4).
	TokenURL     string     `yaml:"tokenUrl"` // https, or http on loopback
	ClientID     string     `yaml:"clientId"` // also entraId
	ClientSecret secret.Ref `yaml:"clientSecret"`
	ClientAuth   string     `yaml:"clientAuth"` // header (default), body or privateKeyJwt
	Scopes       []string   `yaml:"scopes"`     // at most maxScopes; entraId: one
	Audience     string     `yaml:"audience"`   // a parameter that some servers want
	Resource     string     `yaml:"resource"`   // another one (RFC 8707), which AD FS wants
	// TokenCA is a PEM file: certificates that the token endpoint's is checked
	// against, in the place of the system's. Also entraId.
	TokenCA string `yaml:"tokenCa"`
	// oauth2 with privateKeyJwt.
	SigningKey secret.Ref `yaml:"signingKey"` // PEM: RSA, or EC on P-256, P-384 or P-521
	KeyID      string     `yaml:"keyId"`      // the header kid of the assertion
	Algorithm  string     `yaml:"algorithm"`  // default PS256 with RSA, else that of the curve
	// Certificate is a file. privateKeyJwt: PEM, named in the assertion by its hash.
	// entraId: PEM or PKCS#12, with its key.
	Certificate string `yaml:"certificate"`

	// entraId.
	Credential string `yaml:"credential"` // one of the kinds; default: the one whose setting is there
	TenantID   string `yaml:"tenantId"`
	Authority  string `yaml:"authority"` // default the public cloud's
	TokenFile  string `yaml:"tokenFile"` // workloadIdentity; default what the environment names

	// oauth1, which takes clientId, clientSecret and realm besides.
	TokenID     string     `yaml:"tokenId"`
	TokenSecret secret.Ref `yaml:"tokenSecret"`

	Domain string `yaml:"domain"` // ntlm

	// kerberos.
	Realm    string   `yaml:"realm"`    // also oauth1: of NetSuite the account, such as 1234567_SB1
	Keytab   string   `yaml:"keytab"`   // a file, in the place of the password
	KDC      []string `yaml:"kdc"`      // HOST or HOST:PORT; at most maxKDCs; default by DNS
	Krb5Conf string   `yaml:"krb5Conf"` // or a file that says where they are, and more
	SPN      string   `yaml:"spn"`      // default HTTP/HOST of the destination
}

// Bounds of lists.
const (
	maxScopes = 50
	maxKDCs   = 20
)

// setting is one setting as text; "" when it is not there.
type setting struct{ name, value string }

func (c Config) settings() []setting {
	return []setting{
		{"header", c.Header},
		{"prefix", c.Prefix},
		{"query", c.Query},
		{"key", string(c.Key)},
		{"username", c.Username},
		{"password", string(c.Password)},
		{"tokenUrl", c.TokenURL},
		{"clientId", c.ClientID},
		{"clientSecret", string(c.ClientSecret)},
		{"clientAuth", c.ClientAuth},
		{"scopes", strings.Join(c.Scopes, " ")},
		{"audience", c.Audience},
		{"resource", c.Resource},
		{"tokenCa", c.TokenCA},
		{"signingKey", string(c.SigningKey)},
		{"keyId", c.KeyID},
		{"algorithm", c.Algorithm},
		{"certificate", c.Certificate},
		{"credential", c.Credential},
		{"tenantId", c.TenantID},
		{"authority", c.Authority},
		{"tokenFile", c.TokenFile},
		{"tokenId", c.TokenID},
		{"tokenSecret", string(c.TokenSecret)},
		{"domain", c.Domain},
		{"realm", c.Realm},
		{"keytab", c.Keytab},
		{"kdc", strings.Join(c.KDC, " ")},
		{"krb5Conf", c.Krb5Conf},
		{"spn", c.SPN},
	}
}

// keys are the settings that a type needs, and those that it takes besides.
func (c Config) keys() (needs, takes []string) {
	switch c.kind() {
	case TypeAPIKey:
		return []string{"key"}, []string{"header", "prefix", "query"}
	case TypeBasic:
		return []string{"username", "password"}, nil
	case TypeNTLM:
		return []string{"username", "password"}, []string{"domain"}
	case TypeKerberos:
		return []string{"username", "realm"}, []string{"password", "keytab", "kdc", "krb5Conf", "spn"}
	case TypeOAuth1:
		return []string{"clientId", "clientSecret", "tokenId", "tokenSecret"}, []string{"realm"}
	case TypeOAuth2:
		takes = []string{"clientAuth", "scopes", "audience", "resource", "tokenCa"}
		if c.ClientAuth == ClientAuthJWT {
			return []string{"tokenUrl", "clientId", "signingKey"}, append(takes, "keyId", "algorithm", "certificate")
		}
		return []string{"tokenUrl", "clientId", "clientSecret"}, takes
	case TypeEntraID:
		takes = []string{"credential", "scopes", "authority", "tokenCa"}
		switch c.credential() {
		case CredentialSecret:
			return []string{"tenantId", "clientId", "clientSecret"}, takes
		case CredentialCertificate:
			return []string{"tenantId", "clientId", "certificate"}, append(takes, "password")
		case CredentialWorkload:
			return nil, append(takes, "tenantId", "clientId", "tokenFile")
		default:
			return nil, []string{"credential", "scopes", "clientId"}
		}
	}
	return nil, nil
}

func (c Config) kind() string {
	if c.Type == "" {
		return TypeNone
	}
	return c.Type
}

// credential is the kind of type entraId; "" when nothing tells.
func (c Config) credential() string {
	switch {
	case c.Credential != "":
		return c.Credential
	case !c.ClientSecret.IsZero():
		return CredentialSecret
	case c.Certificate != "":
		return CredentialCertificate
	}
	return ""
}

// Secrets are the references that the settings hold, so that a program can tell
// before it starts that one cannot be resolved.
func (c Config) Secrets() []secret.Ref {
	return present(c.Key, c.Password, c.ClientSecret, c.SigningKey, c.TokenSecret)
}

// Files are the files that the settings name, by the name of the setting.
func (c Config) Files() map[string]string {
	return named(setting{"tokenCa", c.TokenCA}, setting{"certificate", c.Certificate}, setting{"tokenFile", c.TokenFile},
		setting{"keytab", c.Keytab}, setting{"krb5Conf", c.Krb5Conf})
}

func present(refs ...secret.Ref) []secret.Ref {
	return slices.DeleteFunc(refs, secret.Ref.IsZero)
}

func named(files ...setting) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		if f.value != "" {
			out[f.name] = f.value
		}
	}
	return out
}
