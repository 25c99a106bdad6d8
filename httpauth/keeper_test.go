package httpauth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ferry/httpauth"
)

// A token endpoint that hangs keeps nobody from ending.
func TestCloseEndsAFetch(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nobody accepts: it hangs
	auth, err := httpauth.Open(httpauth.Config{Type: "oauth2", TokenURL: "http://" + l.Addr().String(), ClientID: "c", ClientSecret: "env:S"}, vault{"env:S": clientSecret})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := auth.Apply(httptest.NewRequestWithContext(ctx, http.MethodPost, "http://erp", nil)); !errors.Is(err, httpauth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := auth.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}
