package windowsauth

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Apache is a web server that logs who comes, and hands on to a destination.
type Apache struct {
	URL string
	t   *testing.T
	dir string
}

// Domain is the domain of the users of NTLM.
const Domain = "FERRY"

// modules are those that the configuration below needs.
func modules() []string {
	return []string{"mpm_event", "authn_core", "authz_core", "authz_user", "auth_gssapi", "proxy", "proxy_http", "headers"}
}

// StartNTLM starts apache, which takes NTLM alone, in front of a destination.
// users are names and passwords in Domain.
func StartNTLM(t *testing.T, destination string, users map[string]string) *Apache {
	t.Helper()
	Skip(t)
	a := &Apache{t: t, dir: folder(t)}
	a.SetUsers(users)
	a.start(destination, "GssapiAllowedMech ntlmssp\n  GssapiConnectionBound On", []string{"NTLM_USER_FILE=" + a.users()})
	return a
}

// StartKerberos starts apache, which takes Kerberos alone, in front of a
// destination. keytab holds the service's key.
func StartKerberos(t *testing.T, destination string, kdc *KDC, keytab string) *Apache {
	t.Helper()
	a := &Apache{t: t, dir: folder(t)}
	a.start(destination, "GssapiAllowedMech krb5\n  GssapiCredStore keytab:"+keytab, append(kdc.Env(), "KRB5RCACHEDIR="+a.dir))
	return a
}

func (a *Apache) users() string { return filepath.Join(a.dir, "users") }

// SetUsers changes the passwords.
func (a *Apache) SetUsers(users map[string]string) {
	a.t.Helper()
	text := ""
	for name, password := range users {
		text += Domain + ":" + name + ":" + password + "\n"
	}
	write(a.t, a.users(), text)
}

func (a *Apache) start(destination, mechanism string, env []string) {
	a.t.Helper()
	address := freePort(a.t)
	a.URL = "http://" + address
	text := fmt.Sprintf("ServerName 127.0.0.1\nServerRoot %[1]s\nListen %[2]s\nPidFile %[1]s/pid\nErrorLog %[1]s/error.log\nDefaultRuntimeDir %[1]s\n"+
		"LogFormat \"%%m %%U %%>s %%I\" short\nCustomLog %[1]s/access.log short\nKeepAliveTimeout 60\n", a.dir, address)
	if os.Getuid() == 0 {
		text += "User www-data\nGroup www-data\n"
	}
	load := ""
	for _, m := range modules() {
		load += fmt.Sprintf("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	text += fmt.Sprintf("<Location />\n  AuthType GSSAPI\n  AuthName ferry\n  %s\n  Require valid-user\n  RequestHeader unset Authorization\n</Location>\n"+
		"ProxyPass / %s/\n", mechanism, strings.TrimSuffix(destination, "/"))
	conf := filepath.Join(a.dir, "apache.conf")
	write(a.t, conf, load+text)
	a.own()
	a.t.Cleanup(func() {
		if said, err := os.ReadFile(filepath.Join(a.dir, "error.log")); a.t.Failed() && err == nil {
			a.t.Logf("apache says:\n%s", said)
		}
	})
	start(a.t, address, env, "/usr/sbin/apache2", "-f", conf, "-DFOREGROUND")
}

// own gives the folder to apache's user: it writes caches there.
func (a *Apache) own() {
	a.t.Helper()
	if os.Getuid() != 0 {
		return
	}
	who, err := user.Lookup("www-data")
	if err != nil {
		a.t.Fatal(err)
	}
	uid, err := strconv.Atoi(who.Uid)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.Chown(a.dir, uid, -1); err != nil {
		a.t.Fatal(err)
	}
}

// Requests are the lines of the log of those that were answered: method, path,
// status, and the bytes that came, header and all.
func (a *Apache) Requests() []string {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, "access.log"))
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// Refusals says how many logons of NTLM were refused: 401 to more than the first
// step, which is a HEAD.
func (a *Apache) Refusals() int {
	n := 0
	for _, line := range a.Requests() {
		if strings.Contains(line, " 401 ") && !strings.HasPrefix(line, "HEAD ") {
			n++
		}
	}
	return n
}

// Count says how many requests were answered like that, such as "POST /invoices 401".
func (a *Apache) Count(beginning string) int {
	n := 0
	for _, line := range a.Requests() {
		if strings.HasPrefix(line, beginning) {
			n++
		}
	}
	return n
}
