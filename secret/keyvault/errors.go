package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"ferry"
	"ferry/internal/azure"
	"ferry/secret"
)

// retryAfter is an error with the time that a vault asks to be left alone.
type retryAfter struct{ after time.Duration }

func (r *retryAfter) Error() string { return "it asks to wait " + r.after.String() }

const (
	rightsHint = "give the identity the role Key Vault Secrets User on the vault or the secret; or, where the vault works with access policies, the secret permission Get"
	docsHint   = "see docs/secrets.md"
)

// unavailable is an error that may pass by itself.
func unavailable(ref secret.VaultRef, err error) *ferry.Error {
	return ferry.Errorf(ferry.CodeSecretUnavailable, "the secret %s cannot be read now: %w", ref, err).
		WithHint("is the vault reachable from here? it is asked again by itself")
}

// lasting is an error that a person must mend.
func lasting(ref secret.VaultRef, hint, format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "the secret %s: %w", ref, fmt.Errorf(format, args...)).WithHint("%s", hint)
}

// What became of reads, for the metrics.
const (
	outcomeRead        = "read"
	outcomeUnavailable = "unavailable" // it may pass by itself
	outcomeRefused     = "refused"     // a person must mend it
)

func outcomeOf(err error) string {
	if ferry.CodeOf(err) == ferry.CodeSecretUnavailable {
		return outcomeUnavailable
	}
	return outcomeRefused
}

// explain says what a failed read came to. The SDK's own texts quote the whole
// answer, and are not repeated.
func explain(ref secret.VaultRef, err error) error {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answered(ref, answer)
	}
	if status, body := azure.Answer(err); status != 0 {
		return tokenRefused(ref, status, body)
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "doesn't match the requested domain"):
		return lasting(ref, "is the address that of a vault? for an emulator set secrets.keyVault.verifyChallenge: false",
			"the vault asks for a token that is not for its own domain, and gets none")
	case strings.Contains(text, "AdditionallyAllowedTenants") || strings.Contains(text, "not configured to acquire tokens for tenant"):
		return lasting(ref, "secrets.keyVault.credential.tenantId is the tenant of the vault's subscription",
			"the vault belongs to another tenant than the credential")
	case strings.Contains(text, "WWW-Authenticate") || strings.Contains(text, "invalid challenge resource"):
		return lasting(ref, "is the address that of a vault?", "what answers does not ask for a token as a vault does")
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		// A name that is not there may be a typing error, or a resolver that has lost its way.
		return ferry.Errorf(ferry.CodeSecretUnavailable, "the secret %s cannot be read now: there is no host %s", ref, dns.Name).
			WithHint("is the vault's name right, and secrets.keyVault.cloud?")
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(ref, errors.New("no answer came in time"))
	case errors.Is(err, context.Canceled):
		return unavailable(ref, errors.New("the read was cut short"))
	}
	return unavailable(ref, errors.New(reasonOf(err)))
}

// reasonOf is the innermost reason of an error of the network, or of a credential
// that cannot be had, in its first line and bounded.
func reasonOf(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	const most = 300
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// answered is about an answer of the vault itself.
func answered(ref secret.VaultRef, e *azcore.ResponseError) error {
	code := innerCode(e.RawResponse)
	switch {
	case e.StatusCode == http.StatusNotFound && ref.Version != "":
		return lasting(ref, "without a version the current one is read", "the vault has no such secret, or not in this version")
	case e.StatusCode == http.StatusNotFound:
		return lasting(ref, "is its name right? a deleted secret can be recovered: az keyvault secret recover", "the vault has no such secret")
	case e.StatusCode == http.StatusUnauthorized:
		return lasting(ref, "is secrets.keyVault.cloud that of the vault?", "the vault does not take the token (401)")
	case code == "SecretDisabled":
		return lasting(ref, "enable it, or make a new version", "it is disabled")
	case strings.HasPrefix(code, "ForbiddenByFirewall"), strings.HasPrefix(code, "ForbiddenByConnection"):
		return lasting(ref, "allow this machine's address in the vault's networking, or use its private endpoint", "the vault's firewall lets nobody in from here (%s)", code)
	case e.StatusCode == http.StatusForbidden:
		if code == "" {
			code = "Forbidden"
		}
		return lasting(ref, rightsHint, "the identity may not read it (%s)", code)
	case e.StatusCode == http.StatusTooManyRequests:
		err := fmt.Errorf("the vault is asked too often (429)")
		if after := afterOf(e.RawResponse); after > 0 {
			err = fmt.Errorf("the vault is asked too often (429): %w", &retryAfter{after})
		}
		return unavailable(ref, err)
	case e.StatusCode >= http.StatusInternalServerError || e.StatusCode == http.StatusRequestTimeout:
		return unavailable(ref, fmt.Errorf("the vault answers %d", e.StatusCode))
	}
	return lasting(ref, docsHint, "the vault answers %d", e.StatusCode)
}

// tokenRefused is about an answer of Entra ID, or of the machine, in the place of a
// token.
func tokenRefused(ref secret.VaultRef, status int, body []byte) error {
	var said struct {
		Error string `json:"error"`
		Codes []int  `json:"error_codes"`
	}
	_ = json.Unmarshal(body, &said) // what cannot be read says nothing
	why := fmt.Sprintf("no token is given out for the vault (%d", status)
	if isWord(said.Error) {
		why += " " + said.Error
	}
	if len(said.Codes) > 0 {
		why += ", AADSTS" + strconv.Itoa(said.Codes[0])
	}
	why += ")"
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return unavailable(ref, errors.New(why))
	}
	return lasting(ref, "secrets.keyVault.credential says who asks: its tenant, its client, its secret", "%s", why)
}

func isWord(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz_") == ""
}

// innerCode is the code of the answer that says most: that of innererror.
func innerCode(r *http.Response) string {
	if r == nil || r.Body == nil {
		return ""
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10)) // in memory already
	var said struct {
		Error struct {
			Code  string `json:"code"`
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &said)
	for _, code := range []string{said.Error.Inner.Code, said.Error.Code} {
		if isWord(code) {
			return code
		}
	}
	return ""
}

func afterOf(r *http.Response) time.Duration {
	if r == nil {
		return 0
	}
	if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 1<<30 {
		return time.Duration(seconds) * time.Second
	}
	return 0
}
