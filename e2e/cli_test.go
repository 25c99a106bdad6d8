package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// TestCommandLine walks through the commands against a broker at work: the
// scripts of testdata, each with processes of its own.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %v, %v", scripts, err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			w := newWorld(t, options{routes: []string{"orders", invoices}, erp: practice.Settings{Required: []string{"number"}}})
			w.start()
			testscript.Run(t, testscript.Params{
				Files: []string{script}, RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					for name, value := range map[string]string{
						"PATH": programs + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME": env.WorkDir, "XDG_CONFIG_HOME": env.WorkDir,
						"NO_COLOR": "1", "FERRY_URL": "http://" + w.api, "FERRY_KEY_FILE": w.path("data/admin.key"), "ADMIN": w.path("data/admin.key"), "GORACE": "atexit_sleep_ms=0",
					} {
						env.Setenv(name, value)
					}
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"await":     w.awaitCommand,
					"code":      codeCommand,
					"documents": w.documentsCommand,
					"id":        w.idCommand,
				},
			})
		})
	}
}

// awaitCommand: await TEXT COMMAND… runs a broker command until it prints TEXT;
// ! await: until it does not print it.
func (w *world) awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // bounded by the deadline
		r := w.try(args[1:]...)
		if r.code == 0 && strings.Contains(r.out, args[0]) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("broker %s: exit code %d\n%s%s", strings.Join(args[1:], " "), r.code, r.out, r.errOut)
		}
	}
}

// codeCommand: code N COMMAND… fails unless the broker command exits with N.
func codeCommand(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("broker", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("broker %s: exit code %s, not %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// documentsCommand: documents KEY N fails unless the ERP has N documents of KEY.
func (w *world) documentsCommand(ts *testscript.TestScript, _ bool, args []string) {
	if n := len(w.erp.Documents(args[0])); args[1] != string(rune('0'+n)) {
		ts.Fatalf("the ERP has %d documents of %s, not %s", n, args[0], args[1])
	}
}

// idCommand: id KEY VARIABLE puts the id of the message with the key into a variable.
func (w *world) idCommand(ts *testscript.TestScript, _ bool, args []string) {
	page, err := w.client.Messages(w.t.Context(), ferry.MessageFilter{Q: args[0]})
	if err != nil || len(page.Items) != 1 {
		ts.Fatalf("%d messages of %s: %v", len(page.Items), args[0], err)
	}
	ts.Setenv(args[1], page.Items[0].ID.String())
}

// TestBatch: a batch is accepted whole, or not at all, and each item is delivered
// once.
func TestBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start()
	item := func(key string) ferry.Message {
		return ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key}
	}
	if _, err := w.client.SendBatch(t.Context(), invoices, []ferry.Message{item("never"), item(strings.Repeat("k", 129))}, false); ferry.CodeOf(err) != ferry.CodeInvalid {
		t.Errorf("a batch with a bad item: %v", err)
	}
	var items []ferry.Message
	for i := range 100 {
		items = append(items, item(fmt.Sprintf("batch-%02d", i)))
	}
	answer, err := w.client.SendBatch(t.Context(), invoices, items, false)
	if err != nil || len(answer.Items) != len(items) {
		t.Fatalf("%d answers: %v", len(answer.Items), err)
	}
	ids := map[string]ferry.ID{}
	for i, r := range answer.Items {
		if r.Status != 201 || r.Err != nil {
			t.Fatalf("item %d: %+v", i, r)
		}
		ids[items[i].IdempotencyKey] = r.Accepted.ID
	}
	w.wantOnce(ids)
}
