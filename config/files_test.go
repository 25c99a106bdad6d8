package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exceptSums compares configurations, but not what the files of certificates hold.
func exceptSums() cmp.Option {
	return cmp.Options{
		cmp.Exporter(func(reflect.Type) bool { return true }),
		cmp.Comparer(func(fileSum, fileSum) bool { return true }),
	}
}

// A file of certificates that was renewed in its place is a change of the key that
// names it, and is followed.
func TestRenewedFilesAreChanges(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BUS", "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=YWJj")
	var files []string
	text := strings.NewReplacer("DIR", filepath.ToSlash(dir)).Replace(`
callbacks: {ca: DIR/callbacks}
issuers: [{name: entra, issuer: 'https://login.example', audiences: [api], ca: DIR/issuer, roles: [{claim: roles, value: v, role: sender, routes: [orders]}]}]
secrets: {keyVault: {ca: DIR/vault, credential: {type: certificate, tenantId: t, clientId: c, certificate: DIR/app}}}
queue: {driver: servicebus, servicebus: {connectionString: 'env:BUS', ca: DIR/queue}}
routes: [{name: orders, intake: {servicebus: {queue: in, connectionString: 'env:BUS', ca: DIR/intake}}}]
`)
	for _, name := range []string{"callbacks", "issuer", "vault", "app", "queue", "intake"} {
		files = append(files, filepath.ToSlash(filepath.Join(dir, name)))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := parse(t, text)
	if got := before.Files(); !cmp.Equal(asSet(got), asSet(append(files[:4:4], files[5]))) {
		t.Errorf("files: %v", got)
	}
	if got := Changes(before, parse(t, text)); len(got) != 0 {
		t.Errorf("nothing changed, and: %v", got)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte("renewed"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, c := range Changes(before, parse(t, text)) {
		got = append(got, c.String())
		if starts := c.Key == "queue.servicebus.ca"; c.NextStart != starts {
			t.Errorf("%s at the next start: %v", c.Key, c.NextStart)
		}
	}
	want := []string{
		"callbacks.ca", "issuers[entra].ca", "secrets.keyVault.ca", "secrets.keyVault.credential.certificate",
		"queue.servicebus.ca", "routes[orders].intake.servicebus.ca",
	}
	if diff := cmp.Diff(asSet(want), asSet(got)); diff != "" {
		t.Error(diff)
	}
}
