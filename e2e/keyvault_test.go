package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/vaultdouble"
)

// keyedERP stands before the practice ERP, and lets in who has the key of the moment.
type keyedERP struct {
	behind http.Handler

	mu      sync.Mutex
	key     string
	refused int
	says    string // of a refusal; a destination may quote what it was sent
	cookie  string // is set with each answer
}

func (k *keyedERP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	good, says := r.Header.Get("x-api-key") == k.key, k.says
	if !good {
		k.refused++
	}
	if k.cookie != "" {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: k.cookie})
	}
	k.mu.Unlock()
	if !good {
		http.Error(w, says+" "+r.Header.Get("x-api-key"), http.StatusUnauthorized)
		return
	}
	k.behind.ServeHTTP(w, r)
}

func (k *keyedERP) accept(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = key
}

func (k *keyedERP) refusals() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refused
}

const vaultOpener = "opens-the-vault-2c81"

// vaultWorld is a world whose secrets lie in a vault: the ERP's key, and a policy's.
type vaultWorld struct {
	*world
	vault *vaultdouble.Double
	erp   *keyedERP
}

func newVaultWorld(t *testing.T, refresh string, broker ...string) *vaultWorld {
	t.Helper()
	w := newWorld(t, options{erp: practice.Settings{Required: []string{"number"}}})
	double, err := vaultdouble.Start(w.dir, vaultOpener)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(double.Close)
	v := &vaultWorld{world: w, vault: double, erp: &keyedERP{behind: w.erp}}
	front := httptest.NewServer(v.erp)
	t.Cleanup(front.Close)
	w.erpURL = front.URL
	w.write("opener.txt", vaultOpener+"\n")
	settings := double.YAML("file:./opener.txt", refresh)
	text := fmt.Sprintf("listen: %s\ndataDir: ./data\nenvironment: e2e\nqueue: %s\n%s", w.api, w.brokerQueue("30s"), settings)
	text += "sas:\n  - {name: flows, key: \"@Microsoft.KeyVault(VaultName=contoso;SecretName=sas)\", rights: [send]}\n"
	text += strings.Join(broker, "\n") + "\nroutes:\n  - name: " + invoices + "\n"
	w.write("broker.yaml", text)
	w.write("worker.yaml", settings+w.workerYAML("erp-worker", options{routes: []string{invoices}, lock: "30s", destination: []string{
		"timeout: 10s", "concurrency: 8",
		`auth: {type: apiKey, header: x-api-key, key: "@Microsoft.KeyVault(SecretUri=https://` + vaultdouble.Host + `/secrets/erp)"}`,
	}}))
	return v
}

// post sends one message under a SAS token that key signed, and gives the status.
func (v *vaultWorld) post(key, id string) int {
	v.t.Helper()
	token := signSAS("http://"+v.api+"/"+invoices, "flows", key)
	answer := v.bus(http.MethodPost, "/"+invoices+"/messages", token, invoice(id), "Content-Type: application/json", `BrokerProperties: {"MessageId":"`+id+`"}`)
	return answer.status
}

// Keys that are rotated in the vault are seen without a restart, by whoever the old
// one is refused to: the worker at its destination, in the same attempt; the broker
// by a token that the new key signed. Nothing waits for the schedule, which is a day
// away, and nothing is dead-lettered.
func TestKeysRotateInTheVault(t *testing.T) {
	v := newVaultWorld(t, "24h")
	sas := func(n int) string {
		return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "the sas key number %04d", n))
	}
	v.vault.Set("erp", "erp-key-0001")
	v.vault.Set("sas", sas(1))
	v.erp.accept("erp-key-0001")

	if out := v.cliOf("broker", "check", "--config", "broker.yaml"); !strings.Contains(out, "sas[0].key: @Microsoft.KeyVault(VaultName=contoso;SecretName=sas) can be read") {
		t.Errorf("broker check:\n%s", out)
	}
	v.start()
	if status := v.post(sas(1), "INV-1"); status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	v.awaitDrained(20 * time.Second)
	if n := v.erp.refusals(); n != 0 {
		t.Fatalf("%d requests were refused before anything was rotated", n)
	}

	v.vault.Set("erp", "erp-key-0002")
	v.vault.Set("sas", sas(2))
	v.erp.accept("erp-key-0002")
	if status := v.post(sas(2), "INV-2"); status != http.StatusCreated {
		t.Fatalf("a token of the new key: status %d", status)
	}
	if status := v.post(sas(1), "INV-X"); status != http.StatusUnauthorized {
		t.Errorf("a token of the old key: status %d", status)
	}
	v.awaitDrained(20 * time.Second)
	if n := v.erp.refusals(); n != 1 {
		t.Errorf("%d requests were refused, want the one that showed the rotation", n)
	}
	for i := range 20 {
		if status := v.post(sas(2), fmt.Sprintf("INV-%d", 10+i)); status != http.StatusCreated {
			t.Fatalf("status %d", status)
		}
	}
	v.awaitDrained(20 * time.Second)
	sum := v.balance()
	if sum.Completed != 22 || sum.DeadLetters != 0 || v.erp.refusals() != 1 {
		t.Errorf("%+v, %d refusals", sum, v.erp.refusals())
	}
	page, err := v.client.Messages(t.Context(), ferry.MessageFilter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Items {
		if e := v.message(m.ID); len(e.Attempts) != 1 {
			t.Errorf("message %s took %d attempts", e.IdempotencyKey, len(e.Attempts))
		}
	}
	if reads := v.vault.Reads("erp"); reads > 4 {
		t.Errorf("the vault was asked %d times for one key", reads)
	}
}

