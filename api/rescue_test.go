package api_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"ferry/api"
	"ferry/client"
)

// A backup that fails on the way ends the connection: nobody takes it for whole.
func TestABackupThatFailsIsNoAnswer(t *testing.T) {
	f := newFake()
	f.backupFails = errors.New("a body cannot be read")
	server := httptest.NewServer(api.New(f, api.Options{}))
	defer server.Close()
	admin, err := client.New(server.URL, "admin-key", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	backup, err := admin.Backup(t.Context())
	if err != nil {
		return // the connection ended before the first byte
	}
	defer func() { _ = backup.Close() }()
	if text, err := io.ReadAll(backup); err == nil {
		t.Errorf("it looks whole: %q", text)
	}
}
