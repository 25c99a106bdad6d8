// Package vaultdouble is Azure Key Vault, and what of Entra ID its clients ask, in
// this process and over TLS, for tests: it challenges, keeps versions of secrets,
// and refuses as the real ones do.
package vaultdouble

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Who may read the double's secrets.
const (
	Tenant   = "11111111-2222-3333-4444-555555555555"
	ClientID = "66666666-7777-8888-9999-aaaaaaaaaaaa"
	// Name is the vault's name, Host that of its address.
	Name = "contoso"
	Host = Name + ".vault.azure.net"
)

// Secret is one version of a secret.
type Secret struct {
	Value       string
	ContentType string
	Disabled    bool
	Expires     time.Time // zero: never
}

// Fault is an answer in the place of the right one.
type Fault struct {
	Status     int
	Code       string // of error.code
	Inner      string // of error.innererror.code
	RetryAfter int    // seconds
	Header     http.Header
	Hang       bool // no answer before the client goes away
	Cut        bool // the connection is cut
}

// Double is a running vault. It may be used concurrently.
type Double struct {
	CAFile string // a PEM file with the certificate of both servers

	server *httptest.Server

	mu           sync.Mutex
	clientSecret string
	tokens       map[string]string // token -> resource
	secrets      map[string][]version
	reads        map[string]int
	granted      int
	fault        *Fault // of every read; nil: none
	tokenFault   *Fault // of every token; nil: none
	challenge    string // replaces the right one; empty: it does not
}

type version struct {
	Secret
	id      string
	created time.Time
}

// Start runs a double; its certificate goes into dir.
func Start(dir, clientSecret string) (*Double, error) {
	d := &Double{
		CAFile: filepath.Join(dir, "vault-ca.pem"), clientSecret: clientSecret,
		tokens: map[string]string{}, secrets: map[string][]version{}, reads: map[string]int{},
	}
	cert, root, err := certificate()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), 0o600); err != nil {
		return nil, err
	}
	d.server = httptest.NewUnstartedServer(d)
	d.server.TLS = cert
	d.server.StartTLS()
	return d, nil
}

// Close ends it.
func (d *Double) Close() { d.server.Close() }

// Endpoint is HOST:PORT of the vault.
func (d *Double) Endpoint() string { return d.server.Listener.Addr().String() }

// Authority is where its tokens come from.
func (d *Double) Authority() string { return d.server.URL }

// YAML is the keys of secrets.keyVault, for a configuration file; secretRef is
// where the client's secret lies. refresh is a duration, such as 5m.
func (d *Double) YAML(secretRef, refresh string) string {
	return fmt.Sprintf(`secrets:
  keyVault:
    credential: {type: clientSecret, tenantId: %s, clientId: %s, clientSecret: %q}
    refresh: %s
    authority: %q
    endpoint: %q
    ca: %q
`, Tenant, ClientID, secretRef, refresh, d.Authority(), d.Endpoint(), filepath.ToSlash(d.CAFile))
}

// Set makes a new version of a secret, and says which.
func (d *Double) Set(name, value string) string { return d.Put(name, Secret{Value: value}) }

// Put makes a new version of a secret, and says which.
func (d *Double) Put(name string, s Secret) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := random(16)
	d.secrets[strings.ToLower(name)] = append(d.secrets[strings.ToLower(name)], version{s, id, time.Now()})
	return id
}

// Delete removes a secret.
func (d *Double) Delete(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.secrets, strings.ToLower(name))
}

// Fail answers every read of a secret so; nil: as it should.
func (d *Double) Fail(f *Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// FailTokens answers every request for a token so; nil: as it should.
func (d *Double) FailTokens(f *Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokenFault = f
}

// Challenge replaces the WWW-Authenticate header; empty: the right one.
func (d *Double) Challenge(header string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.challenge = header
}

// RotateClientSecret replaces what the client proves itself with. Tokens that were
// given out end.
func (d *Double) RotateClientSecret(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clientSecret = to
	clear(d.tokens)
}

// Reads is how often a secret was given out, or refused to a valid token.
func (d *Double) Reads(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads[strings.ToLower(name)]
}

// Tokens is how many tokens were given out.
func (d *Double) Tokens() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.granted
}

