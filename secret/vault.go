package secret

import (
	"net"
	"net/url"
	"strings"

	"ferry"
)

// VaultRef is a secret of Azure Key Vault.
type VaultRef struct {
	// Vault is the vault's name, or the host (and port) of its address where the
	// reference holds one.
	Vault   string
	Name    string // of the secret
	Version string // empty: the current one
}

// Vault reads secrets of Azure Key Vault. It may be used concurrently.
type Vault interface {
	// Secret gives the secret: as it was read last, or read now when it never was. An
	// error is a *ferry.Error that names the reference, never the secret.
	Secret(ref VaultRef) (Value, error)
	// Refused tells that whoever was given the secret did not take it. It is read
	// anew, unless that was done just now; true: it is another one than was. A zero
	// was stands for the secret as it was last read.
	Refused(ref VaultRef, was Value) bool
	// Past are the values that the secret had before this one, a few at the most.
	Past(ref VaultRef) []Value
}

// IsHost says whether Vault is a host, not a name.
func (v VaultRef) IsHost() bool { return strings.ContainsAny(v.Vault, ".:") }

// String is the reference in one form, for people; it is no secret.
func (v VaultRef) String() string {
	text := vaultPrefix + "VaultName=" + v.Vault + ";SecretName=" + v.Name
	if v.IsHost() {
		text = vaultPrefix + "SecretUri=https://" + v.Vault + "/secrets/" + v.Name
		if v.Version != "" {
			text += "/" + v.Version
		}
		return text + ")"
	}
	if v.Version != "" {
		text += ";SecretVersion=" + v.Version
	}
	return text + ")"
}

// Vault takes a reference to Azure Key Vault apart; false: it is another kind.
func (r Ref) Vault() (VaultRef, bool) {
	inner, ok := strings.CutPrefix(string(r), vaultPrefix)
	if !ok {
		return VaultRef{}, false
	}
	v, err := parseVault(strings.TrimSuffix(inner, ")"))
	return v, err == nil
}

const vaultHint = "write @Microsoft.KeyVault(SecretUri=https://VAULT.vault.azure.net/secrets/NAME) or @Microsoft.KeyVault(VaultName=VAULT;SecretName=NAME)"

// parseVault reads what stands between the parentheses. Names of parameters are
// compared as Azure App Service does, small letters and capitals alike.
func parseVault(inner string) (VaultRef, error) {
	given := map[string]string{}
	for pair := range strings.SplitSeq(inner, ";") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if _, twice := given[name]; !ok || twice || value == "" {
			return VaultRef{}, badVault("its parameters cannot be read")
		}
		given[name] = value
	}
	take := func(name string) string {
		value := given[name]
		delete(given, name)
		return value
	}
	uri := take("secreturi")
	v := VaultRef{Vault: take("vaultname"), Name: take("secretname"), Version: take("secretversion")}
	switch {
	case len(given) > 0:
		return VaultRef{}, badVault("it has parameters other than SecretUri, VaultName, SecretName and SecretVersion")
	case uri != "" && v != (VaultRef{}):
		return VaultRef{}, badVault("SecretUri stands alone")
	case uri != "":
		return parseSecretURI(uri)
	case v.Vault == "" || v.Name == "":
		return VaultRef{}, badVault("VaultName and SecretName go together")
	case !isVaultName(v.Vault, 1, 24) || !isVaultName(v.Name, 1, 127):
		return VaultRef{}, badVault("names of vaults and secrets are letters, digits and dashes")
	case v.Version != "" && !isVersion(v.Version):
		return VaultRef{}, badVault("its version is not one of a secret")
	}
	v.Vault = strings.ToLower(v.Vault)
	return v, nil
}

// parseSecretURI reads https://HOST/secrets/NAME[/VERSION].
func parseSecretURI(text string) (VaultRef, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return VaultRef{}, badVault("SecretUri is an https address without user, query and fragment")
	}
	host := strings.ToLower(u.Host)
	if h, port, err := net.SplitHostPort(host); err == nil && port == "443" {
		host = h
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 2 || len(parts) > 3 || !strings.EqualFold(parts[0], "secrets") || !isVaultName(parts[1], 1, 127) {
		return VaultRef{}, badVault("SecretUri ends in /secrets/NAME or /secrets/NAME/VERSION")
	}
	v := VaultRef{Vault: host, Name: parts[1]}
	if !v.IsHost() {
		return VaultRef{}, badVault("the host of SecretUri is not that of a vault")
	}
	if len(parts) == 3 {
		if v.Version = parts[2]; !isVersion(v.Version) {
			return VaultRef{}, badVault("its version is not one of a secret")
		}
	}
	return v, nil
}

func isVaultName(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func isVersion(s string) bool { return isVaultName(s, 1, 64) && !strings.Contains(s, "-") }

// badVault is an error about a reference; it repeats nothing of it, since what
// stands there may be a secret by mistake.
func badVault(why string) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "the secret reference @Microsoft.KeyVault(…): %s", why).WithHint(vaultHint)
}
