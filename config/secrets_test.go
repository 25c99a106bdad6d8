package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAndAccessLog(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte(`
secrets:
  keyVault:
    credential: {type: clientSecret, tenantId: t, clientId: c, clientSecret: env:S}
    refresh: 1m
    cloud: usGovernment
accessLog: {path: access.log, keep: 0}
sas:
  - {name: flows, key: "@Microsoft.KeyVault(VaultName=v;SecretName=s)", rights: [send]}
queue: {nats: {url: "nats://n:4222", nkey: "@Microsoft.KeyVault(VaultName=v;SecretName=seed)"}}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	k := b.Secrets.KeyVault
	if k.Refresh != time.Minute || k.Suffix != "vault.usgovcloudapi.net" || k.Authority != "https://login.microsoftonline.us/" || !k.Verifies() {
		t.Errorf("%+v", k)
	}
	if *b.AccessLog.Keep != 0 || b.AccessLog.MaxSize != 64<<20 {
		t.Errorf("%+v", b.AccessLog)
	}
	want := []Reference{
		{"queue.nats.nkey", "@Microsoft.KeyVault(VaultName=v;SecretName=seed)"},
		{"secrets.keyVault.credential.clientSecret", "env:S"},
		{"sas[0].key", "@Microsoft.KeyVault(VaultName=v;SecretName=s)"},
	}
	got := map[Reference]bool{}
	for _, r := range b.References() {
		got[r] = true
	}
	for _, r := range want {
		if !got[r] {
			t.Errorf("%v is not among %v", r, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	none := Default()
	if none.AccessLog != nil || none.Secrets.KeyVault.Refresh != 5*time.Minute || none.Secrets.KeyVault.Suffix != "vault.azure.net" || len(none.References()) != 0 {
		t.Errorf("%+v, %v", none.Secrets, none.References())
	}
	kv := func(keys string) string { return "secrets:\n  keyVault: {" + keys + "}\n" }
	for name, c := range map[string]wrong{
		"cloud":             {kv("cloud: usGov"), `"usGov" is not known`, "usGovernment"},
		"refresh":           {kv("refresh: 1s"), "secrets.keyVault.refresh must lie between 10s and 1d", ""},
		"suffix":            {kv("suffix: https://vault"), "secrets.keyVault.suffix", "vault.azure.net"},
		"authority":         {kv("authority: http://login.example"), "secrets.keyVault.authority", ""},
		"endpoint":          {kv("endpoint: vault"), "secrets.keyVault.endpoint", "HOST:PORT"},
		"not verified":      {kv("verifyChallenge: false"), "secrets.keyVault.verifyChallenge", "endpoint"},
		"its own secret":    {kv("credential: {type: clientSecret, tenantId: t, clientId: c, clientSecret: \"@Microsoft.KeyVault(VaultName=v;SecretName=s)\"}"), "cannot lie in a vault", "env:NAME"},
		"a literal":         {kv("credential: {type: clientSecret, tenantId: t, clientId: c, clientSecret: hunter2}"), "a secret stands here literally", "env:NAME"},
		"credential":        {kv("credential: {type: clientSecret, tenantId: t, clientId: c}"), "clientSecret is missing", ""},
		"log without path":  {"accessLog: {keep: 3}\n", "accessLog.path is missing", "path:"},
		"log too small":     {"accessLog: {path: a, maxSize: 1KiB}\n", "accessLog.maxSize must lie between", ""},
		"log keeps many":    {"accessLog: {path: a, keep: 101}\n", "accessLog.keep must lie between 0 and 100", ""},
		"half a reference":  {"sas:\n  - {name: a, key: \"@Microsoft.KeyVault(VaultName=v)\", rights: [send]}\n", "VaultName and SecretName go together", "@Microsoft.KeyVault("},
		"tls key from afar": {"tls: {key: \"@Microsoft.KeyVault(VaultName=v)\"}\n", "tls.key: ", "@Microsoft.KeyVault("},
		"tls key alone":     {"tls: {key: f.yaml}\n", "tls: cert and key are both needed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
		})
	}
}

// Every place of worker.yaml where a secret may stand takes a reference to a vault,
// and is found.
func TestReferencesOfAWorker(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "w.nk")
	if err := os.WriteFile(seed, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Loader{}.parseWorker([]byte(`
name: w1
queue: {nats: {url: "nats://n:4222", nkey: `+filepath.ToSlash(seed)+`}}
destinations:
  erp: {adapter: erp, url: "https://e", auth: {type: apiKey, header: x, key: "@Microsoft.KeyVault(VaultName=v;SecretName=a)"}, tls: {key: "@Microsoft.KeyVault(VaultName=v;SecretName=cert)"}}
  sso: {adapter: erp, url: "https://e", auth: {type: entraId, tenantId: t, clientId: c, clientSecret: "@Microsoft.KeyVault(VaultName=v;SecretName=b)", scopes: ["api://x/.default"]}}
routes:
  - {name: r1, destination: erp}
  - {name: r2, url: "https://e", adapter: erp, auth: {type: basic, username: u, password: "@Microsoft.KeyVault(VaultName=v;SecretName=c)"}}
  - {name: r3, destination: sso}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range w.References() {
		got = append(got, r.Path)
	}
	want := []string{"queue.nats.nkey", "destinations.erp.auth.key", "destinations.erp.tls.key", "destinations.r2.auth.password", "destinations.sso.auth.clientSecret"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
