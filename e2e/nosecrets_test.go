package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
)

// marker is a secret that a world was given, or gave out.
type marker struct {
	name, value string
	// inLedger: the ledger must hold it to do its work. What else is kept in files is
	// in secretFiles.
	inLedger bool
}

// secretFiles are the files that hold secrets on purpose, for their owner only: the
// scan looks at their rights instead. A new one is one line here, and says why.
func secretFiles() map[string]string {
	return map[string]string{
		"admin.key":     "the first admin key, left for the person who starts the broker",
		"confirm.key":   "makes the tokens of confirmations",
		"result.key":    "makes the tokens of results",
		"callbacks.key": "makes the secrets of callbacks",
		"erp-worker.nk": "the worker's seed, as `broker workers add --out` leaves it",
		"opener.txt":    "the test's own: what the configuration refers to",
		"vault-ca.pem":  "the test's own: no secret",
	}
}

// scan is what a world showed and kept, and the secrets that must not be in it.
type scan struct {
	*vaultWorld
	markers []marker
	shown   []shown
	met     map[string]bool // markers that were found where they may be
}

// shown is a text that somebody sees.
type shown struct {
	where string
	text  []byte
	from  map[string]bool // markers that it hands over, once and on purpose
}

// secret adds a marker.
func (s *scan) secret(name, value string) {
	s.t.Helper()
	if len(value) < 8 {
		s.t.Fatalf("%s is no secret that could be found: %q", name, value)
	}
	s.markers = append(s.markers, marker{name: name, value: value})
}

func (s *scan) see(where string, text []byte, handsOver ...string) {
	from := map[string]bool{}
	for _, name := range handsOver {
		from[name] = true
	}
	s.shown = append(s.shown, shown{where, text, from})
}

// ask makes a request, and keeps all of its answer. handsOver are the names of
// markers that the answer is there to give.
func (s *scan) ask(status int, method, target, authorization, body string, handsOver []string, header ...string) []byte {
	s.t.Helper()
	if !strings.HasPrefix(target, "http") {
		target = "http://" + s.api + target
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultTransport.RoundTrip(r) // follows nothing
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.StatusCode != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", method, target, answer.StatusCode, status, data)
	}
	var head bytes.Buffer
	_ = answer.Header.Write(&head)
	s.see(fmt.Sprintf("the answer %d to %s %s", status, method, r.URL.Path), append(head.Bytes(), data...), handsOver...)
	return append([]byte(answer.Header.Get("Location")+"\n"), data...)
}

// forms are the ways in which a secret may be written down.
func forms(value string) [][]byte {
	return [][]byte{
		[]byte(value), []byte(url.QueryEscape(value)), []byte(base64.StdEncoding.EncodeToString([]byte(value))),
		[]byte(base64.RawURLEncoding.EncodeToString([]byte(value))), []byte(hex.EncodeToString([]byte(value))),
	}
}

// look fails for each secret that is somewhere.
func (s *scan) look(where string, text []byte, pass func(marker) bool) {
	s.t.Helper()
	for _, m := range s.markers {
		passes := pass != nil && pass(m)
		for _, form := range forms(m.value) {
			if at := bytes.Index(text, form); at >= 0 {
				if passes {
					s.met[m.name] = true
					break
				}
				around := text[max(0, at-200):min(len(text), at+len(form)+80)]
				s.t.Errorf("%s is in %s:\n…%s…", m.name, where, around)
				break
			}
		}
	}
}

