package notify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWithAnotherVerifier has callbacks verified by the library standardwebhooks of
// npm, in the folder that FERRY_STANDARDWEBHOOKS names.
func TestWithAnotherVerifier(t *testing.T) {
	folder := os.Getenv("FERRY_STANDARDWEBHOOKS")
	if folder == "" {
		t.Skip("FERRY_STANDARDWEBHOOKS names no folder with the library; make test-all installs it")
	}
	h := &heard{}
	opts, url := subscriber(t, h)
	e := ending(url, 1)
	if err := tell(t, notifier(t, opts), e)[0]; err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	var want []string
	line := func(secret []byte, header http.Header, body []byte, good bool) {
		headers := map[string]string{}
		for name := range header {
			headers[strings.ToLower(name)] = header.Get(name)
		}
		text, err := json.Marshal(map[string]any{"secret": secretPrefix + base64.StdEncoding.EncodeToString(secret), "headers": headers, "body": body})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(text, '\n'))
		want = append(want, map[bool]string{true: "ok", false: "refused"}[good])
	}
	header, body := h.list[0].Header, h.body[0]
	line(e.Secrets[0], header, body, true)
	line(e.Secrets[1], header, body, true)
	line([]byte("somebody else's secret.."), header, body, false)
	line(e.Secrets[0], header, append(bytes.Clone(body), ' '), false)
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(folder, "verify.mjs"))
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("callback %d: %s, want %s", i, got[i], want[i])
		}
	}
}