// ServeHTTP answers for the vault, and for Entra ID.
func (d *Double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if strings.HasSuffix(host, ".vault.azure.net") || strings.HasPrefix(r.URL.Path, "/secrets/") {
		d.vault(w, r)
		return
	}
	d.entra(w, r)
}

func (d *Double) entra(w http.ResponseWriter, r *http.Request) {
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	w.Header().Set("Content-Type", "application/json")
	if rest == "v2.0/.well-known/openid-configuration" {
		base := d.server.URL + "/" + tenant
		_, _ = fmt.Fprintf(w, `{"token_endpoint":"%s/oauth2/v2.0/token","authorization_endpoint":"%s/oauth2/v2.0/authorize","issuer":"%s/v2.0"}`, base, base, base)
		return
	}
	d.mu.Lock()
	fault, secret := d.tokenFault, d.clientSecret
	d.mu.Unlock()
	if fault != nil {
		d.play(w, r, fault)
		return
	}
	refuse := func(code string, number int) {
		w.WriteHeader(http.StatusUnauthorized)
		// As Entra ID does, the description quotes what was sent.
		_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":"AADSTS%d: refused %s","error_codes":[%d]}`, code, number, r.PostFormValue("client_secret"), number)
	}
	switch {
	case rest != "oauth2/v2.0/token":
		http.NotFound(w, r)
		return
	case tenant != Tenant || r.PostFormValue("client_id") != ClientID:
		refuse("unauthorized_client", 700016)
		return
	case r.PostFormValue("client_secret") != secret:
		refuse("invalid_client", 7000215)
		return
	}
	resource := ""
	for scope := range strings.FieldsSeq(r.PostFormValue("scope")) {
		if before, ok := strings.CutSuffix(scope, "/.default"); ok {
			resource = before
		}
	}
	token := random(32)
	d.mu.Lock()
	d.tokens[token] = resource
	d.granted++
	d.mu.Unlock()
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600}`, token)
}

func (d *Double) vault(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tokens[token] != "https://vault.azure.net" {
		challenge := fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="https://vault.azure.net"`, Tenant)
		if d.challenge != "" {
			challenge = d.challenge
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "Unauthorized", "")
		return
	}
	if r.URL.Query().Get("api-version") == "" || r.Method != http.MethodGet || len(parts) < 2 || parts[0] != "secrets" {
		refuse(w, http.StatusBadRequest, "BadParameter", "")
		return
	}
	name := strings.ToLower(parts[1])
	d.reads[name]++
	if fault := d.fault; fault != nil {
		d.mu.Unlock()
		defer d.mu.Lock()
		d.play(w, r, fault)
		return
	}
	versions := d.secrets[name]
	found := -1
	for i, v := range versions {
		if len(parts) < 3 || parts[2] == v.id {
			found = i
		}
	}
	switch {
	case found < 0:
		refuse(w, http.StatusNotFound, "SecretNotFound", "")
		return
	case versions[found].Disabled:
		refuse(w, http.StatusForbidden, "Forbidden", "SecretDisabled")
		return
	}
	v := versions[found]
	attributes := map[string]any{"enabled": true, "created": v.created.Unix(), "updated": v.created.Unix(), "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
	if !v.Expires.IsZero() {
		attributes["exp"] = v.Expires.Unix()
	}
	answer := map[string]any{"value": v.Value, "id": "https://" + r.Host + "/secrets/" + parts[1] + "/" + v.id, "attributes": attributes, "tags": map[string]string{}}
	if v.ContentType != "" {
		answer["contentType"] = v.ContentType
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(answer) // the client went away
}

func (d *Double) play(w http.ResponseWriter, r *http.Request, f *Fault) {
	switch {
	case f.Hang:
		<-r.Context().Done()
		return
	case f.Cut:
		panic(http.ErrAbortHandler)
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	refuse(w, f.Status, f.Code, f.Inner)
}

// refuse answers in the vault's form. Its words repeat what was asked for, as those
// of the real one do.
func refuse(w http.ResponseWriter, status int, code, inner string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	said := map[string]any{"code": code, "message": "the double refuses: " + code + " " + inner}
	if inner != "" {
		said["innererror"] = map[string]string{"code": inner}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": said}) // the client went away
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails: the process ends first
	return hex.EncodeToString(b)
}
