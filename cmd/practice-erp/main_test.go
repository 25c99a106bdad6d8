package main

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"ferry/adapters/adaptertest/practice"
)

func TestItServesUntilItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-listen", "127.0.0.1:0", "-required", "number,total"}, in) }()
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`http://[0-9.]+:[0-9]+`).FindString(string(line[:n]))
	for body, want := range map[string]int{`{"number":"1","total":2}`: http.StatusCreated, `{"number":"1"}`: http.StatusBadRequest} {
		resp, err := http.Post(url+"/invoices", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", body, resp.StatusCode, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestItWritesAWorkerFile(t *testing.T) {
	for _, dialect := range practice.Dialects() {
		var out strings.Builder
		if err := run(t.Context(), []string{"-dialect", dialect, "-worker", "-listen", "127.0.0.1:9191"}, &out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"name: erp-worker-1", "dialect: " + dialect, "http://127.0.0.1:9191", practice.ExampleKey, "- name: supplier-invoices"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", dialect, want, out.String())
			}
		}
	}
	if err := run(t.Context(), []string{"-dialect", "esperanto"}, io.Discard); err == nil || !strings.Contains(err.Error(), "rest") {
		t.Errorf("an unknown dialect: %v", err)
	}
}

func TestABadFlagIsAnError(t *testing.T) {
	if err := run(t.Context(), []string{"-listen", "nowhere"}, io.Discard); err == nil {
		t.Fatal("it listens nowhere")
	}
}
