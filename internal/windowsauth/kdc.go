package windowsauth

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Realm is the name of the KDC's realm.
const Realm = "FERRY.TEST"

// KDC is a KDC that runs until the test ends.
type KDC struct {
	Address  string // HOST:PORT
	Krb5Conf string // a file that says where it is
	t        *testing.T
	dir      string
	stop     func()
}

// StartKDC makes a realm and starts its KDC. Users have to prove who they are
// before they get a ticket, as with Active Directory.
func StartKDC(t *testing.T) *KDC {
	t.Helper()
	Skip(t)
	k := &KDC{Address: freePort(t), t: t, dir: folder(t)}
	k.Krb5Conf = filepath.Join(k.dir, "krb5.conf")
	write(t, k.Krb5Conf, fmt.Sprintf(`[libdefaults]
  default_realm = %[1]s
  dns_lookup_kdc = false
  rdns = false
[realms]
  %[1]s = {
    kdc = %[2]s
  }
[logging]
  kdc = FILE:%[3]s/kdc.log
`, Realm, k.Address, k.dir))
	write(t, filepath.Join(k.dir, "kdc.conf"), fmt.Sprintf(`[kdcdefaults]
  kdc_listen = %[2]s
  kdc_tcp_listen = %[2]s
[realms]
  %[1]s = {
    database_name = %[3]s/principal
    key_stash_file = %[3]s/stash
    acl_file = %[3]s/acl
    default_principal_flags = +preauth
  }
`, Realm, k.Address, k.dir))
	k.run("/usr/sbin/kdb5_util", "create", "-s", "-r", Realm, "-P", "the realm's own")
	k.Start()
	return k
}

// Start lets the KDC answer, again after Stop.
func (k *KDC) Start() {
	k.t.Helper()
	k.stop = start(k.t, k.Address, k.Env(), "/usr/sbin/krb5kdc", "-n", "-r", Realm)
}

// Stop ends it, until Start.
func (k *KDC) Stop() { k.stop() }

// Env are the variables by which programs find the realm.
func (k *KDC) Env() []string {
	return []string{"KRB5_CONFIG=" + k.Krb5Conf, "KRB5_KDC_PROFILE=" + filepath.Join(k.dir, "kdc.conf"), "KRB5RCACHEDIR=" + k.dir}
}

func (k *KDC) run(name string, args ...string) {
	k.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), k.Env()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("%s %v: %v: %s", filepath.Base(name), args, err, out)
	}
}

// User makes a user.
func (k *KDC) User(name, password string) {
	k.t.Helper()
	k.run("/usr/sbin/kadmin.local", "-r", Realm, "addprinc", "-pw", password, name)
}

// SetPassword changes a user's password.
func (k *KDC) SetPassword(name, password string) {
	k.t.Helper()
	k.run("/usr/sbin/kadmin.local", "-r", Realm, "cpw", "-pw", password, name)
}

// Lifetime bounds the tickets of a user, such as "4 seconds".
func (k *KDC) Lifetime(name, life string) {
	k.t.Helper()
	k.run("/usr/sbin/kadmin.local", "-r", Realm, "modprinc", "-maxlife", life, name)
}

// Service makes a service with a key that nobody knows, and writes it into a keytab.
func (k *KDC) Service(name string) (file string) {
	k.t.Helper()
	k.run("/usr/sbin/kadmin.local", "-r", Realm, "addprinc", "-randkey", name)
	return k.Keytab(name, true)
}

// Keytab writes the keys of a user or a service into a file. fresh: new keys, in the
// place of those before.
func (k *KDC) Keytab(name string, fresh bool) (file string) {
	k.t.Helper()
	file = filepath.Join(k.dir, strings.NewReplacer("/", "-").Replace(name)+".keytab")
	if err := os.RemoveAll(file); err != nil {
		k.t.Fatal(err)
	}
	args := []string{"-r", Realm, "ktadd", "-k", file}
	if !fresh {
		args = append(args, "-norandkey")
	}
	k.run("/usr/sbin/kadmin.local", append(args, name)...)
	if err := os.Chmod(file, 0o644); err != nil { // for apache's own user, in a test
		k.t.Fatal(err)
	}
	return file
}

// Count says how many lines of the KDC's log hold a text.
func (k *KDC) Count(text string) int {
	k.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.dir, "kdc.log"))
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.Count(string(data), text)
}
