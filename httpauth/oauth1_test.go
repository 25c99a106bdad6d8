package httpauth

import (
	"crypto/sha1"
	"crypto/sha256"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ferry/secret"
)

// The examples of RFC 5849, sections 3.4.1 and 1.2. They sign by SHA-1; ours differs
// in the hash alone.
func TestOAuth1SignsAsInTheRFC(t *testing.T) {
	parse := func(address string) *url.URL {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	base, err := signatureBase("post", parse("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b"), []param{
		{"oauth_consumer_key", "9djdj82h48djs9d2"},
		{"oauth_token", "kkk9d7dh3k39sjv7"},
		{"oauth_signature_method", "HMAC-SHA1"},
		{"oauth_timestamp", "137131201"},
		{"oauth_nonce", "7d8f3e4a"},
		{"c2", ""},
		{"a3", "2 q"},
	})
	want := "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26" +
		"oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26" +
		"oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
	if err != nil || base != want {
		t.Errorf("%v\n%s\n%s", err, base, want)
	}
	for want, c := range map[string]struct {
		method, address, client, token string
		params                         []param
	}{
		"gKgrFCywp7rO0OXSjdot/IHF7IU=": {"POST", "https://photos.example.net/token", "kd94hf93k423kf44", "hdhd0244k9j7ao03", []param{
			{"oauth_consumer_key", "dpf43f3p2l4k3l03"},
			{"oauth_token", "hh5s93j4hdidpola"},
			{"oauth_signature_method", "HMAC-SHA1"},
			{"oauth_timestamp", "137131201"},
			{"oauth_nonce", "walatlh"},
			{"oauth_verifier", "hfdp7dh39dks9884"},
		}},
		"MdpQcU8iPSUjWoN/UDMsK2sui9I=": {"GET", "http://photos.example.net/photos?file=vacation.jpg&size=original", "kd94hf93k423kf44", "pfkkdhi9sl3r4s00", []param{
			{"oauth_consumer_key", "dpf43f3p2l4k3l03"},
			{"oauth_token", "nnch734d00sl2jdk"},
			{"oauth_signature_method", "HMAC-SHA1"},
			{"oauth_timestamp", "137131202"},
			{"oauth_nonce", "chapoH"},
		}},
	} {
		base, err := signatureBase(c.method, parse(c.address), c.params)
		if err != nil {
			t.Fatal(err)
		}
		if got := sign(sha1.New, base, c.client, c.token); got != want {
			t.Errorf("%s %s: %s, not %s", c.method, c.address, got, want)
		}
	}
}

func TestOAuth1(t *testing.T) {
	dir := t.TempDir()
	ref := func(name, value string) secret.Ref {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		return secret.Ref("file:" + path)
	}
	cfg := Config{
		Type: TypeOAuth1, ClientID: "client", ClientSecret: ref("client", "cs3cret"), TokenID: "token/1", TokenSecret: ref("token", "ts3cret"),
		Realm: "1234567_SB1",
	}
	auth, err := Open(cfg, secret.Resolver{})
	if err != nil {
		t.Fatal(err)
	}
	shape := regexp.MustCompile(`^OAuth realm="1234567_SB1", oauth_consumer_key="client", oauth_nonce="([0-9a-f]{32})", oauth_signature_method="HMAC-SHA256", ` +
		`oauth_timestamp="([0-9]+)", oauth_token="token%2F1", oauth_version="1.0", oauth_signature="([^"]+)"$`)
	seen := map[string]bool{}
	for range 3 {
		req, err := http.NewRequest(http.MethodPost, "https://1234567-sb1.suitetalk.api.netsuite.com/services/rest/query/v1/suiteql?limit=2", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := auth.Apply(req); err != nil {
			t.Fatal(err)
		}
		m := shape.FindStringSubmatch(req.Header.Get("Authorization"))
		if m == nil {
			t.Fatalf("header %q", req.Header.Get("Authorization"))
		}
		base, err := signatureBase(req.Method, req.URL, []param{
			{"oauth_consumer_key", "client"},
			{"oauth_nonce", m[1]},
			{"oauth_signature_method", "HMAC-SHA256"},
			{"oauth_timestamp", m[2]},
			{"oauth_token", "token/1"},
			{"oauth_version", "1.0"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if signature, _ := url.PathUnescape(m[3]); signature != sign(sha256.New, base, "cs3cret", "ts3cret") || seen[m[1]] {
			t.Errorf("signature %s of nonce %s", signature, m[1])
		}
		seen[m[1]] = true
	}
	shown, err := http.NewRequest(http.MethodGet, "https://x.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	auth.Show(shown)
	if got := shown.Header.Get("Authorization"); got != "OAuth ***" {
		t.Errorf("shown: %q", got)
	}
	if got := auth.Redact("you sent cs3cret and ts3cret"); strings.Contains(got, "s3cret") {
		t.Errorf("redacted: %q", got)
	}
	before := auth.Fingerprint()
	ref("token", "another")
	if auth.Fingerprint() == before {
		t.Error("the fingerprint does not change with the token's secret")
	}
	for name, change := range map[string]func(*Config){
		"tokenId is missing":     func(c *Config) { c.TokenID = "" },
		"tokenSecret is missing": func(c *Config) { c.TokenSecret = "" },
		"cannot be a realm":      func(c *Config) { c.Realm = `a"b` },
		"is not used with":       func(c *Config) { c.TokenURL = "https://x.example" },
	} {
		bad := cfg
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
