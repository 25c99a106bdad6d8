package main

import (
	"slices"
	"testing"
	"time"

	"ferry"
)

// Certificates that a key names are read anew when their file was renewed in its
// place; what trusts others goes on.
func TestARenewedCertificateFileIsTakenOver(t *testing.T) {
	r := startReloaded(t, "routes: [{name: orders}]\n")
	renew := func(name string) {
		t.Helper()
		cert, _ := selfSigned(t, time.Hour)
		writeFiles(t, r.dir, map[string][]byte{name: cert})
	}
	renew("callbacks.pem")
	renew("issuer.pem")
	text := "routes: [{name: orders}]\ncallbacks: {ca: DIR/callbacks.pem}\n" +
		"issuers: [{name: own, issuer: 'https://login.example', audiences: [api], ca: DIR/issuer.pem, roles: [{claim: roles, value: v, role: operator}]}]\n"
	r.reload(text)
	for _, c := range []struct {
		file, key          string
		callbacks, issuers bool
	}{
		{"callbacks.pem", "callbacks.ca", true, false},
		{"issuer.pem", "issuers[own].ca", false, true},
		{"", "", false, false},
	} {
		before := r.s.parts.Load()
		want := []string{}
		if c.file != "" {
			renew(c.file)
			want = append(want, c.key)
		}
		if done := r.reload(text); !slices.Equal(done.Changed, want) {
			t.Errorf("%s: changed: %v, want %v", c.file, done.Changed, want)
		}
		after := r.s.parts.Load()
		if made := after.callbacks != before.callbacks; made != c.callbacks {
			t.Errorf("%s: callbacks made anew: %v", c.file, made)
		}
		if made := after.issuers != before.issuers; made != c.issuers {
			t.Errorf("%s: issuers made anew: %v", c.file, made)
		}
	}
	writeFiles(t, r.dir, map[string][]byte{"issuer.pem": []byte("half")})
	if _, err := r.client.Reload(t.Context(), ""); ferry.CodeOf(err) != ferry.CodeBadConfig {
		t.Errorf("a file without certificates: %v", err)
	}
	r.mustSend("orders", "k")
}
