package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
)

func TestContextsPath(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		system string
		env    func(string) string
		want   string
	}{
		{"linux", env("HOME", "/home/a"), "/home/a/.config/ferry/contexts.yaml"},
		{"linux", env("HOME", "/home/a", "XDG_CONFIG_HOME", "/cfg"), "/cfg/ferry/contexts.yaml"},
		{"darwin", env("HOME", "/Users/a"), "/Users/a/Library/Application Support/ferry/contexts.yaml"},
		{"windows", env("AppData", "/roaming"), "/roaming/ferry/contexts.yaml"},
		{"linux", env(), ""},
	} {
		if got := contextsPath(c.system, c.env); got != filepath.FromSlash(c.want) {
			t.Errorf("%s: %q, want %q", c.system, got, c.want)
		}
	}
}

// Answers are read a line at a time, and nothing beyond: the rest belongs to the
// next question.
func TestAsk(t *testing.T) {
	c := console{stdin: strings.NewReader("4\r\nyes\n" + strings.Repeat("y", 2*maxAnswer)), stderr: io.Discard}
	if got, err := c.ask("how many?"); got != "4" || err != nil {
		t.Errorf("first answer %q, %v", got, err)
	}
	if err := c.confirm("sure?"); err != nil {
		t.Errorf("yes is not a yes: %v", err)
	}
	if got, err := c.ask("again?"); !errors.Is(err, errNotConfirmed) {
		t.Errorf("an endless answer is taken: %q, %v", got, err)
	}
	c.stdin = strings.NewReader("")
	if _, err := c.ask("anybody?"); !errors.Is(err, errNotConfirmed) {
		t.Errorf("no answer is an answer: %v", err)
	}
	c.stdin = strings.NewReader("y") // without a line break, as `printf y |` sends it
	if err := c.confirm("sure?"); err != nil {
		t.Errorf("y is not a yes: %v", err)
	}
}

// run takes pipes and buffers for what they are: no terminal.
func TestRunKnowsNoTerminal(t *testing.T) {
	f := newFake(t)
	env := func(name string) string {
		return map[string]string{"FERRY_URL": f.URL, "FERRY_KEY": "fry_good_x_y"}[name]
	}
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"dlq", "list"}, env, strings.NewReader(""), &stdout, &stderr)
	if code != exitDone || !strings.Contains(stdout.String(), idRejected) || strings.Contains(stdout.String(), "\x1b") {
		t.Errorf("exit %d, stderr %s, stdout:\n%s", code, &stderr, &stdout)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if got := terminalOf(writer); got.terminal {
		t.Error("a pipe counts as a terminal")
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
}

// Output that is lost is a failure, whatever the command did.
func TestLostOutput(t *testing.T) {
	f := newFake(t)
	env := func(name string) string {
		return map[string]string{"FERRY_URL": f.URL, "FERRY_KEY": "fry_good_x_y"}[name]
	}
	for _, args := range [][]string{{"me"}, {"dlq", "list"}, {"routes", "list", "-o", "json"}, {"dlq", "export"}, {"messages", "body", "7c8d9e0f"}} {
		var stderr bytes.Buffer
		code := run(context.Background(), args, env, strings.NewReader(""), full{}, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), "no space") {
			t.Errorf("%v: exit %d, %s", args, code, &stderr)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

// Ctrl-C ends a command that waits, and it says so.
func TestInterrupted(t *testing.T) {
	f := newFake(t)
	env := func(name string) string {
		return map[string]string{"FERRY_URL": f.URL, "FERRY_KEY": "fry_good_x_y"}[name]
	}
	for _, args := range [][]string{{"operations", "watch", "op-1"}, {"status"}} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var stderr bytes.Buffer
		code := run(ctx, args, env, strings.NewReader(""), io.Discard, &stderr)
		if code != exitFailed || stderr.String() != "broker: error: interrupted\n" {
			t.Errorf("%v: exit %d, %s", args, code, &stderr)
		}
	}
}

// No error may show a key.
func TestKeysStayHidden(t *testing.T) {
	const secret = "fry_k1_verysecret_abc"
	env := func(name string) string {
		return map[string]string{"FERRY_URL": "http://127.0.0.1:1", "FERRY_KEY": secret}[name]
	}
	for _, args := range [][]string{{"status"}, {"me", "-o", "json"}, {"me", "--server", "http://u:" + secret + "@127.0.0.1:1"}, {"me", "--server", "::" + secret}} {
		var out bytes.Buffer
		if code := run(context.Background(), args, env, strings.NewReader(""), &out, &out); code == exitDone {
			t.Errorf("%v succeeded", args)
		}
		if strings.Contains(out.String(), "verysecret") {
			t.Errorf("%v shows the key: %s", args, &out)
		}
	}
}

// Every error code leads to exit 1 and its own sentence.
func TestReport(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{console: console{stderr: &stderr, env: func(string) string { return "" }}, ctx: context.Background()}
	fault := ferry.Errorf(ferry.CodeInvalid, "the batch is refused").WithHint("mend the items")
	fault.Details = []ferry.ErrorDetail{{Detail: "is empty", Pointer: "/3/body"}}
	if code := a.report(fault); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	want := "broker: error: the batch is refused\n  /3/body is empty\nbroker: hint: mend the items\n"
	if got := stderr.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