// lookEverywhere reads all that was shown, and every byte that was kept.
func (s *scan) lookEverywhere() {
	s.t.Helper()
	for _, one := range s.shown {
		s.look(one.where, one.text, func(m marker) bool { return one.from[m.name] })
	}
	files := 0
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if _, ok := secretFiles()[d.Name()]; ok {
			if info, err := d.Info(); err != nil || d.Name() != "vault-ca.pem" && info.Mode().Perm()&0o077 != 0 {
				s.t.Errorf("%s holds a secret, and its rights are %v (%v)", path, info.Mode(), err)
			}
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		s.look("the file "+path, data, func(m marker) bool { return m.inLedger && d.Name() == "ledger.db" })
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if files < 5 {
		s.t.Errorf("only %d files were looked at", files)
	}
}

// TestNoSecretShows runs broker and worker with each kind of secret they know, lets
// each be used well and badly, and then reads everything that was logged at the
// lowest level, answered, counted, shown to operators, and written to disk.
func TestNoSecretShows(t *testing.T) {
	hook := newHook(t)
	s := &scan{met: map[string]bool{}, vaultWorld: newVaultWorld(t, "24h", "accessLog: {path: ./access.log}", "callbacks: {allow: [\""+strings.TrimPrefix(hook.URL, "http://")+"\"]}")}
	const erpKey, erpNext, cookie = "erp-key-9d41c7", "erp-key-0f22aa+/&=", "cookie-5f0c2b9e"
	sasKey := base64.StdEncoding.EncodeToString([]byte("sas key 7af3, thirty-two bytes.."))
	s.secret("the vault's client secret", vaultOpener)
	s.secret("the ERP's key", erpKey)
	s.secret("the ERP's next key", erpNext)
	s.secret("the ERP's cookie", cookie)
	s.secret("the SAS key", sasKey)
	s.vault.Set("erp", erpKey)
	s.vault.Set("sas", sasKey)
	s.erp.accept(erpKey)
	s.erp.says, s.erp.cookie = "wrong key", cookie

	s.broker = startProcess(t, s.dir, "broker", "serve", "--config", "broker.yaml", "--log-level", "debug", "--log-format", "json")
	s.awaitBroker()
	s.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	s.worker = startProcess(t, s.dir, "worker", "run", "--config", "worker.yaml", "--log-level", "debug")
	s.awaitGranted()
	s.secret("the admin key", s.file("data/admin.key"))
	s.secret("the worker's seed", s.file("erp-worker.nk"))
	for _, name := range []string{"confirm.key", "result.key", "callbacks.key"} {
		if _, err := os.Stat(s.path("data/" + name)); err == nil {
			s.secret("the key in "+name, s.file("data/"+name))
		}
	}
	s.useKeys()
	s.useSAS(sasKey)
	s.useWaiting()
	s.useCallbacks(hook)
	s.useERP(erpKey, erpNext)
	s.show()

	s.broker.stop(t, 20*time.Second)
	s.worker.stop(t, 40*time.Second)
	s.see("the broker's log", []byte(s.broker.out.String()))
	s.see("the worker's log", []byte(s.worker.out.String()))
	s.lookEverywhere()
	if len(s.markers) < 14 {
		t.Errorf("only %d secrets were looked for", len(s.markers))
	}
	// The scan sees what is there: what was handed over on purpose, and what the ledger
	// must hold.
	for _, name := range []string{"a sender's key: flow", "a result's token", "a subscription's secret", "a subscription's token", "a callback's signature"} {
		if !s.met[name] {
			t.Errorf("%s was not found where it must be: the scan is blind", name)
		}
	}
}

func (s *scan) file(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func invoice(number string) string {
	return `{"number":"` + number + `","supplier":"Contoso","currency":"EUR","total":1}`
}

const sendPath = "/v1/routes/" + invoices + "/messages"

func (s *scan) admin() string { return "Bearer " + s.file("data/admin.key") }

// useKeys makes, rotates, revokes and mistypes keys, and sends them in every place.
func (s *scan) useKeys() {
	s.t.Helper()
	var made struct{ ID, Secret string }
	create := func(name string) string {
		s.t.Helper()
		answer := s.ask(201, "POST", "/v1/keys", s.admin(), `{"name":"`+name+`","role":"sender"}`, []string{"a sender's key: " + name})
		if err := json.Unmarshal(answer[bytes.IndexByte(answer, '{'):], &made); err != nil || made.Secret == "" {
			s.t.Fatalf("%v: %s", err, answer)
		}
		s.secret("a sender's key: "+name, made.Secret)
		return made.Secret
	}
	key := create("flow")
	s.ask(201, "POST", sendPath, "Bearer "+key, invoice("K-1"), nil)
	s.ask(201, "POST", sendPath+"?subscription-key="+key, "", invoice("K-2"), nil)
	s.ask(201, "POST", sendPath, "", invoice("K-3"), nil, "Ocp-Apim-Subscription-Key: "+key)
	s.ask(400, "POST", sendPath+"?subscription-key="+key+"&nonsense=1", "", invoice("K-4"), nil)
	s.ask(400, "POST", sendPath+"?subscription-key="+key+"&x=%zz", "", invoice("K-4"), nil)
	s.ask(403, "GET", "/v1/status?subscription-key="+key, "", "", nil)
	s.ask(404, "GET", "/v1/"+key, "", "", nil)
	s.ask(404, "GET", "/"+key+"/"+key, s.admin(), "", nil)
	s.ask(404, "POST", "/v1/keys/"+key+"/rotate", s.admin(), "", nil)
	s.ask(401, "POST", sendPath, "Bearer "+key[:len(key)-3]+"xyz", invoice("K-4"), nil)
	s.ask(401, "POST", sendPath, "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+key)), invoice("K-4"), nil)
	old := create("old")
	if r := s.try("keys", "revoke", made.ID, "--yes"); r.code != 0 {
		s.ask(200, "POST", "/v1/keys/"+made.ID+"/revoke", s.admin(), "", nil)
	}
	s.ask(401, "POST", sendPath, "Bearer "+old, invoice("K-4"), nil)
	jwt := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"flow-4711","aud":"x"}`)) + ".c2lnbmF0dXJlLTkz"
	s.secret("a token of an issuer", jwt)
	s.ask(401, "POST", sendPath, "Bearer "+jwt, invoice("K-4"), nil)
}

// useSAS sends under tokens, good and bad.
func (s *scan) useSAS(key string) {
	s.t.Helper()
	token := signSAS("http://"+s.api+"/"+invoices, "flows", key)
	_, sig, _ := strings.Cut(token, "&sig=")
	sig, _, _ = strings.Cut(sig, "&")
	s.secret("a SAS token's signature", sig)
	s.ask(201, "POST", "/"+invoices+"/messages", token, invoice("S-1"), nil)
	s.ask(401, "POST", "/other/messages", token, invoice("S-2"), nil)
	s.ask(401, "POST", "/"+invoices+"/messages", token+"x", invoice("S-2"), nil)
}

// useWaiting asks for results by their tokens.
func (s *scan) useWaiting() {
	s.t.Helper()
	answer := s.ask(202, "POST", sendPath+"/wait", s.admin(), invoice("W-1"), []string{"a result's token"})
	location, _, _ := strings.Cut(string(answer), "\n")
	token := location[strings.LastIndexByte(location, '/')+1:]
	token, _, _ = strings.Cut(token, "?")
	s.secret("a result's token", token)
	eventually(s.t, 20*time.Second, func() string {
		r, err := http.Get(location)
		if err != nil {
			return err.Error()
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return r.Status
		}
		return ""
	})
	s.ask(200, "GET", location, "", "", nil)
	s.ask(404, "GET", location+"x", "", "", nil)
	s.ask(405, "DELETE", location, "", "", nil)
	s.ask(404, "GET", "/v1/Results/"+token+"/more", "", "", nil)
}

// hook is called back, and refuses at first.
type hook struct {
	*httptest.Server
	mu    sync.Mutex
	calls int
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.calls++
		n := h.calls
		h.mu.Unlock()
		if n == 1 {
			http.Error(w, "no: "+r.URL.String(), http.StatusInternalServerError) // as some do, it quotes what it was called with
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// useCallbacks sends addresses that are secrets themselves, and subscribes.
func (s *scan) useCallbacks(h *hook) {
	s.t.Helper()
	const sig = "callback-sig-88c1e4d0"
	s.markers = append(s.markers, marker{name: "a callback's signature", value: sig, inLedger: true})
	address := h.URL + "/workflows/w1/triggers/manual/paths/invoke?api-version=1&sig=" + sig
	s.ask(201, "POST", sendPath, s.admin(), invoice("C-1"), nil, "Ferry-Callback-Url: "+address)
	s.ask(400, "POST", sendPath, s.admin(), invoice("C-2"), nil, "Ferry-Callback-Url: http://10.0.0.1/x?sig="+sig)
	answer := s.ask(201, "POST", "/v1/subscriptions/completed", s.admin(), `{"callbackUrl":"`+address+`"}`, []string{"a subscription's secret", "a subscription's token"})
	var made struct{ Secret string }
	location, body, _ := strings.Cut(string(answer), "\n")
	if err := json.Unmarshal([]byte(body), &made); err != nil || made.Secret == "" {
		s.t.Fatalf("%v: %s", err, answer)
	}
	s.secret("a subscription's secret", made.Secret)
	token := location[strings.LastIndexByte(location, '/')+1:]
	s.secret("a subscription's token", token)
	s.ask(201, "POST", sendPath, s.admin(), invoice("C-3"), nil)
	eventually(s.t, 30*time.Second, func() string {
		if n := h.count(); n < 3 {
			return fmt.Sprintf("%d calls back", n)
		}
		return ""
	})
	s.see("broker callbacks list", []byte(s.try("callbacks", "list").out))
	s.ask(404, "DELETE", location+"/more", "", "", nil)
	s.ask(204, "DELETE", location, "", "", nil)
}

// useERP has the destination refuse, quote what it was sent, and take another key.
func (s *scan) useERP(key, next string) {
	s.t.Helper()
	a := s.send(invoices, "E-1", `{"supplier":"Contoso","note":"no number"}`)
	e := s.await(a.ID, ferry.StateDeadLettered, 20*time.Second)
	s.ask(200, "GET", "/v1/messages/"+e.ID.String(), s.admin(), "", nil)
	s.vault.Set("erp", next)
	s.erp.accept(next)
	a = s.send(invoices, "E-2", invoice("E-2"))
	s.await(a.ID, ferry.StateCompleted, 20*time.Second)
	s.erp.accept("another one, of which the vault knows nothing")
	a = s.send(invoices, "E-3", invoice("E-3"))
	eventually(s.t, 20*time.Second, func() string {
		if len(s.message(a.ID).Attempts) == 0 {
			return "no attempt"
		}
		return ""
	})
	s.ask(200, "GET", "/v1/messages/"+a.ID.String(), s.admin(), "", nil)
	eventually(s.t, 20*time.Second, func() string {
		r := s.try("status")
		if !strings.Contains(r.out, "unauthorized") {
			return r.out
		}
		s.see("status while the key is refused", []byte(r.out))
		return ""
	})
}

// show asks for all that operators see.
func (s *scan) show() {
	s.t.Helper()
	for _, args := range [][]string{
		{"status"},
		{"status", "-o", "json"},
		{"audit", "-o", "json"},
		{"usage", "-o", "json"},
		{"usage", "--csv"},
		{"usage"},
		{"messages", "list", "-o", "json"},
		{"dlq", "list", "-o", "json"},
		{"dlq", "groups", "-o", "json"},
		{"keys", "list", "-o", "json"},
		{"workers", "list", "-o", "json"},
		{"routes", "list", "-o", "json"},
		{"me", "-o", "json"},
		{"callbacks", "list", "-o", "json"},
	} {
		r := s.try(args...)
		s.see("broker "+strings.Join(args, " "), []byte(r.out+r.errOut))
	}
	for _, path := range []string{"/metrics", "/v1/status", "/v1/audit", "/v1/usage", "/v1/messages?limit=100", "/v1/dead-letters", "/v1/events", "/openapi.json"} {
		s.ask(200, "GET", path, s.admin(), "", nil)
	}
	for _, args := range [][]string{{"check", "--config", "worker.yaml"}, {"preview", invoices, "-f", "message.json", "--config", "worker.yaml"}} {
		s.write("message.json", invoice("P-1"))
		r := command(s.t, s.dir, "worker", args...)
		s.see("worker "+args[0], []byte(r.out+r.errOut))
	}
	r := command(s.t, s.dir, "broker", "check", "--config", "broker.yaml", "-o", "json")
	s.see("broker check", []byte(r.out+r.errOut))
}
