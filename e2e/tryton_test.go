package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
)

// Tryton, from Debian's packages: FERRY_TRYTON names the folder where
// scripts/test-all.d/tryton made a database. Each test has a copy of its own.

const (
	trytonUser     = "ferry"
	trytonPassword = "practice-only-4711"
)

// trytonServer is a Tryton with a company that takes supplier invoices.
type trytonServer struct {
	t        *testing.T
	url      string
	database string // the SQLite file
}

func startTryton(t *testing.T) *trytonServer {
	t.Helper()
	made := os.Getenv("FERRY_TRYTON")
	if made == "" {
		t.Skip("FERRY_TRYTON is not set: scripts/test-all.d/tryton installs Tryton and sets it")
	}
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join(made, "ferry.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	s := &trytonServer{t: t, database: filepath.Join(dir, "ferry.sqlite")}
	listen := freePort(t)
	s.url = "http://" + listen
	for name, text := range map[string]string{
		"ferry.sqlite": string(data),
		"trytond.conf": fmt.Sprintf("[database]\nuri = sqlite://\npath = %s\n[web]\nlisten = %s\n", dir, listen),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startCommand(t, dir, "trytond", exec.Command("trytond", "-c", "trytond.conf"))
	eventually(t, time.Minute, func() string {
		resp, err := http.Post(s.url+"/ferry/", "application/json", strings.NewReader("{}"))
		if err != nil {
			return err.Error()
		}
		_ = resp.Body.Close() // any answer says that it is up
		return ""
	})
	return s
}

// call calls a method as the user whom deliveries use.
func (s *trytonServer) call(method string, params ...any) any {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/ferry/", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth(trytonUser, trytonPassword)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Result, Error any }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != nil {
		s.t.Fatalf("%s: status %d, %v, %v", method, resp.StatusCode, answer.Error, err)
	}
	return answer.Result
}

// one gives the fields of the only record that the domain is true of.
func (s *trytonServer) one(model string, domain []any, fields ...string) map[string]any {
	s.t.Helper()
	records, _ := s.call("model."+model+".search_read", domain, 0, 10, nil, fields, map[string]any{"company": 1}).([]any)
	if len(records) != 1 {
		s.t.Fatalf("%s has %d records of %v: %v", model, len(records), domain, records)
	}
	return records[0].(map[string]any)
}

// invoice gives the only invoice of a reference.
func (s *trytonServer) invoice(reference string) map[string]any {
	s.t.Helper()
	return s.one("account.invoice", []any{[]any{"reference", "=", reference}}, "state", "number", "total_amount", "lines", "party.name")
}

// trytonWorld has one route to Tryton at address. Credentials and database are as
// given.
func trytonWorld(t *testing.T, s *trytonServer, address, database, timeout string) *world {
	t.Helper()
	program, err := os.ReadFile("testdata/tryton/invoice.jq")
	if err != nil {
		t.Fatal(err)
	}
	id := func(record map[string]any) string { return fmt.Sprint(record["id"]) }
	party := s.one("party.party", []any{[]any{"code", "=", "S-1"}}, "addresses")
	text := strings.NewReplacer(
		"JOURNAL", id(s.one("account.journal", []any{[]any{"code", "=", "EXP"}})),
		"PAYABLE", id(s.one("account.account", []any{[]any{"type.payable", "=", true}})),
		"EXPENSE", id(s.one("account.account", []any{[]any{"code", "=", "4000"}})),
		"PARTY", id(party), "ADDRESS", fmt.Sprint(party["addresses"].([]any)[0]),
	).Replace(strings.TrimSpace(string(program)))
	w := newWorld(t, options{})
	w.write("password", trytonPassword+"\n")
	w.write("worker.yaml", fmt.Sprintf(`name: erp-worker
dataDir: ./erp-worker-data
queue: %s
destinations:
  tryton:
    adapter: erp
    dialect: tryton
    url: %s
    database: %s
    company: "1"
    auth: {type: basic, username: %s, password: "file:./password"}
    timeout: %s
routes:
  - name: %s
    destination: tryton
    entity: account.invoice
    keyField: reference
    lookup: {where: '[["type", "=", "in"]]'}
    finish: post
    reference: .number
    map: |
      %s
`, w.workerQueue("erp-worker", "30s"), address, database, trytonUser, timeout, invoices, strings.ReplaceAll(text, "\n", "\n      ")))
	return w
}

// TestTrytonAsThePageSays: the example of the page on Tryton, as it stands there,
// and the message that goes with it.
func TestTrytonAsThePageSays(t *testing.T) {
	t.Parallel()
	s := startTryton(t)
	page, err := os.ReadFile("../docs/erp/tryton.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, rest, _ := strings.Cut(string(page), "```"+kind+"\n")
		text, _, found := strings.Cut(rest, "```")
		if !found {
			t.Fatalf("the page has no example in %s", kind)
		}
		return text
	}
	// Its ids are those of the database that the tests make.
	for model, domain := range map[string][]any{"account.journal 2": {"code", "=", "EXP"}, "account.account 4": {"type.payable", "=", true}, "account.account 3": {"code", "=", "4000"}, "party.party 2": {"code", "=", "S-1"}} {
		name, id, _ := strings.Cut(model, " ")
		if got := fmt.Sprint(s.one(name, []any{domain})["id"]); got != id {
			t.Fatalf("%s %v has the id %s, and the page has %s", name, domain, got, id)
		}
	}
	w := newWorld(t, options{})
	w.write("password", trytonPassword+"\n")
	example := strings.NewReplacer("https://tryton.example.com", s.url, "database: books", "database: ferry", "env:TRYTON_PASSWORD", "file:./password").Replace(block("yaml"))
	w.write("worker.yaml", "name: erp-worker\ndataDir: ./erp-worker-data\nqueue: "+w.workerQueue("erp-worker", "30s")+"\n"+example)
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	if r := command(t, w.dir, "worker", "check"); r.code != 0 {
		t.Errorf("worker check: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	w.startWorker()
	a := w.send(invoices, "HL-2026-0311", block("json"))
	s.wantPosted(w.await(a.ID, ferry.StateCompleted, time.Minute), "HL-2026-0311", "1283.70")
}

// TestTrytonAnswersAsPractised: the practice ERP words its errors as Tryton does.
func TestTrytonAnswersAsPractised(t *testing.T) {
	t.Parallel()
	s := startTryton(t)
	const login = trytonUser + ":" + trytonPassword
	for name, c := range map[string]struct {
		login, database, request string
		status                   int
		body                     string
	}{
		"created":                        {login, "ferry", `{"id":1,"method":"model.party.party.create","params":[[{"name":"A","code":"U-1"}],{}]}`, 200, `{"id":1,"result":[`},
		"unique":                         {login, "ferry", `{"id":1,"method":"model.party.party.create","params":[[{"name":"A","code":"S-1"}],{}]}`, 200, `{"id":1,"error":["UserError",["The code on party must be unique.","",null]]}`},
		"unknown field, without a class": {login, "ferry", `{"id":1,"method":"model.party.party.create","params":[[{"nome":"A"}],{}]}`, 200, `{"id":1,"error":["'nome'",""]}`},
		"a text for a boolean is taken":  {login, "ferry", `{"id":1,"method":"model.party.party.create","params":[[{"name":"B","code":"U-2","active":"false"}],{}]}`, 200, `{"id":1,"result":[`},
		"unknown method":                 {login, "ferry", `{"id":1,"method":"model.party.party.creat","params":[[],{}]}`, 403, "<title>403 Forbidden</title>"},
		"no right to a model":            {login, "ferry", `{"id":1,"method":"model.company.company.create","params":[[{"party":2}],{}]}`, 200, `{"id":1,"error":["UserError",["You are not allowed to access \"Company\"."`},
		"unknown database":               {login, "nowhere", `{"id":1,"method":"model.res.user.get_preferences","params":[true,{}]}`, 200, `nowhere.sqlite' doesn't exist!",""]}`},
		"wrong password":                 {trytonUser + ":nothing-like-it", "ferry", `{"id":1,"method":"model.res.user.get_preferences","params":[true,{}]}`, 401, ""},
		"no JSON":                        {login, "ferry", `nonsense`, 500, "<title>500 Internal Server Error</title>"},
		"stale": {
			login, "ferry", `{"id":1,"method":"model.party.party.write","params":[[2],{"name":"C"},{"_timestamp":{"party.party,2":"1"}}]}`, 200,
			`{"id":1,"error":["ConcurrencyException","`,
		},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/"+c.database+"/", strings.NewReader(c.request))
		if err != nil {
			t.Fatal(err)
		}
		user, password, _ := strings.Cut(c.login, ":")
		req.SetBasicAuth(user, password)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s: status %d, %s, %v; want %d, %s", name, resp.StatusCode, body, err, c.status, c.body)
		}
	}
	// What the text for a boolean became.
	if party := s.one("party.party", []any{[]any{"code", "=", "U-2"}, []any{"active", "in", []any{true, false}}}, "active"); party["active"] != true && party["active"] != 1.0 {
		t.Errorf("active is %v", party["active"])
	}
}

// sample is the invoice of testdata with changes: what stands there, and what is
// to stand there instead.
func sample(t *testing.T, changes ...string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/tryton/invoice.json")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(changes...).Replace(string(data))
	if len(changes) > 0 && text == string(data) {
		t.Fatalf("the sample has none of %q", changes)
	}
	return text
}

func (s *trytonServer) wantPosted(e ferry.Envelope, reference, total string) {
	s.t.Helper()
	invoice := s.invoice(reference)
	amount, _ := invoice["total_amount"].(map[string]any)
	if invoice["state"] != "posted" || amount["decimal"] != total || e.Reference == "" || e.Reference != invoice["number"] {
		s.t.Errorf("completed as %q; Tryton has %v", e.Reference, invoice)
	}
}

// TestTrytonTakesInvoices: a supplier's invoice is created and posted. What Tryton refuses in an answer of status 200 is a dead
// letter with Tryton's own words, and goes through once it is mended.
func TestTrytonTakesInvoices(t *testing.T) {
	t.Parallel()
	s := startTryton(t)
	w := trytonWorld(t, s, s.url, "ferry", "30s")
	w.start()
	a := w.send(invoices, "HL-2026-0311", sample(t))
	s.wantPosted(w.await(a.ID, ferry.StateCompleted, time.Minute), "HL-2026-0311", "1283.70")
	if e := w.message(a.ID); len(e.Attempts) != 1 || !strings.Contains(e.Attempts[0].Request, "/ferry/ model.account.invoice.post") {
		t.Errorf("the attempt tells %+v", e.Attempts)
	}

	// A supplier whom Tryton does not have.
	a = w.send(invoices, "HL-2026-0312", sample(t, "Hafenlicht AG", "Nobody Ltd"))
	e := w.await(a.ID, ferry.StateDeadLettered, time.Minute)
	if e.DeadLetter.Reason != ferry.ReasonRejected || !strings.Contains(e.DeadLetter.Description, `The value for field "Invoice Address" in "Invoice" is not valid`) {
		t.Errorf("dead letter %+v", e.DeadLetter)
	}
	w.write("mended.json", sample(t, "HL-2026-0311", "HL-2026-0312"))
	w.cli("dlq", "edit", a.ID.Short(), "-f", "mended.json", "--yes")
	s.wantPosted(w.await(a.ID, ferry.StateCompleted, time.Minute), "HL-2026-0312", "1283.70")

	// It can be created and not posted: there is no period for the day. What the
	// edit changes is changed in the draft that is there, lines and all.
	a = w.send(invoices, "HL-2026-0313", sample(t, "2026-11-12", "2009-11-12"))
	e = w.await(a.ID, ferry.StateDeadLettered, time.Minute)
	if e.DeadLetter.Reason != ferry.ReasonRejected || !strings.Contains(e.DeadLetter.Description, "post did not succeed") {
		t.Errorf("dead letter %+v", e.DeadLetter)
	}
	if draft := s.invoice("HL-2026-0313"); draft["state"] != "draft" {
		t.Errorf("before the edit: %v", draft)
	}
	w.write("dated.json", sample(t, `"399.90"`, `"400.00"`))
	w.cli("dlq", "edit", a.ID.Short(), "-f", "dated.json", "--yes")
	s.wantPosted(w.await(a.ID, ferry.StateCompleted, time.Minute), "HL-2026-0313", "1284.00")
	if lines := s.invoice("HL-2026-0313")["lines"]; len(lines.([]any)) != 2 {
		t.Errorf("lines %v", lines)
	}
	w.balance()
}

// TestTrytonTakesInvoicesOfFolder: every invoice of FERRY_INVOICES_DIR, whatever it
// is, as far as the map reads it.
func TestTrytonTakesInvoicesOfFolder(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("FERRY_INVOICES_DIR")
	if dir == "" {
		t.Skip("FERRY_INVOICES_DIR is not set: it may name a folder with invoices of one's own")
	}
	s := startTryton(t)
	w := trytonWorld(t, s, s.url, "ferry", "30s")
	text, err := os.ReadFile(w.path("worker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// All of them are from the supplier that Tryton has.
	w.write("worker.yaml", strings.Replace(string(text), "}[$supplier]", `}["Hafenlicht AG"]`, 1))
	w.start()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(body, []byte(`"InvoiceLine"`)) {
			continue // a credit note
		}
		key := filepath.Base(file)
		e := w.await(w.send(invoices, key, string(body)).ID, ferry.StateCompleted, time.Minute)
		if invoice := s.invoice(key); invoice["state"] != "posted" || invoice["number"] != e.Reference {
			t.Errorf("%s is completed as %q; Tryton has %v", key, e.Reference, invoice)
		}
	}
}

// TestTrytonBusyMakesOneInvoice: somebody holds the database for 12 s, from the
// moment that a create arrives, which waits and succeeds long after the call was
// given up at 5 s.
func TestTrytonBusyMakesOneInvoice(t *testing.T) {
	t.Parallel()
	s := startTryton(t)
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog, proxy.ErrorHandler = nil, func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	lock := sync.OnceFunc(func() {
		script, err := filepath.Abs("testdata/tryton/lock.py")
		if err != nil {
			t.Error(err)
			return
		}
		p := startCommand(t, t.TempDir(), "lock.py", exec.Command("/usr/bin/python3", script, s.database, "12"))
		eventually(t, 10*time.Second, func() string { return strings.TrimPrefix("locked\n", p.out.String()) })
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if bytes.Contains(body, []byte(`"model.account.invoice.create"`)) {
			lock()
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		// Tryton goes on with a call whose caller is gone.
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	w := trytonWorld(t, s, server.URL, "ferry", "5s")
	w.start()
	e := w.await(w.send(invoices, "HL-2026-0311", sample(t)).ID, ferry.StateCompleted, 2*time.Minute)
	s.wantPosted(e, "HL-2026-0311", "1283.70")
	if len(e.Attempts) < 2 || e.Attempts[0].Verdict != ferry.Unknown {
		t.Errorf("the create was not given up: %+v", e.Attempts)
	}
	w.balance()
}

// TestTrytonRefusesTheWorker: a wrong password, and a database that does not exist,
// which Tryton tells with status 200, stop the route and dead-letter nothing.
func TestTrytonRefusesTheWorker(t *testing.T) {
	t.Parallel()
	s := startTryton(t)
	for name, c := range map[string]struct{ database, password string }{
		"wrong password":   {"ferry", "wrong-password"},
		"unknown database": {"nowhere", trytonPassword},
	} {
		t.Run(name, func(t *testing.T) {
			w := trytonWorld(t, s, s.url, c.database, "30s")
			w.write("password", c.password+"\n")
			w.start()
			a := w.send(invoices, "HL-"+c.database, sample(t))
			eventually(t, time.Minute, func() string {
				list, err := w.client.Routes(t.Context())
				if err != nil {
					return err.Error()
				}
				if list[0].State != ferry.RouteUnauthorized {
					return fmt.Sprintf("route %s is %s: %+v", list[0].Name, list[0].State, list[0].Conditions)
				}
				return ""
			})
			if e := w.message(a.ID); e.State == ferry.StateDeadLettered {
				t.Errorf("dead letter %+v", e.DeadLetter)
			}
			if c.password == trytonPassword {
				return
			}
			w.write("password", trytonPassword+"\n")
			s.wantPosted(w.await(a.ID, ferry.StateCompleted, 2*time.Minute), "HL-"+c.database, "1283.70")
		})
	}
}
