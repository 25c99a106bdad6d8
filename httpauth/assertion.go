package httpauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// assertionType marks an assertion that stands for a client's secret (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// How long an assertion is good for, and how much it is dated back, so that a
// clock that is a little behind takes it.
const (
	assertionLife = 5 * time.Minute
	assertionBack = 10 * time.Second
)

// algorithms are the signatures of assertions.
func algorithms() []string {
	return []string{"PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "RS256"}
}

// assertion signs that the client is the client, at a time of the token
// endpoint's clock. What it says is RFC 7523, section 3; scope stands there
// besides since NetSuite reads it there and nowhere else (Oracle's help, "The
// Request Token Structure"), and others leave it alone.
func (c *clientCredentials) assertion(now time.Time) (string, error) {
	value, err := c.resolver.Resolve(c.cfg.SigningKey)
	if err != nil {
		return "", err
	}
	key, method, err := signingKey([]byte(value.Reveal()), c.cfg.Algorithm)
	if err != nil {
		return "", bad("signingKey %s: %w", c.cfg.SigningKey, err)
	}
	id, err := tokenID()
	if err != nil {
		return "", err
	}
	claims := jwt.MapClaims{
		"iss": c.cfg.ClientID, "sub": c.cfg.ClientID, "aud": c.cfg.TokenURL, "jti": id,
		"iat": now.Add(-assertionBack).Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	if len(c.cfg.Scopes) > 0 {
		claims["scope"] = c.cfg.Scopes
	}
	token := jwt.NewWithClaims(method, claims)
	if c.cfg.KeyID != "" {
		token.Header["kid"] = c.cfg.KeyID
	}
	if c.cfg.Certificate != "" {
		print, err := certificatePrint(c.cfg.Certificate)
		if err != nil {
			return "", err
		}
		token.Header["x5t#S256"] = print // RFC 7515, 4.1.8; Entra ID finds the certificate by it
	}
	signed, err := token.SignedString(key)
	if err != nil {
		return "", bad("signingKey %s: it cannot sign", c.cfg.SigningKey)
	}
	return signed, nil
}

// signingKey reads a private key of PEM and chooses the signature. The error does
// not repeat the key.
func signingKey(text []byte, algorithm string) (crypto.PrivateKey, jwt.SigningMethod, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, errors.New("it is no key in PEM, -----BEGIN PRIVATE KEY-----")
	}
	key, err := privateKey(block)
	if err != nil {
		return nil, nil, err
	}
	usual, family := "", ""
	switch k := key.(type) {
	case *rsa.PrivateKey:
		usual, family = "PS256", "PR"
		if k.N.BitLen() < 2048 {
			return nil, nil, errors.New("an RSA key needs 2048 bits at least")
		}
	case *ecdsa.PrivateKey:
		family = "E"
		switch k.Curve {
		case elliptic.P256():
			usual = "ES256"
		case elliptic.P384():
			usual = "ES384"
		case elliptic.P521():
			usual = "ES512"
		default:
			return nil, nil, errors.New("its curve is none of P-256, P-384 and P-521")
		}
	default:
		return nil, nil, errors.New("it is neither an RSA nor an EC key")
	}
	if algorithm == "" {
		algorithm = usual
	}
	fits := false
	for _, c := range family {
		fits = fits || rune(algorithm[0]) == c
	}
	if !fits || family == "E" && algorithm != usual {
		return nil, nil, fmt.Errorf("it cannot sign with %s; %s fits", algorithm, usual)
	}
	return key, jwt.GetSigningMethod(algorithm), nil
}

func privateKey(block *pem.Block) (crypto.PrivateKey, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	case "EC PRIVATE KEY":
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	case "PRIVATE KEY":
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it is encrypted: write it without a password, where only this process can read it")
	default:
		return nil, fmt.Errorf("a %.40q is no private key", block.Type)
	}
	return nil, errors.New("the key cannot be read")
}

// certificatePrint is the hash by which an assertion names its certificate.
func certificatePrint(file string) (string, error) {
	data, err := readFile(file)
	if err != nil {
		return "", wrapFile("certificate", file, err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			sum := sha256.Sum256(block.Bytes)
			return base64.RawURLEncoding.EncodeToString(sum[:]), nil
		}
	}
	return "", wrapFile("certificate", file, errNoCertificate)
}
