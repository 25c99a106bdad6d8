package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"ferry"
	"ferry/client"
)

// defaultServer is where `broker serve` and `broker dev` listen without settings.
const defaultServer = "http://127.0.0.1:8080"

// localKey is the admin key that the first start of a broker writes, when the
// command runs in the folder that the broker was started in.
var localKey = filepath.Join("data", "admin.key")

// maxKeyFile bounds what is read of a key file, bytes.
const maxKeyFile = ferry.MaxToken + 2 // a token may be in the place of a key

// located is the server to speak to, and the key to show it.
type located struct {
	url string
	key foundKey
	ca  string // file of who signed its certificate; empty: the machine's alone
}

// foundKey is a key and where it came from; its text goes nowhere but into
// requests.
type foundKey struct {
	text string
	from string
}

// client makes the client of the server that flags, environment and contexts name.
func (a *app) client() (*client.Client, error) {
	at, err := a.findServer()
	if err != nil {
		return nil, err
	}
	roots, err := authorities(at.ca)
	if err != nil {
		return nil, err
	}
	return client.New(at.url, at.key.text, client.Options{UserAgent: "broker/" + version(), RootCAs: roots})
}

// findServer resolves the server (--server, FERRY_URL, context, default) and
// the key (--key-file, FERRY_KEY, FERRY_KEY_FILE, context, ./data/admin.key for
// a loopback server).
//
// The key of a context, and the local admin key, are shown to no other server
// than theirs.
func (a *app) findServer() (located, error) {
	chosen, err := a.chosenContext()
	if err != nil {
		return located{}, err
	}
	at := located{
		url: firstOf(a.globals.Server, a.env("FERRY_URL"), chosen.Server, defaultServer),
		ca:  firstOf(a.globals.CA, a.env("FERRY_CA"), chosen.CA),
	}
	u, err := url.Parse(at.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		// The text is not repeated: it may hold a password.
		return located{}, usagef("the address of the server cannot be used").
			withHint("it looks like https://broker.example or %s, and comes from --server, FERRY_URL or a context", defaultServer)
	}
	at.key, err = a.findKey(chosen, at.url, isLoopback(u))
	return at, err
}

func (a *app) findKey(chosen serverContext, server string, loopback bool) (foundKey, error) {
	if file := a.globals.KeyFile; file != "" {
		return keyFrom(file, "--key-file "+file)
	}
	if key := strings.TrimSpace(a.env("FERRY_KEY")); key != "" {
		return foundKey{text: key, from: "FERRY_KEY"}, nil
	}
	if file := a.env("FERRY_KEY_FILE"); file != "" {
		return keyFrom(file, "FERRY_KEY_FILE, "+file)
	}
	if chosen.KeyFile != "" && strings.TrimRight(chosen.Server, "/") == strings.TrimRight(server, "/") {
		return keyFrom(chosen.KeyFile, "the context "+chosen.name+", "+chosen.KeyFile)
	}
	if loopback {
		found, err := keyFrom(localKey, localKey)
		if errors.Is(err, fs.ErrNotExist) {
			return foundKey{}, nil
		}
		return found, err
	}
	return foundKey{}, nil
}

func keyFrom(file, from string) (foundKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return foundKey{}, fmt.Errorf("the key file: %w", err)
	}
	if info.IsDir() || info.Size() > maxKeyFile {
		return foundKey{}, fmt.Errorf("%s is not a key file", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return foundKey{}, fmt.Errorf("the key file: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if key == "" {
		return foundKey{}, fmt.Errorf("the key file %s is empty", file)
	}
	return foundKey{text: key, from: from}, nil
}

// authorities are those of this machine and of file; nil without a file: the
// machine's.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the file of --ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the file of --ca: %s holds no certificate in PEM", file)
	}
	return roots, nil
}

func isLoopback(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
