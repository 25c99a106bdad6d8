package secret

import (
	"strings"

	"ferry"
)

// Ref says where a secret lies: env:NAME, file:PATH, or in Azure Key Vault, as
// @Microsoft.KeyVault(SecretUri=…) or (VaultName=…;SecretName=…[;SecretVersion=…]).
// The zero Ref names none.
type Ref string

const (
	envPrefix   = "env:"
	filePrefix  = "file:"
	vaultPrefix = "@Microsoft.KeyVault("

	refHint = "write env:NAME, file:PATH or @Microsoft.KeyVault(VaultName=…;SecretName=…), where the secret lies"
)

// ParseRef reads a reference. Anything else is taken for a secret that was
// written down literally: the error does not repeat it.
func ParseRef(s string) (Ref, error) {
	switch {
	case strings.HasPrefix(s, envPrefix):
		if name := s[len(envPrefix):]; name == "" || strings.ContainsAny(name, "=\x00 \t\r\n") {
			return "", ferry.Errorf(ferry.CodeBadConfig, "the secret reference env: has no name of a variable after it").
				WithHint(refHint)
		}
	case strings.HasPrefix(s, filePrefix):
		if path := s[len(filePrefix):]; strings.TrimSpace(path) == "" || strings.ContainsRune(path, 0) {
			return "", ferry.Errorf(ferry.CodeBadConfig, "the secret reference file: has no path after it").
				WithHint(refHint)
		}
	case strings.HasPrefix(s, vaultPrefix):
		inner, closed := strings.CutSuffix(s[len(vaultPrefix):], ")")
		if !closed {
			return "", badVault("it has no closing parenthesis")
		}
		if _, err := parseVault(inner); err != nil {
			return "", err
		}
	default:
		return "", ferry.Errorf(ferry.CodeBadConfig, "a secret stands here literally, or its reference cannot be read").
			WithHint(refHint)
	}
	return Ref(s), nil
}

// UnmarshalText is ParseRef, so that configuration files are checked as they
// are read.
func (r *Ref) UnmarshalText(text []byte) error {
	v, err := ParseRef(string(text))
	if err == nil {
		*r = v
	}
	return err
}

// IsZero says whether the reference names nothing.
func (r Ref) IsZero() bool { return r == "" }

// String is the reference, which is no secret. A Ref that was not made by
// ParseRef may hold one by mistake and is not shown.
func (r Ref) String() string {
	if _, err := ParseRef(string(r)); err != nil && r != "" {
		return mask
	}
	return string(r)
}
