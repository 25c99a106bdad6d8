package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/internal/windowsauth"
)

// posts counts what reaches the ERP behind apache.
type posts struct {
	behind http.Handler
	n      atomic.Int64
}

func (p *posts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		p.n.Add(1)
	}
	p.behind.ServeHTTP(w, r)
}

// wrongWindowsPassword: messages wait for an ERP whose logon takes another
// password. One logon is tried, the route says why it stops, nothing is
// dead-lettered; the password is put right in its file, and each message is posted
// once.
func wrongWindowsPassword(t *testing.T, auth string, serve func(destination string) (url string, refusals func() int)) {
	w := newWorld(t, options{})
	counted := &posts{behind: w.erp}
	erp := httptest.NewServer(counted)
	t.Cleanup(erp.Close)
	url, refusals := serve(erp.URL)
	w.erpURL = url
	w.write("password", "wrong-password\n")
	w.write("worker.yaml", w.workerYAML("erp-worker", options{
		lock: "30s", routes: []string{invoices}, destination: []string{"timeout: 10s", "concurrency: 8", auth},
	}))
	w.startBroker()
	accepted := map[string]ferry.ID{}
	for i := range 40 {
		key := fmt.Sprintf("windows-%02d", i)
		accepted[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	w.startWorker()
	eventually(t, 20*time.Second, func() string {
		list, err := w.client.Routes(t.Context())
		if err != nil {
			return err.Error()
		}
		if r := list[0]; r.State != ferry.RouteUnauthorized || r.Conditions[0].Until == nil {
			return fmt.Sprintf("route %s is %s: %+v", r.Name, r.State, r.Conditions)
		}
		return ""
	})
	if list := w.cli("routes", "list"); !strings.Contains(list, "mend the secret") {
		t.Errorf("broker routes list:\n%s", list)
	}
	if n := refusals(); n != 1 {
		t.Errorf("%d logons with the wrong password", n)
	}
	if sum := w.balance(); sum.DeadLetters != 0 || sum.Pending != int64(len(accepted)) {
		t.Errorf("with the wrong password: %+v", sum)
	}
	if text := w.worker.out.String(); strings.Contains(text, "wrong-password") {
		t.Error("the password is in the worker's log")
	}
	w.write("password", "right-password\n")
	w.wantOnce(accepted)
	if n := refusals(); n != 1 {
		t.Errorf("%d logons with the wrong password in all", n)
	}
	if n := counted.n.Load(); n != int64(len(accepted)) {
		t.Errorf("%d posts of %d messages reached the ERP", n, len(accepted))
	}
}

func TestNTLMWrongPassword(t *testing.T) {
	windowsauth.Skip(t)
	t.Parallel()
	auth := `auth: {type: ntlm, domain: ` + windowsauth.Domain + `, username: svc-ferry, password: "file:./password"}`
	wrongWindowsPassword(t, auth, func(destination string) (string, func() int) {
		apache := windowsauth.StartNTLM(t, destination, map[string]string{"svc-ferry": "right-password"})
		return apache.URL, func() int { return apache.Refusals() }
	})
}

func TestKerberosWrongPassword(t *testing.T) {
	windowsauth.Skip(t)
	t.Parallel()
	kdc := windowsauth.StartKDC(t)
	kdc.User("svc-ferry", "right-password")
	auth := `auth: {type: kerberos, realm: ` + windowsauth.Realm + `, username: svc-ferry, kdc: ["` + kdc.Address + `"], password: "file:./password"}`
	wrongWindowsPassword(t, auth, func(destination string) (string, func() int) {
		apache := windowsauth.StartKerberos(t, destination, kdc, kdc.Service("HTTP/127.0.0.1"))
		return apache.URL, func() int { return kdc.Count("PREAUTH_FAILED") }
	})
}
