// Package azure makes what every client of Azure here needs: a credential from
// the configuration, and a way out through a proxy.
package azure

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"ferry"
)

// The kinds of credentials of Entra ID.
const (
	ManagedIdentity  = "managedIdentity"  // of the machine; ClientID names a user-assigned one
	ClientSecret     = "clientSecret"     // of an app registration
	Certificate      = "certificate"      // likewise, by a certificate
	WorkloadIdentity = "workloadIdentity" // of a Kubernetes pod
	AzureCLI         = "azureCli"         // of who is logged in at `az`: for trying things out
	Default          = "default"          // the first of these that the machine offers
)

// Kinds lists the kinds of credentials.
func Kinds() []string {
	return []string{ManagedIdentity, ClientSecret, Certificate, WorkloadIdentity, AzureCLI, Default}
}

// Credential says who asks Entra ID for tokens.
type Credential struct {
	Kind         string
	TenantID     string
	ClientID     string
	ClientSecret string // resolved; ClientSecret
	Certificate  string // Certificate: a file, PEM or PKCS#12, with its key
	Password     string // resolved; of the certificate's file
	TokenFile    string // WorkloadIdentity: default what the environment names
	// Authority is where tokens come from, in the place of the public cloud's; it is
	// believed as it stands.
	Authority string
	OneTry    bool // a fetch that failed is not repeated by itself
	Soon      bool // it is repeated twice, within 3 s, instead of for ten and more
}

// New makes the credential; nothing is called before it is used. client carries
// its requests, nil: the SDK's own. Errors are *ferry.Error.
func New(c Credential, client *http.Client) (azcore.TokenCredential, error) {
	options := policy.ClientOptions{}
	if client != nil {
		options.Transport = client
	}
	if c.OneTry {
		options.Retry.MaxRetries = -1
	}
	if c.Soon {
		options.Retry = policy.RetryOptions{MaxRetries: 2, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: time.Second}
	}
	if c.Authority != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority}
	}
	made, err := c.open(options)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the credential %s cannot be used: %w", c.Kind, err).
			WithHint("see docs/service-bus.md, \"Rights\"")
	}
	return made, nil
}

func (c Credential) open(options policy.ClientOptions) (azcore.TokenCredential, error) {
	switch c.Kind {
	case ManagedIdentity:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case ClientSecret:
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: c.Authority != ""})
	case Certificate:
		data, err := os.ReadFile(c.Certificate)
		if err != nil {
			return nil, err
		}
		certs, key, err := azidentity.ParseCertificates(data, []byte(c.Password))
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", c.Certificate, err)
		}
		return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: c.Authority != ""})
	case WorkloadIdentity:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: c.ClientID, TenantID: c.TenantID, TokenFilePath: c.TokenFile,
			DisableInstanceDiscovery: c.Authority != "",
		})
	case AzureCLI:
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: c.TenantID})
	case Default, "":
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: c.TenantID})
	default:
		return nil, fmt.Errorf("there is no such kind: one of %v", Kinds())
	}
}

// maxSaid bounds what is read of an answer without a token, in bytes.
const maxSaid = 64 << 10

// Answer is what Entra ID, or the machine, answered in the place of a token:
// status and body. Status 0: there was no answer.
func Answer(err error) (status int, body []byte) {
	failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	if !ok || failed.RawResponse == nil {
		return 0, nil
	}
	if failed.RawResponse.Body != nil {
		body, _ = io.ReadAll(io.LimitReader(failed.RawResponse.Body, maxSaid)) // in memory already
	}
	return failed.RawResponse.StatusCode, body
}

// ReadCA reads certificates that are trusted beside the system's.
func ReadCA(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the certificates in %s cannot be read: %w", file, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if block, _ := pem.Decode(data); block == nil || !pool.AppendCertsFromPEM(data) {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "%s holds no certificate", file).WithHint("write PEM: -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}