// A vault that went away takes nothing with it: what was read goes on being used,
// and status says so. A worker that starts meanwhile waits for it.
func TestVaultAway(t *testing.T) {
	v := newVaultWorld(t, "10s")
	v.vault.Set("erp", "erp-key-0001")
	v.vault.Set("sas", "the-sas-key-0123456789")
	v.erp.accept("erp-key-0001")
	v.start()
	v.vault.Fail(&vaultdouble.Fault{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
	eventually(t, 30*time.Second, func() string {
		if r := v.try("status"); !strings.Contains(r.out, "goes on being used") || r.code != 3 {
			return fmt.Sprintf("status %d:\n%s", r.code, r.out)
		}
		return ""
	})
	if status := v.post("the-sas-key-0123456789", "INV-1"); status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	v.awaitDrained(20 * time.Second)

	v.worker.kill()
	v.startWorker()
	eventually(t, 20*time.Second, func() string {
		if !strings.Contains(v.worker.out.String(), "secret.unavailable") {
			return "the worker does not say that it waits for the vault:\n" + v.worker.out.String()
		}
		return ""
	})
	if !v.worker.running() {
		t.Fatal("the worker ended")
	}
	if r := command(t, v.dir, "worker", "check", "--config", "worker.yaml"); r.code != 1 || !strings.Contains(r.out, "FAILED  secret of destinations.erp.auth.key: ") || !strings.Contains(r.out, "the vault answers 503") {
		t.Errorf("worker check: %d\n%s%s", r.code, r.out, r.errOut)
	}
	v.vault.Fail(nil)
	if status := v.post("the-sas-key-0123456789", "INV-2"); status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	v.awaitDrained(30 * time.Second)
	if sum := v.balance(); sum.Completed != 2 || sum.DeadLetters != 0 {
		t.Errorf("%+v", sum)
	}
}

// What a person must mend ends a start, and says what.
func TestVaultRefuses(t *testing.T) {
	v := newVaultWorld(t, "5m")
	v.vault.Set("sas", "the-sas-key-0123456789")
	v.startBroker()
	v.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	if r := command(t, v.dir, "worker", "run", "--config", "worker.yaml"); r.code != 1 || !strings.Contains(r.errOut, "the vault has no such secret") || !strings.Contains(r.errOut, "destinations.erp.auth.key") || !strings.Contains(r.errOut, "worker: hint: is its name right?") {
		t.Errorf("worker run: %d\n%s", r.code, r.errOut)
	}
	v.vault.Put("erp", vaultdouble.Secret{Value: "v", Disabled: true})
	if r := command(t, v.dir, "worker", "check", "--config", "worker.yaml"); r.code != 1 || !strings.Contains(r.out, "it is disabled") {
		t.Errorf("worker check: %d\n%s", r.code, r.out)
	}
	v.vault.Put("erp", vaultdouble.Secret{Value: "erp-key-0001", Expires: time.Now().Add(-time.Hour)})
	v.erp.accept("erp-key-0001")
	if r := command(t, v.dir, "worker", "check", "--config", "worker.yaml"); r.code != 0 || !strings.Contains(r.out, "expired at") {
		t.Errorf("worker check: %d\n%s%s", r.code, r.out, r.errOut)
	}
	v.vault.Delete("sas")
	r := command(t, v.dir, "broker", "check", "--config", "broker.yaml")
	if r.code != 1 || !strings.Contains(r.out, "! sas[0].key: ") || !strings.Contains(r.errOut, "1 of 2 secrets cannot be read") {
		t.Errorf("broker check: %d\n%s%s", r.code, r.out, r.errOut)
	}
	if r := command(t, v.dir, "broker", "check", "--config", "broker.yaml", "--offline"); r.code != 0 {
		t.Errorf("broker check --offline: %d\n%s%s", r.code, r.out, r.errOut)
	}
}

// cliOf runs a program that must succeed.
func (w *world) cliOf(program string, args ...string) string {
	w.t.Helper()
	r := command(w.t, w.dir, program, args...)
	if r.code != 0 {
		w.t.Fatalf("%s %s: exit code %d\n%s%s", program, strings.Join(args, " "), r.code, r.out, r.errOut)
	}
	return r.out
}
